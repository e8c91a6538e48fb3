"""Switchboard: folds the journal of one PBX into calls and messages, and hosts the calls.

    doorbell → rows → world.step → calls' mailboxes → one transaction (checkpoint, outbox, quarantine) → Publisher

The doorbell only says how far the journal reaches; the journal is the queue. All work is done in slices of at most
`switchboard.slice_seconds`, between which the mailbox is looked at. A restart loads the newest snapshot and folds
again, with effects muted, up to the checkpoint; since everything is pure, what follows has the same ids as it would
have had.

A row that cannot be folded is set aside (quarantine) in the same transaction that passes it by.
"""

import os
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from actors.base import ProcessActor, latest
from actors.call import world as fold
from actors.call.effects import Unexpected
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call.world import World
from actors.call_system import CallSystem, Poisoned
from actors.inspection import call_state, call_summary
from actors.messages import JournalNeeded, JournalReaches, OfferAnswered, OutcomesCame, SinkChanged
from conf.settings import Bounds
from supervision.messages import Identity, Peer, Place, Reported, Start
from supervision.reasons import SHUTDOWN, Crash
from wire import log
from wire.control.api import CallSummary, JournalStatus, OutboxStatus, QuarantineDetail, QuarantineRow
from wire.message import OutboundMessage
from wire.metrics import names
from wire.store.codec import Codec, classes_in
from wire.store.errors import CodecError
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger, Quarantined, Stage, Suspect
from wire.store.offers import (
    Accepted,
    Added,
    Command,
    Confirmed,
    Delete,
    Failed,
    Input,
    Limits,
    Load,
    Loaded,
    Offer,
    Offers,
    Park,
    PublisherDown,
    PublisherUp,
    Returned,
    Tick,
    Unparked,
    Withdrawn,
)
from wire.store.row import Position, Row

PUBLISHER = Place("publisher", None)

SNAPSHOT_VERSION = 1
"""Raised when a stored state can no longer be folded further by the code; older snapshots are then passed over."""

_STATES = ("world", "state", "correlation", "segments", "inputs", "events")
_CODEC = Codec([Bounds, *(found for name in _STATES for found in classes_in(f"actors.call.{name}"))])
"""Which classes a snapshot may hold: those of the call core."""
_READ_BYTES = 8 * 1024 * 1024
"""Most bytes of journal read at once."""
_SNAPSHOT_SLICE = 200
"""Calls written per slice of a snapshot."""
_DRAIN_SHARE = 0.7
"""Share of the time that a stop may take in which the journal is folded to its end and messages are confirmed."""
_RETIRE_EVERY = 60.0
"""Seconds between two words to Connection about the rows still needed."""


