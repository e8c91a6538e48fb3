"""One simulated Asterisk: an address, clients, calls that happen, and what REST says of them.

What happens does not depend on who listens: a run's events happen when its programme says so, and go to the clients
that are connected then. Missed events are never sent again, but `rest` shows where they led to, because it asks the
runs for their present state (`timeline`).
"""

import asyncio
import socket
import ssl as tls
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiohttp import web

from wire.simulator import control, rest
from wire.simulator.faults import Faults
from wire.simulator.link import Link
from wire.simulator.minting import Minter
from wire.simulator.moment import now_ms, stamp
from wire.simulator.program import Played, Program, perform
from wire.simulator.recording import Recording
from wire.simulator.run import Run
from wire.simulator.sent_log import SentLog

HIGH_WATER = 1 << 20
"""What a client may leave unread before what happens waits for it, bytes."""

Reader = Literal["wait", "cut"]


@dataclass(slots=True)
class Application:
    """A registered application: its link, and its event filter."""

    name: str
    link: Link
    allowed: list[dict[str, Any]] = field(default_factory=list)
    disallowed: list[dict[str, Any]] = field(default_factory=list)
    outgoing: list[bytes] = field(default_factory=list)
    encoded: bytes = b""
    """The name as the inside of a JSON string."""

    def wants(self, kind: str) -> bool:
        """Whether the event filter lets a type through."""
        if any(one.get("type") == kind for one in self.disallowed):
            return False
        return not self.allowed or any(one.get("type") == kind for one in self.allowed)


