"""The window of restarts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from supervision.intensity import Restarts, add_restart, gauge


def test_a_restart_exactly_a_period_ago_still_counts() -> None:
    """The window is closed, as OTP's."""
    assert add_restart((0,), 5000, intensity=1, period_ms=5000) == ((5000, 0), False)
    assert add_restart((0,), 5001, intensity=1, period_ms=5000) == ((5001,), True)


@settings(deadline=None, database=None)
@given(
    st.lists(st.integers(0, 2000), max_size=30),
    st.integers(0, 4),
    st.integers(1, 5000),
)
def test_the_window_decides_as_a_count_of_all_would(steps: list[int], intensity: int, period_ms: int) -> None:
    """Forgetting old restarts changes no decision, and the gauge counts what is remembered."""
    now_ms = 0
    history: list[int] = []
    restarts: Restarts = ()
    for step in steps:
        now_ms += step
        history.append(now_ms)
        restarts, tolerated = add_restart(restarts, now_ms, intensity, period_ms)
        expected = sum(at_ms >= now_ms - period_ms for at_ms in history)
        assert tolerated == (expected <= intensity)
        seen = gauge(restarts, now_ms, intensity, period_ms)
        assert seen.used == expected
        assert gauge(restarts, now_ms + seen.reset_ms, intensity, period_ms).used == 0
