"""Switchboard: folds the journal of one PBX into calls and messages, and hosts the calls.

    doorbell → rows → folding → calls' mailboxes → one transaction → outgoing → Publisher

What needs no actor stands in `actors.folding` and `actors.outgoing`, and runs in the simulation too; what is answered
to questions, in `actors.enquiries`.

The doorbell (wire.store.bell) only says that there may be something; the journal is the queue, and it is looked at once
a second without a ring too. All work is done in slices of at most `switchboard.slice_seconds`, between which the
mailbox is looked at. A restart loads the newest snapshot and folds again, with effects muted, up to the checkpoint;
since everything is pure, what follows has the same ids as it would have had.

A row that cannot be folded is set aside (quarantine) in the same transaction that passes it by. A disk that refuses is
a state, asked again after a while; it costs no restart.
"""

import contextlib
import gc
import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

from actors.base import ProcessActor, latest
from actors.batch import Committed
from actors.call.effects import Unexpected
from actors.call_system import CallSystem
from actors.enquiries import Enquiries
from actors.folding import Folding
from actors.messages import Doubted, JournalNeeded, OfferAnswered, OutcomesCame, SinkChanged
from actors.outgoing import Outgoing
from supervision.messages import Peer, Place, Reported, Start
from supervision.reasons import SHUTDOWN
from wire import log
from wire.backoff import Backoff
from wire.metrics import names
from wire.store.bell import Bell
from wire.store.database import translated
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger, Suspect
from wire.store.offer import Accepted, Added, Limits, Unparked
from wire.store.row import Position

PUBLISHER = Place("publisher", None)

_DRAIN_SHARE = 0.7
"""Share of the time that a stop may take in which the journal is folded to its end and messages are confirmed."""
_RETIRE_EVERY = 60.0
"""Seconds between two words to Connection about the rows still needed."""
_RESTORE_PATIENCE = 2.0
"""Seconds of coming back to the checkpoint after which the others need not wait for it any more.

Without a snapshot (of another version, after an upgrade) rows of hours are folded again; Connection is started after
this actor, and what it does not hear meanwhile is lost. Mostly it takes less, and then started means restored."""
_DISK_RETRY = Backoff(minimum=0.2, maximum=5.0)
"""How soon a disk that refused is asked again, seconds."""
_TIMED = 20_000
"""Messages whose way is timed from row to confirm at once: more wait only while the broker is away."""


