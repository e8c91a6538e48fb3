"""One client's WebSocket: frames go out in order, at once, late, or not at all.

Frames are written to the transport directly, many in one write: aiohttp's own writer costs a system call a frame,
which at 40,000 events/s is the most expensive thing in the process. Its reader still answers pings and closes.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable

from aiohttp import web

from wire.simulator import frames

BUFFER_LIMIT = 4 << 20
"""A client that has this much unread is slow (facts.md 28: Asterisk cuts off after about 4 MB), bytes."""

WRITE_TIMEOUT = 0.1
"""How long a slow client may stay so before it is cut off, where that is asked for (Asterisk's 100 ms), seconds."""


class Link:
    """A WebSocket of one client.

    Args:
        ws: the prepared response.
        transport: its transport.
        app: the application that the client registered.
        subscribe_all: whether it asked for every event; without, it gets none of a recording's.
        log: told of what was sent: payloads, or one payload that is garbage and whether it went as text.
    """

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        app: str,
        subscribe_all: bool,
        log: Callable[[list[bytes]], None],
        log_garbage: Callable[[bytes, bool], None],
    ) -> None:
        self.ws = ws
        self.app = app
        self.subscribe_all = subscribe_all
        self.replaced = False
        self.stalled = False
        self.lag = 0.0
        """Seconds by which frames go out late."""
        self._transport = transport
        self._log = log
        self._log_garbage = log_garbage
        self._held: deque[tuple[float, list[bytes]]] = deque()
        self._held_bytes = 0
        self._overrun = False
        self._timer: asyncio.TimerHandle | None = None
        self._slow_since: float | None = None
        transport.set_write_buffer_limits(high=2 * BUFFER_LIMIT)

    @property
    def open(self) -> bool:
        return not (self._transport.is_closing() or self.ws.closed)

    @property
    def live(self) -> bool:
        """Whether events go to it."""
        return self.open and self.subscribe_all and not self.replaced

    @property
    def backlog(self) -> int:
        """Bytes handed to the transport that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self.open else 0

    def send(self, payloads: list[bytes]) -> None:
        """Send events, or hold them back while the link is stalled or slow."""
        if not self.open or not payloads:
            return
        if not (self.stalled or self.lag or self._held):
            self._write(payloads)
            return
        self._held_bytes += sum(map(len, payloads))
        if self.stalled and self._held_bytes > BUFFER_LIMIT:
            self._overrun = True  # Asterisk would have given the client up; it finds out when it reads again
            return
        self._held.append((asyncio.get_running_loop().time() + self.lag, payloads))
        self._arm()

    def send_garbage(self, kind: str, size: int) -> None:
        """Send something that no Asterisk sends; `frames.GARBAGE` has the kinds."""
        data, payload = frames.garbage(kind, self.app, size)
        if not self.open:
            return
        self._transport.write(data)
        self._log_garbage(payload, kind not in ("binary", "bad-opcode", "masked", "torn"))
        if kind == "torn":
            self.fin()

    def stall(self) -> None:
        """Neither read nor write any more, with the TCP connection up; events wait, as in a dead line's buffers."""
        self.stalled = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """End a stall or a lag: what waited goes out, in order; after more than 4 MiB of it the link is cut instead."""
        self.lag = 0.0
        if self.stalled:
            self.stalled = False
            if self.open:
                self._transport.resume_reading()
        if self._overrun:
            self.reset()
            return
        while self._held:
            self._release()

    async def close(self, code: int, reason: str) -> None:
        """The closing handshake; 1006 is FIN without one."""
        if code == 1006:
            self.fin()
        else:
            await self.ws.close(code=code, message=reason.encode())

    def fin(self) -> None:
        """End the TCP connection in order, with no close frame."""
        if self.stalled:
            self._transport.resume_reading()
        self._transport.close()

    def reset(self) -> None:
        """End the TCP connection with RST."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abort(self) -> None:
        """End the connection as the kernel does when the process dies."""
        self._transport.abort()

    def is_too_slow(self) -> bool:
        """Whether Asterisk would cut this reader off now."""
        if self.backlog <= BUFFER_LIMIT:
            self._slow_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._slow_since is None:
            self._slow_since = now
        return now - self._slow_since > WRITE_TIMEOUT

    def stop(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, payloads: list[bytes]) -> None:
        self._transport.write(frames.join(payloads))
        self._log(payloads)

    def _release(self) -> None:
        _, payloads = self._held.popleft()
        self._held_bytes -= sum(map(len, payloads))
        if self.open:
            self._write(payloads)

    def _arm(self) -> None:
        if self._timer is None and self._held and not self.stalled:
            self._timer = asyncio.get_running_loop().call_at(self._held[0][0], self._due)

    def _due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._held and not self.stalled and self._held[0][0] <= now:
            self._release()
        self._arm()
