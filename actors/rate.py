"""How fast a count grows, from looking at it now and then."""


class Rate:
    """Per second, between the last two looks that were at least half a second apart."""

    def __init__(self) -> None:
        self._count = 0.0
        self._at: float | None = None
        self._rate = 0.0

    def look(self, count: float, now: float) -> float:
        """The rate per second.

        Args:
            count: cumulative.
            now: seconds, monotonic.
        """
        if self._at is None:
            self._count, self._at = count, now
        elif now - self._at >= 0.5:
            self._rate = (count - self._count) / (now - self._at)
            self._count, self._at = count, now
        return self._rate
