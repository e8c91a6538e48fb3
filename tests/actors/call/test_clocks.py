"""actors/call/clocks.py: what the host's clock said while nobody saw the PBX."""

import pytest

from actors.call import clocks
from actors.call.clocks import MOST, Clocks

AHEAD = 1_000_000


@pytest.fixture
def known() -> Clocks:
    """A Connection began 50 ms after the boot, and the clock was set as it should be."""
    return clocks.told(Clocks.new(), "boot 1", AHEAD + 50, AHEAD, None)


def said(known: Clocks, at_ms: int) -> tuple[int | None, int | None]:
    return clocks.earliest(known), clocks.latest(known, at_ms)


def test_an_older_journal_tells_nothing() -> None:
    """Without rows of the host's clock there is no answer."""
    nothing = clocks.opened(Clocks.new(), AHEAD + 100)
    assert said(nothing, AHEAD + 200) == (None, None)
    assert clocks.until(nothing) is None


def test_a_clock_that_nobody_set(known: Clocks) -> None:
    """A gap reaches from its beginning to its end."""
    assert said(clocks.opened(known, AHEAD + 100), AHEAD + 300) == (AHEAD + 100, AHEAD + 300)


def test_no_gap_no_answer(known: Clocks) -> None:
    """None is open, or the one that was is over."""
    assert said(known, AHEAD + 300) == (None, None)
    assert said(clocks.closed(clocks.opened(known, AHEAD + 100)), AHEAD + 300) == (None, None)


@pytest.mark.parametrize("process", ["boot 1 goes on", "boot 1 goes on, another process"])
@pytest.mark.parametrize(
    ("by_ms", "earliest_ms", "latest_ms"),
    [
        pytest.param([-70], AHEAD + 30, AHEAD + 300, id="back"),
        pytest.param([70], AHEAD + 100, AHEAD + 370, id="forward"),
        pytest.param([-70, 70], AHEAD + 30, AHEAD + 300, id="back and forward again"),
        pytest.param([90, -100], AHEAD + 90, AHEAD + 390, id="forward and further back"),
    ],
)
def test_every_setting_within_a_gap_counts(
    known: Clocks, by_ms: list[int], earliest_ms: int, latest_ms: int, process: str
) -> None:
    """From the least to the most that the clock can have said, 100 to 300 ms after the boot."""
    known = clocks.opened(known, AHEAD + 100)
    ahead = AHEAD
    for number, each in enumerate(by_ms):
        ahead += each
        heard_ms = None if "another" in process else ahead + 100
        known = clocks.told(known, "boot 1", ahead + 150 + number, ahead, heard_ms)
    assert said(known, ahead + 300) == (earliest_ms, latest_ms)


def test_what_was_set_before_the_pbx_was_last_heard_does_not_count(known: Clocks) -> None:
    """Nothing happened unseen by that clock."""
    back = clocks.told(known, "boot 1", AHEAD - 70 + 80, AHEAD - 70, AHEAD - 70 + 80)
    assert said(clocks.opened(back, AHEAD - 70 + 100), AHEAD - 70 + 300) == (AHEAD + 30, AHEAD + 230)


def test_what_was_set_in_the_silence_before_a_gap_was_known_counts(known: Clocks) -> None:
    """Something may have happened by the clock before."""
    back = clocks.told(known, "boot 1", AHEAD - 70 + 120, AHEAD - 70, AHEAD - 70 + 100)
    assert said(clocks.opened(back, AHEAD - 70 + 100), AHEAD - 70 + 300) == (AHEAD + 30, AHEAD + 300)


def test_a_gap_over_a_boot_covers_all_since_that_boot(known: Clocks) -> None:
    """How the new clock compares to the old one nobody can say."""
    anew = clocks.told(clocks.opened(known, AHEAD + 100), "boot 2", AHEAD - 5_000 + 20, AHEAD - 5_000, None)
    assert said(anew, AHEAD - 5_000 + 90) == (AHEAD - 5_000, AHEAD - 5_000 + 90)


def test_a_boot_outside_of_a_gap(known: Clocks) -> None:
    """Then there is nothing to cover; the next gap is counted by the new clock."""
    anew = clocks.told(known, "boot 2", AHEAD + 9_020, AHEAD + 9_000, None)
    assert said(anew, AHEAD + 9_100) == (None, None)
    assert said(clocks.opened(anew, AHEAD + 9_050), AHEAD + 9_100) == (AHEAD + 9_050, AHEAD + 9_100)


def test_a_host_that_does_not_name_its_boot_may_have_booted(known: Clocks) -> None:
    """Of a gap that was open then nothing more is known; and it was not the boot that began it."""
    anew = clocks.told(clocks.opened(known, AHEAD + 100), None, AHEAD + 200, AHEAD, None)
    assert said(anew, AHEAD + 300) == (None, None)
    again = clocks.told(clocks.opened(anew, AHEAD + 250), None, AHEAD + 260, AHEAD, None)
    assert said(again, AHEAD + 300) == (None, None)


def test_until_a_row_last_told_of_the_clock(known: Clocks) -> None:
    """What the clock can have said by then, if nobody can tell how long the host lived on."""
    back = clocks.told(clocks.opened(known, AHEAD + 100), "boot 1", AHEAD - 70 + 150, AHEAD - 70, None)
    assert clocks.until(back) == AHEAD + 150


def test_many_settings_are_taken_together(known: Clocks) -> None:
    """No more than some are kept, and none is forgotten."""
    known = clocks.opened(known, AHEAD + 100)
    for number in range(3 * MOST):
        ahead = AHEAD + (-400 if number == 3 else 600 if number == 7 else number % 2 * 10)
        known = clocks.told(known, "boot 1", ahead + 150 + number, ahead, None)
    assert len(known.settings) == MOST
    assert said(known, known.settings[-1].high_ms + 900) == (AHEAD - 300, AHEAD + 600 + 900)
