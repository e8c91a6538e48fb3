"""The processes of one PBX's way, each with the product's logic and the simulation's world around it."""

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson

from actors.connection import last_heard_ms
from actors.messages import (
    Doubted,
    JournalNeeded,
    LinkChanged,
    SnapshotTaken,
    TakeSnapshot,
)
from actors.recovery import RecoveryActor
from supervision.messages import Identity, Peer, Place
from tests.simulation.clock import Action
from tests.simulation.journal import DrivenJournal
from tests.simulation.machine import Machine, latest
from tests.simulation.pbx import Link
from tests.simulation.places import CONNECTION, DISK_RETRY_MS, PUBLISHER, RECOVERY, SWITCHBOARD
from tests.simulation.publisher import PublisherMachine
from tests.simulation.switchboard import SwitchboardMachine
from wire.ari import session as ari
from wire.ari.ear import Ear
from wire.ari.errors import Fault
from wire.ari.hearing import Hearing, Suspicion
from wire.backoff import Backoff
from wire.host_clock import HostClock
from wire.metrics.registry import Registry
from wire.store.row import Kind

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

CLOCK_MS = 1000
"""How often Connection looks at the host's clock while no row comes, milliseconds (the product's)."""


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
        self._connect_ms = pbx.connect_timeout * 1000
        self._state: ari.State = ari.Disconnected()
        self._link: Link | None = None
        self._links = 0
        self._ear = Ear()
        self._hearing = Hearing()
        self._timer = 0
        self._stopping = False
        self._driving = False
        self._told: LinkChanged | None = None
        self._recovery: Identity | None = None
        self._orders: list[TakeSnapshot] = []
        self._settled: frozenset[str] = frozenset()
        self._doubted: frozenset[str] = frozenset()
        self._clock = HostClock(lambda: lab.clock.wall, lambda: lab.clock.boottime)
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
        before_ms = last_heard_ms(self.lab.folder / "journal", self.lab.settings.pbx[0].dead_after)
        self.journal.begin()
        self._tell_clock(True, before_ms)
        self._drive_soon()
        self.later(CLOCK_MS, self._look_at_clock)
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
                self._hearing.up(self._now_ms() - self._clock.ahead_ms)
                self._append(Kind.LINK_UP, {"generation": self._links, "app": "arimon"})
                self._say_link(LinkChanged(True, self._links))
            case ari.AnnounceDown(why, detail):
                self.lab.happened["link.given_up"] += why is ari.Down.DEAF
                explained = why is ari.Down.REPLACED and isinstance(self._state, ari.BackingOff)
                self.lab.happened["link.explained"] += explained
                self._now_ms()
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
        if self.lab.pbx.halted:
            attempt = self._state
            self.lab.pbx.wait(lambda: self._answered(attempt))
            self.later(self._connect_ms, lambda: self._give_up(attempt))
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
        self._hear()
        self._feed(ari.Opened())

    def _answered(self, attempt: ari.State) -> bool:
        """The PBX goes on; whether we still wait for that."""
        waits = self.alive and self._state is attempt
        if waits:
            self.do(self._connect)
        return waits

    def _give_up(self, attempt: ari.State) -> None:
        if self._state is attempt:
            self._feed(ari.Refused(Fault.TIMEOUT, "nobody answers", unanswered=True))

    def _hear(self) -> None:
        self._ear.hear(self.lab.clock.seconds, self.lab.clock.boottime)

    def _heard_ms(self) -> int:
        last_event_ms = self._hearing.heard_ms(self._clock.ahead_ms)
        if last_event_ms is not None:
            return last_event_ms
        return self._ear.heard_ms(self.lab.clock.boottime, self.lab.clock.wall)

    def _frame(self, link: Link | None, body: bytes) -> None:
        if link is not self._link:
            return
        self._hear()
        at_ms = self._now_ms()
        self.journal.append(Kind.FRAME, at_ms, body)
        self._hearing.event(at_ms - self._clock.ahead_ms)
        self._drive_soon()
        if b'"ApplicationReplaced"' in body:
            self._feed(ari.NameTaken())

    def _closed(self, link: Link | None, why: ari.Down, detail: str) -> None:
        if link is self._link:
            self._link = None
            self._feed(ari.Closed(why, detail))

    # --- the journal --------------------------------------------------------------------------------------------------

    def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        self._put(kind, self._now_ms(), orjson.dumps(body))
        self._drive_soon()

    def _put(self, kind: Kind, at_ms: int, body: bytes) -> None:
        self.journal.append(kind, at_ms, body)
        self.lab.row_told(at_ms, body)

    def _now_ms(self) -> int:
        if self._clock.was_set(self.lab.clock.wall):
            self._tell_clock(False, self._heard_ms() if self._links else None)
            self._drive_soon()
        return self.lab.clock.wall

    def _tell_clock(self, began: bool, heard_ms: int | None) -> None:
        told = {"boot_id": self.lab.boot_id, "ahead_ms": self._clock.ahead_ms, "began": began, "heard_ms": heard_ms}
        self._put(Kind.CLOCK, self.lab.clock.wall, orjson.dumps(told))

    def _look_at_clock(self) -> None:
        self._now_ms()
        self.later(CLOCK_MS, self._look_at_clock)

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
        events = self._hearing.events
        self.lab.pbx.snapshot(wanted, lambda found: self.do(lambda: self._took(order, events, found)))

    def _is_current(self, order: TakeSnapshot) -> bool:
        return order.link == self._links and self._link is not None

    def _took(self, order: TakeSnapshot, events: int, found: dict[str, Any] | None) -> None:
        if found is None or not self._is_current(order):
            self._looked(False)
            return
        self.lab.happened["snapshot"] += 1
        name = order.name or f"{order.purpose}-{order.link}-{order.nth}-{self.lab.clock.wall}"
        body = {"id": name, "purpose": order.purpose, "nth": order.nth, **found, "answered_ms": self.lab.clock.wall}
        suspicion = self._hearing.shown(events, frozenset(channel["id"] for channel in body["channels"]))
        if suspicion is not None:
            self.later(self._rules.dead_after * 1000, lambda: self._judge(suspicion))
        self._now_ms()
        told = {"link": order.link, "dry_run": order.dry_run, "heard_ms": self._heard_ms()}
        if suspicion is not None and self._link is not None:
            self.lab.suspect[orjson.dumps(body | told)] = self._link.number
        self._append(Kind.SNAPSHOT, body | told)
        self._settled = frozenset(channel["id"] for channel in body["channels"] if channel.get("state") == "Up")
        self._looked(True)

    def _judge(self, suspicion: Suspicion) -> None:
        if self._link is not None and (how := self._hearing.judged(suspicion)) is not None:
            self._feed(ari.Deaf(how))

    def _looked(self, taken: bool) -> None:
        order = self._orders.pop(0)
        self.later(1, lambda: self.say("looked", SnapshotTaken(order, taken)))
        if self._orders:
            self._look()


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


ROLES: dict[Place, type[Machine]] = {
    PUBLISHER: PublisherMachine,
    RECOVERY: RecoveryMachine,
    CONNECTION: ConnectionMachine,
    SWITCHBOARD: SwitchboardMachine,
}
"""The places of the tree, in the order of their start."""
