"""What a sink is: the last step of a message's way, to RabbitMQ (`wire.amqp.link`) or to a file (`wire.file_sink`).

The Publisher owns one sink and runs it in its asyncio loop. A sink holds nothing durable: what it was given and has
not confirmed still lies in its owner's outbox, which offers it again after FAILED.

    sink = AmqpSink(settings, on_outcomes=…, on_state=…)      # touches neither loop nor network
    task = asyncio.create_task(sink.run())                    # connects, reconnects, for ever
    sink.publish(batch)                                       # from the loop; never blocks, never raises
    await sink.close(5.0)                                     # drains; run() returns

Every message given to `publish` gets exactly one outcome, always later (never from inside `publish`), coalesced:
one call of `on_outcomes` per loop iteration that had any. **One message_id is in flight once**, from `publish` until
`on_outcomes` was told of it. A second `publish` of it meanwhile is ignored: the first one's outcome is that of both.

A sink that is not up answers FAILED at once and keeps nothing, so its owner offers again when `on_state` says
CONNECTED. A FAILED while CONNECTED (the broker nacked, a confirm timed out) says nothing about the next message; the
owner offers that lane again after a pause of its own, else a queue that rejects (`x-overflow: reject-publish`) makes
the two of them spin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from wire.message import OutboundMessage


class Verdict(StrEnum):
    """What became of a message."""

    CONFIRMED = "confirmed"
    """The broker (or the file) has it. Nobody needs to keep it any more."""
    RETURNED = "returned"
    """The exchange has no queue for its routing key. Park it; it may be routable later."""
    FAILED = "failed"
    """It may or may not have arrived; offer it again with the same message_id."""
    REFUSED = "refused"
    """It can not be sent as it is, now or later (a routing key over 255 bytes). Park it and say so."""


class Outcome(NamedTuple):
    """The end of one message's flight."""

    message_id: str
    verdict: Verdict
    detail: str
    """Why, in one line; empty for CONFIRMED."""
    seconds: float
    """Time from `publish` to this verdict."""


class Phase(StrEnum):
    """Where a sink is. Only in CONNECTED does it take messages."""

    DISCONNECTED = "disconnected"
    """Not started yet, or closed."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing_off"
    """Waits until `until_ms` before it tries again."""
    BLOCKED = "blocked"
    """Connected, but the broker takes nothing now (memory or disk alarm). What is in flight stays in flight."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """A sink's phase, and what an operator needs to know of it."""

    phase: Phase
    reason: str = ""
    """One line: what happened and how to mend it. Empty while all is well; still told in CONNECTED until `attempt` is
    back at 0, because a broker that lets us in may yet refuse the first message."""
    attempt: int = 0
    """Attempts since the sink last proved itself (settled a message, or stayed up for long); 0 once it has."""
    until_ms: int | None = None
    """When the next attempt is due, Unix milliseconds; None but in BACKING_OFF."""

    @property
    def takes_messages(self) -> bool:
        """True if a publish now is not failed at once."""
        return self.phase is Phase.CONNECTED


OnOutcomes = Callable[[Sequence[Outcome]], None]
"""Called in the loop with everything that ended since the last call. Must not block or raise."""
OnState = Callable[[SinkState], None]
"""Called in the loop at each change of state, in order, before the outcomes that the change causes. CONNECTED comes
twice after trouble: when the connection is made, and when it has proven itself (`attempt` is 0, `reason` empty)."""


class Sink(Protocol):
    """Both sinks; built as `AmqpSink(settings, on_outcomes=…, on_state=…)` or `FileSink(settings, …)`."""

    @property
    def state(self) -> SinkState:
        """The state now."""

    @property
    def in_flight(self) -> int:
        """Messages that were given to `publish` and have no outcome yet."""

    def publish(self, batch: Sequence[OutboundMessage]) -> None:
        """Send these messages, in this order. Call it in the loop that runs the sink.

        Returns at once and never raises; every message gets an `Outcome` through `on_outcomes`, but for those whose
        message_id is in flight already (see the module).
        """

    async def run(self) -> None:
        """Connect and stay connected until `close`. A broker or disk that fails is a state, never an exception.

        Raises:
            Exception: only for an error of ours; the process that owns the sink is then meant to exit.
        """

    async def close(self, drain_seconds: float) -> None:
        """Stop taking messages, wait up to `drain_seconds` for what is in flight, fail the rest, and hang up."""
