"""Gaps in which the host's clock was set: they cover whatever it said in them."""

from typing import Any

import pytest

from actors.call.decoding import milliseconds
from actors.call.events import Channel
from actors.call.watch import clock, link_down, link_up, missed, rows_lost
from tests.telling import DOWN, SECOND, UP, Told, call_under_way, look
from wire.store.row import Kind, Row


def test_a_gap_in_which_the_clock_was_set_back(told: Told, caller: Channel) -> None:
    """It reaches from the earlier of its ends to the latest moment known of it: nothing that it hid lies outside."""
    call_under_way(told, caller)
    told.row(7, 30 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 29_500})
    told.row(8, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller]))
    told.row(10, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", 20_000, 30_000)


def clock_row(seconds: int, ahead: int, began: bool = False, heard: int | None = None, boot: int = 1) -> dict[str, Any]:
    """A row of the host's clock, at some time by it, in seconds."""
    heard_ms = None if heard is None else heard * SECOND
    return {"boot_id": f"boot {boot}", "ahead_ms": ahead * SECOND, "began": began, "heard_ms": heard_ms}


AHEAD = 5
"""How far the host's clock is ahead of the time since the boot, until it is set, seconds."""


def test_a_clock_set_back_in_a_silence(told: Told, caller: Channel) -> None:
    """What the PBX stamped by the old clock, and then by the new one, is covered, though no row has such a time."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 1 * SECOND, Kind.CLOCK, clock_row(1, AHEAD - 20, heard=-1))
    told.row(9, 2 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": -1 * SECOND})
    told.row(10, 3 * SECOND, Kind.LINK_UP, UP)
    told.row(11, 4 * SECOND, Kind.SNAPSHOT, look(4 * SECOND, [caller]))
    told.row(12, 7 * SECOND, Kind.SNAPSHOT, look(7 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", -1_000, 23_000)


@pytest.mark.parametrize("dies", [False, True])
def test_a_clock_set_twice_within_a_gap(told: Told, caller: Channel, dies: bool) -> None:
    """The gap covers what it said in between, though both its ends were stamped by one clock; whoever tells of them."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 39 * SECOND})
    told.row(9, 36 * SECOND, Kind.CLOCK, clock_row(36, AHEAD - 5))
    told.row(10, 42 * SECOND, Kind.CLOCK, clock_row(42, AHEAD, began=dies, heard=36))
    told.row(11, 43 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 44 * SECOND, Kind.SNAPSHOT, look(44 * SECOND, [caller]))
    told.row(13, 47 * SECOND, Kind.SNAPSHOT, look(47 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", 34_000, 43_000)


def test_a_clock_set_back_across_a_death(told: Told, caller: Channel) -> None:
    """The next Connection has the same time since the boot: the gap covers what either clock said."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 27 * SECOND, Kind.CLOCK, clock_row(27, AHEAD - 5, began=True, heard=30))
    told.row(9, 28 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 29 * SECOND, Kind.SNAPSHOT, look(29 * SECOND, [caller]))
    told.row(11, 32 * SECOND, Kind.SNAPSHOT, look(32 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 25_000, 33_000)


def test_a_second_connection_that_dies_before_its_link_is_up(told: Told, caller: Channel) -> None:
    """The gap begins where the one before last heard the PBX, whatever the journal held since."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.CLOCK, clock_row(40, AHEAD, began=True, heard=30))
    told.row(9, 60 * SECOND, Kind.CLOCK, clock_row(60, AHEAD, began=True, heard=38))
    told.row(10, 61 * SECOND, Kind.LINK_UP, UP)
    told.row(11, 62 * SECOND, Kind.SNAPSHOT, look(62 * SECOND, [caller]))
    told.row(12, 65 * SECOND, Kind.SNAPSHOT, look(65 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 30_000, 61_000)


def test_a_gap_that_is_not_confirmed_ends_with_its_connection(told: Told, caller: Channel) -> None:
    """The next one's begins there."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 20 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 19 * SECOND})
    told.row(9, 21 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 30 * SECOND, Kind.CLOCK, clock_row(30, AHEAD, began=True, heard=25))
    told.row(11, 31 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 32 * SECOND, Kind.SNAPSHOT, look(32 * SECOND, [caller]))
    told.row(13, 35 * SECOND, Kind.SNAPSHOT, look(35 * SECOND, [caller]))
    assert [(one["reason"], milliseconds(one["from"]), milliseconds(one["to"])) for one in told.gaps] == [
        ("lost", 19_000, 21_000),
        ("killed", 25_000, 31_000),
    ]


@pytest.mark.parametrize(
    ("ahead", "from_ms", "to_ms"),
    [
        pytest.param(60, 18_000, 71_000, id="the clock went on"),
        pytest.param(-90, -90_000, 31_000, id="the clock was set back"),
    ],
)
def test_a_reboot_within_a_gap(told: Told, caller: Channel, ahead: int, from_ms: int, to_ms: int) -> None:
    """The gap covers what the clock said before, as far as rows tell, and all since the boot by the new one."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 30 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 29 * SECOND})
    told.row(9, 20 * SECOND, Kind.CLOCK, clock_row(20, AHEAD - 11))
    at = ahead + 10
    told.row(1, at * SECOND, Kind.CLOCK, clock_row(at, ahead, began=True, heard=20, boot=2))
    told.row(2, (at + 1) * SECOND, Kind.LINK_UP, UP)
    told.row(3, (at + 2) * SECOND, Kind.SNAPSHOT, look((at + 2) * SECOND, [caller]))
    told.row(4, (at + 5) * SECOND, Kind.SNAPSHOT, look((at + 5) * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("journal-lost", from_ms, to_ms)


def test_a_clock_set_back_while_connection_was_dead(told: Told, caller: Channel) -> None:
    """The gap covers the last row of the old Connection, though it seems to lie in the future."""
    call_under_way(told, caller)
    told.row(7, 13 * SECOND, Kind.LINK_UP, UP | {"last_row_ms": 19 * SECOND})
    told.row(8, 14 * SECOND, Kind.SNAPSHOT, look(14 * SECOND, [caller]))
    told.row(9, 17 * SECOND, Kind.SNAPSHOT, look(17 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 13_000, 19_000)


def test_rows_that_are_gone_after_a_clock_set_back(caller: Channel, told: Told) -> None:
    """A gap that was not told when they went keeps its ends, though all that is left has earlier times."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 39 * SECOND})
    told.row(9, 42 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 13 * SECOND, Kind.CLOCK, clock_row(13, AHEAD - 30, heard=13))
    watch = missed(told.run.world.watch, 12, 14 * SECOND, 15 * SECOND)
    lost = {"from_ms": 14 * SECOND, "to_ms": 16 * SECOND, "reason": "the host stopped", "rows": None}
    correlation = told.run.world.correlation
    watch = rows_lost(watch, correlation, Row(1, 16 * SECOND, Kind.LOST, b""), lost)
    watch, _ = clock(watch, Row(2, 16 * SECOND, Kind.CLOCK, b""), clock_row(16, 12, began=True, boot=2), True)
    watch, _ = link_up(watch, correlation, Row(3, 17 * SECOND, Kind.LINK_UP, b""), UP, True)
    assert watch.gap is not None
    assert (watch.gap.reason, watch.gap.from_ms, watch.gap.to_ms) == ("journal-lost", 14 * SECOND, 42 * SECOND)


def test_a_link_down_in_a_gap_after_a_clock_set_back(caller: Channel, told: Told) -> None:
    """The gap of rows that are gone covers it, though the row that told of the clock went with them."""
    call_under_way(told, caller, 1)
    correlation = told.run.world.correlation
    watch = missed(told.run.world.watch, 12, 39 * SECOND, 40 * SECOND)
    assert watch.gap is not None
    began_ms = watch.gap.from_ms
    assert began_ms is not None
    watch, _ = link_down(watch, Row(13, began_ms - 5000, Kind.LINK_DOWN, b""), DOWN | {"last_data_ms": None})
    watch, _ = link_up(watch, correlation, Row(14, began_ms - 3000, Kind.LINK_UP, b""), UP, False)
    assert watch.gap is not None
    assert (watch.gap.from_ms, watch.gap.to_ms) == (began_ms - 5000, 40 * SECOND)


def test_rows_lost_across_a_clock_set_back(told: Told, caller: Channel) -> None:
    """The gap covers both ends, whichever seems the earlier."""
    call_under_way(told, caller)
    told.row(9, 16 * SECOND, Kind.LOST, {"from_ms": 20_000, "to_ms": 16_000, "reason": "disk full", "rows": 3})
    told.row(10, 17 * SECOND, Kind.SNAPSHOT, look(17 * SECOND, [caller]))
    told.row(11, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [caller]))
    [gap] = told.gaps
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (16_000, 20_000)
