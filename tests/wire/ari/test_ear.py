"""wire/ari/ear.py: when a PBX was last heard, whatever became of the host's clock since."""

import pytest

from wire.ari.ear import Ear


@pytest.mark.parametrize(
    ("wall_ms", "heard_ms"),
    [
        pytest.param(1_003_000, 1_000_000, id="nobody touched it"),
        pytest.param(4_603_000, 1_000_000, id="set forward an hour"),
        pytest.param(1_000_500, 997_500, id="set back a little"),
    ],
)
def test_the_earlier_of_what_the_clock_said_then_and_says_now(wall_ms: int, heard_ms: int) -> None:
    """Three seconds of silence in which the host's clock was set: none of them is left out."""
    ear = Ear()
    ear.hear(10.0, 999_000)
    ear.hear(11.0, 1_000_000)
    assert ear.heard_ms(14.0, wall_ms) == heard_ms


@pytest.mark.parametrize(
    ("wall_ms", "until_ms"),
    [
        pytest.param(1_003_000, 1_003_000, id="nobody touched it"),
        pytest.param(1_002_990, 1_002_990, id="read with a pause"),
        pytest.param(4_603_000, 4_603_000, id="set forward an hour"),
        pytest.param(1_000_500, 1_003_000, id="set back a little"),
    ],
)
def test_the_latest_that_the_clock_can_have_said(wall_ms: int, until_ms: int) -> None:
    """Three seconds of silence: what the old clock would say now, if it was set back."""
    ear = Ear()
    ear.hear(11.0, 1_000_000)
    assert ear.until_ms(14.0, wall_ms) == until_ms


def test_who_was_never_heard_has_no_old_clock() -> None:
    """Of a first link nothing is known but what the clock says."""
    assert Ear().until_ms(14.0, 1_000_000) == 1_000_000