class Pbx:
    """One simulated PBX.

    Args:
        name: for logs; `pbx1` …
        host: the address to listen on.
        port: 0 takes a free one.
        username, password: what clients must present.
        read_only: as `read_only = yes` in ari.conf: 403 on changes.
        ssl: serve wss:// and https:// with this.
        entity_id: `asterisk_id` of its events.
        log: where it says what it sent.
        epoch: the monotonic time from which the log counts.
        slow_reader: `wait` lets what happens wait for a client that reads slowly, `cut` cuts it off as Asterisk does.
        seed: for the UUIDs it makes up.
    """

    def __init__(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        username: str = "arimon",
        password: str = "arimon",  # noqa: S107 (the password of the recorded Asterisk's example user)
        read_only: bool = False,
        ssl: tls.SSLContext | None = None,
        entity_id: str = "02:fc:00:00:00:01",
        log: SentLog | None = None,
        epoch: float | None = None,
        slow_reader: Reader = "wait",
        seed: int = 0,
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.read_only = read_only
        self.entity_id = entity_id
        self.slow_reader = slow_reader
        self.log = log or SentLog()
        self.started_ms = now_ms()
        self.faults = Faults(self)
        self.applications: dict[str, Application] = {}
        self.links: list[Link] = []
        self.runs: dict[Run, None] = {}
        self.owners: dict[str, tuple[Run, str]] = {}
        self.endpoints: dict[str, None] = {}
        self.happened = 0
        """Events that happened, sent or not."""
        self.begun = 0
        """Runs begun."""
        self.accepting = True
        self.stopped = False
        self._minter = Minter(seed)
        self._epoch = time.monotonic() if epoch is None else epoch
        self._up = asyncio.Event()
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._client = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ssl = ssl
        self._holder: socket.socket | None = None
        self._server: asyncio.Server | None = None
        app = web.Application(client_max_size=1 << 20, middlewares=[rest.guard(self)])
        rest.add_routes(app, self)
        control.add_routes(app, self)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)

    # Its address

    @property
    def url(self) -> str:
        """ARI's address, as in `pbx.url` of arimon's configuration."""
        return f"{'wss' if self._ssl else 'ws'}://{self.host}:{self.port}/ari"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        # A bound socket that never listens holds the port while the PBX refuses or is down: the kernel then answers
        # connections with RST, and no other program can be given the port.
        self._holder = self._bind(self.port)
        self.port = self._holder.getsockname()[1]
        await self.listen()
        self._up.set()

    async def listen(self) -> None:
        """Take connections."""
        if self._server is None:
            listener = self._bind(self.port)
            loop = asyncio.get_running_loop()
            assert self._runner.server is not None  # setup() made it
            self._server = await loop.create_server(self._runner.server, sock=listener, ssl=self._ssl, backlog=512)

    def refuse(self) -> None:
        """Take no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        """Close everything; the log is complete afterwards. What is being played ends where it is."""
        self.flush()
        self.stopped = True
        self._up.set()
        self._unpaused.set()
        self.faults.release()
        self.refuse()
        for link in list(self.links):
            link.stop()
            link.abort()
        await self._runner.cleanup()
        if self._holder is not None:
            self._holder.close()
        self.log.close()

    def abort_connections(self, spare: asyncio.BaseTransport | None = None) -> None:
        """Every connection ends at once, as when the process dies; only `spare` (a control request's) is left."""
        assert self._runner.server is not None  # started
        for connection in list(self._runner.server.connections):
            transport = connection.transport
            if transport is not None and transport is not spare:
                transport.abort()

    def _bind(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((self.host, port))
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        return bound

    # Its clients

    @property
    def clients(self) -> list[Link]:
        """The links that events go to."""
        return [application.link for application in self.applications.values() if application.link.live]

    def attach(self, ws: web.WebSocketResponse, transport: asyncio.Transport, app: str, subscribe_all: bool) -> Link:
        """A client connected. One that had the application's name before is told so, and hears nothing more."""
        self.flush()
        link = Link(
            ws,
            transport,
            app,
            subscribe_all,
            lambda payloads: self.log.frames(self.clock(), app, payloads),
            lambda payload, text: self.log.garbage(self.clock(), app, payload, text),
        )
        link.lag = self.faults.lag
        before = self.applications.get(app)
        if before is not None and before.link.open:
            before.link.send([self._own_event(app, {"type": "ApplicationReplaced", "timestamp": stamp()})])
            before.link.replaced = True
            self.act("application-replaced", app=app)
        self.links.append(link)
        self.applications[app] = Application(app, link, encoded=orjson.dumps(app)[1:-1])
        if subscribe_all:
            self._client.set()
        self.act("connected", app=app, subscribe_all=subscribe_all)
        return link

    def detach(self, link: Link) -> None:
        """A client is gone. Its application is too, with its event filter, unless another took the name over."""
        link.stop()
        self.links.remove(link)
        application = self.applications.get(link.app)
        if application is not None and application.link is link:
            del self.applications[link.app]
        if not self.clients:
            self._client.clear()
        self.act("disconnected", app=link.app, code=link.ws.close_code)

    async def wait_for_client(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (a plain deadline)
        """Wait until a client gets events.

        Raises:
            TimeoutError: none came in `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            await self._client.wait()

    # What happens

    @property
    def is_up(self) -> bool:
        """Whether the PBX is there: not between a crash and its return."""
        return self._up.is_set()

    @property
    def running(self) -> bool:
        """Whether anything happens: it is up, and not paused."""
        return self.is_up and self._unpaused.is_set()

    async def wait_until_running(self) -> None:
        while not (self.running or self.stopped):
            await self._up.wait()
            await self._unpaused.wait()

    def pause(self, paused: bool) -> None:
        """Let nothing happen, or let it go on."""
        if paused:
            self._unpaused.clear()
        else:
            self._unpaused.set()
        self.act("paused" if paused else "unpaused")

    async def play(self, program: Program) -> Played:
        """Play a programme to its end; several may be under way at once.

        Raises:
            RecordingError: a recording cannot be found or read.
        """
        return await perform(self, program)

    def begin(self, recording: Recording, program: Program) -> Run:
        start_ms = program.start_ms(recording, now_ms())
        run = Run(recording, self._minter, self.owners, self.entity_id, start_ms, program.verbatim)
        self.runs[run] = None
        self._idle.clear()
        self.begun += 1
        self.endpoints.update(dict.fromkeys(sorted(recording.endpoints)))
        self.act("begun", recording=recording.name, shift_ms=run.shift_ms)
        return run

    def happen(self, run: Run, stop: int) -> None:
        count = stop - run.position
        for application in self.applications.values():
            if not application.link.live:
                continue
            frames = run.frames(stop, application.encoded)
            if application.allowed or application.disallowed:
                kinds = run.recording.types[run.position : stop]
                frames = [frame for frame, kind in zip(frames, kinds, strict=True) if application.wants(kind)]
            application.outgoing += frames
        run.advance(stop)
        self.happened += count

    def finish(self, run: Run) -> None:
        run.end()
        self.runs.pop(run, None)
        if not self.runs:
            self._idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no recording is under way."""
        await self._idle.wait()

    def flush(self) -> None:
        for application in self.applications.values():
            if application.outgoing:
                frames, application.outgoing = application.outgoing, []
                application.link.send(self.faults.sieve(frames))

    async def drain(self) -> None:
        while True:
            slow = [link for link in self.clients if not link.stalled and link.backlog > HIGH_WATER]
            if self.slow_reader == "cut":
                for link in slow:
                    if link.is_too_slow():
                        self.act("cut-off", app=link.app, backlog=link.backlog)
                        link.fin()
                return
            if not slow:
                return
            await asyncio.sleep(0.001)

    def say(self, event: dict[str, Any]) -> None:
        """An event of the PBX's own (no recording's) happens."""
        for application in self.applications.values():
            if application.link.live and application.wants(event["type"]):
                application.outgoing.append(self._own_event(application.name, event))
        self.happened += 1

    def _own_event(self, app: str, event: dict[str, Any]) -> bytes:
        return orjson.dumps(event | {"application": app, "asterisk_id": self.entity_id})

    # Restarts, as `faults` asks for them

    def go_down(self) -> None:
        """All calls are gone without a word, and nothing happens until `come_up`."""
        self._up.clear()
        for run in list(self.runs):
            self.finish(run)
        for application in self.applications.values():
            application.outgoing.clear()
        self.refuse()

    async def come_up(self) -> None:
        """It is there again, with nothing of what was: another start time, names counted from 0."""
        self.started_ms = now_ms()
        self._minter.restarted()
        self.accepting = True
        await self.listen()
        self._up.set()
        self.act("up")

    def act(self, act: str, **details: Any) -> None:
        """Note something that happened besides events."""
        self.log.act(self.clock(), act, **details)

    def clock(self) -> float:
        """Seconds since the simulator's start."""
        return time.monotonic() - self._epoch

    # What REST shows

    def channels(self) -> Iterator[dict[str, Any]]:
        """All channels."""
        for run in self.runs:
            yield from run.channels()

    def bridges(self) -> Iterator[dict[str, Any]]:
        """All bridges."""
        for run in self.runs:
            yield from run.bridges()

    def channel(self, identity: str) -> dict[str, Any] | None:
        """One channel, None if there is none of this id."""
        run, recorded = self.owners.get(identity, (None, ""))
        if run is None or not run.recording.timeline.alive(recorded, run.position):
            return None
        return run.object_at(run.recording.timeline.channels[recorded].last(run.position))

    def bridge(self, identity: str) -> dict[str, Any] | None:
        """One bridge, None if there is none of this id."""
        run, _ = self.owners.get(identity, (None, ""))
        found = [] if run is None else [bridge for bridge in run.bridges() if bridge["id"] == identity]
        return found[0] if found else None

    def variable(self, channel: str, name: str) -> str | None:
        """A variable of a channel that there is; None if it is not set."""
        run, recorded = self.owners[channel]
        return run.variable(recorded, name)
