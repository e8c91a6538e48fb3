"""Rows in quarantine."""

import sqlite3
from collections.abc import Iterator

import pytest

from wire.store import quarantine as module
from wire.store.quarantine import Quarantine, Quarantined, Suspect
from wire.store.row import Row

ROW = Row(7, 5, "frame", b"\xff{")


def suspect(n: int, call_id: str | None, uuid: str = "j") -> Suspect:
    return Suspect(uuid, ROW._replace(n=n), call_id, "call", "KeyError: 'x'", "Traceback …")


@pytest.fixture
def quarantine() -> Iterator[Quarantine]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(module.STEP)
    yield Quarantine(connection)
    connection.close()


def test_a_row_is_kept_whole(quarantine: Quarantine) -> None:
    """All of a row and of what happened to it comes back."""
    (number,) = quarantine.add([suspect(7, "171.5")], 60)
    kept = Quarantined(number, "j", ROW, "171.5", "call", "KeyError: 'x'", "Traceback …", 60, None)
    assert quarantine.show(number) == kept
    assert quarantine.listing() == [kept]
    assert quarantine.show(99) is None


def test_the_same_again_keeps_the_first(quarantine: Quarantine) -> None:
    """A row is in quarantine once for everybody and once for each call, however often it is added."""
    assert quarantine.add([suspect(7, None), suspect(7, "a"), suspect(7, None), suspect(7, "a")], 60) == [1, 2]
    assert len(quarantine.add([suspect(7, None)._replace(error="other"), suspect(7, "b")], 70)) == 1
    assert [(each.call_id, each.error) for each in quarantine.listing()] == [
        (None, "KeyError: 'x'"),
        ("a", "KeyError: 'x'"),
        ("b", "KeyError: 'x'"),
    ]


def test_keys_for_a_refold(quarantine: Quarantine) -> None:
    """keys() gives the rows of one journal within (after, upto], redriven ones too."""
    quarantine.add([suspect(n, call) for n, call in ((3, None), (4, "a"), (6, "b"), (7, None))], 60)
    quarantine.add([suspect(5, None, "other")], 60)
    quarantine.mark_redriven([2], 80)
    assert quarantine.keys("j", 3, 6) == {(4, "a"), (6, "b")}


def test_redriven_and_dropped(quarantine: Quarantine) -> None:
    """A redriven row does not count as waiting any more; a dropped one is gone, and its id is not used again."""
    quarantine.add([suspect(n, None) for n in (1, 2, 3)], 60)
    quarantine.mark_redriven([1], 80)
    assert quarantine.count() == 2
    assert [each.id for each in quarantine.listing(waiting_only=True)] == [2, 3]
    assert [each.redriven_ms for each in quarantine.listing(after_id=0, rows=2)] == [80, None]
    assert quarantine.drop([3, 9]) == 1
    assert quarantine.add([suspect(4, None)], 90) == [4]
