"""The host's clock beside one that nobody sets, so that it is known when, and by how much, somebody set the first.

CLOCK_BOOTTIME counts from the host's boot, also while the host sleeps, for all processes alike.
"""

import time
from collections.abc import Callable
from pathlib import Path

SET_MS = 100
"""By how much a clock moves that counts as set, milliseconds: two clocks are never read at once."""
_READINGS = 5
"""Readings of both clocks, of which the one that was least disturbed counts."""


def now_ms() -> int:
    """The host's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """Milliseconds since the host's boot, its sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id() -> str | None:
    """What the kernel calls this boot; None without /proc."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


class HostClock:
    """Notices when the host's clock was set.

    Args:
        wall: the host's clock, Unix milliseconds.
        boot: milliseconds since the host's boot.
    """

    def __init__(self, wall: Callable[[], int] = now_ms, boot: Callable[[], int] = boot_ms) -> None:
        self._wall = wall
        self._boot = boot
        self.ahead_ms = self._measured()
        """What the host's clock says beyond the time since the boot, as it was last set, milliseconds."""

    def was_set(self, wall_ms: int) -> bool:
        """Whether it was set since `ahead_ms` was last told, which then says how far ahead it is now.

        Args:
            wall_ms: what it says now, Unix milliseconds.
        """
        if abs(wall_ms - self._boot() - self.ahead_ms) < SET_MS:
            return False
        # Or we were held up between the two readings.
        ahead_ms = self._measured()
        if abs(ahead_ms - self.ahead_ms) < SET_MS:
            return False
        self.ahead_ms = ahead_ms
        return True

    def _measured(self) -> int:
        found = []
        for _ in range(_READINGS):
            before_ms = self._boot()
            wall_ms = self._wall()
            found.append((self._boot() - before_ms, wall_ms - before_ms))
        return min(found)[1]
