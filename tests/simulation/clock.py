"""Virtual time: nothing happens but what was put here, in the order of its time, and then of its putting."""

import heapq
from collections.abc import Callable
from typing import NamedTuple

Action = Callable[[], object]


class Moment(NamedTuple):
    """A moment of a run."""

    now: int
    """Milliseconds since the beginning."""
    setting: int
    """Times that the host's clock had been set until then, or the host booted."""
    boot: int
    """Times that the host had booted anew."""
    wall: int
    """What the host's clock said, Unix milliseconds."""


class Clock:
    """The only clock of a run.

    Args:
        wall_ms: the host's clock at the beginning, Unix milliseconds.
    """

    def __init__(self, wall_ms: int) -> None:
        self.now = 0
        """Milliseconds since the beginning; never goes back."""
        self.steps = 0
        """Actions done."""
        self.settings = 0
        """Times that the host's clock was set, or the host booted."""
        self.boots = 0
        """Times that the host booted anew."""
        self._wall = wall_ms
        self._booted = -86_400_000
        self._ties = 0
        self._agenda: list[tuple[int, int, Action]] = []

    @property
    def wall(self) -> int:
        """The host's clock, Unix milliseconds; it may jump."""
        return self._wall + self.now

    @property
    def seconds(self) -> float:
        """`now` in seconds."""
        return self.now / 1000

    @property
    def boottime(self) -> int:
        """Milliseconds since the host's boot: a clock that nobody sets."""
        return self.now - self._booted

    def jump(self, ms: int) -> None:
        """Somebody sets the host's clock."""
        self._wall += ms
        self.settings += 1

    def boot(self, off_ms: int) -> None:
        """The host boots, after some time without power in which nothing but its clock went on."""
        self._wall += off_ms
        self._booted = self.now
        self.settings += 1
        self.boots += 1

    def after(self, ms: float, action: Action) -> None:
        """Do something, once, in `ms` milliseconds."""
        self._ties = ties = self._ties + 1
        heapq.heappush(self._agenda, (self.now + round(ms) if ms > 0 else self.now, ties, action))

    def step(self) -> bool:
        """Do the next thing; False if there is none."""
        if not self._agenda:
            return False
        self.now, _, action = heapq.heappop(self._agenda)
        self.steps += 1
        action()
        return True
