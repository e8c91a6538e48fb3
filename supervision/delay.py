"""How long a child waits before it is started again (beyond OTP, which always tries at once)."""

from dataclasses import dataclass

from wire.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Delay:
    """Delayed restart with backoff: the first attempt comes at once, the n-th after up to `minimum_ms * 2**(n-2)`.

    For children whose *start* touches the outside: OTP's attempts follow each other within microseconds, so that an
    outside that is away for a second would use up any intensity. What a running child meets outside is a state of that
    child, and no matter for its supervisor.
    """

    minimum_ms: int = 100
    """Upper bound of the second attempt's delay, milliseconds."""
    maximum_ms: int = 1000
    """Upper bound of every delay, milliseconds."""
    healthy_ms: int = 10_000
    """A child that lived this long starts over with the first attempt, milliseconds."""

    def delay_ms(self, attempt: int, draw: float) -> int:
        """The wait before attempt number `attempt` (1 is the first), in milliseconds.

        Args:
            attempt: attempts since the child was last healthy, this one included.
            draw: full jitter, a number in [0, 1).
        """
        return int(Backoff(self.minimum_ms / 1000, self.maximum_ms / 1000).bound(attempt) * 1000 * draw)
