"""Thespian's TCP frames, authenticated and kept on loopback.

Thespian's frames are pickles, and it unpickles what any local process sends it: one frame ran a stranger's command. So
each frame carries an HMAC-SHA256 under a key made at boot (inherited by fork, never written anywhere), and it is
checked *before* anything is unpickled. Thespian also listens on every interface whatever it is told; here it binds
127.0.0.1.

Both are set by replacing names in Thespian's modules, in this one place, before the system starts.
"""

import hashlib
import hmac
import os
import pickle
import secrets
from typing import Any

from thespian.system.transport import IPBase, TCPTransport, streamBuffer

LOOPBACK = "127.0.0.1"

MAX_FRAME = 64 * 1024 * 1024
"""Largest frame accepted, bytes. Our own are bounded far below it; a stranger's length is refused before it is read."""

_DIGEST = hashlib.sha256().digest_size


class FrameRefused(ValueError):
    """A frame that nobody of ours made. Thespian closes the connection that it came on."""


class SignedFrames:
    """What Thespian calls its serializer: `dumps` appends an HMAC, `loads` checks it before it unpickles."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.refused = 0
        """Frames refused in this process since it began."""

    def dumps(self, message: Any) -> bytes:
        """The frame of a message."""
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        return body + hmac.digest(self._key, body, "sha256")

    def loads(self, frame: bytes) -> Any:
        """The message of a frame.

        Raises:
            FrameRefused: it is not signed with our key; nothing of it was unpickled.
        """
        body, seal = frame[:-_DIGEST], frame[-_DIGEST:]
        if not hmac.compare_digest(seal, hmac.digest(self._key, body, "sha256")):
            self.refused += 1
            raise FrameRefused("a frame without our signature")
        # Safe: the line above showed that one of our own processes made it.
        return pickle.loads(body)  # noqa: S301


class _BoundedBuffer(streamBuffer.ReceiveBuffer):  # type: ignore[misc]  # Thespian has no types
    """Thespian's receive buffer, which refuses a length that no frame of ours has."""

    def addMore(self, buf: bytes) -> None:
        super().addMore(buf)
        if self._size is not None and not 0 <= self._size <= MAX_FRAME:
            signed_frames().refused += 1
            raise FrameRefused(f"a frame of {self._size} bytes")


def install() -> SignedFrames:
    """Sign this process's frames, and those of all it will fork, with a new key; listen on loopback only."""
    frames = SignedFrames(secrets.token_bytes(32))
    TCPTransport.serializer = frames
    TCPTransport.ReceiveBuffer = _BoundedBuffer
    # Thespian builds its acknowledgements at import, unsigned; a signed system that got one would wait for ever.
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, frames.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(streamBuffer.ackDataErrPacket, frames.dumps)
    os.environ["THESPIAN_BASE_IPADDR"] = LOOPBACK
    _bind_loopback()
    return frames


def signed_frames() -> SignedFrames:
    """This process's frames.

    Raises:
        RuntimeError: `install` was not called before the system started.
    """
    frames = TCPTransport.serializer
    if not isinstance(frames, SignedFrames):
        raise RuntimeError("frames are not signed: call supervision.frames.install() first")
    return frames


def _bind_loopback() -> None:
    original = IPBase.IPActorAddress.__init__
    if getattr(original, "binds_loopback", False):
        return

    def bound(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # Thespian binds '' for any address that others may reach, whatever THESPIAN_BASE_IPADDR says.
        self.bindname = (LOOPBACK, self.bindname[1])

    bound.binds_loopback = True  # type: ignore[attr-defined]
    IPBase.IPActorAddress.__init__ = bound
