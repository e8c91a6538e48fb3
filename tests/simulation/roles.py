"""The processes of one PBX's way, each with the product's logic and the simulation's world around it."""

import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson

from actors.call import host
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call_system import CallSystem, Poisoned
from actors.carriage import Cargo, Owed
from actors.connection import last_heard_ms
from actors.folding import Folding
from actors.messages import (
    Doubted,
    JournalNeeded,
    LinkChanged,
    OfferAnswered,
    OutcomesCame,
    SinkChanged,
    SnapshotTaken,
    TakeSnapshot,
)
from actors.outgoing import Outgoing
from actors.recovery import RecoveryActor
from conf.settings import Settings
from supervision.messages import Identity, Peer, Place
from supervision.reasons import Crash
from tests.simulation.broker import Sink
from tests.simulation.bugs import Bug
from tests.simulation.clock import Action
from tests.simulation.journal import DrivenJournal, PatientReader
from tests.simulation.machine import Machine, latest
from tests.simulation.pbx import Link
from wire.amqp import session as amqp_session
from wire.ari import session as ari
from wire.ari.ear import Ear
from wire.ari.errors import Fault
from wire.backoff import Backoff
from wire.metrics.registry import Registry
from wire.sink import Outcome, SinkState
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.ledger import Ledger
from wire.store.offer import Accepted, Added, Limits, Offer, Unparked
from wire.store.outbox import Entry
from wire.store.row import Kind

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

PBX = "pbx1"
CONNECTION = Place("connection", PBX)
SWITCHBOARD = Place("switchboard", PBX)
PUBLISHER = Place("publisher", None)
RECOVERY = Place("recovery", None)

DISK_RETRY_MS = 300
"""How soon a disk that refused is asked again, milliseconds."""
LOOK_MS = 1000
"""How often the journal is looked at without a ring, milliseconds (the product's)."""
ANSWER_WAIT_MS = 5
"""The answer to an offer waits so long for the first outcomes (the product's)."""


