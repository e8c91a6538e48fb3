"""How long to wait before trying again: exponential, with full jitter, without a last attempt.

Full jitter (a uniform draw from the whole interval) spreads the return of many clients after a common outage better
than any narrower one; see the AWS architecture note "Exponential Backoff And Jitter".
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A policy for delays, in seconds. The first retry comes at once, the n-th after up to `minimum * 2**(n-2)`."""

    minimum: float = 0.5
    """Upper bound of the second retry's delay, seconds."""
    maximum: float = 30.0
    """Upper bound of every delay, seconds."""

    def bound(self, attempt: int) -> float:
        """The longest delay before retry number `attempt` (1 is the first), in seconds."""
        if attempt <= 1:
            return 0.0
        # Past 2**60 any minimum is above any sensible maximum; the cap keeps the float finite for ever.
        return min(self.maximum, self.minimum * 2.0 ** min(attempt - 2, 60))

    def delay(self, attempt: int, draw: Callable[[], float]) -> float:
        """The delay before retry number `attempt`, in seconds.

        Args:
            attempt: 1 for the first retry.
            draw: gives a float in [0, 1), as `random.random`.
        """
        return self.bound(attempt) * draw()
