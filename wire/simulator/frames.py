"""WebSocket frames as a server writes them (RFC 6455, section 5), good ones and, on request, bad ones."""

import json

TEXT, BINARY = 0x81, 0x82
"""First bytes of an unfragmented frame: FIN and the opcode."""

_SHORT = [bytes((TEXT, length)) for length in range(126)]
_MEDIUM = [bytes((TEXT, 126)) + length.to_bytes(2) for length in range(8192)]
"""Headers of the usual lengths, made once."""


def header(length: int, first: int = TEXT) -> bytes:
    """The header of an unmasked frame."""
    if first == TEXT:
        if length < 126:
            return _SHORT[length]
        if length < 8192:
            return _MEDIUM[length]
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)


def join(payloads: list[bytes]) -> bytes:
    """Many text frames as one write."""
    parts: list[bytes] = []
    for payload in payloads:
        parts.append(header(len(payload)))
        parts.append(payload)
    return b"".join(parts)


GARBAGE = {
    "bad-json": "a text frame that is not JSON",
    "not-an-object": "a text frame that is JSON, but no event: a list",
    "no-type": "a JSON object without a type",
    "unknown-type": "an event of a type that nobody knows",
    "bad-fields": "a ChannelCreated whose fields have the wrong types",
    "bad-utf8": "a text frame that is not UTF-8",
    "empty": "an empty text frame",
    "binary": "a binary frame of random-looking bytes",
    "oversized": "one text frame larger than `size` bytes (default 16 MiB), otherwise a correct event",
    "bad-opcode": "a frame with a reserved opcode: a broken WebSocket",
    "masked": "a masked frame, which a server must not send",
    "torn": "a header that promises more bytes than come, then FIN",
}
"""What garbage there is, each with its meaning."""


def garbage(kind: str, application: str, size: int = 16 << 20) -> tuple[bytes, bytes]:
    """Bytes to put on the wire, and the payload in them.

    Args:
        kind: a key of GARBAGE.
        application: the client's application.
        size: the payload of `oversized`, bytes.

    Raises:
        KeyError: no such kind.
    """
    event = {"type": "ChannelUserevent", "eventname": "Garbage", "application": application}
    match kind:
        case "bad-json":
            payload = b'{"type":"ChannelCreated","channel":{"id":"broken'
        case "not-an-object":
            payload = b'["ChannelCreated"]'
        case "no-type":
            payload = b'{"application":"' + application.encode() + b'"}'
        case "unknown-type":
            payload = json.dumps(event | {"type": "ChannelLevitated"}).encode()
        case "bad-fields":
            payload = json.dumps(event | {"type": "ChannelCreated", "channel": 17, "timestamp": []}).encode()
        case "bad-utf8":
            payload = b'{"type":"ChannelUserevent","eventname":"\xff\xfe\xc3("}'
        case "empty":
            payload = b""
        case "binary":
            payload = bytes(range(256))
            return header(len(payload), BINARY) + payload, payload
        case "oversized":
            start = json.dumps(event).encode()[:-1] + b', "userevent": {"text": "'
            payload = start + b"x" * (size - len(start) - 3) + b'"}}'
        case "bad-opcode":
            payload = b"reserved"
            return header(len(payload), 0x83) + payload, payload
        case "masked":
            payload = json.dumps(event).encode()
            return bytes((TEXT, 0x80 | 126)) + len(payload).to_bytes(2) + bytes(4) + payload, payload
        case "torn":
            payload = b'{"type":"ChannelCreated"'
            return header(4000) + payload, payload
        case _:
            raise KeyError(kind)
    return header(len(payload)) + payload, payload
