"""A message for consumers, as the outbox keeps it and the sinks carry it."""

from typing import NamedTuple


class OutboundMessage(NamedTuple):
    """One published message: what is needed to route it, and its finished body.

    The body is made once, by the fold that decided on it; nothing downstream opens it.
    """

    message_id: str
    """UUID, version 7 layout. The same (form, server, stream, sequence, operation) always has the same id."""
    form: str
    """`v3` or `legacy`; each form has an exchange of its own."""
    server: str
    """The PBX's name in conf (a service's messages: the PBX they concern, or the service's name)."""
    stream: str
    """`call:ID`, `pbx:NAME` or `service:NAME`. Order is promised within (form, server, stream)."""
    sequence: int
    """1, 2, 3 … per stream, without gaps."""
    operation: str
    """`received-call`, `finished-call`, …"""
    call_id: str | None
    """The call's linkedid; None where there is no call."""
    timestamp_ms: int
    """When the PBX says that it happened, Unix milliseconds."""
    routing_key: str
    """`call.<server>.<operation>`, `pbx.…` or `service.…`."""
    body: bytes
    """JSON, UTF-8."""

    @property
    def lane(self) -> tuple[str, str, str]:
        """What order is promised within: at most one message of a lane is unconfirmed at any time."""
        return (self.form, self.server, self.stream)