class ConnectionMachine(Machine):
    """Link and journal."""

    def __init__(self, lab: "Lab", identity: Identity) -> None:
        super().__init__(lab, identity)
        self._luck = lab.luck(f"connection {identity.generation}")
        settings = lab.settings
        pbx = settings.pbx[0]
        self._rules = ari.Rules(
            Backoff(pbx.retry.minimum, pbx.retry.maximum), pbx.dead_after, pbx.replaced_retry, pbx.retry.maximum
        )
        self._state: ari.State = ari.Disconnected()
        self._link: Link | None = None
        self._links = 0
        self._ear = Ear()
        self._until_ms = 0
        self._heard_before_ms: int | None = None
        self._timer = 0
        self._stopping = False
        self._driving = False
        self._told: LinkChanged | None = None
        self._recovery: Identity | None = None
        self._orders: list[TakeSnapshot] = []
        self._settled: frozenset[str] = frozenset()
        self._doubted: frozenset[str] = frozenset()
        self._last_row_ms: int | None = None
        self.journal = DrivenJournal(
            lab.folder / "journal",
            settings.journal,
            self._committed,
            clock=lambda: lab.clock.wall,
            boot_id=lab.boot_id,
        )

    def start(self) -> None:
        self.open_line("link", RECOVERY, latest)
        self.open_line("looked", RECOVERY, latest)
        self._last_row_ms = last_heard_ms(self.lab.folder / "journal", self.lab.settings.pbx[0].dead_after)
        self.journal.begin()
        self._drive_soon()
        self._feed(ari.Start())

    def die(self) -> None:
        self.lab.disk.journal_touched += 1
        self.journal.die()
        if self._link is not None:
            self.lab.pbx.detach(self._link)

    def stop(self) -> None:
        self._stopping = True
        self._feed(ari.Stop())
        self.lab.disk.journal_touched += 1
        self.journal.end()
        self.leave()

    # --- the link -----------------------------------------------------------------------------------------------------

    def _feed(self, event: ari.Event) -> None:
        self._state, commands = ari.transition(
            self._rules, self._state, event, self.lab.clock.seconds, self._luck.random()
        )
        for command in commands:
            self._perform(command)

    def _perform(self, command: ari.Command) -> None:
        match command:
            case ari.Open():
                self.later(self._luck.randint(2, 30), self._connect)
            case ari.Close():
                link, self._link = self._link, None
                if link is not None:
                    self.lab.pbx.detach(link)
            case ari.SendPing():
                if self._link is not None:
                    self.lab.pbx.ping(self._link)
            case ari.SetTimer(at):
                self._timer += 1
                number = self._timer
                self.later(at * 1000 - self.lab.clock.now + 1, lambda: self._tick(number))
            case ari.CancelTimer():
                self._timer += 1
            case ari.AnnounceUp():
                self._links += 1
                told: dict[str, Any] = {"generation": self._links, "app": "arimon", "last_row_ms": self._last_row_ms}
                told |= {"until_ms": self._until_ms, "heard_ms": self._heard_before_ms}
                self._last_row_ms = None
                self._append(Kind.LINK_UP, told)
                self._say_link(LinkChanged(True, self._links))
            case ari.AnnounceDown(why, detail):
                told = {"reason": why.value, "detail": detail, "last_data_ms": self._heard_ms(), "behind_ms": 0}
                self._append(Kind.LINK_DOWN, told)
                self._say_link(LinkChanged(False, self._links))
            case ari.Unforeseen():
                self.lab.happened["link.unforeseen"] += 1

    def _say_link(self, changed: LinkChanged) -> None:
        self._told = changed
        self.say("link", changed)

    def peers_changed(self) -> None:
        recovery = self.peer(RECOVERY)
        if recovery != self._recovery:
            self._recovery = recovery
            if recovery is not None and self._told is not None:
                self.say("link", self._told)

    def _tick(self, number: int) -> None:
        if number != self._timer:
            return
        if isinstance(self._state, ari.Connected) and self._ear.heard > self._state.heard:
            self._feed(ari.Heard(self._ear.heard))
        self._feed(ari.Tick())

    def _connect(self) -> None:
        if not isinstance(self._state, ari.Connecting):
            return
        link = self.lab.pbx.attach(
            lambda body: self.do(lambda: self._frame(link, body)),
            lambda why, detail: self.do(lambda: self._closed(link, why, detail)),
            lambda: self.do(self._hear),
        )
        if link is None:
            self._feed(ari.Refused(Fault.UNREACHABLE, "nobody is there"))
            return
        self._link = link
        self._until_ms = self._ear.until_ms(self.lab.clock.seconds, self.lab.clock.wall)
        self._heard_before_ms = self._heard_ms() if self._until_ms > self.lab.clock.wall else None
        self._hear()
        self._feed(ari.Opened())

    def _hear(self) -> None:
        self._ear.hear(self.lab.clock.seconds, self.lab.clock.wall)

    def _heard_ms(self) -> int:
        return self._ear.heard_ms(self.lab.clock.seconds, self.lab.clock.wall)

    def _frame(self, link: Link | None, body: bytes) -> None:
        if link is not self._link:
            return
        self._hear()
        self.journal.append(Kind.FRAME, self.lab.clock.wall, body)
        self._drive_soon()
        if b'"ApplicationReplaced"' in body:
            self._feed(ari.NameTaken())

    def _closed(self, link: Link | None, why: ari.Down, detail: str) -> None:
        if link is self._link:
            self._link = None
            self._feed(ari.Closed(why, detail))

    # --- the journal --------------------------------------------------------------------------------------------------

    def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        self.journal.append(kind, self.lab.clock.wall, orjson.dumps(body))
        self._drive_soon()

    def operate(self, command: dict[str, Any]) -> None:
        """As the product's: an operator orders something."""
        self._append(Kind.OPERATOR, command)

    def _drive_soon(self) -> None:
        if not self._driving:
            self._driving = True
            self.later(self._luck.randint(0, 3) + self.lab.disk.delay("journal"), self._drive)

    def _drive(self) -> None:
        self._driving = False
        self.lab.most("journal waiting bytes", self.journal.waiting_bytes)
        self.lab.disk.journal_touched += 1
        if not self.journal.drive() and not self._stopping:
            self._driving = True
            self.later(DISK_RETRY_MS, self._drive)

    def _committed(self, _uuid: str, _n: int) -> None:
        self.lab.doorbell.ring(SWITCHBOARD)

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive_JournalNeeded(self, message: JournalNeeded, _sender: Peer) -> None:
        self.lab.journal_needed()
        self.journal.retire(message.positions)
        self._drive_soon()

    def receive_Doubted(self, message: Doubted, _sender: Peer) -> None:
        self._doubted = message.channels

    def receive_TakeSnapshot(self, message: TakeSnapshot, _sender: Peer) -> None:
        self._orders.append(message)
        if len(self._orders) == 1:
            self._look()

    def _look(self) -> None:
        order = self._orders[0]
        if not self._is_current(order):
            self._looked(False)
            return
        settled = self._settled
        is_second = order.nth == 2 or order.purpose == "audit"
        wanted = self._doubted.__contains__ if is_second else lambda channel: channel not in settled
        self.lab.pbx.snapshot(wanted, lambda found: self.do(lambda: self._took(order, found)))

    def _is_current(self, order: TakeSnapshot) -> bool:
        return order.link == self._links and self._link is not None

    def _took(self, order: TakeSnapshot, found: dict[str, Any] | None) -> None:
        if found is None or not self._is_current(order):
            self._looked(False)
            return
        self.lab.happened["snapshot"] += 1
        name = order.name or f"{order.purpose}-{order.link}-{order.nth}-{self.lab.clock.wall}"
        body = {"id": name, "purpose": order.purpose, "nth": order.nth, **found, "answered_ms": self.lab.clock.wall}
        told = {"link": order.link, "dry_run": order.dry_run, "heard_ms": self._heard_ms()}
        self._append(Kind.SNAPSHOT, body | told)
        self._settled = frozenset(channel["id"] for channel in body["channels"] if channel.get("state") == "Up")
        self._looked(True)

    def _looked(self, taken: bool) -> None:
        order = self._orders.pop(0)
        self.later(1, lambda: self.say("looked", SnapshotTaken(order, taken)))
        if self._orders:
            self._look()


