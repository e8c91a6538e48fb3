"""Rows that were folded are gone: numbers go on, what ended stays so, and a gap tells."""

from collections import Counter

import orjson
import pytest

from actors.call import decoding, redrive
from actors.call.envelope import rfc3339
from tests.actors.bench import RECORDING, Bench
from tests.actors.site import TYPED, Fault
from tests.simulation.bugs import Bug
from tests.telling import UP, look
from tests.truth import recordings, run
from wire.store.ledger import Ledger
from wire.store.row import Kind, Position
from wire.store.segment import list_segments
from wire.store.snapshots import KEEP


def test_numbers_begin_where_other_rows_stand_in_place_of_folded_ones(bench: Bench) -> None:
    """What the refold makes of rows that the checkpoint never passed was told to nobody: its numbers are free."""
    bench.die()
    (bench.folder / "ledger.db").unlink()
    ledger = Ledger(bench.folder / "ledger.db")
    ledger.open()
    uuid = bench.journal.health().uuid
    assert uuid is not None
    with ledger.transaction():
        ledger.move(Position(uuid, 60), 1)
    ledger.close()
    bench.begin()
    assert bench.calls.states
    bench.fold()
    found = bench.published()
    for stream in {message.stream for message in found}:
        sequences = [message.sequence for message in found if message.stream == stream]
        assert sequences == list(range(1, len(sequences) + 1))
    assert "switchboard.states_behind" in bench.log.told


def test_numbers_go_on_where_folded_rows_are_gone(bench: Bench) -> None:
    """A call whose rows since the snapshot are lost goes on with the next number, not with one that was given."""
    bench.fold(60)
    before = bench.published()
    bench.die()
    bench.journal.die()
    # The journal is gone altogether, and begins anew with what comes now.
    for segment in list_segments(bench.folder / "journal")[0]:
        segment.path.unlink()
    bench.begin_journal()
    bench.begin()
    bench.append(bench.frames[60:])
    bench.fold()
    found = bench.published()
    assert found[: len(before)] == before
    sequences = Counter((message.stream, message.sequence) for message in found)
    assert set(sequences.values()) == {1}
    assert len(found) > len(before)
    assert "switchboard.states_behind" in bench.log.told


def test_numbers_go_on_where_all_but_what_was_set_aside_is_gone(bench: Bench, in_call: Fault) -> None:
    """A call that could not take its beginning, and whose other rows are lost, goes on with the next number too."""
    begun = run.routed(RECORDING, bench.settings)[0]
    in_call.rows, in_call.error = {begun.input.n}, Bug
    bench.fold(60)
    before = bench.published()
    assert before[-1].call_id == begun.call_id
    bench.cut(begun.input.n)
    assert bench.calls.states == {}
    in_call.mend()
    bench.append(bench.frames[begun.input.n :])
    bench.fold()
    found = bench.published()
    sequences = [message.sequence for message in found if message.call_id == begun.call_id]
    assert sequences == list(range(1, len(sequences) + 1))
    assert all(orjson.loads(message.body)["degraded"] for message in found if message.call_id == begun.call_id)
    assert found[: len(before)] == before != found


def test_numbers_go_on_behind_an_amendment_where_folded_rows_are_gone(bench: Bench, in_call: Fault) -> None:
    """What a call was not told is said at once; then it is found to live on, and has given that number."""
    in_call.rows, in_call.error = {TYPED[0]}, Bug
    bench.fold(60)
    [aside] = bench.ledger.quarantine.listing()
    bench.cut(0)
    order = redrive.Order("order", aside.uuid, aside.row.n)
    in_call.mend()
    bench.row(Kind.OPERATOR, 2_000, redrive.command(order))
    bench.append(bench.frames)
    bench.fold()
    found = [message for message in bench.published() if message.call_id == aside.call_id]
    assert "call-amended" in [message.operation for message in found]
    assert found[-1].operation == "finished-call"
    assert [message.sequence for message in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("left", [0, 4])
@pytest.mark.parametrize("bench", [("15_click_to_call",)], indirect=True)
def test_a_call_that_ended_in_rows_that_are_gone_does_not_begin_again(bench: Bench, left: int) -> None:
    """Not from the channel that was yet to begin it either, nor where its channels are found to live on, and whichever
    process folds what comes of that."""
    bench.fold()
    before = bench.published()
    assert before[-1].operation == "finished-call"
    bench.cut(left)
    assert bench.calls.states == {}
    bench.append(bench.frames[left:40])
    bench.fold()
    bench.folding.begin_snapshot()
    while bench.folding.snapshot():
        pass
    bench.die()
    bench.begin()
    bench.append(bench.frames[40:])
    bench.fold()
    assert bench.published() == before
    assert bench.log.told.count("switchboard.journal_short") == 1


def stored_and_begun(bench: Bench) -> None:
    """As many snapshots as are kept, and another process; what it says is all that was said."""
    for _ in range(KEEP):
        bench.folding._since_snapshot += 1
        bench.folding.begin_snapshot()
        while bench.folding.snapshot():
            pass
    bench.die()
    bench.log.told.clear()
    bench.begin()


def marks_of_calls(bench: Bench) -> set[str]:
    return {stream for stream in bench.ledger.marks.all() if stream.startswith("call:")}


@pytest.mark.parametrize("rows", [60, None])
def test_how_far_a_call_came_is_forgotten_when_nothing_can_name_it_any_more(bench: Bench, rows: int | None) -> None:
    """It ended, or began, in rows that are gone: not before two looks since then have agreed that it is over, and two
    snapshots know of that. Then the log says no more of it."""
    bench.fold(rows)
    bench.cut(0)
    known = marks_of_calls(bench)
    assert known
    said = ["switchboard.states_behind"] if rows else []
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (known, said)
    bench.row(Kind.LINK_UP, 9_000, UP)
    bench.row(Kind.SNAPSHOT, 10_000, look(10_000, []))
    bench.fold()
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (known, said)
    bench.row(Kind.SNAPSHOT, 13_000, look(13_000, []))
    bench.fold()
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (set(), [])


@pytest.mark.parametrize("rows", [60, None])
def test_how_far_a_call_came_is_known_while_the_pbx_has_its_channel(bench: Bench, rows: int | None) -> None:
    """Rows that are gone told of it; it goes on with the next number, or in silence, whenever it is heard of."""
    bench.fold(rows)
    before = bench.published()
    known = marks_of_calls(bench)
    bench.cut(0)
    channel = decoding.read_channel(orjson.loads(next(recordings.rows(RECORDING)).body)["channel"])
    assert f"call:{channel.id}" in known
    bench.row(Kind.LINK_UP, 9_000, UP)
    for at_ms in (10_000, 13_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, [channel]))
    bench.fold()
    stored_and_begun(bench)
    assert marks_of_calls(bench) == {f"call:{channel.id}"}
    for at_ms in (20_000, 23_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, []))
    bench.fold()
    sequences = Counter((message.stream, message.sequence) for message in bench.published())
    assert set(sequences.values()) == {1}
    calls = [message for message in bench.published()[len(before) :] if message.stream.startswith("call:")]
    assert bool(calls) == bool(rows)


