"""What the tests of the offer protocol agree on."""

from collections.abc import Sequence

from wire.message import OutboundMessage
from wire.store.offer import Limits

LIMITS = Limits(window=3, entries=8, answer_ms=100, confirm_ms=1000, retry_min_ms=10, retry_max_ms=40)


def tell(run: Sequence[OutboundMessage], age_ms: int) -> OutboundMessage:
    """What says that a run was withheld: its body names the first and the last."""
    body = f"{run[0].sequence}-{run[-1].sequence} {age_ms}".encode()
    return run[-1]._replace(operation="messages-withheld", body=body)


def since(message: OutboundMessage) -> int:
    """When what caused a message was received."""
    return message.timestamp_ms
