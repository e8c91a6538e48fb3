"""When one connection last gave us a byte, by both clocks."""

_SET_MS = 100
"""A clock that went back by less was not set: the two clocks were read with a pause in between, milliseconds."""


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

    def until_ms(self, now: float, wall_ms: int) -> int:
        """The latest that the host's clock can have said since the last byte came, Unix milliseconds.

        That is what it says now, or would if it had not been set back.

        Args:
            now: the steady clock, seconds.
            wall_ms: the host's clock, Unix milliseconds.
        """
        untouched_ms = self._wall_ms + int((now - self.heard) * 1000)
        return untouched_ms if untouched_ms - wall_ms > _SET_MS else wall_ms