def test_a_call_that_ended_amid_rows_that_are_gone_does_not_begin_again(bench: Bench) -> None:
    """The journal still has the last row that was folded."""
    bench.fold()
    before = bench.published()
    bench.hurt("UPDATE row SET body = x'00' WHERE n > 1 AND n < ?", len(bench.frames))
    assert "switchboard.journal_short" not in bench.log.told
    bench.append(bench.frames)
    bench.fold()
    assert bench.published() == before


@pytest.mark.parametrize("bench", [(None, "full")], indirect=True)
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("anew", [False, True])
def test_a_gap_covers_folded_rows_that_are_gone(bench: Bench, anew: bool, left: int, stored: bool) -> None:
    """From what is left of them, as they may have held a gap that is not told, to their latest time, which the ledger
    knows: not that of older rows, nor of the last, since the clock was set back. Whichever process tells it."""
    if stored:
        bench.row(Kind.OPERATOR, 90_000, {"command": "drop"})
    up = {"generation": 1, "app": "arimon", "last_row_ms": None}
    down = {"reason": "closed", "detail": "", "last_data_ms": None, "behind_ms": 0}
    bench.row(Kind.LINK_UP, 10_000, up)
    bench.fold()
    if stored:
        bench.folding.begin_snapshot()
        while bench.folding.snapshot():
            pass
    bench.row(Kind.LINK_DOWN, 50_000, down)
    bench.row(Kind.LINK_UP, 50_100, up)
    bench.row(Kind.OPERATOR, 20_000, {"command": "drop"})
    bench.fold()
    bench.cut(left)
    bench.row(Kind.LINK_UP, 21_000, up | {"last_row_ms": 20_000})
    if anew:
        bench.fold()
        bench.die()
        bench.begin()
    bench.row(Kind.LINK_DOWN, 22_000, down)
    bench.fold()
    [gap] = [message.body for message in bench.published() if message.operation == "monitoring-gap"]
    told = orjson.loads(gap)["data"]
    assert (told["reason"], told["from"], told["to"]) == (
        "journal-lost",
        rfc3339(10_000 if left or stored else bench.began_ms),
        rfc3339(50_100),
    )


@pytest.mark.parametrize("bench", [(None, "full")], indirect=True)
@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("batches", [1, 2])
def test_a_gap_covers_the_times_after_a_clock_set_back_of_rows_that_are_gone(
    bench: Bench, batches: int, left: int
) -> None:
    """A link-down among them was published with such a time, and the clock's row went with it."""
    up = {"generation": 1, "app": "arimon", "last_row_ms": None}
    down = {"reason": "closed", "detail": "", "last_data_ms": None, "behind_ms": 0}
    bench.row(Kind.LINK_UP, 60_000, up)
    if batches == 2:
        bench.fold()
    bench.row(Kind.LINK_DOWN, 20_000, down)
    bench.row(Kind.LINK_UP, 20_100, up)
    bench.fold()
    bench.cut(left)
    bench.row(Kind.LINK_UP, 70_000, up | {"last_row_ms": 60_000})
    bench.row(Kind.LINK_DOWN, 71_000, down)
    bench.fold()
    [gap] = [message.body for message in bench.published() if message.operation == "monitoring-gap"]
    told = orjson.loads(gap)["data"]
    from_ms = 20_000 if left else bench.began_ms
    assert (told["reason"], told["from"], told["to"]) == ("journal-lost", rfc3339(from_ms), rfc3339(70_000))
