"""The sink that publishes to RabbitMQ: moves bytes, performs what `wire.amqp.session` decides, decides nothing itself.

Own AMQP framing over an asyncio protocol instead of aio-pika: one dict entry per message in flight where aio-pika
has a task, two futures, two locks and two queues; and three facts that aio-pika keeps to itself are states here (the
broker is blocked, the link is silent, a confirm is overdue). `tests/bench/bench_publish.py` measures both.

Exchanges are declared durable, of type topic, one for each form that `publisher.form` makes. Every message is
mandatory and persistent and carries message_id, type, app_id and the headers call_id, server and operation.

One channel, publisher confirms, no batching timer: what `publish` was given goes to the socket in one write, and all
verdicts of one loop iteration go to `on_outcomes` in one call. Backpressure is the owner's window: what is in flight
is what was offered and not yet answered, so the socket's buffer is bounded by windows times message size.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Iterable, Sequence

import pamqp.frame
from pamqp import commands as amqp
from pamqp.base import Frame
from pamqp.common import FieldTable
from pamqp.header import ProtocolHeader
from pamqp.heartbeat import Heartbeat

from conf.settings import Settings
from wire import os_error
from wire.amqp import session as machine
from wire.amqp.codec import Confirm, Content, FrameError, FrameReader, Received, Unsendable, encode_publish
from wire.amqp.flights import Flights
from wire.backoff import Backoff
from wire.message import OutboundMessage
from wire.sink import OnOutcomes, OnState, Outcome, Phase, SinkState, Verdict

TICK_SECONDS = 0.1
"""Grain of every limit; all limits are at least several times as long. A tick costs a few microseconds."""


class AmqpSink:
    """Publishes to RabbitMQ with confirms. See `wire.sink.Sink` for what its methods promise."""

    def __init__(self, settings: Settings, *, on_outcomes: OnOutcomes, on_state: OnState) -> None:
        """Prepare; touches neither loop nor network.

        Args:
            settings: `rabbitmq` and `publisher` are used.
            on_outcomes: gets the verdicts.
            on_state: gets each change of state.
        """
        self._conf = conf = settings.rabbitmq
        names = {"v3": conf.exchange, "legacy": conf.legacy_exchange}
        form = settings.publisher.form
        forms = ("v3", "legacy") if form == "both" else (form,)
        self._exchanges = {form: names[form].encode() for form in forms}
        self._on_outcomes = on_outcomes
        self._on_state = on_state
        self._session = machine.Session(
            machine.Policy(
                where=f"{conf.host}:{conf.port}",
                username=conf.username,
                vhost=conf.vhost,
                exchanges=tuple(dict.fromkeys(names[form] for form in forms)),
                backoff=Backoff(conf.retry.minimum, conf.retry.maximum),
                connect_timeout_ms=round(conf.connect_timeout * 1000),
                confirm_timeout_ms=round(settings.publisher.confirm_timeout * 1000),
                heartbeat_s=conf.heartbeat,
            )
        )
        self._state = SinkState(Phase.DISCONNECTED)
        self._flights = Flights()
        self._outcomes: list[Outcome] = []  # decided and not yet told
        self._untold: set[str] = set()  # their ids, which are in flight as far as the owner knows
        self._draining: asyncio.Future[None] | None = None
        self._protocol: _Protocol | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._settled = False
        self._return_detail = ""
        self._ended: asyncio.Future[None] | None = None
        self.unexpected = 0
        """Methods from the broker that had no meaning; for the metrics."""

    @property
    def state(self) -> SinkState:
        """The state now."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Messages without an outcome that the owner has heard of."""
        return len(self._flights) + len(self._untold)

    def publish(self, batch: Sequence[OutboundMessage]) -> None:
        """Send these messages in one write. See `wire.sink.Sink.publish`."""
        now = time.monotonic()
        takes = self._state.takes_messages and self._draining is None
        chunks = []
        for message in batch:
            if message.message_id in self._flights or message.message_id in self._untold:
                continue
            if not takes:
                why = self._state.reason or ("closing" if self._draining else self._state.phase)
                self._outcome(Outcome(message.message_id, Verdict.FAILED, why, 0.0))
                continue
            try:
                exchange = self._exchanges[message.form]
                chunks.append(encode_publish(message, exchange, self._session.frame_max))
            except (Unsendable, UnicodeEncodeError) as error:  # the latter: half a surrogate pair
                self._outcome(Outcome(message.message_id, Verdict.REFUSED, str(error), 0.0))
            except KeyError:
                why = f"publisher.form has no exchange for the form {message.form!r}"
                self._outcome(Outcome(message.message_id, Verdict.REFUSED, why, 0.0))
            else:
                self._flights.send(message.message_id, now)
        if chunks and self._protocol is not None:
            self._protocol.write(b"".join(chunks))

    async def run(self) -> None:
        """Connect and stay connected until `close`. See `wire.sink.Sink.run`."""
        if self._session.step is machine.Step.CLOSED:
            return
        self._ended = asyncio.get_running_loop().create_future()
        try:
            self._apply(machine.Start(_now_ms()))
            while not self._ended.done():
                await asyncio.wait((self._ended,), timeout=TICK_SECONDS)
                self._tick()
            self._ended.result()  # raises what a callback raised
        finally:
            self._hang_up()
            self._flush()

    async def close(self, drain_seconds: float) -> None:
        """Drain, say good-bye, and let `run` return. See `wire.sink.Sink.close`."""
        if self._ended is None or self._ended.done():
            self._apply(machine.Close(_now_ms()))
            return
        self._draining = asyncio.get_running_loop().create_future()
        if len(self._flights):
            await asyncio.wait((self._draining, self._ended), timeout=drain_seconds, return_when="FIRST_COMPLETED")
        self._apply(machine.Close(_now_ms()))
        await asyncio.wait((self._ended,))

    # What the socket says ---------------------------------------------------------------------------------------

    def _received(self, protocol: "_Protocol", frames: Iterable[tuple[int, Received]]) -> None:
        """Frames that came in one read, in order."""
        now = time.monotonic()
        for channel, frame in frames:
            if protocol is not self._protocol:
                return  # an earlier frame made us hang up; what follows it concerns nobody
            if isinstance(frame, Confirm):
                for outcome in self._flights.settle(frame.delivery_tag, frame.multiple, frame.ack, now):
                    self._outcome(outcome)
                if not self._settled:
                    self._settled = True
                    self._apply(machine.Settled(_now_ms()))
            elif isinstance(frame, amqp.Basic.Return):
                self._return_detail = f"{frame.reply_text}: no queue for {frame.routing_key!r} on {frame.exchange!r}"
            elif isinstance(frame, Content):
                self._flights.returned(frame.message_id, self._return_detail)
            elif isinstance(frame, Frame):
                self._apply(machine.MethodReceived(_now_ms(), channel, frame, _draw()))
        if self._draining and not len(self._flights) and not self._draining.done():
            self._draining.set_result(None)

    def _lost(self, why: str) -> None:
        self._apply(machine.Lost(_now_ms(), why, _draw()))

    def _broke(self, error: BaseException) -> None:
        """A callback raised: an error of ours, which `run` raises."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _tick(self) -> None:
        now_ms = _now_ms()
        protocol = self._protocol
        self._apply(
            machine.Tick(
                now_ms,
                heard_ms=protocol.heard_ms if protocol else now_ms,
                said_ms=protocol.said_ms if protocol else now_ms,
                waiting_ms=round(self._flights.waiting(time.monotonic()) * 1000),
                draw=_draw(),
            )
        )

    # What the machine wants -------------------------------------------------------------------------------------

    def _apply(self, event: machine.Event) -> None:
        self._session, effects = machine.transition(self._session, event)
        for effect in effects:
            self._perform(effect)
        if self._session.step is machine.Step.CLOSED and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _perform(self, effect: machine.Effect) -> None:
        match effect:
            case machine.Write(channel, method):
                self._write(pamqp.frame.marshal(method, channel))
            case machine.Beat():
                self._write(pamqp.frame.marshal(Heartbeat(), 0))
            case machine.Greet():
                self._write(pamqp.frame.marshal(ProtocolHeader(), 0))
            case machine.Login():
                self._login()
            case machine.Dial():
                self._dialling = asyncio.get_running_loop().create_task(self._dial())
            case machine.HangUp():
                self._hang_up()
            case machine.FailInFlight(why):
                for outcome in self._flights.fail_all(why, time.monotonic()):
                    self._outcome(outcome)
                self._flights = Flights()
            case machine.RestartConfirmClock():
                self._flights.restart_clock(time.monotonic())
            case machine.Announce(state):
                self._announce(state)
            case machine.UnexpectedMethod():
                self.unexpected += 1

    def _announce(self, state: SinkState) -> None:
        if state.until_ms is not None:  # from the machine's clock to the world's
            unix_ms = round(time.time() * 1000) + state.until_ms - _now_ms()
            state = SinkState(state.phase, state.reason, state.attempt, unix_ms)
        self._state = state
        self._on_state(state)

    def _write(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.write(data)

    def _login(self) -> None:
        conf = self._conf
        try:
            # Read at each login, so that a rotated secret is found.
            password = conf.password_file.read_text().rstrip("\n") if conf.password_file else None
        except OSError as error:
            self._lost(f"rabbitmq.password_file cannot be read: {error}")
            return
        if password is None:
            password = conf.password.get_secret_value()
        properties: FieldTable = {
            "product": "arimon",
            "connection_name": "arimon publisher",
            "capabilities": {
                "publisher_confirms": True,
                "basic.nack": True,
                "connection.blocked": True,
                "authentication_failure_close": True,
            },
        }
        response = f"\0{conf.username}\0{password}"
        ok = amqp.Connection.StartOk(client_properties=properties, mechanism="PLAIN", response=response, locale="en_US")
        self._write(pamqp.frame.marshal(ok, 0))

    async def _dial(self) -> None:
        conf = self._conf
        loop = asyncio.get_running_loop()
        try:
            context = ssl.create_default_context(cafile=conf.ca_file) if conf.tls else None
            _, protocol = await loop.create_connection(lambda: _Protocol(self), conf.host, conf.port, ssl=context)
        except ssl.SSLCertVerificationError as error:
            self._guarded_lost(f"its certificate is not to be trusted ({error.verify_message}); see rabbitmq.ca_file")
        except OSError as error:  # ssl.SSLError and socket.gaierror are OSErrors too
            self._guarded_lost(os_error.said(error).lower())
        else:
            self._dialling = None
            self._protocol = protocol
            self._settled = False
            try:
                self._apply(machine.Dialled(_now_ms()))
            except BaseException as error:
                self._broke(error)
                raise

    def _guarded_lost(self, why: str) -> None:
        self._dialling = None
        try:
            self._lost(why)
        except Exception as error:  # noqa: BLE001 - nobody awaits the dialling task; run() raises it
            self._broke(error)

    def _hang_up(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        if self._protocol is not None:
            self._protocol.hang_up()
            self._protocol = None

    # Verdicts ---------------------------------------------------------------------------------------------------

    def _outcome(self, outcome: Outcome) -> None:
        if not self._outcomes:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outcomes.append(outcome)
        self._untold.add(outcome.message_id)

    def _flush(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        self._untold.clear()
        if not outcomes:
            return
        try:
            self._on_outcomes(outcomes)
        except Exception as error:  # noqa: BLE001 - in a loop callback nobody sees it; run() raises it
            self._broke(error)


class _Protocol(asyncio.Protocol):
    """One socket. After `hang_up` its sink hears nothing of it any more."""

    def __init__(self, sink: AmqpSink) -> None:
        self._sink: AmqpSink | None = sink
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.heard_ms = self.said_ms = _now_ms()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self.said_ms = _now_ms()

    def hang_up(self) -> None:
        self._sink = None
        if self._transport is not None:
            # Not close(): a peer that reads nothing, or does not answer TLS's good-bye, would hold the socket for
            # long. What the kernel has already taken is still delivered.
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            return
        self.heard_ms = _now_ms()
        try:
            try:
                sink._received(self, self._reader.feed(data))
            except FrameError as error:
                sink._lost(str(error))
        except Exception as error:  # noqa: BLE001 - asyncio would only log it; run() raises it
            sink._broke(error)

    def connection_lost(self, exc: Exception | None) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            sink._lost(f"connection lost ({exc})" if exc else "the broker closed the connection")
        except Exception as error:  # noqa: BLE001 - as above
            sink._broke(error)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _draw() -> float:
    return random.random()  # noqa: S311 - jitter, no secret
