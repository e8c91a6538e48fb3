"""Our coding of AMQP's frames, checked against pamqp's."""

from contextlib import suppress

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as amqp
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from wire.amqp.codec import Confirm, Content, FrameError, FrameReader, Received, Unsendable, encode_publish
from wire.message import OutboundMessage

SHORT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=60)
MESSAGES = st.builds(
    OutboundMessage,
    message_id=SHORT,
    form=st.just("v3"),
    server=SHORT,
    stream=st.just("call:1"),
    sequence=st.just(1),
    operation=SHORT,
    call_id=st.none() | SHORT,
    timestamp_ms=st.just(0),
    routing_key=SHORT,
    body=st.binary(max_size=20_000),
)


def _take_apart(data: bytes) -> list[object]:
    frames: list[object] = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 1
        frames.append(frame)
        data = data[size:]
    return frames


@given(MESSAGES, st.integers(4096, 131_072))
def test_pamqp_reads_what_we_publish(message: OutboundMessage, frame_max: int) -> None:
    """Method, properties, headers and body are what the message says, no frame is longer than agreed."""
    method, header, *bodies = _take_apart(encode_publish(message, b"arimon.calls", frame_max))
    assert isinstance(method, amqp.Basic.Publish)
    assert (method.exchange, method.routing_key) == ("arimon.calls", message.routing_key)
    assert (method.mandatory, method.immediate) == (True, False)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(message.body)
    headers = {"call_id": message.call_id, "server": message.server, "operation": message.operation}
    expected = amqp.Basic.Properties(
        content_type="application/json",
        headers={key: value for key, value in headers.items() if value is not None},
        delivery_mode=2,
        message_id=message.message_id,
        message_type=message.operation,
        app_id="arimon",
    )
    assert dict(header.properties) == dict(expected)
    pieces = [body.value for body in bodies if isinstance(body, ContentBody)]
    assert len(pieces) == len(bodies)
    assert b"".join(pieces) == message.body
    assert all(0 < len(piece) <= frame_max - 8 for piece in pieces)


def replaced(message: OutboundMessage, field: str, text: str) -> OutboundMessage:
    """The message with another text in one field."""
    return OutboundMessage(**(message._asdict() | {field: text}))


@pytest.mark.parametrize("field", ["routing_key", "message_id", "operation"])
def test_short_strings_end_at_255_bytes(field: str) -> None:
    """255 bytes of UTF-8 go, 256 do not, and the error says what is too long."""
    message = OutboundMessage("id", "v3", "pbx1", "call:1", 1, "x", None, 0, "call.pbx1.x", b"{}")
    encode_publish(replaced(message, field, "é" * 127 + "a"), b"e", 131_072)
    with pytest.raises(Unsendable, match=r"256 bytes"):
        encode_publish(replaced(message, field, "é" * 128), b"e", 131_072)


def test_headers_that_fit_no_frame_are_unsendable() -> None:
    """A content header cannot be split: properties longer than a frame are refused before the broker sees them."""
    message = OutboundMessage("id", "v3", "p" * 5000, "call:1", 1, "x", None, 0, "call.pbx1.x", b"{}")
    with pytest.raises(Unsendable, match="properties"):
        encode_publish(message, b"e", 4096)


FRAMES: list[tuple[int, object, Received]] = [
    (1, amqp.Basic.Ack(7, False), Confirm(7, False, True)),
    (1, amqp.Basic.Ack(2**62, True), Confirm(2**62, True, True)),
    (1, amqp.Basic.Nack(8, True), Confirm(8, True, False)),
    (0, amqp.Connection.Blocked("low on memory"), amqp.Connection.Blocked("low on memory")),
    (0, Heartbeat(), Heartbeat()),
    (1, amqp.Basic.Return(312, "NO_ROUTE", "e", "k"), amqp.Basic.Return(312, "NO_ROUTE", "e", "k")),
    (1, ContentHeader(body_size=3, properties=amqp.Basic.Properties(message_id="m")), Content("m", 3)),
    (1, ContentBody(b"abc"), None),
]


@given(st.lists(st.integers(1, 40), min_size=1))
def test_the_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    """However the bytes arrive, the same frames come out."""
    data = b"".join(pamqp.frame.marshal(frame, channel) for channel, frame, _ in FRAMES)  # type: ignore[arg-type]
    reader = FrameReader()
    got: list[tuple[int, Received]] = []
    at = 0
    for size in cuts * len(data):
        if at >= len(data):
            break
        got += reader.feed(data[at : at + size])
        at += size
    assert [channel for channel, _ in got] == [channel for channel, _, _ in FRAMES]
    for (_, frame), (_, _, expected) in zip(got, FRAMES, strict=True):
        if isinstance(expected, Frame):  # pamqp's methods know no equality
            assert isinstance(frame, Frame)
            assert (frame.name, dict(frame)) == (expected.name, dict(expected))
        elif isinstance(expected, Heartbeat):
            assert isinstance(frame, Heartbeat)
        else:
            assert frame == expected


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"AMQP\x00\x01\x00\x00", "does not speak AMQP"),
        (b"HTTP/1.1 400 Bad Request", "HTTP/1.1 400"),
        (b"\x01\x00\x00\x7f\xff\xff\xff", "2147483647 bytes"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0aX", "does not end"),
        (b"\x01\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\xce", "cannot be read"),
        (b"\x02\x00\x01\x00\x00\x00\x02\xff\xff\xce", "cannot be read"),
    ],
)
def test_garbage_is_an_error_that_says_what_came(data: bytes, complaint: str) -> None:
    """What is not AMQP 0-9-1 ends the connection with a reason, never with another exception."""
    with pytest.raises(FrameError, match=complaint):
        list(FrameReader().feed(data))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Any bytes are frames, the beginning of one, or a FrameError."""
    with suppress(FrameError):
        list(FrameReader().feed(data))


def test_frames_before_the_garbage_count() -> None:
    """A confirm that came before the stream went bad is a confirm."""
    reader = FrameReader()
    frames = reader.feed(pamqp.frame.marshal(amqp.Basic.Ack(1), 1) + b"garbage")
    assert next(frames) == (1, Confirm(1, False, True))
    with pytest.raises(FrameError):
        next(frames)
