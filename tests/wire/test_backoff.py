"""wire/backoff.py."""

import pytest

from wire.backoff import Backoff


def test_the_first_retry_comes_at_once_and_each_next_waits_up_to_twice_as_long() -> None:
    """Up to the maximum, and never less again."""
    policy = Backoff(minimum=0.5, maximum=5.0)
    assert [policy.bound(attempt) for attempt in range(8)] == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_there_is_no_last_attempt() -> None:
    """However often it was tried in vain, the delay is the maximum."""
    assert Backoff(minimum=1e-9, maximum=5.0).bound(10**9) == 5.0


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_the_jitter_is_full(draw: float) -> None:
    """A delay lies anywhere between none and its bound."""
    assert Backoff(minimum=0.5, maximum=5.0).delay(4, lambda: draw) == 2.0 * draw
