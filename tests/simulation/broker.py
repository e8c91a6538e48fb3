"""The broker, its consumer, and the Publisher's sink at its other end.

The consumer sees a message when the broker has taken it, which may be before the broker confirms it: so a broker that
dies in between makes a duplicate, and one that dies earlier makes nothing. Only what was confirmed is promised.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import orjson
from pamqp import commands as amqp
from pamqp.base import Frame

from wire.amqp import session as machine
from wire.amqp.flights import Flights
from wire.message import OutboundMessage
from wire.sink import Outcome, Phase, SinkState, Verdict

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

TICK_MS = 100
"""Grain of the sink's limits, milliseconds (the product's)."""


class Wire:
    """One connection."""

    def __init__(self, sink: "Sink") -> None:
        self.sink = sink
        self.tag = 0
        """Of the last message that came over it."""
        self.unread: list[OutboundMessage] = []
        """What lies in the socket's buffer."""


class Broker:
    """One RabbitMQ, and all that its consumer got."""

    def __init__(self, lab: "Lab", luck: random.Random) -> None:
        self._lab = lab
        self._luck = luck
        self.up = True
        self.paused = False
        """Says and hears nothing, and keeps its sockets."""
        self.blocked = False
        self.silent = False
        """Takes messages and never confirms."""
        self.nacks = 0
        """So many of the next messages are nacked."""
        self.forgets = 0
        """Dies after taking so many more messages, before it confirms them; 0 is never."""
        self.unroutable: set[str] = set()
        """Operations whose routing key has no queue."""
        self.received: list[bytes] = []
        """Bodies, as the consumer got them."""
        self.returned: dict[str, bytes] = {}
        """Bodies of messages that came back as unroutable before their consumer had them, by id."""
        self.redriven: set[str] = set()
        """Ids of messages that were parked, and not yet had by their consumer, when all of these were offered again."""
        self._taken: set[str] = set()
        self._wire: Wire | None = None

    def redrives(self, ids: Iterable[str]) -> None:
        """All that is parked is offered again."""
        had = {orjson.loads(body)["message_id"] for body in self.received}
        self.redriven.update(set(ids) - had)

    # --- its faults ---------------------------------------------------------------------------------------------------

    def kill(self, down_ms: int) -> None:
        """SIGKILL; back after a while."""
        if self.up:
            self._lab.happened["broker.kill"] += 1
            self.up = False
            self._drop("the broker closed the connection")
            self._lab.clock.after(down_ms, self._come_up)

    def _come_up(self) -> None:
        self.up = True

    def close_channel(self) -> None:
        """Channel exception."""
        if self._wire is not None and not self.paused:
            self._lab.happened["broker.close_channel"] += 1
            self._say(amqp.Channel.Close(404, "NOT_FOUND - no exchange", 60, 40), 1)

    def block(self, blocked: bool) -> None:
        """Memory or disk alarm, or its end."""
        if self.blocked != blocked:
            self.blocked = blocked
            self._lab.happened["broker.block"] += blocked
            self._say(amqp.Connection.Blocked(reason="low on memory") if blocked else amqp.Connection.Unblocked())

    def _drop(self, why: str) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.sink.lost(wire, why)

    # --- its connection -----------------------------------------------------------------------------------------------

    def dial(self, sink: "Sink") -> Wire | None:
        """A client connects; None if nobody is there."""
        if not self.up:
            return None
        self._wire = Wire(sink)
        return self._wire

    def hang_up(self, wire: Wire) -> None:
        """The client is gone."""
        if self._wire is wire:
            self._wire = None

    def beat(self) -> bool:
        """Whether it would have sent a heartbeat by now."""
        return self.up and not self.paused

    def hear(self, wire: Wire, method: Frame | None) -> None:
        """The client sent a method; None is AMQP's header."""
        if self._wire is not wire or self.paused:
            return
        match method:
            case None:
                self._say(amqp.Connection.Start())
            case amqp.Connection.StartOk():
                self._say(amqp.Connection.Tune(1, 131_072, 10))
            case amqp.Connection.Open():
                self._say(amqp.Connection.OpenOk())
            case amqp.Channel.Open():
                self._say(amqp.Channel.OpenOk(), 1)
            case amqp.Confirm.Select():
                self._say(amqp.Confirm.SelectOk(), 1)
            case amqp.Exchange.Declare():
                self._say(amqp.Exchange.DeclareOk(), 1)
                if self.blocked:
                    self._say(amqp.Connection.Blocked(reason="low on memory"))
            case amqp.Connection.Close():
                self._say(amqp.Connection.CloseOk())

    def _say(self, method: Frame, channel: int = 0) -> None:
        if (wire := self._wire) is not None:
            self._lab.clock.after(self._luck.randint(1, 4), lambda: wire.sink.hear(wire, channel, method))

    # --- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, wire: Wire, messages: Sequence[OutboundMessage]) -> None:
        """A write of the client arrives; one that is blocked or paused reads it later, if at all."""
        if not self.up:
            return
        if not wire.unread:
            self._lab.clock.after(0, lambda: self._read(wire))
        wire.unread.extend(messages)

    def _read(self, wire: Wire) -> None:
        if self.paused or (self.blocked and self._wire is wire):
            self._lab.clock.after(100, lambda: self._read(wire))
            return
        messages, wire.unread = wire.unread, []
        for message in messages:
            if self._wire is wire:
                wire.tag += 1
                self._take(wire, message)
            elif self.up and self._luck.random() < 0.5:
                # What a connection's last words say is done, though nobody waits for the confirm.
                self._lab.happened["broker.late"] += 1
                self.received.append(message.body)

    def _take(self, wire: Wire, message: OutboundMessage) -> None:
        happened = self._lab.happened
        luck = self._luck
        if self.nacks:
            self.nacks -= 1
            happened["broker.nack"] += 1
            self._settle(wire, ack=False)
        elif message.operation in self.unroutable:
            happened["broker.return"] += 1
            if message.message_id not in self._taken:
                self.returned[message.message_id] = message.body
            wire.sink.returned(message)
            self._settle(wire, ack=True)
        elif self.forgets:
            self.forgets -= 1
            if luck.random() < 0.5:
                happened["broker.seen_and_forgotten"] += 1
                self.received.append(message.body)
            else:
                happened["broker.forgotten"] += 1
            if not self.forgets:
                self.kill(luck.randint(200, 2000))
        else:
            self.received.append(message.body)
            self._taken.add(message.message_id)
            if self.silent:
                happened["broker.silent"] += 1
            else:
                self._settle(wire, ack=True)

    def _settle(self, wire: Wire, ack: bool) -> None:
        tag = wire.tag
        self._lab.clock.after(self._luck.randint(1, 8), lambda: wire.sink.settle(wire, tag, ack))