class SwitchboardMachine(Machine):
    """Fold and outbox."""

    def __init__(self, lab: "Lab", identity: Identity) -> None:
        super().__init__(lab, identity)
        self._luck = lab.luck(f"switchboard {identity.generation}")
        self.ledger = Ledger(lab.folder / "ledger.db", lab.settings.journal.synchronous)
        self.reader = PatientReader(lab.folder / "journal", lab.disk)
        self.outgoing = Outgoing(self.ledger, lab.limits, self._offer, lambda: lab.clock.wall)
        self._offer_timer = 0
        self._doubted = Doubted(frozenset())
        self._working = False
        self._again = False
        self._stopping_until: int | None = None
        self._begin_folding()

    def _begin_folding(self) -> None:
        lab = self.lab
        self.calls = lab.make_calls()
        self.folding = Folding(PBX, lab.settings, self.ledger, self.reader, self.calls, lab.log, lambda: lab.clock.wall)

    def start(self) -> None:
        self.open_line("needed", CONNECTION, latest)
        self.open_line("doubts", CONNECTION, latest)
        self._open()

    def die(self) -> None:
        self.ledger.close()
        self.reader.close()

    def stop(self) -> None:
        self._stopping_until = self.lab.clock.now + 3500
        self._work_soon()

    # --- the start ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            if not self.ledger.is_open and self.ledger.open().set_aside is not None:
                self.lab.happened["ledger.set_aside"] += 1
            for _ in self.folding.restore():
                pass
        except (StoreUnusable, StoreDamaged) as problem:
            if problem.path == str(self.ledger.path) and isinstance(problem, StoreDamaged):
                raise
            self._begin_folding()
            self.later(DISK_RETRY_MS, self._open)
            return
        self.later(self._luck.randint(1, 50), self._restored)

    def _restored(self) -> None:
        self.lab.folded(self.folding.position)
        self._working = True
        self.peers_changed()
        self._look()
        self._retire()

    def _look(self) -> None:
        self._work_soon()
        self.later(LOOK_MS, self._look)

    def rung(self) -> None:
        self._work_soon()

    def _retire(self) -> None:
        try:
            needed = self.ledger.needed(self.lab.clock.wall - round(self.lab.settings.journal.max_age * 1000))
        except Exception:  # noqa: BLE001  # the product's figures do without; see actors.switchboard
            needed = None
        if needed is not None:
            self.say("needed", JournalNeeded(tuple(needed)))
        self.later(5000, self._retire)

    # --- work ---------------------------------------------------------------------------------------------------------

    def _work_soon(self, ms: float = 0) -> None:
        if self._working and not self._again:
            self._again = True
            self.later(ms + self._luck.randint(0, 3) + self.lab.disk.delay("ledger"), self._work)

    def _work(self) -> None:
        self._again = False
        left = self._luck.choice((1, 3, 10, 50))
        budget = iter(range(left))
        try:
            done = self.folding.fold(lambda: next(budget, None) is None)
            more = done is not None or self.folding.snapshot()
        except StoreUnusable:
            self._work_soon(DISK_RETRY_MS)
            return
        except StoreDamaged as problem:
            if problem.path == str(self.ledger.path):
                raise
            self._work_soon(DISK_RETRY_MS)
            return
        if done is not None:
            self.lab.folded(self.folding.position)
            if done.entries:
                self.outgoing.handle(Added(done.entries), self.lab.clock.now)
                self._set_offer_timer()
            if (doubts := Doubted(self.folding.watch.doubts)) != self._doubted:
                self._doubted = doubts
                self.say("doubts", doubts)
            if done.suspects:
                self.lab.happened["quarantined"] += len(done.suspects)
        if more:
            self._work_soon()
        elif self._stopping_until is not None:
            self._drained()

    def _drained(self) -> None:
        assert self._stopping_until is not None
        try:
            self.folding.begin_snapshot()
            while self.folding.snapshot():
                pass
        except StoreUnusable:
            self.lab.happened["snapshot.refused"] += 1
        late = self.lab.clock.now > self._stopping_until
        if self.outgoing.in_flight == 0 or self.outgoing.taker is None or late:
            self.leave()
        else:
            self._work_soon(50)

    # --- the outbox ---------------------------------------------------------------------------------------------------

    def _offer(self, offer: Offer) -> None:
        self.tell(PUBLISHER, offer)

    def _set_offer_timer(self) -> None:
        self.lab.most("messages held", self.outgoing.held)
        self.lab.most("commands unwritten", self.outgoing.unwritten)
        self._offer_timer += 1
        number = self._offer_timer
        if self.outgoing.refused is not None:
            self.later(DISK_RETRY_MS, lambda: self._offer_tick(number))
        elif (deadline := self.outgoing.deadline()) is not None:
            self.later(deadline - self.lab.clock.now, lambda: self._offer_tick(number))

    def _offer_tick(self, number: int) -> None:
        if number == self._offer_timer:
            self.outgoing.tick(self.lab.clock.now)
            self._set_offer_timer()

    def redrive(self) -> None:
        """As `arimon-ctl outbox redrive`."""
        parked = self.ledger.outbox.listing(rows=10_000, parked=True)
        with self.ledger.transaction():
            ids = self.ledger.outbox.unpark()
        self.lab.broker.redrives(each.entry.message.message_id for each in parked)
        self.outgoing.handle(Unparked(tuple(ids)), self.lab.clock.now)
        self._set_offer_timer()

    # --- messages -----------------------------------------------------------------------------------------------------

    def peers_changed(self) -> None:
        if self._working:
            self.outgoing.publisher_is(self.peers.get(PUBLISHER), self.lab.clock.now)
            self._set_offer_timer()

    def receive_SinkChanged(self, message: SinkChanged, sender: Peer) -> None:
        self.outgoing.sink_is(sender.identity, message.state.takes_messages)
        self.peers_changed()

    def receive_Accepted(self, message: Accepted, _sender: Peer) -> None:
        self.outgoing.handle(message, self.lab.clock.now)
        self._set_offer_timer()

    def receive_OfferAnswered(self, message: OfferAnswered, sender: Peer) -> None:
        self.outgoing.offer_answered(message, sender.identity.generation, self.lab.clock.now)
        self._set_offer_timer()

    def receive_OutcomesCame(self, message: OutcomesCame, sender: Peer) -> None:
        self.outgoing.outcomes_came(message, sender.identity.generation, self.lab.clock.now)
        self._set_offer_timer()


