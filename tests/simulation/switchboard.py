"""Switchboard: the product's fold and its outbox, with the simulation's world around them."""

from typing import TYPE_CHECKING

from actors.folding import Folding
from actors.messages import (
    Doubted,
    JournalNeeded,
    OfferAnswered,
    OutcomesCame,
    SinkChanged,
)
from actors.outgoing import Outgoing
from supervision.messages import Identity, Peer
from tests.simulation.journal import PatientReader
from tests.simulation.machine import Machine, latest
from tests.simulation.places import CONNECTION, DISK_RETRY_MS, PBX, PUBLISHER
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.ledger import Ledger
from wire.store.offer import Accepted, Added, Offer, Unparked
from wire.store.snapshots import KEEP

if TYPE_CHECKING:
    from tests.simulation.lab import Lab


LOOK_MS = 1000
"""How often the journal is looked at without a ring, milliseconds (the product's)."""


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
            if self.folding.made_good_in_part:
                self.lab.in_part_since_ms = self.reader.range().first_ms
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

    def store(self) -> None:
        """As many snapshots more as are kept."""
        for _ in range(KEEP):
            self.folding._since_snapshot += 1
            self.folding.begin_snapshot()
            while self.folding.snapshot():
                pass

    def left(self) -> list[str]:
        """After `store` nothing is kept of how far calls came that are over, nor of what an operator has settled."""
        folding, ledger = self.folding, self.ledger
        [entries] = ledger._connection.execute("SELECT count(*) FROM quarantine").fetchone()
        if settled := entries - ledger.quarantine.count():
            return [f"{settled} settled entries of the quarantine are never forgotten"]
        if folding.watch.gap is not None or folding.watch.look is None:
            return []
        kept = {"pbx:" + PBX, *(f"call:{key}" for key in (*ledger.quarantine.calls(), *self.calls.states))}
        return [f"{stream}: how far it came is never forgotten" for stream in sorted(ledger.marks.all().keys() - kept)]

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
