"""The event WebSocket of one PBX, kept open by the machine in session.py: this file only moves bytes and time.

    link = AriLink(pbx, on_frame=journal.append, on_up=…, on_down=…, on_state=…)
    await link.run()          # until link.stop()

Frames go to `on_frame` raw, as bytes, in order, straight from the read loop: nothing is decoded here (so bad UTF-8 or
bad JSON cannot close the link) except a message that names ApplicationReplaced. `on_frame` must not block: Asterisk
cuts off a client that reads slowly (ari/facts.md 28). Every frame between `on_up` and `on_down` belongs to that link;
no frame comes outside of the two.

All callbacks are called in the loop's thread, synchronously. One that raises ends `run` with its exception: that is a
bug and not the PBX's doing.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
from aiohttp.client_proto import ResponseHandler

from conf.settings import Pbx
from wire import log
from wire.ari import session
from wire.ari.access import Access, access
from wire.ari.ear import Ear
from wire.ari.errors import AriDenied, AriError, Fault, translated
from wire.ari.session import Described, Down, State, described
from wire.backoff import Backoff
from wire.host_clock import boot_ms, now_ms

REPLACED_MARK = b'"ApplicationReplaced"'
"""Searched in every frame (about 0.1 µs); only a frame that has it is decoded to see whether it is that event."""

CLOSE_SECONDS = 1.0
"""How long a polite goodbye may take."""

logger = log.get(__name__)


class AriLink:
    """Keeps one event WebSocket open for as long as it runs.

    Args:
        pbx: address, credentials, limits.
        on_frame: gets each WebSocket message as bytes.
        on_up: the link is up; gets the number of this link, from 1 for the first since `run`.
        on_down: the link that was up is down: why, in words, and when the last byte came (Unix milliseconds).
        on_state: gets the link's state, described, at each change, for status replies and health.
        luck: gives a float in [0, 1), for jitter.
    """

    def __init__(
        self,
        pbx: Pbx,
        *,
        on_frame: Callable[[bytes], object],
        on_up: Callable[[int], object],
        on_down: Callable[[Down, str, int], object],
        on_state: Callable[[Described], object] = lambda state: None,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self.state: State = session.Disconnected()
        self.links = 0
        """Times that the link came up."""
        self._pbx = pbx
        self._on_frame = on_frame
        self._on_up = on_up
        self._on_down = on_down
        self._on_state = on_state
        self._luck = luck
        self._rules = session.Rules(
            backoff=Backoff(pbx.retry.minimum, pbx.retry.maximum),
            dead_after=pbx.dead_after,
            replaced_retry=pbx.replaced_retry,
            healthy_after=pbx.retry.maximum,
        )
        self._log = logger.bind(pbx=pbx.name)
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Future[None] | None = None
        self._talk: asyncio.Task[None] | None = None
        self._polite = True
        self._leftovers: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._socket: aiohttp.ClientWebSocketResponse[Any] | None = None
        self._ear = Ear()
        self._told: Fault | Down | None = None

    async def run(self) -> None:
        """Keep the link up until `stop`.

        Raises:
            Exception: whatever a callback raised.
        """
        if isinstance(self.state, session.Stopped):
            return  # stopped before it began
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        try:
            self._feed(session.Start())
            await self._over
        finally:
            self._feed(session.Stop())
            if self._leftovers:
                await asyncio.wait(self._leftovers)

    def stop(self) -> None:
        """End `run`; the link goes down with reason `stopped` if it was up. In the loop's thread only."""
        if self._over is None:
            self.state = session.Stopped()
        else:
            self._feed(session.Stop())

    def give_up(self, detail: str) -> None:
        """Connect anew: the link lives, but is deaf, as looks at the PBX show. In the loop's thread only.

        Args:
            detail: how they show it, for people.
        """
        self._feed(session.Deaf(detail))

    def describe(self) -> Described:
        """The link's state now. In the loop's thread only, once `run` began."""
        return described(self.state, self._loop.time(), now_ms())

    def heard_ms(self) -> int:
        """When the last byte came over the last link, as the host's clock counts now, Unix milliseconds.

        In the loop's thread only, after a link.
        """
        return self._ear.heard_ms(boot_ms(), now_ms())

    # --- events into the machine --------------------------------------------------------------------------------------

    def _feed(self, event: session.Event) -> None:
        before = self.state
        self.state, commands = session.transition(self._rules, before, event, self._loop.time(), self._luck())
        try:
            for command in commands:
                self._perform(command)
            if type(self.state) is not type(before):
                self._tell()
                self._on_state(self.describe())
        except Exception as error:  # noqa: BLE001 - carried to run(): this may be a timer's callback, where it would vanish
            self._fail(error)
        if isinstance(self.state, session.Stopped) and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _tick(self) -> None:
        self._timer = None
        if isinstance(self.state, session.Connected) and self._ear.heard > self.state.heard:
            self._feed(session.Heard(self._ear.heard))
        self._feed(session.Tick())

    # --- commands out of it -------------------------------------------------------------------------------------------

    def _perform(self, command: session.Command) -> None:
        match command:
            case session.Open():
                self._polite = True
                self._talk = self._keep(self._open_and_read())
            case session.Close(politely):
                assert self._talk is not None
                self._polite = politely
                self._talk.cancel()
                self._socket = None
            case session.SendPing():
                self._keep(self._ping())
            case session.SetTimer(at):
                self._cancel_timer()
                self._timer = self._loop.call_at(at, self._tick)
            case session.CancelTimer():
                self._cancel_timer()
            case session.AnnounceUp():
                self.links += 1
                self._on_up(self.links)
            case session.AnnounceDown(why, detail):
                self._on_down(why, detail, self.heard_ms())
            case session.Unforeseen(state, event):
                self._log.warning("ari.link.unforeseen", state=state.name, event_type=type(event).__name__)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._leftovers.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._leftovers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _ping(self) -> None:
        if self._socket is None or self._socket.closed:
            return
        try:
            await self._socket.ping()
        except (aiohttp.ClientError, OSError):
            return  # the read loop sees the same break and says so

    # --- the socket ---------------------------------------------------------------------------------------------------

    async def _open_and_read(self) -> None:
        try:
            way_in = access(self._pbx)
        except AriDenied as error:
            self._feed(session.Refused(error.fault, error.detail))
            return
        ear = Ear()
        asked = False

        async def has_asked(*_: object) -> None:
            nonlocal asked
            asked = True

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(has_asked)
        async with aiohttp.ClientSession(
            connector=_Connector(ear), headers=way_in.headers, timeout=aiohttp.ClientTimeout(), trace_configs=[trace]
        ) as http:
            try:
                socket = await self._connect(http, way_in)
            except AriError as error:
                unanswered = asked and error.fault is Fault.TIMEOUT
                self._feed(session.Refused(error.fault, error.detail, unanswered))
                return
            self._socket = socket
            self._ear = ear
            try:
                ear.hear(self._loop.time(), boot_ms())
                self._feed(session.Opened())
                await self._read(socket)
            finally:
                if self._socket is socket:
                    self._socket = None
                if self._polite:
                    await socket.close()

    async def _connect(self, http: aiohttp.ClientSession, way_in: Access) -> aiohttp.ClientWebSocketResponse[Any]:
        try:
            async with asyncio.timeout(self._pbx.connect_timeout):
                return await http.ws_connect(
                    way_in.events,
                    ssl=way_in.tls,
                    decode_text=False,
                    # aiohttp refuses a message *of* this size already.
                    max_msg_size=self._pbx.max_frame_bytes + 1,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        except Exception as error:  # aiohttp's exceptions share no base; what we do not know is raised again
            known = translated(error, way_in.events)
            if known is None:
                raise
            raise known from None

    async def _read(self, socket: aiohttp.ClientWebSocketResponse[Any]) -> None:
        receive, on_frame = socket.receive, self._on_frame
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        while self._socket is socket:
            kind, data, extra = await receive()
            if kind is text or kind is binary:
                on_frame(data)
                if REPLACED_MARK in data and self._is_replaced(data):
                    self._feed(session.NameTaken())
            else:
                self._feed(_end(kind, data, extra, socket))
                return

    def _is_replaced(self, data: bytes) -> bool:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        # Not just any event that carries these words, as a user's variable may.
        return (
            isinstance(event, dict)
            and event.get("type") == "ApplicationReplaced"
            and event.get("application", self._pbx.app) == self._pbx.app
        )

    # --- the log ------------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        match self.state:
            case session.Connected():
                self._told = None
                self._log.info("ari.link.up", link=self.links, url=self._pbx.url)
            case session.Replaced(until=until):
                self._log.error(
                    "ari.link.replaced",
                    app=self._pbx.app,
                    retry_seconds=round(until - self._loop.time(), 1),
                    hint="another client uses this application name; events are missed until it is ours again",
                )
            case session.BackingOff(why=why, detail=detail, attempt=attempt, until=until):
                # The same trouble again is worth a line at each attempt, but only its first is worth an eye.
                write = self._log.info if why == self._told else self._log.warning
                self._told = why
                event = "ari.link.refused" if isinstance(why, Fault) else "ari.link.down"
                write(
                    event,
                    reason=str(why),
                    detail=detail,
                    attempt=attempt,
                    retry_seconds=round(until - self._loop.time(), 1),
                )
            case session.Stopped():
                self._log.info("ari.link.stopped")


def _end(
    kind: aiohttp.WSMsgType, data: Any, extra: Any, socket: aiohttp.ClientWebSocketResponse[Any]
) -> session.Closed:
    """Why the socket's last message ended it."""
    if kind is aiohttp.WSMsgType.CLOSE:
        said = f": {extra[:200]}" if extra else ""
        return session.Closed(Down.CLOSED, f"the PBX closed the link (code {data or 'none'}{said})")
    if kind is aiohttp.WSMsgType.ERROR and isinstance(data, aiohttp.WebSocketError):
        if data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            return session.Closed(Down.OVERSIZED, f"a message is larger than pbx.max_frame_bytes: {data}")
        return session.Closed(Down.BROKEN, f"the PBX sent what is no WebSocket frame: {data}")
    error = data if isinstance(data, Exception) else socket.exception()
    known = translated(error, "the PBX") if isinstance(error, Exception) else None
    return session.Closed(Down.LOST, known.detail if known else "the PBX broke the connection without a close frame")


class _Connector(aiohttp.TCPConnector):
    """Makes one connection, and notes when data comes over it.

    aiohttp has no public hook for "bytes came" below whole messages; its connectors make the protocol object by
    `_factory`. tests/wire/ari/test_client.py (a PBX that drips) fails when a new aiohttp no longer does.
    """

    def __init__(self, ear: Ear) -> None:
        super().__init__(limit=1, force_close=True)
        loop = asyncio.get_running_loop()
        self._factory: Callable[[], ResponseHandler] = lambda: _Protocol(ear, loop)  # type: ignore[assignment]


class _Protocol(ResponseHandler):
    def __init__(self, ear: Ear, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._ear = ear
        self._time = loop.time

    def data_received(self, data: bytes) -> None:
        self._ear.hear(self._time(), boot_ms())
        super().data_received(data)
