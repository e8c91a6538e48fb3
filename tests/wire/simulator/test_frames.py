"""Frames on the wire."""

import pytest

from wire.simulator import frames


@pytest.mark.parametrize("length", [0, 125, 126, 8191, 8192, 65535, 65536])
def test_headers_have_the_length_of_rfc_6455(length: int) -> None:
    """7 bits, 16 bits or 64 bits, whichever is the shortest that holds it."""
    made = frames.header(length)
    assert made[0] == 0x81
    if length < 126:
        assert made[1:] == bytes((length,))
    elif length < 65536:
        assert made[1] == 126
        assert int.from_bytes(made[2:]) == length
        assert len(made) == 4
    else:
        assert made[1] == 127
        assert int.from_bytes(made[2:]) == length
        assert len(made) == 10


def test_many_frames_are_one_write() -> None:
    """Header, payload, header, payload."""
    assert frames.join([b"ab", b"c"]) == b"\x81\x02ab\x81\x01c"


@pytest.mark.parametrize("kind", frames.GARBAGE)
def test_every_kind_of_garbage_can_be_made(kind: str) -> None:
    """What the list promises exists, and its payload is in what goes on the wire."""
    data, payload = frames.garbage(kind, "arimon", 100_000)
    assert data.endswith(payload)
    assert (len(payload) == 100_000) == (kind == "oversized")


def test_other_garbage_does_not_exist() -> None:
    """An unknown kind is the caller's mistake."""
    with pytest.raises(KeyError):
        frames.garbage("nonsense", "arimon")
