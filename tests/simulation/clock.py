"""Virtual time: nothing happens but what was put here, in the order of its time, and then of its putting."""

import heapq
from collections.abc import Callable

Action = Callable[[], object]


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
        self._wall = wall_ms
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

    def jump(self, ms: int) -> None:
        """Somebody sets the host's clock."""
        self._wall += ms

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
