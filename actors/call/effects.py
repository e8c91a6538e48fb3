"""What a call wants done: effects of `transition`, commands to its host."""

from typing import Any, NamedTuple


class Publish(NamedTuple):
    """Publish one message of this call's stream."""

    operation: str
    """`received-call`, `finished-call`, …"""
    sequence: int
    """1, 2, 3 … within the call."""
    timestamp_ms: int
    """When the PBX says that it happened, Unix milliseconds."""
    data: dict[str, Any]
    """The operation's data, ready for JSON; nobody changes it."""
    recovered: bool
    """Inferred after a gap."""
    degraded: bool
    """A row of this call was set aside, so the account may be incomplete."""


class Unexpected(NamedTuple):
    """Something that the model has no place for; the state is unchanged. Counted and shown, never published."""

    what: str
    """A short fixed name, as `no-such-leg`: what counters are kept by."""
    event: str
    """The event's type."""
    where: str
    """The channel, bridge or call that it is about; empty where there is none."""
    detail: str
    """More, for people."""


class Ended(NamedTuple):
    """The call is over and said so; its host drops it. Always the last effect."""


Effect = Publish | Unexpected | Ended
