"""AMQP 0-9-1 as bytes: frames in, frames out; no socket, no clock.

pamqp knows every method and serves the rare ones. The two that come once per message are coded here by hand, because
their cost is the Publisher's cost: `encode_publish` and the decoding of acks and nacks. A test compares both with
pamqp, byte for byte. What it saves is measured by `tests/bench/bench_publish.py`.

Source: AMQP 0-9-1 specification, sections 2.3 (framing) and 4.2 (formal grammar).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pamqp.frame
from pamqp.base import Frame
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from wire.message import OutboundMessage

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
OVERHEAD = 8
"""Bytes of a frame around its payload: type 1, channel 2, size 4, end 1."""

MAX_FRAME = 1024 * 1024
"""No frame from a broker is larger; we ask for 128 KiB at most, so anything above is not AMQP."""

_FRAME = struct.Struct(">BHI")
_BASIC = 60
_ACK, _NACK = 80, 120
_CONFIRM = struct.Struct(">HHQB")  # class, method, delivery tag, bits
_HEADER = struct.Struct(">HHQH")  # class, weight, body size, property flags
_LONG = struct.Struct(">I")

# content-type 15, headers 13, delivery-mode 12, message-id 7, type 5, app-id 3 (bit numbers of the property flags)
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 5 | 1 << 3
_PERSISTENT = b"\x02"
_MANDATORY = b"\x01"


class FrameError(Exception):
    """The peer's bytes are not AMQP 0-9-1 frames; the connection cannot be used any more."""


class Unsendable(ValueError):
    """This message has a part that AMQP cannot carry."""


class Confirm(NamedTuple):
    """Basic.Ack or Basic.Nack."""

    delivery_tag: int
    multiple: bool
    """True: this tag and every one below it."""
    ack: bool


class Content(NamedTuple):
    """A content header; its message_id is all we need of a returned message."""

    message_id: str
    body_size: int


Received = Confirm | Content | Frame | Heartbeat | None


def _short(text: str, what: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise Unsendable(f"{what} is {len(data)} bytes long, AMQP carries at most 255")
    return bytes((len(data),)) + data


def _long(text: str) -> bytes:
    data = text.encode()
    return b"S" + _LONG.pack(len(data)) + data


_CONTENT_TYPE = _short("application/json", "content_type")
_APP_ID = _short("arimon", "app_id")
_KEY_CALL_ID = _short("call_id", "header")
_KEY_SERVER = _short("server", "header")
_KEY_OPERATION = _short("operation", "header")


def encode_publish(message: OutboundMessage, exchange: bytes, frame_max: int) -> bytes:
    """The frames of one mandatory, persistent Basic.Publish on channel 1.

    Args:
        message: what to send; a None call_id has no header.
        exchange: the exchange's name, UTF-8, at most 127 bytes.
        frame_max: the largest frame agreed with the broker, bytes.

    Raises:
        Unsendable: routing key, message_id or operation are over 255 bytes.
    """
    server, operation, body = message.server, message.operation, message.body
    method = b"".join(
        (
            b"\x00\x3c\x00\x28\x00\x00",  # class basic, method publish, reserved
            bytes((len(exchange),)),
            exchange,
            _short(message.routing_key, "routing key"),
            _MANDATORY,
        )
    )
    table = b"".join(
        (
            b"" if message.call_id is None else _KEY_CALL_ID + _long(message.call_id),
            _KEY_SERVER,
            _long(server),
            _KEY_OPERATION,
            _long(operation),
        )
    )
    header = b"".join(
        (
            _HEADER.pack(_BASIC, 0, len(body), _FLAGS),
            _CONTENT_TYPE,
            _LONG.pack(len(table)),
            table,
            _PERSISTENT,
            _short(message.message_id, "message_id"),
            _short(operation, "operation"),
            _APP_ID,
        )
    )
    room = frame_max - OVERHEAD
    if len(header) > room:
        raise Unsendable(f"its properties are {len(header)} bytes long, the broker takes {room}")
    parts = [_FRAME.pack(METHOD, 1, len(method)), method, b"\xce", _FRAME.pack(HEADER, 1, len(header)), header, b"\xce"]
    for at in range(0, len(body), room):
        chunk = body[at : at + room]
        parts += (_FRAME.pack(BODY, 1, len(chunk)), chunk, b"\xce")
    return b"".join(parts)


class FrameReader:
    """Cuts a stream of bytes into frames.

    A body frame (of a returned message) is None: nobody reads it, the outbox has the message.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, Received]]:
        """Take what arrived and give (channel, frame) for each frame that is whole.

        Raises:
            FrameError: what arrived is not AMQP 0-9-1.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= 7:
                kind, channel, size = _FRAME.unpack_from(buffer, at)
                if kind not in (METHOD, HEADER, BODY, HEARTBEAT):  # as b"AMQP", or b"HTTP/1.1 400"
                    raise FrameError(f"it does not speak AMQP 0-9-1 (it says {bytes(buffer[at : at + 40])!r})")
                if size > MAX_FRAME:
                    raise FrameError(f"a frame of {size} bytes is announced")
                end = at + size + OVERHEAD
                if len(buffer) < end:
                    break
                if buffer[end - 1] != END:
                    raise FrameError("a frame does not end where it should")
                yield channel, self._decode(kind, size, at, end)
                at = end
        finally:
            del buffer[:at]

    def _decode(self, kind: int, size: int, at: int, end: int) -> Received:
        if kind == BODY:
            return None
        if kind == METHOD and size == _CONFIRM.size:
            basic, method, tag, bits = _CONFIRM.unpack_from(self._buffer, at + 7)
            if basic == _BASIC and method in (_ACK, _NACK):
                return Confirm(tag, bool(bits & 1), method == _ACK)
        try:
            _, _, frame = pamqp.frame.unmarshal(bytes(self._buffer[at:end]))
        except Exception as error:  # pamqp raises whatever its parsing stumbles on; all of it is garbage
            raise FrameError(f"a frame cannot be read ({type(error).__name__}: {error})") from error
        if isinstance(frame, ContentHeader):
            return Content(frame.properties.message_id or "", frame.body_size or 0)
        if isinstance(frame, Frame | Heartbeat):
            return frame
        raise FrameError(f"a frame of type {kind} makes no sense here")
