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
