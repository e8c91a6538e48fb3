"""When one connection last gave us a byte, by both clocks."""


class Ear:
    """Notes when a PBX was heard.

    The steady clock alone cannot say what the host's clock said then: that may have been set since, and the steady
    one stands still while the host is suspended.
    """

    __slots__ = ("_wall_ms", "heard")

    def __init__(self) -> None:
        self.heard = 0.0
        """When the last byte came, seconds of the steady clock."""
        self._wall_ms = 0

    def hear(self, now: float, wall_ms: int) -> None:
        """A byte came.

        Args:
            now: the steady clock, seconds.
            wall_ms: the host's clock, Unix milliseconds.
        """
        self.heard = now
        self._wall_ms = wall_ms

    def heard_ms(self, now: float, wall_ms: int) -> int:
        """When the last byte came, Unix milliseconds: the earlier of what the host's clock said then and says now.

        Args:
            now: the steady clock, seconds.
            wall_ms: the host's clock, Unix milliseconds.
        """
        return min(self._wall_ms, wall_ms - int((now - self.heard) * 1000))