class PublisherMachine(Machine):
    """The one way out."""

    def __init__(self, lab: "Lab", identity: Identity) -> None:
        super().__init__(lab, identity)
        self._luck = lab.luck(f"publisher {identity.generation}")
        self._cargo = Cargo()
        self._owed = Owed()
        self._owner: Identity | None = None
        retry = lab.settings.rabbitmq.retry
        policy = amqp_session.Policy(
            where="broker:5672",
            username="guest",
            vhost="/",
            exchanges=("arimon.calls",),
            backoff=Backoff(retry.minimum, retry.maximum),
            connect_timeout_ms=2000,
            confirm_timeout_ms=round(lab.settings.publisher.confirm_timeout * 1000),
            heartbeat_s=10,
        )
        self.sink = Sink(lab, self._luck, policy, self._outcomes_came, self._state_is, self.do)

    def start(self) -> None:
        self.open_line("outcomes", SWITCHBOARD, OutcomesCame.and_then)
        self.open_line("sink", SWITCHBOARD, latest)
        self.sink.begin()

    def die(self) -> None:
        self.sink.die()

    def stop(self) -> None:
        self.sink.close()
        self.leave()

    def peers_changed(self) -> None:
        now = self.peers.get(SWITCHBOARD)
        if now is not None and now != self._owner:
            self._owner = now
            self._owed.owner_is(now)
            self.say("sink", SinkChanged(self.sink.state))

    def receive_Offer(self, message: Offer, sender: Peer) -> None:
        if message.generation == self.identity.generation and self._owed.offered(sender.identity, message):
            self.later(1, lambda: self._publish(sender.identity.place, message.offer, message.entries))

    def _publish(self, owner: Place, offer: int, entries: Sequence[Entry]) -> None:
        self._cargo.take(owner, entries)
        self.lab.most("messages at the publisher", len(self._cargo))
        self.sink.publish([entry.message for entry in entries])
        self.later(ANSWER_WAIT_MS, lambda: self._answer_due(owner, offer))

    def _answer_due(self, owner: Place, offer: int) -> None:
        if (answer := self._owed.due(owner, offer)) is not None:
            self.tell(owner, answer)

    def _outcomes_came(self, outcomes: Sequence[Outcome]) -> None:
        for owner, came in self._cargo.settle(outcomes).items():
            self.later(1, lambda owner=owner, came=came: self._batch(owner, came))  # type: ignore[misc]

    def _batch(self, owner: Place, came: OutcomesCame) -> None:
        if (answer := self._owed.answer(owner, came)) is not None:
            self.tell(owner, answer)
        else:
            self.say("outcomes", came)

    def _state_is(self, state: SinkState) -> None:
        self.say("sink", SinkChanged(state))