class SwitchboardActor(ProcessActor):
    """The fold of one PBX."""

    role = "switchboard"
    starts_later = True

    def start(self, start: Start) -> None:
        self._settings = start.settings
        self._server = start.pbx.name
        self._path = start.directory / "ledger.db"
        self._ledger = Ledger(self._path, start.settings.journal.synchronous)
        opened = self._ledger.open()
        if opened.set_aside is not None:
            self.log.error("switchboard.ledger_damaged", set_aside=str(opened.set_aside), damage=opened.damage)
        self._attempt = self._ledger.begin_attempt()
        self._reader = JournalReader(start.directory / "journal")
        self._calls = CallSystem(self._server, start.settings)
        self._offers = Offers(Limits(window=start.settings.publisher.window))
        self._world = World.new(self._server)
        self._arrived: dict[int, int] = {}
        self._sink: tuple[Identity, bool] | None = None
        """The Publisher that last spoke of its sink, and whether that takes messages."""
        self._taker: Identity | None = None
        """The Publisher that we offer to."""
        self._reached: Position | None = None
        self._lag_since: float | None = None
        self._since_snapshot = 0
        self._snapshot: Iterator[None] | None = None
        self._draining_until: float | None = None
        self._unexpected_limit = log.Limit()
        self._instruments()
        self._doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._doorbell, self._slice)
        self.open_line("needed", Place("connection", self._server), latest)
        self.open_line("reports", Place("monitor", None), lambda a, b: Reported((a.reports + b.reports)[-100:]))
        self._work = self._restore()
        self._ring()

    def stop(self) -> None:
        self._draining_until = time.monotonic() + self._settings.supervision.shutdown * _DRAIN_SHARE
        self._ring()

    def answers_later(self, item: Any) -> bool:
        return isinstance(item, JournalReaches)

    def peers_changed(self) -> None:
        self._look_at_publisher()

    def details(self) -> dict[str, Any]:
        counts = self._ledger.outbox.counts()
        position = self._position
        return {
            "folded": None if position is None else position._asdict(),
            "reached": None if self._reached is None else self._reached._asdict(),
            "lag_rows": self._lag_rows(),
            "lag_seconds": self._lag_seconds(),
            "outbox": counts._asdict(),
            "in_flight": self._offers.in_flight,
            "quarantined": self._ledger.quarantine.count(),
            "calls": len(self._calls.states),
            "partitions": self._calls.partition_sizes(),
            "call_restarts": self._calls.restarts,
            "restoring": self._restoring,
        }

    # --- slices -------------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        os.eventfd_write(self._doorbell, 1)

    def _slice(self) -> None:
        """One slice of whatever there is to do; rings again if there is more."""
        try:
            os.eventfd_read(self._doorbell)
        except BlockingIOError:
            return
        until = time.monotonic() + self._settings.switchboard.slice_seconds
        more = True
        while more and time.monotonic() < until:
            more = next(self._work)
        if not self._restoring and not self._lag_rows():
            self.answer_streams()
        if more:
            self._ring()
        elif self._draining_until is not None:
            self._drained()

    def _restore(self) -> Iterator[bool]:
        """Load the newest snapshot, fold again up to the checkpoint with effects muted, then go on for ever."""
        self._restoring = True
        self._position = self._ledger.position()
        checkpoint = self._position
        position = yield from self._load_snapshot(checkpoint)
        if checkpoint is not None:
            yield from self._refold(position, checkpoint)
        self._restoring = False
        self.started()
        self._measure_slowly()
        while True:
            if not self._fold_batch():
                yield self._advance_snapshot()
            else:
                yield True

    def _load_snapshot(self, checkpoint: Position | None) -> Generator[bool, None, Position | None]:
        while checkpoint is not None and (info := self._ledger.snapshots.latest_complete()) is not None:
            calls: dict[str, Call] = {}
            try:
                if info.version != SNAPSHOT_VERSION:
                    raise CodecError("snapshot", f"is of version {info.version}, not {SNAPSHOT_VERSION}")
                for key, blob in self._ledger.snapshots.load(info.id):
                    value = _CODEC.decode(blob)
                    if isinstance(value, World):
                        self._world = value
                    else:
                        assert isinstance(value, Call)
                        calls[key] = value
                    yield True
            except CodecError as problem:
                # Rows since then are still in the journal, which keeps them for as long as this snapshot was there.
                self.log.error("switchboard.snapshot_refused", position=str(info.position), error=str(problem))
                self._ledger.snapshots.discard(info.id)
                self._world = World.new(self._server)
                continue
            for call_id, call in calls.items():
                self._calls.restore(call_id, call)
                yield True
            return info.position
        return None

    def _refold(self, position: Position | None, checkpoint: Position) -> Iterator[bool]:
        """Fold rows whose effects are in the outbox already, up to the checkpoint."""
        while position != checkpoint:
            batch = self._reader.read(position, self._settings.switchboard.batch_rows, _READ_BYTES)
            if batch is None:
                # The journal is shorter than the checkpoint: it was lost. What it still has was folded; go on.
                self.log.error("switchboard.journal_short", checkpoint=str(checkpoint), position=str(position))
                return
            skip = self._ledger.quarantine.keys(batch.uuid, batch.rows[0].n - 1, batch.rows[-1].n)
            for row in batch.rows:
                self._fold_row(batch.uuid, row, skip)
                position = Position(batch.uuid, row.n)
                yield True
                if position == checkpoint:
                    break
        self._suspects.clear()
        self._messages.clear()

    # --- folding ------------------------------------------------------------------------------------------------------

    _messages: list[OutboundMessage]
    _suspects: list[Suspect]
    _position: Position | None
    _restoring: bool

    def _fold_batch(self) -> bool:
        """Fold some rows and commit what came of them; False if there are none."""
        limit = 1 if self._stepping else self._settings.switchboard.batch_rows
        batch = self._reader.read(self._position, limit, _READ_BYTES)
        if batch is None:
            self._lag_since = None
            return False
        until = time.monotonic() + self._settings.switchboard.slice_seconds
        folded = None
        arrived: list[int] = []
        for row in batch.rows:
            if self._stepping and self._killed_us_before(batch.uuid, row):
                self._set_aside(batch.uuid, row, None, "process", "the process died twice at this row", "")
            else:
                self._fold_row(batch.uuid, row, frozenset())
            arrived.extend([row.at_ms] * (len(self._messages) - len(arrived)))
            folded = row
            if time.monotonic() > until:
                break
        assert folded is not None
        self._commit(Position(batch.uuid, folded.n), arrived)
        self._fold_latency.observe(max(0.0, _now_ms() - folded.at_ms) / 1000)
        self._since_snapshot += folded.n - batch.rows[0].n + 1
        if self._since_snapshot >= self._settings.switchboard.snapshot_rows and self._snapshot is None:
            self._begin_snapshot()
        return True

    def _fold_row(
        self, uuid: str, row: Row, skip: frozenset[tuple[int, str | None]] | set[tuple[int, str | None]]
    ) -> None:
        if (row.n, None) in skip:
            return
        try:
            step = fold.step(self._world, row, self._settings)
        except Exception as problem:  # noqa: BLE001  # whatever a row does to us, it is kept and the others go on
            self._set_aside(uuid, row, None, "correlate", repr(problem), "".join(traceback.format_exception(problem)))
            return
        if step.rejected is not None:
            self._bad_frames.add()
            self._set_aside(uuid, row, None, "decode", f"{step.rejected.reason}: {step.rejected.detail}", "")
        self._world = step.world
        self._messages.extend(step.pbx_messages)
        self._count_unexpected(step.reports)
        for routed in step.routed:
            if (row.n, routed.call_id) in skip:
                self._calls.degrade(routed.call_id)
            else:
                self._deliver(uuid, row, routed)

    def _deliver(self, uuid: str, row: Row, routed: Routed) -> None:
        known = routed.call_id in self._calls.states
        folded = self._calls.deliver(routed)
        if isinstance(folded, Poisoned):
            reason = folded.reason
            trace = reason.traceback if isinstance(reason, Crash) else ""
            self._set_aside(uuid, row, routed.call_id, "call", str(reason), trace)
            self._calls.degrade(routed.call_id)
            return
        self._messages.extend(folded.messages)
        self._count_unexpected(folded.unexpected)
        if not self._restoring:
            self._started_calls.add(not known)
            self._ended_calls.add(folded.ended)

    def _set_aside(self, uuid: str, row: Row, call_id: str | None, stage: Stage, error: str, trace: str) -> None:
        self._suspects.append(Suspect(uuid, row, call_id, stage, error, trace))
        if not self._restoring:
            self._quarantined.add()
            if (suppressed := self._unexpected_limit.admit(f"quarantine {stage}")) is not None:
                self.log.error("switchboard.row_quarantined", n=row.n, stage=stage, call_id=call_id, error=error,
                               suppressed=suppressed)  # fmt: skip

    def _killed_us_before(self, uuid: str, row: Row) -> bool:
        return self._ledger.begin_row(Position(uuid, row.n)) >= 2

    @property
    def _stepping(self) -> bool:
        """From the third start at one checkpoint on: a row here may kill the process, so they are taken singly."""
        return self._attempt >= 3

    def _commit(self, position: Position, arrived: list[int]) -> None:
        now = _now_ms()
        with self._ledger.transaction():
            self._ledger.move(position, now)
            entries = self._ledger.outbox.add(self._messages, now)
            self._ledger.quarantine.add(self._suspects, now)
        if position != self._position:
            self._attempt = 0
        self._position = position
        for message in self._messages:
            self.metrics.counter(names.MESSAGES_MADE, message.operation).add()
        self._messages.clear()
        self._suspects.clear()
        if entries:
            self._arrived.update(zip((entry.id for entry in entries), arrived, strict=True))
            self._handle(Added(tuple(entries)))

    def _count_unexpected(self, found: Sequence[Unexpected]) -> None:
        if self._restoring:
            return
        for each in found:
            self.metrics.counter(names.EVENTS_UNEXPECTED, each.event).add()
            if (suppressed := self._unexpected_limit.admit(f"{each.what} {each.event}")) is not None:
                self.log.info("call.unexpected_event", what=each.what, event_type=each.event, where=each.where,
                              detail=each.detail, suppressed=suppressed)  # fmt: skip

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _begin_snapshot(self) -> None:
        if self._position is not None:
            self._since_snapshot = 0
            # Immutable values: this copy is all calls at this row, however long it takes to write.
            self._snapshot = self._write_snapshot(self._position, self._world, dict(self._calls.states))

    def _write_snapshot(self, position: Position, world: World, calls: dict[str, Call]) -> Iterator[None]:
        snapshots = self._ledger.snapshots
        number = snapshots.begin(position, SNAPSHOT_VERSION, "", _now_ms())
        snapshots.put(number, [("", _CODEC.encode(world))])
        yield
        items = list(calls.items())
        for begin in range(0, len(items), _SNAPSHOT_SLICE):
            chosen = items[begin : begin + _SNAPSHOT_SLICE]
            snapshots.put(number, [(call_id, _CODEC.encode(call)) for call_id, call in chosen])
            yield
        snapshots.complete(number, _now_ms())

    def _advance_snapshot(self) -> bool:
        """One slice of the snapshot under way; False if there is none, or it is complete."""
        if self._snapshot is None:
            return False
        try:
            next(self._snapshot)
        except StopIteration:
            self._snapshot = None
            return False
        return True

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _drained(self) -> None:
        """Everything received is folded. Store it, and wait for what is still unconfirmed as long as time allows."""
        assert self._draining_until is not None
        if self._since_snapshot:
            self._begin_snapshot()
            while self._advance_snapshot():
                pass
        late = time.monotonic() > self._draining_until
        if self._offers.in_flight == 0 or self._taker is None or late:
            self._ledger.close()
            self._reader.close()
            self.leave(SHUTDOWN)

    # --- the outbox ---------------------------------------------------------------------------------------------------

    def _handle(self, event: Input) -> None:
        for command in self._offers.handle(event, _monotonic_ms()):
            self._carry_out(command)
        if (deadline := self._offers.deadline()) is not None:
            self.after(max(0, deadline - _monotonic_ms()) / 1000, "offers", lambda: self._handle(Tick()))

    def _carry_out(self, command: Command) -> None:
        outbox = self._ledger.outbox
        match command:
            case Offer():
                self.tell(PUBLISHER, command)
            case Delete(ids):
                with self._ledger.transaction():
                    outbox.confirm(ids)
            case Park(ids, reason):
                with self._ledger.transaction():
                    outbox.park(ids, reason, _now_ms())
            case Load(after_id, rows, max_bytes):
                entries = outbox.load(after_id, rows, max_bytes)
                self._handle(Loaded(after_id, tuple(entries)))
            case Withdrawn(ids):
                with self._ledger.transaction():
                    outbox.drop(ids)

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive_JournalReaches(self, message: JournalReaches, _sender: Peer) -> None:
        # Rung again only when this was folded, so that a busy hour rings no oftener than it is listened to.
        self._reached = message.position
        if self._lag_since is None:
            self._lag_since = time.monotonic()
        self._ring()

    def receive_SinkChanged(self, message: SinkChanged, sender: Peer) -> None:
        self._sink = (sender.identity, message.state.takes_messages)
        self._look_at_publisher()

    def _look_at_publisher(self) -> None:
        """Offer to whoever is Publisher now, if it has said that it takes messages; it may say so before Root does."""
        publisher = self.peer(PUBLISHER)
        takes = publisher is not None and self._sink == (publisher, True)
        taker = publisher if takes else None
        if taker != self._taker:
            self._taker = taker
            self._handle(PublisherDown() if taker is None else PublisherUp(taker.generation))

    def receive_Accepted(self, message: Accepted, _sender: Peer) -> None:
        self._handle(message)

    def receive_OfferAnswered(self, message: OfferAnswered, sender: Peer) -> None:
        # The outcomes first: they free the lanes for the offer that follows.
        self.receive_OutcomesCame(message.outcomes, sender)
        self._handle(message.accepted)

    def receive_OutcomesCame(self, message: OutcomesCame, sender: Peer) -> None:
        generation = sender.identity.generation
        if message.confirmed:
            now = _now_ms()
            for entry in message.confirmed:
                if (arrived := self._arrived.pop(entry, None)) is not None:
                    self._total_latency.observe(max(0, now - arrived) / 1000)
            self._handle(Confirmed(message.confirmed))
        if message.failed:
            self._handle(Failed(generation, message.failed))
        for entry, reason in message.returned:
            self._handle(Returned(generation, (entry,), reason))
        if self._draining_until is not None:
            self._ring()

    # --- figures ------------------------------------------------------------------------------------------------------

    def _instruments(self) -> None:
        self._messages, self._suspects = [], []
        self._started_calls = self.metrics.counter(names.CALLS_STARTED)
        self._ended_calls = self.metrics.counter(names.CALLS_ENDED)
        self._bad_frames = self.metrics.counter(names.FRAMES_BAD)
        self._quarantined = self.metrics.counter(names.ROWS_QUARANTINED)
        self._fold_latency = self.metrics.histogram(names.FOLD_LATENCY)
        self._total_latency = self.metrics.histogram(names.TOTAL_LATENCY)

    def _measure_slowly(self) -> None:
        """Once a second: the gauges, the calls' reports, and now and then the word about rows no longer needed."""
        counts = self._ledger.outbox.counts()
        self.metrics.gauge(names.JOURNAL_LAG).set(self._lag_rows())
        self.metrics.gauge(names.JOURNAL_LAG_SECONDS).set(self._lag_seconds())
        self.metrics.gauge(names.CALLS_ACTIVE).set(len(self._calls.states))
        self.metrics.counter(names.CALL_RESTARTS).value = self._calls.restarts
        self.metrics.gauge(names.OUTBOX_DEPTH).set(counts.waiting + counts.parked)
        self.metrics.gauge(names.MESSAGES_PARKED).set(counts.parked)
        oldest = counts.oldest_waiting_ms
        self.metrics.gauge(names.OUTBOX_AGE).set(0 if oldest is None else max(0, _now_ms() - oldest) / 1000)
        if reports := self._calls.take_reports():
            self.say("reports", Reported(tuple((_now_ms(), report) for report in reports)))
        if time.monotonic() - self._retired_at > _RETIRE_EVERY:
            self._retired_at = time.monotonic()
            self.metrics.gauge(names.JOURNAL_BYTES).set(self._reader.range().bytes)
            since = _now_ms() - int(self._settings.journal.max_age * 1000)
            self.say("needed", JournalNeeded(tuple(self._ledger.needed(since))))
        self.after(1.0, "measure", self._measure_slowly)

    _retired_at = 0.0

    def _lag_rows(self) -> int:
        if self._reached is None:
            return 0
        if self._position is None or self._position.uuid != self._reached.uuid:
            return self._reached.n
        return max(0, self._reached.n - self._position.n)

    def _lag_seconds(self) -> float:
        return 0.0 if self._lag_since is None or self._lag_rows() == 0 else time.monotonic() - self._lag_since

    # --- questions ----------------------------------------------------------------------------------------------------

    def query_calls(self) -> list[CallSummary]:
        """Every active call, in a line."""
        return [
            call_summary(call, self._server, self._calls.generation(call_id))
            for call_id, call in self._calls.states.items()
        ]

    def query_call(self, call_id: str) -> dict[str, Any] | None:
        """One active call in full; None if there is none."""
        call = self._calls.states.get(call_id)
        if call is None:
            return None
        stream = f"call:{call_id}"
        waiting = [each.entry.message.body.decode() for each in self._ledger.outbox.listing(stream=stream)]
        return {
            "summary": call_summary(call, self._server, self._calls.generation(call_id)),
            "state": call_state(call),
            "waiting": waiting,
        }

    def query_outbox(self) -> OutboxStatus:
        """How the outbox is."""
        counts = self._ledger.outbox.counts()
        return {
            "owner": str(self.identity.place),
            "depth": counts.waiting + counts.parked,
            "oldest_ms": counts.oldest_waiting_ms,
            "streams": self._offers.in_flight,
            "in_flight": self._offers.in_flight,
            "parked": counts.parked,
            "bytes": self._path.stat().st_size,
        }

    def query_outbox_redrive(self) -> int:
        """Offer parked messages again; how many there were."""
        with self._ledger.transaction():
            ids = self._ledger.outbox.unpark()
        self._handle(Unparked(tuple(ids)))
        return len(ids)

    def query_journal(self) -> JournalStatus:
        """Range and size of the journal, and how far it is folded."""
        found = self._reader.range()
        return {
            "pbx": self._server,
            "uuid": found.last.uuid if found.last else "",
            "first_n": found.first.n if found.first else 0,
            "last_n": found.last.n if found.last else 0,
            "rows": found.last.n - found.first.n + 1 if found.first and found.last else 0,
            "bytes": found.bytes,
            "segments": found.segments,
            "first_ms": found.first_ms,
            "last_ms": found.last_ms,
            "folded_n": self._position.n if self._position else 0,
            "lost": 0,
        }

    def query_quarantine(self) -> list[QuarantineRow]:
        """Rows in quarantine, oldest first."""
        return [_quarantine_row(self._server, each) for each in self._ledger.quarantine.listing(rows=1000)]

    def query_quarantine_show(self, n: int) -> QuarantineDetail | None:
        """One of them in full; None if row `n` is not there."""
        for each in self._ledger.quarantine.listing(rows=1000):
            if each.row.n == n:
                body = each.row.body.decode("utf-8", "replace")
                return {"row": _quarantine_row(self._server, each), "body": body, "traceback": each.traceback}
        return None

    def query_census(self) -> dict[str, int]:
        """Calls that ought to have an actor, and actors that there are."""
        return self._calls.census()

    def query_kill_call(self, call_id: str) -> bool:
        """End a call's actor at once; its supervisor starts a successor. False if there is no such call."""
        return self._calls.kill(call_id)


def _quarantine_row(server: str, each: Quarantined) -> QuarantineRow:
    return {
        "pbx": server,
        "n": each.row.n,
        "at_ms": each.row.at_ms,
        "call_id": each.call_id,
        "where": each.stage,
        "error": each.error,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