class SwitchboardActor(ProcessActor):
    """The fold of one PBX."""

    role = "switchboard"
    starts_later = True
    answered_anyway = frozenset(
        {"calls", "call", "outbox", "journal", "quarantine", "quarantine_show", "census", "which_children"}
    )

    def start(self, start: Start) -> None:
        # The fold makes no cycles. A search for garbage through the states of all calls, as often as Python does it by
        # default, took half the time of a large conference (tests/bench/bench_replay.py --conference).
        gc.set_threshold(100_000, 10, 10)
        self._settings = start.settings
        self._server = start.pbx.name
        self._path = start.directory / "ledger.db"
        self._ledger = Ledger(self._path, start.settings.journal.synchronous)
        self._reader = JournalReader(start.directory / "journal")
        options = start.settings.publisher
        ages = {str(operation): round(seconds * 1000) for operation, seconds in options.withhold_after.items()}
        limits = Limits(window=options.window, parked=options.parked_max, ages=ages)
        self._outgoing = Outgoing(self._ledger, limits, lambda offer: self.tell(PUBLISHER, offer), _now_ms)
        self._begin_folding()
        self._arrived: dict[int, int] = {}
        self._reached: Position | None = None
        """How far the journal reached when we last looked, once a second."""
        self._lag_since: float | None = None
        self._refused: str | None = None
        """What the disk said when it last refused; None while it works."""
        self._refusals = 0
        self._draining_until: float | None = None
        self._retired_at = 0.0
        """When Connection was last told of the rows still needed; on the clock of `time.monotonic`."""
        self._unexpected_limit = log.Limit()
        self._instruments()
        self._bell = Bell(start.directory / "bell")
        self.watch(self._bell.fileno, self._slice)
        self._more = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when we have told ourselves to go on."""
        self.watch(self._more, self._slice)
        self.open_line("needed", Place("connection", self._server), latest)
        self.open_line("doubts", Place("connection", self._server), latest)
        self._doubted = Doubted(frozenset())
        self.open_line("reports", Place("monitor", None), lambda a, b: Reported((a.reports + b.reports)[-100:]))
        self._work = self._restore()
        self._go_on()

    def _begin_folding(self) -> None:
        self._calls = CallSystem(self._server, self._settings)
        self._folding = Folding(
            self._server, self._settings, self._ledger, self._reader, self._calls, self.log, _now_ms
        )
        self.enquiries = Enquiries(
            self._server,
            self.identity.place,
            self._ledger,
            self._reader,
            self._outgoing,
            self._calls,
            self._folding,
        )

    def stop(self) -> None:
        self._draining_until = time.monotonic() + self._settings.supervision.shutdown * _DRAIN_SHARE
        self._go_on()

    def peers_changed(self) -> None:
        self._look_at_publisher()

    def measure(self) -> None:
        # While suspended too: then the figures show what piles up, and nothing is folded.
        self._bell.mend()
        self._look_how_far()
        if self._refused is None:
            self._go_on()

    def details(self) -> dict[str, Any]:
        position = self._position
        is_open = self._ledger.is_open
        return {
            "folded": None if position is None else position._asdict(),
            "reached": None if self._reached is None else self._reached._asdict(),
            "lag_rows": self._lag_rows(),
            "lag_seconds": self._lag_seconds(),
            "outbox": self._ledger.outbox.counts()._asdict() if is_open else None,
            "in_flight": self._outgoing.in_flight,
            "held_up": self._outgoing.held_up,
            "quarantined": self._ledger.quarantine.count() if is_open else 0,
            "calls": len(self._calls.states),
            "partitions": self._calls.partition_sizes(),
            "call_restarts": self._calls.restarts,
            "restoring": self._folding.restoring,
            "made_good_in_part": self._folding.made_good_in_part,
            "disk": self._refused,
        }

    @property
    def _position(self) -> Position | None:
        return self._folding.position

    # --- slices -------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        os.eventfd_write(self._more, 1)

    def _is_called(self) -> bool:
        """Whether there was a reason to look. All of them are taken: they are one."""
        # While the disk refuses it is asked again by its timer, and not as often as rows come.
        rung = self._bell.answer() and self._refused is None
        try:
            os.eventfd_read(self._more)
        except BlockingIOError:
            return rung
        return True

    def _slice(self) -> None:
        """One slice of whatever there is to do; goes on at the next turn if there is more."""
        if not self._is_called():
            return
        until = time.monotonic() + self._settings.switchboard.slice_seconds
        more = True
        while more and time.monotonic() < until:
            more = next(self._work)
        if more:
            self._go_on()
        elif self._draining_until is not None:
            self._drained()

    def _restore(self) -> Iterator[bool]:
        """Open the ledger, come back to the checkpoint, then go on for ever. Yields whether there is more to do now."""
        while not self._opened():
            yield False
        patience = time.monotonic() + _RESTORE_PATIENCE
        while self._folding.restoring:
            try:
                for _ in self._folding.restore():
                    if time.monotonic() > patience:
                        self._started_at_last()
                    yield True
            except (StoreUnusable, StoreDamaged) as problem:
                self._disk_refused(problem)
                self._begin_folding()
                yield False
        self._started_at_last()
        self._disk_works()
        self.metrics.counter(names.LEDGERS_IN_PART).add(self._folding.made_good_in_part)
        self._look_at_publisher()
        self._measure_slowly()
        while True:
            yield self._fold()

    def _started_at_last(self) -> None:
        if self._starting:
            self.started()

    def _opened(self) -> bool:
        try:
            opened = self._ledger.open()
        except StoreUnusable as problem:
            self._disk_refused(problem)
            return False
        if opened.set_aside is not None:
            self.log.error("switchboard.ledger_damaged", set_aside=str(opened.set_aside), damage=opened.damage)
        return True

    def _fold(self) -> bool:
        """Fold some rows, or write a slice of a snapshot; False if there is neither, or the disk refuses."""
        until = time.monotonic() + self._settings.switchboard.slice_seconds
        try:
            done = self._folding.fold(lambda: time.monotonic() > until)
            more = done is not None or self._folding.snapshot()
        except (StoreUnusable, StoreDamaged) as problem:
            self._disk_refused(problem)
            return False
        self._disk_works()
        if done is None:
            self._lag_since = None
        else:
            self._account(done)
        return more

    def _disk_refused(self, problem: StoreUnusable | StoreDamaged) -> None:
        """Ask again later. A journal whose end cannot be read is one: Connection finds it too, and begins another."""
        if isinstance(problem, StoreDamaged) and problem.path == str(self._path):
            raise problem  # the next start sets it aside
        self._refused = str(problem)
        self._refusals += 1
        # It goes on by itself once the disk is back; to be restarted would help nobody.
        self._started_at_last()
        if (suppressed := self._unexpected_limit.admit("disk")) is not None:
            self.log.error("switchboard.disk_refuses", error=str(problem), suppressed=suppressed)
        self.after(_DISK_RETRY.bound(self._refusals + 1) * (0.5 + random.random() / 2), "disk", self._go_on)  # noqa: S311  # jitter

    def _disk_works(self) -> None:
        if self._refused is not None:
            self.log.info("switchboard.disk_works")
        self._refused, self._refusals = None, 0

    def _account(self, done: Committed) -> None:
        """Count what was committed, and offer it."""
        self._fold_latency.observe(max(0.0, _now_ms() - done.at_ms) / 1000)
        self._started_calls.add(done.began)
        self._ended_calls.add(done.ended)
        self._bad_frames.add(done.rejected)
        self._quarantined.add(len(done.suspects))
        for suspect in done.suspects:
            self._tell_set_aside(suspect)
        for attempt in done.attempts:
            if attempt.dropped:
                self.log.info("switchboard.row_dropped", n=attempt.at.n)
                continue
            self.log.info("switchboard.row_redriven", n=attempt.at.n, applied=attempt.error is None,
                          error=attempt.error)  # fmt: skip
        self._count_unexpected(done.unexpected)
        if (doubts := Doubted(self._folding.watch.doubts)) != self._doubted:
            self._doubted = doubts
            self.say("doubts", doubts)
        for entry in done.entries:
            self.metrics.counter(names.MESSAGES_MADE, entry.message.operation).add()
        if len(self._arrived) < _TIMED:
            self._arrived.update(zip((entry.id for entry in done.entries), done.arrived, strict=True))
        if done.entries:
            self._outgoing.handle(Added(done.entries), _monotonic_ms())
            self._set_offer_timer()

    def _tell_set_aside(self, suspect: Suspect) -> None:
        if (suppressed := self._unexpected_limit.admit(f"quarantine {suspect.stage}")) is not None:
            self.log.error("switchboard.row_quarantined", n=suspect.row.n, stage=suspect.stage, error=suspect.error,
                           call_id=suspect.call_id, suppressed=suppressed)  # fmt: skip

    def _count_unexpected(self, found: Sequence[Unexpected]) -> None:
        for each in found:
            self.metrics.counter(names.EVENTS_UNEXPECTED, each.event).add()
            if (suppressed := self._unexpected_limit.admit(f"{each.what} {each.event}")) is not None:
                self.log.info("call.unexpected_event", what=each.what, event_type=each.event, where=each.where,
                              detail=each.detail, suppressed=suppressed)  # fmt: skip

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _drained(self) -> None:
        """Everything received is folded. Store it, and wait for what is still unconfirmed as long as time allows."""
        assert self._draining_until is not None
        # What cannot be stored is folded again by the next start.
        with contextlib.suppress(StoreUnusable):
            self._folding.begin_snapshot()
            while self._folding.snapshot():
                pass
        late = time.monotonic() > self._draining_until
        if self._outgoing.in_flight == 0 or self._outgoing.taker is None or late:
            self._ledger.close()
            self._reader.close()
            self.leave(SHUTDOWN)
            self._bell.close()

    # --- the outbox ---------------------------------------------------------------------------------------------------

    def _set_offer_timer(self) -> None:
        if self._outgoing.refused is not None:
            self._disk_refused(self._outgoing.refused)
            self.after(_DISK_RETRY.maximum, "offers", self._offer_tick)
        elif (deadline := self._outgoing.deadline()) is not None:
            self.after(max(0, deadline - _monotonic_ms()) / 1000, "offers", self._offer_tick)

    def _offer_tick(self) -> None:
        self._outgoing.tick(_monotonic_ms())
        self._set_offer_timer()

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive_SinkChanged(self, message: SinkChanged, sender: Peer) -> None:
        self._outgoing.sink_is(sender.identity, message.state.takes_messages)
        self._look_at_publisher()

    def _look_at_publisher(self) -> None:
        # Before the ledger is open there is nothing to offer from; `_restore` looks again.
        if self._ledger.is_open:
            self._outgoing.publisher_is(self.peer(PUBLISHER), _monotonic_ms())
            self._set_offer_timer()

    def receive_Accepted(self, message: Accepted, _sender: Peer) -> None:
        self._outgoing.handle(message, _monotonic_ms())
        self._set_offer_timer()

    def receive_OfferAnswered(self, message: OfferAnswered, sender: Peer) -> None:
        self._outgoing.offer_answered(message, sender.identity.generation, _monotonic_ms())
        self._outcomes_came(message.outcomes)

    def receive_OutcomesCame(self, message: OutcomesCame, sender: Peer) -> None:
        self._outgoing.outcomes_came(message, sender.identity.generation, _monotonic_ms())
        self._outcomes_came(message)

    def _outcomes_came(self, outcomes: OutcomesCame) -> None:
        now = _now_ms()
        for entry in outcomes.confirmed:
            if (arrived := self._arrived.pop(entry, None)) is not None:
                self._total_latency.observe(max(0, now - arrived) / 1000)
        for entry, _reason in outcomes.returned:
            self._arrived.pop(entry, None)
        self._set_offer_timer()
        if self._draining_until is not None:
            self._go_on()

    # --- figures ------------------------------------------------------------------------------------------------------

    def _instruments(self) -> None:
        self._started_calls = self.metrics.counter(names.CALLS_STARTED)
        self._ended_calls = self.metrics.counter(names.CALLS_ENDED)
        self._bad_frames = self.metrics.counter(names.FRAMES_BAD)
        self._quarantined = self.metrics.counter(names.ROWS_QUARANTINED)
        self._fold_latency = self.metrics.histogram(names.FOLD_LATENCY)
        self._total_latency = self.metrics.histogram(names.TOTAL_LATENCY)

    def _measure_slowly(self) -> None:
        """Once a second: the gauges, the calls' reports, and now and then the word about rows no longer needed."""
        self._measure_calls()
        try:
            with translated(self._path):
                self._measure_ledger()
        except StoreUnusable as problem:
            self._disk_refused(problem)
        self.after(1.0, "measure", self._measure_slowly)

    def _measure_calls(self) -> None:
        self.metrics.gauge(names.JOURNAL_LAG).set(self._lag_rows())
        self.metrics.gauge(names.JOURNAL_LAG_SECONDS).set(self._lag_seconds())
        self.metrics.gauge(names.CALLS_ACTIVE).set(len(self._calls.states))
        self.metrics.counter(names.CALL_RESTARTS).value = self._calls.restarts
        if reports := self._calls.take_reports():
            self.say("reports", Reported(tuple((_now_ms(), report) for report in reports)))

    def _measure_ledger(self) -> None:
        counts = self._ledger.outbox.counts()
        self.metrics.gauge(names.OUTBOX_DEPTH).set(counts.waiting + counts.parked)
        self.metrics.gauge(names.MESSAGES_PARKED).set(counts.parked)
        self._measure_way_out()
        oldest = counts.oldest_waiting_ms
        self.metrics.gauge(names.OUTBOX_AGE).set(0 if oldest is None else max(0, _now_ms() - oldest) / 1000)
        if time.monotonic() - self._retired_at > _RETIRE_EVERY:
            self._retired_at = time.monotonic()
            self.metrics.gauge(names.JOURNAL_BYTES).set(self._reader.range().bytes)
            since = _now_ms() - int(self._settings.journal.max_age * 1000)
            self.say("needed", JournalNeeded(tuple(self._ledger.needed(since))))

    def _measure_way_out(self) -> None:
        """What does not go the ordinary way; the log says when streams begin to wait."""
        for operation, count in self._outgoing.withheld.items():
            counted = self.metrics.counter(names.MESSAGES_WITHHELD, operation)
            if more := round(count - counted.value):
                counted.value = count
                self.log.warning("switchboard.messages_withheld", operation=operation, count=more)
        held_up = self._outgoing.held_up
        self.metrics.gauge(names.STREAMS_HELD_UP).set(held_up)
        if held_up and (suppressed := self._unexpected_limit.admit("held up")) is not None:
            self.log.error("switchboard.parked_max_reached", streams=held_up, suppressed=suppressed)

    def _look_how_far(self) -> None:
        # If it cannot be read, the fold meets that too, and says so.
        with contextlib.suppress(StoreUnusable, StoreDamaged):
            self._reached = self._reader.last()
        if not self._lag_rows():
            self._lag_since = None
        elif self._lag_since is None:
            self._lag_since = time.monotonic()

    def _lag_rows(self) -> int:
        if self._reached is None:
            return 0
        if self._position is None or self._position.uuid != self._reached.uuid:
            return self._reached.n
        return max(0, self._reached.n - self._position.n)

    def _lag_seconds(self) -> float:
        return 0.0 if self._lag_since is None or self._lag_rows() == 0 else time.monotonic() - self._lag_since

    # --- orders -------------------------------------------------------------------------------------------------------

    def query_outbox_redrive(self) -> int:
        """Offer parked messages again; how many there were."""
        with self._ledger.transaction():
            ids = self._ledger.outbox.unpark()
        self._outgoing.handle(Unparked(tuple(ids)), _monotonic_ms())
        self._set_offer_timer()
        return len(ids)

    def query_kill_call(self, call_id: str) -> bool:
        """End a call's actor at once; its supervisor starts a successor. False if there is no such call."""
        return self._calls.kill(call_id) and self._resumed(call_id)

    def query_ask_within(self, path: str, name: str, arguments: dict[str, Any]) -> Any:
        """Ask a call (`call/ID`) or a partition (`calls/INDEX`) what every process is asked; None if there is none."""
        kind, _, key = path.partition("/")
        if kind == "calls" or key not in self._calls.states:
            return self._calls.enquire(path, name, arguments)
        match name:
            case "suspend":
                self._folding.suspend(key)
                return f"the call {key} is suspended; its inputs are kept until it is resumed"
            case "resume" if key in self._folding.waiting:
                count = self._folding.waiting.counts()[key]
                self._resumed(key)
                return f"the call {key} goes on; {count} inputs had been kept for it"
            case "resume":
                return f"the call {key} was not suspended"
            case "restart":
                return self._calls.restart(key) and self._resumed(key)
            case "statistics":
                counts = self._folding.waiting.counts()
                more = {
                    "generation": self._calls.generation(key),
                    "suspended": key in counts,
                    "held": counts.get(key, 0),
                }
                return self._calls.enquire(path, name, arguments) | more
        return self._calls.enquire(path, name, arguments)

    def _resumed(self, call_id: str) -> bool:
        """A successor is not suspended, as nobody has told it to be."""
        if call_id in self._folding.waiting:
            self._folding.resume(call_id)
            self._go_on()
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
