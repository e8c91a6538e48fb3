"""A Publish effect and its context → the message that consumers see, in each of the two forms.

Message ids are a function of what the message is, not of when or where it was made: a refold, a restart and a replay
give the same id, so a consumer that drops ids it has seen gets each message once.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import orjson

from wire.message import OutboundMessage

Form = Literal["v3", "legacy"]

_SCHEMA = "arimon/3"
_OPTIONS = orjson.OPT_NON_STR_KEYS


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(at_ms: int) -> str:
    """Write Unix milliseconds as RFC 3339 in UTC, as "2026-11-22T08:52:45.516Z"."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


def maybe_rfc3339(at_ms: int | None) -> str | None:
    """`rfc3339`, and None for None."""
    return None if at_ms is None else f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}
"""A hexadecimal digit → the same with the variant's bits over it."""


def message_id(form: str, server: str, stream: str, sequence: int, operation: str, at_ms: int) -> str:
    """Make the id of a message: a UUID of version 7's layout.

    Args:
        form: `v3` or `legacy`; the two forms of one message are two messages.
        server: the PBX's name: two Asterisks can issue the same uniqueid.
        stream: `call:ID`, `pbx:NAME` or `service:NAME`.
        sequence: the message's place in its stream.
        operation: its type.
        at_ms: time of the row that caused it, Unix milliseconds.

    Source: RFC 9562 §5.7.
    """
    time = f"{at_ms & 0xFFFFFFFFFFFF:012x}"
    bits = blake2b(f"{form}\0{server}\0{stream}\0{sequence}\0{operation}".encode(), digest_size=10).hexdigest()
    # The version is a digit, the variant the upper two bits of one; both lie over the hash.
    return f"{time[:8]}-{time[8:]}-7{bits[1:4]}-{_VARIANT[bits[4]]}{bits[5:8]}-{bits[8:]}"


def envelope(
    form: Form,
    server: str,
    stream: str,
    sequence: int,
    operation: str,
    *,
    call_id: str | None,
    timestamp_ms: int,
    row_ms: int,
    data: dict[str, Any],
    recovered: bool = False,
    degraded: bool = False,
    about: str = "",
) -> OutboundMessage:
    """Make one message.

    Args:
        form: `v3`, or `legacy`: what consumers of v2.7 read.
        server: the PBX's name in conf.
        stream: `call:ID`, `pbx:NAME` or `service:NAME`; its first word begins the routing key.
        sequence: 1, 2, 3 … within the stream.
        operation: `received-call`, …
        call_id: the call's linkedid; None where there is no call.
        timestamp_ms: when the PBX says that it happened, Unix milliseconds.
        row_ms: time of the row that caused it: part of the id.
        data: the operation's data.
        recovered: inferred after a gap.
        degraded: something of this call was set aside.
        about: what else the content depends on, and so the id.

    Returns:
        The finished message.
    """
    identity = message_id(form, server, stream, sequence, operation + about, row_ms)
    if form == "v3":
        body = {
            "message_id": identity,
            "schema": _SCHEMA,
            "operation": {"type": operation},
            "server": server,
            "stream": stream,
            "sequence": sequence,
            "call_id": call_id,
            "timestamp": rfc3339(timestamp_ms),
            "recovered": recovered,
            "degraded": degraded,
            "data": data,
        }
    else:
        payload = {"message_id": identity, "server": server, "call_id": call_id, "timestamp": rfc3339(timestamp_ms)}
        body = {"operation": {"type": operation}, "payload": payload | data}
    key = f"{stream[: stream.index(':')]}.{server}.{operation}"
    raw = orjson.dumps(body, None, _OPTIONS)
    message: OutboundMessage = _new(
        OutboundMessage, (identity, form, server, stream, sequence, operation, call_id, timestamp_ms, key, raw)
    )
    return message


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def caused_ms(message: OutboundMessage) -> int:
    """Time of the row that caused a message, Unix milliseconds: it stands in the id."""
    return int(message.message_id[:8] + message.message_id[9:13], 16)


def withheld(run: Sequence[OutboundMessage], age_ms: int) -> OutboundMessage:
    """Say which messages were too old to be worth publishing: `messages-withheld`, in the last one's place.

    Its id is of the run and the age too. Who has lost the outbox, and with it what was decided, may find another run
    that ends here; under the id of the former the consumer would drop it, and miss what the former did not name.

    Args:
        run: of one stream, form and operation, with consecutive sequences.
        age_ms: what they were older than, milliseconds.
    """
    first, last = run[0], run[-1]
    return envelope(
        "legacy" if last.form == "legacy" else "v3",
        last.server,
        last.stream,
        last.sequence,
        "messages-withheld",
        call_id=last.call_id,
        timestamp_ms=last.timestamp_ms,
        row_ms=caused_ms(last),
        data={
            "operation": last.operation,
            "sequences": [[first.sequence, last.sequence]],
            "reason": f"older than {age_ms / 1000:g} s",
        },
        about=f" {first.sequence} {age_ms}",
    )


FORMS: dict[str, tuple[Form, ...]] = {"v3": ("v3",), "legacy": ("legacy",), "both": ("v3", "legacy")}
"""`publisher.form` → the forms to make."""
