"""A small ARI server that tests steer, a proxy that goes deaf, and a link that remembers what it was told."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from conf.settings import Pbx, Retry
from conf.validation import validated
from wire.ari.client import AriLink

LIMIT = 60.0
"""No awaited fact takes longer, seconds."""

PASSWORD = "s3cret-of-the-pbx"


class Facts:
    """Lets a test wait for a fact instead of for a time."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        task = self._loop.create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(fact)


@dataclass
class FakePbx:
    """An ARI server: `script` plays one WebSocket's life, `resources` answers REST."""

    facts: Facts
    script: Callable[["FakePbx", web.WebSocketResponse], Awaitable[None]]
    status: int = 101
    port: int = 0
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    resources: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0
    """WebSockets whose script is over."""
    under_way: int = 0
    most_under_way: int = 0

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("WS", request.raw_path))
        if self.status != 101:
            return web.Response(status=self.status)
        if not self._allowed(request):
            return web.Response(status=401)
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        self.sockets.append(socket)
        self.facts.changed()
        with contextlib.suppress(ConnectionError):
            await self.script(self, socket)
        self.ended += 1
        self.facts.changed()
        return socket

    async def rest(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path))
        self.bodies.append(await request.read())
        if not self._allowed(request):
            return web.json_response({"message": "Authentication required"}, status=401)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if request.raw_path.endswith("/hangs"):
                await self.release.wait()
            await asyncio.sleep(0)
            status, body = self.resources.get((request.method, request.raw_path), (404, b'{"message":"Not found"}'))
            return web.Response(status=status, body=body, content_type="application/json")
        finally:
            self.under_way -= 1

    @staticmethod
    def _allowed(request: web.Request) -> bool:
        expected = base64.b64encode(f"arimon:{PASSWORD}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {expected}"


async def listen(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
    """The usual script: stay until the other side goes."""
    async for _ in socket:
        pass


@dataclass
class Watched:
    """A running link and everything it said, in order."""

    link: AriLink
    said: list[tuple[Any, ...]]
    facts: Facts

    @property
    def frames(self) -> list[bytes]:
        return [what[1] for what in self.said if what[0] == "frame"]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [what for what in self.said if what[0] == kind]

    async def until(self, fact: Callable[["Watched"], bool]) -> None:
        await self.facts.until(lambda: fact(self))

    async def up(self, times: int = 1) -> None:
        await self.until(lambda me: len(me.of("up")) >= times)


def settings(port: int, **options: Any) -> Pbx:
    """A PBX's settings for tests: quick, on the loopback address."""
    options.setdefault("url", f"ws://127.0.0.1:{port}/ari")
    options.setdefault("retry", Retry(minimum=0.01, maximum=0.05))
    return validated(Pbx, {"name": "pbx1", "password": PASSWORD, **options})


class Proxy:
    """A TCP proxy that can go deaf: it keeps both connections open and forwards nothing more, and sends no FIN."""

    def __init__(self, target: int, facts: Facts) -> None:
        self.target = target
        self.facts = facts
        self.port = 0
        self.deaf = asyncio.Event()
        self.pieces = 0
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self.join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, there_writer]
        for one, other in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pump(one, other))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.deaf.is_set():
                    continue
                self.pieces += 1
                self.facts.changed()
                writer.write(data)
                await writer.drain()
            if not self.deaf.is_set():
                writer.close()

    async def stop(self) -> None:
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class Doorway:
    """A TCP proxy before a PBX that is halted: while `halted`, who knocks waits, though the client goes meanwhile."""

    def __init__(self, target: int, facts: Facts) -> None:
        self.target = target
        self.facts = facts
        self.port = 0
        self.halted = True
        self.waiting: list[bytes] = []
        """What clients that are gone have asked, oldest first."""
        self._proxy = Proxy(target, facts)
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.halted:
            await self._proxy.join(reader, writer)
            return
        asked = await reader.read()
        writer.close()
        self.waiting.append(asked)
        self.facts.changed()

    async def ask(self, request: bytes) -> None:
        """The PBX is asked this by a client that never reads the answer, and stays connected."""
        _reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.append(writer)
        writer.write(request)

    async def stop(self) -> None:
        await self._proxy.stop()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Certificates:
    """A server's TLS context, and a CA file that it chains to."""

    server: ssl.SSLContext
    ca_file: Path
