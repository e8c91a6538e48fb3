"""wire/ari/ear.py: when a PBX was last heard, whatever became of the host's clock since."""

import pytest

from wire.ari.ear import Ear


@pytest.mark.parametrize(
    ("wall_ms", "heard_ms"),
    [
        pytest.param(1_003_000, 1_000_000, id="nobody touched it"),
        pytest.param(4_603_000, 4_600_000, id="set forward an hour"),
        pytest.param(1_000_500, 997_500, id="set back a little"),
    ],
)
def test_when_the_last_byte_came_is_told_as_the_clock_counts_now(wall_ms: int, heard_ms: int) -> None:
    """Three seconds of silence, in which the link's steady clock stood still and the host's was set."""
    ear = Ear()
    ear.hear(10.0, 6_000)
    ear.hear(11.0, 7_000)
    assert ear.heard == 11.0
    assert ear.heard_ms(10_000, wall_ms) == heard_ms
