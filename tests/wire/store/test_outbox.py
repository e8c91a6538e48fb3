"""The outbox's table: ids, waiting, parked."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from wire.message import OutboundMessage
from wire.store import outbox as table
from wire.store.errors import StoreDamaged
from wire.store.outbox import Entry, Listed, Outbox, OutboxCounts

Make = Callable[..., OutboundMessage]

PATH = Path(":memory:")


def ids(entries: list[Entry]) -> list[int]:
    return [entry.id for entry in entries]


def test_messages_come_back_whole(memory: sqlite3.Connection, message: Make) -> None:
    """What is loaded is what was added, in order, with rising ids."""
    outbox = Outbox(memory, PATH)
    messages = [message("call:1", 1, body=b"\x00\xff"), message("pbx:pbx1", 1)._replace(call_id=None)]
    added = outbox.add(messages, 50)
    assert added == [Entry(1, messages[0]), Entry(2, messages[1])]
    assert outbox.load(0, 10, 1000) == added
    assert outbox.listing() == [Listed(entry, None, None) for entry in added]


def test_ids_are_never_used_again(memory: sqlite3.Connection, message: Make) -> None:
    """After the table was emptied ids go on, so a late confirmation cannot meet another message."""
    outbox = Outbox(memory, PATH)
    outbox.confirm(ids(outbox.add([message(), message()], 50)))
    assert ids(Outbox(memory, PATH).add([message()], 50)) == [3]


def test_a_rolled_back_add_leaves_nothing(memory: sqlite3.Connection, message: Make) -> None:
    """The outbox is as transactional as its owner: ids of an add that was undone may be given again."""
    outbox = Outbox(memory, PATH)
    memory.execute("BEGIN")
    outbox.add([message()], 50)
    memory.execute("ROLLBACK")
    assert outbox.load(0, 10, 1000) == []
    assert ids(outbox.add([message()], 50)) == [1]


def test_load_is_bounded(memory: sqlite3.Connection, message: Make) -> None:
    """A load stops at its rows, or at the message that fills its bytes."""
    outbox = Outbox(memory, PATH)
    outbox.add([message(body=b"x" * 100) for _ in range(10)], 50)
    assert ids(outbox.load(3, 4, 10_000)) == [4, 5, 6, 7]
    assert ids(outbox.load(3, 10, 150)) == [4, 5]
    assert ids(outbox.load(3, 10, 1)) == [4]
    assert outbox.load(10, 10, 1) == []


def test_parked_messages_are_passed_over(memory: sqlite3.Connection, message: Make) -> None:
    """A parked message is not loaded until it is unparked; confirming and parking unknown ids does nothing."""
    outbox = Outbox(memory, PATH)
    outbox.add([message() for _ in range(4)], 50)
    outbox.park([2, 3, 99], "NO_ROUTE", 60)
    outbox.confirm([1, 98])
    assert ids(outbox.load(0, 10, 1000)) == [4]
    assert outbox.counts() == OutboxCounts(waiting=1, parked=2, oldest_waiting_ms=50)
    assert outbox.parked() == 2
    assert [listed[1:] for listed in outbox.listing(parked=True)] == [(60, "NO_ROUTE")] * 2
    assert outbox.unpark() == [2, 3]
    assert outbox.unpark() == []
    assert ids(outbox.load(0, 10, 1000)) == [2, 3, 4]
    assert outbox.counts() == OutboxCounts(3, 0, 50)


def test_what_is_withheld_makes_place_for_what_says_so(memory: sqlite3.Connection, message: Make) -> None:
    """It has the place and the age of the last one; the same again changes nothing."""
    outbox = Outbox(memory, PATH)
    added = outbox.add([message(sequence=n) for n in (1, 2, 3, 4)], 50)
    told = Entry(3, message(sequence=3, operation="messages-withheld", body=b"2 and 3"))
    for _ in range(2):
        outbox.withhold([2], told)
        assert outbox.load(0, 10, 1000) == [added[0], told, added[3]]


def test_listing_filters(memory: sqlite3.Connection, message: Make) -> None:
    """Listing selects by stream and parked, and ends at its rows."""
    outbox = Outbox(memory, PATH)
    outbox.add([message("call:1", 1), message("call:2", 1, operation="finished-call")], 50)
    outbox.add([message("call:1", 2)], 70)
    outbox.park([3], "x", 80)

    def found(**filters: object) -> list[int]:
        return [listed.entry.id for listed in outbox.listing(**filters)]  # type: ignore[arg-type]

    assert found(stream="call:1") == [1, 3]
    assert found(parked=False) == [1, 2]
    assert found(rows=2) == [1, 2]


def test_any_number_of_ids(memory: sqlite3.Connection, message: Make) -> None:
    """More ids than SQLite has parameters are confirmed at once."""
    outbox = Outbox(memory, PATH)
    outbox.confirm(ids(outbox.add([message() for _ in range(40_000)], 50)))
    assert outbox.counts().waiting == 0


def test_counting_reads_indexes_only(memory: sqlite3.Connection) -> None:
    """Counts never read the messages themselves."""
    plan = memory.execute("EXPLAIN QUERY PLAN SELECT count(*) FROM outbox WHERE parked_ms IS NULL").fetchall()
    assert "COVERING INDEX outbox_parked" in plan[0][3]


@pytest.mark.parametrize(
    "change", ["body = x'00'", "body = 'text'", "routing_key = 'other'", "sequence = 7", "call_id = NULL", "id = 9"]
)
def test_what_is_not_as_it_was_written_is_not_offered(memory: sqlite3.Connection, message: Make, change: str) -> None:
    """SQLite does not notice other bytes in a body, or in a column: the checksum does."""
    outbox = Outbox(memory, PATH)
    outbox.add([message(), message()], 50)
    assert table.damage(memory) is None
    memory.execute(f"UPDATE outbox SET {change} WHERE id = 2")
    assert "another checksum" in (table.damage(memory) or "")
    with pytest.raises(StoreDamaged, match="another checksum"):
        outbox.load(0, 10, 1000)


def test_what_takes_anothers_place_is_sound(memory: sqlite3.Connection, message: Make) -> None:
    """The message that says what was withheld has a checksum of its own."""
    outbox = Outbox(memory, PATH)
    [entry] = outbox.add([message()], 50)
    outbox.withhold([], Entry(entry.id, message(operation="messages-withheld")))
    assert table.damage(memory) is None


def test_a_message_of_a_version_without_checksums_is_taken(memory: sqlite3.Connection, message: Make) -> None:
    """An upgrade finds the outbox of its predecessor."""
    outbox = Outbox(memory, PATH)
    added = outbox.add([message()], 50)
    memory.execute("UPDATE outbox SET crc = NULL")
    assert table.damage(memory) is None
    assert outbox.load(0, 10, 1000) == added
