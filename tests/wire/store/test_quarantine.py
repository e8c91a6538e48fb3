"""Rows in quarantine."""

import sqlite3
from collections.abc import Iterator

import pytest

from wire.store import quarantine as module
from wire.store.database import teach
from wire.store.quarantine import Attempt, Progress, Quarantine, Quarantined, Suspect
from wire.store.row import Position, Row

ROW = Row(7, 5, "frame", b"\xff{")
AT = Position("j", 50)
"""The checkpoint."""


def dropped(id: int, n: int) -> Attempt:
    """An entry is dropped by an order at row n."""
    return Attempt(id, "d", Position("j", n), None, dropped=True)


def suspect(n: int, call_id: str | None, uuid: str = "j") -> Suspect:
    return Suspect(uuid, ROW._replace(n=n), call_id, "call", "KeyError: 'x'", "Traceback …")


@pytest.fixture
def quarantine() -> Iterator[Quarantine]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(module.STEP + module.REDRIVE_STEP + module.CRC_STEP)
    teach(connection)
    yield Quarantine(connection)
    connection.close()


def test_a_row_is_kept_whole(quarantine: Quarantine) -> None:
    """All of a row, of what its call was told and of what happened comes back."""
    (number,) = quarantine.add([suspect(7, "171.5")._replace(part=2, inputs=b"told")], 60)
    trace = "Traceback …"
    kept = Quarantined(number, "j", ROW, "171.5", "call", "KeyError: 'x'", trace, 2, b"told", 60, 0, None)
    assert quarantine.listing() == [kept]
    assert quarantine.find(7) == quarantine.find(7, "j") == [kept]
    assert quarantine.find(8) == quarantine.find(7, "i") == []


def test_the_same_again_keeps_the_first(quarantine: Quarantine) -> None:
    """A row is in quarantine once for everybody and once for each call, however often it is added."""
    assert quarantine.add([suspect(7, None), suspect(7, "a"), suspect(7, None), suspect(7, "a")], 60) == [1, 2]
    assert len(quarantine.add([suspect(7, None)._replace(error="other"), suspect(7, "b")], 70)) == 1
    assert [(each.call_id, each.error) for each in quarantine.listing()] == [
        (None, "KeyError: 'x'"),
        ("a", "KeyError: 'x'"),
        ("b", "KeyError: 'x'"),
    ]
    assert quarantine.calls() == {"a", "b"}


def test_keys_for_a_refold(quarantine: Quarantine) -> None:
    """keys() gives the rows of one journal within (after, upto], redriven and dropped ones too."""
    quarantine.add([suspect(n, call) for n, call in ((3, None), (4, "a"), (6, "b"), (7, None))], 60)
    quarantine.add([suspect(5, None, "other"), suspect(5, "c")._replace(part=3)], 60)
    quarantine.settle([Attempt(2, "x", Position("j", 20), None)], 80)
    quarantine.settle([dropped(3, 21)], 90)
    assert quarantine.keys("j", 3, 6) == {(4, "a"): 0, (5, "c"): 3, (6, "b"): 0}


def test_what_was_applied_or_dropped_waits_no_more(quarantine: Quarantine) -> None:
    """It is neither counted nor shown, and does not hold the journal; its id is not used again."""
    quarantine.add([suspect(n, f"call {n}") for n in (1, 2, 3)], 60)
    quarantine.settle([Attempt(1, "x", Position("j", 20), None)], 80)
    quarantine.settle([dropped(3, 21)], 90)
    assert quarantine.count() == 1
    assert [each.id for each in quarantine.listing()] == [2]
    assert quarantine.find(1) == quarantine.find(3) == []
    assert quarantine.calls() == {"call 2"}
    assert quarantine.positions(0) == [Position("j", 1)]
    assert quarantine.add([suspect(4, None)], 90) == [4]