class Sink:
    """`wire.amqp.link.AmqpSink` without its socket: the same machine, the same ledger of flights, the same glue.

    Args:
        lab: where it stands.
        luck: for jitter.
        policy: of the session.
        on_outcomes, on_state: as the product's.
        do: runs something in the process that owns this sink, if that lives.
    """

    def __init__(
        self,
        lab: "Lab",
        luck: random.Random,
        policy: machine.Policy,
        on_outcomes: Callable[[Sequence[Outcome]], object],
        on_state: Callable[[SinkState], object],
        do: Callable[[Callable[[], object]], None],
    ) -> None:
        self._lab = lab
        self._luck = luck
        self._on_outcomes = on_outcomes
        self._on_state = on_state
        self._do = do
        self._session = machine.Session(policy)
        self.state = SinkState(Phase.DISCONNECTED)
        self._flights = Flights()
        self._outcomes: list[Outcome] = []
        self._untold: set[str] = set()
        self._wire: Wire | None = None
        self._settled = False
        self._heard_ms = self._said_ms = self._write_due = 0

    @property
    def in_flight(self) -> int:
        """As the product's."""
        return len(self._flights) + len(self._untold)

    def begin(self) -> None:
        """As the beginning of the product's `run`."""
        self._apply(machine.Start(self._lab.clock.now))
        self._tick()

    def close(self) -> None:
        """As the product's, without draining."""
        self._apply(machine.Close(self._lab.clock.now))

    def die(self) -> None:
        """The process is gone; the kernel closes its socket."""
        self._hang_up()

    def publish(self, batch: Iterable[OutboundMessage]) -> None:
        """As the product's."""
        chosen = []
        for message in batch:
            if message.message_id in self._flights or message.message_id in self._untold:
                continue
            if not self.state.takes_messages:
                self._outcome(Outcome(message.message_id, Verdict.FAILED, self.state.reason or self.state.phase, 0.0))
                continue
            self._flights.send(message.message_id, self._lab.clock.seconds)
            chosen.append(message)
        wire = self._wire
        if chosen and wire is not None:
            self._said_ms = self._lab.clock.now
            self._write_due = max(self._write_due, self._lab.clock.now + self._luck.randint(1, 4))
            self._lab.clock.after(self._write_due - self._lab.clock.now, lambda: self._lab.broker.publish(wire, chosen))

    # --- what the broker says -----------------------------------------------------------------------------------------

    def hear(self, wire: Wire, channel: int, method: Frame) -> None:
        """A method came."""
        if wire is self._wire:
            self._heard_ms = self._lab.clock.now
            event = machine.MethodReceived(self._lab.clock.now, channel, method, self._luck.random())
            self._do(lambda: self._apply(event))

    def returned(self, message: OutboundMessage) -> None:
        """Basic.Return."""
        self._flights.returned(message.message_id, f"NO_ROUTE: no queue for {message.routing_key!r}")

    def settle(self, wire: Wire, tag: int, ack: bool) -> None:
        """Basic.Ack or Basic.Nack."""
        if wire is self._wire:
            self._do(lambda: self._settle(tag, ack))

    def _settle(self, tag: int, ack: bool) -> None:
        self._heard_ms = self._lab.clock.now
        for outcome in self._flights.settle(tag, False, ack, self._lab.clock.seconds):
            self._outcome(outcome)
        if not self._settled:
            self._settled = True
            self._apply(machine.Settled(self._lab.clock.now))

    def lost(self, wire: Wire, why: str) -> None:
        """The socket broke."""
        if wire is not self._wire:
            return
        self._do(lambda: self._apply(machine.Lost(self._lab.clock.now, why, self._luck.random())))

    # --- the glue -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._lab.clock.now
        if self._wire is not None and self._lab.broker.beat() and now - self._heard_ms > 5000:
            self._heard_ms = now
        waiting_ms = round(self._flights.waiting(self._lab.clock.seconds) * 1000)
        connected = self._wire is not None
        heard_ms, said_ms = (self._heard_ms, self._said_ms) if connected else (now, now)
        self._apply(machine.Tick(now, heard_ms, said_ms, waiting_ms, self._luck.random()))
        if self._session.step is not machine.Step.CLOSED:
            self._lab.clock.after(TICK_MS, lambda: self._do(self._tick))

    def _apply(self, event: machine.Event) -> None:
        self._session, effects = machine.transition(self._session, event)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: machine.Effect) -> None:
        match effect:
            case machine.Write(_channel, method):
                self._write(method)
            case machine.Greet():
                self._write(None)
            case machine.Login():
                self._write(amqp.Connection.StartOk(client_properties={}, response=""))
            case machine.Beat():
                self._said_ms = self._lab.clock.now
            case machine.Dial():
                self._lab.clock.after(self._luck.randint(1, 5), lambda: self._do(self._dial))
            case machine.HangUp():
                self._hang_up()
            case machine.FailInFlight(why):
                for outcome in self._flights.fail_all(why, self._lab.clock.seconds):
                    self._outcome(outcome)
                self._flights = Flights()
            case machine.RestartConfirmClock():
                self._flights.restart_clock(self._lab.clock.seconds)
            case machine.Announce(state):
                self.state = state
                self._on_state(state)
            case machine.UnexpectedMethod():
                self._lab.happened["sink.unexpected"] += 1

    def _write(self, method: Frame | None) -> None:
        wire = self._wire
        if wire is not None:
            self._said_ms = self._lab.clock.now
            self._lab.clock.after(self._luck.randint(1, 4), lambda: self._lab.broker.hear(wire, method))

    def _dial(self) -> None:
        if self._session.step is not machine.Step.DIALLING:
            return
        self._wire = self._lab.broker.dial(self)
        if self._wire is not None:
            self._settled = False
            self._heard_ms = self._said_ms = self._lab.clock.now
            self._apply(machine.Dialled(self._lab.clock.now))
        else:
            self._apply(machine.Lost(self._lab.clock.now, "connection refused", self._luck.random()))

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._lab.broker.hang_up(self._wire)
            self._wire = None

    def _outcome(self, outcome: Outcome) -> None:
        if not self._outcomes:
            self._lab.clock.after(0, lambda: self._do(self._flush))
        self._outcomes.append(outcome)
        self._untold.add(outcome.message_id)

    def _flush(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        self._untold.clear()
        if outcomes:
            self._on_outcomes(outcomes)