class RecoveryMachine(Machine):
    """When to look at what the PBX really does: the product's own methods, which need nothing of Thespian."""

    _product: Any = RecoveryActor
    peers_changed = _product.peers_changed
    receive_LinkChanged = _product.receive_LinkChanged
    receive_SnapshotTaken = _product.receive_SnapshotTaken
    _plan = _product._plan
    _look = _product._look

    def start(self) -> None:
        self.metrics = Registry()
        self._timers: Counter[str] = Counter()
        self._product.start(self, SimpleNamespace(settings=self.lab.settings))

    def after(self, seconds: float, name: str, action: Action) -> None:
        """As the product's: a second timer of the same name replaces the first."""
        self._timers[name] += 1
        number = self._timers[name]
        self.later(seconds * 1000, lambda: number == self._timers[name] and action())

    def cancel(self, name: str) -> None:
        """As the product's."""
        self._timers[name] += 1


class PlainCalls:
    """Calls in a dict: what `actors.call_system` does with actors, several times as fast."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.states: dict[str, Call] = {}

    def deliver(self, routed: Routed) -> host.Folded | Poisoned:
        try:
            folded = host.fold(self.states.get(routed.call_id), routed, PBX, self._settings)
        except Bug as problem:
            return Poisoned(Crash("Bug", str(problem)))
        if folded.ended:
            self.states.pop(routed.call_id, None)
        else:
            self.states[routed.call_id] = folded.call
        return folded

    def degrade(self, call_id: str) -> None:
        if call_id in self.states:
            self.states[call_id] = host.degrade(self.states[call_id])

    def restore(self, call_id: str, state: Call) -> None:
        self.states[call_id] = state

    replace = restore

    def dismiss(self, call_id: str) -> None:
        del self.states[call_id]


def make_calls(settings: Settings, luck: random.Random) -> "PlainCalls | CallSystem":
    """A host of calls: real actors now and then, since a plain dict is faster."""
    return CallSystem(PBX, settings) if luck.random() < 0.25 else PlainCalls(settings)


ROLES: dict[Place, type[Machine]] = {
    PUBLISHER: PublisherMachine,
    RECOVERY: RecoveryMachine,
    CONNECTION: ConnectionMachine,
    SWITCHBOARD: SwitchboardMachine,
}
"""The places of the tree, in the order of their start."""
LIMITS = Limits(window=4, entries=40, answer_ms=500, confirm_ms=8000, retry_min_ms=50, retry_max_ms=500)
"""Small, so that few messages reach them."""
