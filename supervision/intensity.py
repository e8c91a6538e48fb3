"""Restart intensity: a sliding window of restarts, as a value.

The window is closed at both ends: a restart exactly `period_ms` ago still counts. Deviation: the clock has
milliseconds, so that the window is as long as it says; OTP's has whole seconds, and its 5 s last up to 6 s.
"""

from dataclasses import dataclass

Restarts = tuple[int, ...]
"""When restarts happened, newest first, milliseconds; never more than intensity + 1 of them."""


def add_restart(restarts: Restarts, now_ms: int, intensity: int, period_ms: int) -> tuple[Restarts, bool]:
    """Count one more restart.

    Returns:
        The restarts within the window, this one included, and whether they are tolerated: not more than `intensity`.
    """
    recent = (now_ms, *_recent(restarts, now_ms, period_ms))
    return recent, len(recent) <= intensity


@dataclass(frozen=True, slots=True)
class Gauge:
    """How much of a restart budget is used, as "3 of 5, 41 s to reset"."""

    used: int
    """Restarts within the window."""
    intensity: int
    """Restarts tolerated within the window."""
    period_ms: int
    """The window, milliseconds."""
    reset_ms: int
    """Until none of them counts any more, if no other comes, milliseconds; 0 when nothing is used."""

    def __str__(self) -> str:
        reset = f", {self.reset_ms / 1000:.0f} s to reset" if self.used else ""
        return f"{self.used} of {self.intensity} used{reset}"


def gauge(restarts: Restarts, now_ms: int, intensity: int, period_ms: int) -> Gauge:
    """The budget as it stands now."""
    recent = _recent(restarts, now_ms, period_ms)
    # The newest one leaves the window one millisecond after its period: the window is closed.
    reset_ms = recent[0] + period_ms + 1 - now_ms if recent else 0
    return Gauge(used=len(recent), intensity=intensity, period_ms=period_ms, reset_ms=reset_ms)


def _recent(restarts: Restarts, now_ms: int, period_ms: int) -> Restarts:
    return tuple(at_ms for at_ms in restarts if at_ms >= now_ms - period_ms)