def test_what_fails_again_says_so(quarantine: Quarantine) -> None:
    """It shows its last error and how often it was tried; the order that did it finds its outcome."""
    quarantine.add([suspect(1, "a"), suspect(1, "b")], 60)
    assert quarantine.progress("x") == Progress(0, None, 0)
    quarantine.settle(
        [Attempt(1, "x", Position("j", 20), "IndexError", "Trace"), Attempt(2, "x", Position("j", 20), None)], 80
    )
    [kept] = quarantine.listing()
    assert (kept.call_id, kept.attempts, kept.order_id, kept.error, kept.traceback) == (
        "a", 1, "x", "IndexError", "Trace"
    )  # fmt: skip
    assert quarantine.progress("x") == Progress(2, "IndexError", 1)
    quarantine.settle([Attempt(1, "y", Position("j", 21), None)], 90)
    assert quarantine.progress("y") == Progress(1, None, 2)


def test_a_refold_knows_what_was_applied_where(quarantine: Quarantine) -> None:
    """At the row of an order it finds what was applied there, whole, or dropped, until no stored state is older."""
    quarantine.add([suspect(n, None) for n in (1, 2, 3, 30)], 60)
    quarantine.settle([Attempt(1, "x", Position("j", 20), None), Attempt(4, "x", Position("j", 31), None)], 80)
    quarantine.settle([dropped(2, 21)], 90)
    assert [(each.id, each.row.body) for each in quarantine.settled_at(Position("j", 20))] == [(1, ROW.body)]
    assert [(each.id, each.row.body) for each in quarantine.settled_at(Position("j", 21))] == [(2, b"")]
    assert quarantine.settled_at(Position("i", 20)) == []
    quarantine.forget(Position("j", 19), AT)
    assert len(quarantine.settled_at(Position("j", 20))) == 1
    quarantine.forget(Position("j", 20), AT)
    assert [quarantine.settled_at(Position("j", n)) for n in (20, 22)] == [[], []]
    assert len(quarantine.settled_at(Position("j", 21))) == 1
    quarantine.forget(Position("j", 30), AT)
    assert quarantine.keys("j", 0, 100) == {(3, None): 0, (30, None): 0}


def test_what_was_settled_of_older_journals_is_forgotten_with_the_last_state_that_is_older(
    quarantine: Quarantine,
) -> None:
    """Their rows are not folded again once all stored states are of the checkpoint's journal; what waits stays."""
    quarantine.add([suspect(n, None, "old") for n in (60, 61, 62, 63)], 60)
    quarantine.settle([Attempt(1, "x", Position("old", 70), None), Attempt(2, "x", Position("j", 20), None)], 80)
    quarantine.settle([dropped(3, 10)], 90)
    quarantine.forget(Position("old", 65), AT)
    assert set(quarantine.keys("old", 0, 100)) == {(n, None) for n in (60, 61, 62, 63)}
    quarantine.forget(Position("j", 15), AT)
    assert set(quarantine.keys("old", 0, 100)) == {(61, None), (63, None)}
    quarantine.forget(Position("j", 20), AT)
    assert [each.row.n for each in quarantine.listing()] == [63]
    assert set(quarantine.keys("old", 0, 100)) == {(63, None)}


def test_a_journal_that_came_behind_the_oldest_state_keeps_what_was_settled_of_it(quarantine: Quarantine) -> None:
    """A refold begins in the older one and ends in that."""
    quarantine.add([suspect(1, None, "new"), suspect(9, None)], 60)
    quarantine.settle([Attempt(1, "x", Position("new", 2), None), Attempt(2, "x", Position("new", 2), None)], 80)
    quarantine.forget(Position("j", 9), Position("new", 3))
    assert len(quarantine.settled_at(Position("new", 2))) == 2


def test_what_waits_of_a_call_is_told_as_it_was_at_an_order(quarantine: Quarantine) -> None:
    """A refold is told what the fold was told: what was set aside or settled behind the order does not count."""
    quarantine.add([suspect(1, "a"), suspect(2, "a"), suspect(2, "b"), suspect(40, "b")], 60)
    at = Position("j", 20)
    assert quarantine.waits("a", at, {1})
    assert not quarantine.waits("a", at, {1, 2})
    assert not quarantine.waits("b", at, {3})
    quarantine.settle([dropped(1, 20), Attempt(2, "x", Position("j", 30), None)], 80)
    assert quarantine.waits("a", at, {1})
    assert not quarantine.waits("a", Position("j", 30), {2})
