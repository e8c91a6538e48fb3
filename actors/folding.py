"""The fold of one PBX's journal, with its state on disk: what Switchboard does, without actors, clocks and sockets.

    restore()     the newest snapshot, and the rows since then folded again with effects muted
    fold(enough)  some rows, and one transaction: checkpoint, outbox, quarantine
    snapshot()    one slice of the snapshot under way

Whoever drives it decides when, and reads the outcome as data; the Switchboard (actors.switchboard) does it by the
doorbell, the simulation (tests/simulation) by its schedule.

A disk that refuses is a state: what was folded and could not be committed is kept, nothing more is folded, and the next
`fold` tries to commit that first. So the state is never more than one batch ahead of the checkpoint.
"""

import hashlib
import pkgutil
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import actors.call
from actors.call import redrive, world
from actors.call.effects import Unexpected
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.recovery import Watch
from actors.call.shelf import Shelf
from actors.call.state import Call
from actors.call.world import World
from actors.waiting import KEY as WAITING_KEY
from actors.waiting import Kept, Waiting
from conf.settings import Bounds, Settings
from supervision.reasons import Crash
from wire.message import OutboundMessage
from wire.store.codec import Codec, classes_in
from wire.store.database import translated
from wire.store.errors import CodecError, StoreUnusable
from wire.store.journal import JournalReader
from wire.store.ledger import Attempt, Ledger, Quarantined, Stage, Suspect
from wire.store.marks import Phase
from wire.store.outbox import Entry
from wire.store.row import Position, Row

if TYPE_CHECKING:  # its module imports Thespian
    from actors.call_system import Poisoned

SNAPSHOT_VERSION = 2
"""Raised when a stored state can no longer be folded further by the code; older snapshots are then passed over."""

_CORE = sorted(module.name for module in pkgutil.iter_modules(actors.call.__path__, "actors.call."))
CODEC = Codec([Bounds, Shelf, *(found for name in _CORE for found in classes_in(name))])
"""Which classes a snapshot may hold: those of the call core, in whichever of its modules."""
_READ_BYTES = 8 * 1024 * 1024
"""Most bytes of journal read at once."""
_SNAPSHOT_SLICE = 200
"""Calls written per slice of a snapshot."""
_ROWS_PER_CALL = 20
"""Rows folded between two snapshots for each call that they hold: a snapshot then costs a fifteenth of the folding (0.1
ms for a call, 0.07 ms for a row), and a restart need not fold 5,000 rows again for the sake of 40 calls."""
_FEWEST_ROWS = 1000
"""Fewer than so many rows are folded again in no time."""
_SUSPECTED_AFTER = 3
"""Starts at one checkpoint after which a row is suspected of killing the process, so that rows are taken singly."""
_SURVIVED = 2
"""Deaths at a row after which it is not tried again."""


class Calls(Protocol):
    """Whoever hosts the calls: actors, or in a simulation a dict."""

    @property
    def states(self) -> dict[str, Call]:
        """Each active call's state. Immutable values: a copy of the dict is a snapshot."""

    def deliver(self, routed: Routed) -> "Folded | Poisoned":
        """Give an input to its call; `Poisoned` if it cannot be taken, and the call is as before."""

    def degrade(self, call_id: str) -> None:
        """A row of this call was set aside."""

    def restore(self, call_id: str, state: Call) -> None:
        """Put a call of a snapshot back."""

    def replace(self, call_id: str, state: Call) -> None:
        """Give an active call another state."""

    def dismiss(self, call_id: str) -> None:
        """Forget an active call without a word."""


class Complaints(Protocol):
    """A log, for what an operator must know."""

    def error(self, event: str, **keys: Any) -> Any:
        """Write an error."""


class Committed(NamedTuple):
    """What one `fold` made of some rows. All of it is committed."""

    rows: int
    """How many."""
    at_ms: int
    """When we had the last of them, Unix milliseconds."""
    entries: tuple[Entry, ...]
    """New in the outbox, in order: to be offered."""
    arrived: tuple[int, ...]
    """For each entry, when we had the row that caused it, Unix milliseconds."""
    suspects: tuple[Suspect, ...]
    """Set aside."""
    rejected: int
    """Rows that the PBX got wrong; they are among the suspects."""
    unexpected: tuple[Unexpected, ...]
    """To be counted and logged."""
    began: int
    """Calls."""
    ended: int
    """Calls."""
    attempts: tuple[Attempt, ...]
    """What became of what an operator ordered to be applied once more."""


@dataclass(slots=True)
class _Batch:
    """What is being folded, or waits for the disk."""

    position: Position | None = None
    rows: int = 0
    at_ms: int = 0
    messages: list[OutboundMessage] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    rejected: int = 0
    unexpected: list[Unexpected] = field(default_factory=list)
    began: int = 0
    ended: list[str] = field(default_factory=list)
    amended: dict[str, int] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)


_STREAM = "call:"
Aside = Mapping[tuple[int, str | None], int]
"""What a refold leaves out: see `Quarantine.keys`."""
_NOTHING: Aside = {}


class Folding:
    """The fold and its state.

    Args:
        server: the PBX's name in conf.
        settings: what is configured.
        ledger: open; its only writer.
        reader: of the PBX's journal.
        calls: host of the calls; empty.
        log: for what an operator must know.
        clock: Unix milliseconds, for notes in the ledger only: what is published takes its time from the rows.
    """

    def __init__(
        self,
        server: str,
        settings: Settings,
        ledger: Ledger,
        reader: JournalReader,
        calls: Calls,
        log: Complaints,
        clock: Callable[[], int],
    ) -> None:
        self._server = server
        self._settings = settings
        self._options = settings.switchboard
        self._ledger = ledger
        self._reader = reader
        self._calls = calls
        self._log = log
        self._clock = clock
        self._world = World.new(server)
        self._batch = _Batch()
        self._uncommitted = False
        self._singly = 0
        self._since_snapshot = 0
        self._snapshot: Iterator[None] | None = None
        self._closed: set[str] = set()
        """Calls that ended in rows that are gone: of these nothing more is said."""
        self._ended: set[str] = set()
        """Streams that have ended since the last complete snapshot."""
        self._over: set[str] = set()
        """Calls that ended before the world knows of it, since they were not told of all their channels: what comes for
        them would begin them anew."""
        self._unknown: dict[str, int] = {}
        """Calls that began in rows that are gone, and their last sequence."""
        self.waiting = Waiting()
        """Inputs of suspended calls."""
        self._snapshot_due = False
        """A call was resumed: the next commit is followed by a snapshot."""
        self.position: Position | None = None
        """The checkpoint: up to here all is done and committed."""
        self.restoring = True
        """Until `restore` is through."""

    # --- the start ----------------------------------------------------------------------------------------------------

    @property
    def watch(self) -> Watch:
        """How well the PBX is seen: gaps and doubts."""
        return self._world.watch

    def restore(self) -> Iterator[None]:
        """Begin where the ledger's checkpoint is; comes up for air after every row.

        Raises:
            StoreUnusable: the disk refuses; make a new Folding and try again.
            StoreDamaged: as `fold`; where it is the journal's end, make a new Folding and try again.
        """
        with translated(self._ledger.path):
            yield from self._restore()

    def _restore(self) -> Iterator[None]:
        if self._ledger.begin_attempt() >= _SUSPECTED_AFTER or self._ledger.row_begun():
            self._singly = self._options.batch_rows
        checkpoint = self._ledger.position()
        if checkpoint is None:
            # A new ledger, perhaps in place of a lost one: then this publishes again, under the same ids.
            self.position = yield from self._reader.rewound(int(self._options.rebuild_window * 1000))
            if self.position is not None:
                self._log.error("switchboard.rebuilt_in_part", position=str(self.position))
        else:
            self.position = checkpoint
            position = yield from self._load_snapshot()
            yield from self._refold(position, checkpoint)
            self._batch, self._uncommitted = _Batch(), False
            self._catch_up(self._resume_all())
        self.restoring = False

    def _load_snapshot(self) -> Generator[None, None, Position | None]:
        while (info := self._ledger.snapshots.latest_complete()) is not None:
            calls: dict[str, Call] = {}
            try:
                if info.version != SNAPSHOT_VERSION:
                    raise CodecError("snapshot", f"is of version {info.version}, not {SNAPSHOT_VERSION}")
                for key, blob in self._ledger.snapshots.load(info.id):
                    value = CODEC.decode(blob)
                    if isinstance(value, World):
                        self._world = value
                    elif key == WAITING_KEY:
                        self.waiting = Waiting.of(value)
                    else:
                        assert isinstance(value, Call)
                        calls[key] = value
                    yield
            except CodecError as problem:
                # Rows since then are still in the journal, which keeps them for as long as this snapshot was there.
                self._log.error("switchboard.snapshot_refused", position=str(info.position), error=str(problem))
                self._ledger.snapshots.discard(info.id)
                self._world = World.new(self._server)
                self.waiting = Waiting()
                continue
            for call_id, call in calls.items():
                self._calls.restore(call_id, call)
                yield
            ended = {stream for stream, mark in self._ledger.marks.all().items() if mark.phase is Phase.ENDED}
            known = self._world.correlation.calls
            self._over = {call_id for call_id in known if call_id not in calls and _stream(call_id) in ended}
            return info.position
        return None

    def _refold(self, position: Position | None, checkpoint: Position) -> Iterator[None]:
        """Fold rows whose effects are in the outbox already, up to the checkpoint."""
        while position != checkpoint:
            batch = self._reader.read(position, self._options.batch_rows, _READ_BYTES)
            rows = [] if batch is None or self._is_beyond(batch.uuid, checkpoint) else batch.rows
            if batch is not None and batch.uuid == checkpoint.uuid:
                # One row may stand for many lost ones, and so reach beyond the checkpoint.
                rows = [row for row in rows if row.n <= checkpoint.n]
            if batch is None or not rows:
                # Rows that were folded are gone. What the journal still has was folded; go on behind the checkpoint.
                self._log.error("switchboard.journal_short", checkpoint=str(checkpoint), position=str(position))
                return
            skip = self._ledger.quarantine.keys(batch.uuid, rows[0].n - 1, rows[-1].n)
            for row in rows:
                if redrive.ordered(row) is None:
                    self._fold_row(batch.uuid, row, skip)
                else:
                    self._redrive_as_before(row, Position(batch.uuid, row.n))
                self._since_snapshot += 1
                position = Position(batch.uuid, row.n)
                yield

    def _is_beyond(self, uuid: str, checkpoint: Position) -> bool:
        """Whether a journal is a later one than the checkpoint's: the rest of that one is gone then."""
        if uuid == checkpoint.uuid:
            return False
        following = self._reader.read(checkpoint, 1, _READ_BYTES)
        return following is not None and following.uuid == uuid

    def _catch_up(self, ahead: Collection[str]) -> None:
        """See to it that what comes next has the next numbers, also where rows since the snapshot are gone.

        Where none is gone, every state stands at its stream's mark already.

        Args:
            ahead: calls that may be ahead of their marks, since what they made waits for its commit.
        """
        marks = self._ledger.marks.all()
        own = marks.pop(_own_stream(self._server), None)
        behind = []
        if self._world.sequence != (sequence := 0 if own is None else own.sequence):
            behind.append(_own_stream(self._server))
            self._world = self._world._replace(sequence=sequence)
        for call_id, made in list(self._calls.states.items()):
            if made.sequence and _stream(call_id) not in marks and call_id not in ahead:
                # Of rows that came to stand where folded ones were lost: nobody was told of them.
                self._calls.replace(call_id, made.lived(0, made.legs, made.life))
                behind.append(_stream(call_id))
        for stream, mark in marks.items():
            call_id = stream.removeprefix(_STREAM)
            call = self._calls.states.get(call_id)
            if call_id in ahead and (call is None or call.sequence >= mark.sequence):
                continue
            if mark.phase is Phase.CLOSED:
                self._closed.add(call_id)
            elif call is None and mark.phase is Phase.OPEN:
                self._unknown[call_id] = mark.sequence
            elif call is not None and mark.phase is Phase.ENDED:
                self._closed.add(call_id)
            elif mark.phase is Phase.ENDED:
                self._ended.add(stream)
            elif call is not None and call.sequence != mark.sequence:
                self._calls.replace(call_id, call.lived(mark.sequence, call.legs, call.life))
                behind.append(stream)
        again = [call_id for call_id in self._closed if call_id in self._calls.states]
        for call_id in again:
            self._calls.dismiss(call_id)
        if again:
            with self._ledger.transaction():
                self._ledger.marks.close(map(_stream, again))
        if behind or again or self._unknown:
            self._log.error(
                "switchboard.states_behind", streams=behind[:20], ended=again[:20], unknown=list(self._unknown)[:20]
            )

    # --- folding ------------------------------------------------------------------------------------------------------

    def fold(self, enough: Callable[[], bool]) -> Committed | None:
        """Fold some rows and commit what came of them.

        Args:
            enough: asked after each row whether to stop here and commit.

        Returns:
            None if there are no rows.

        Raises:
            StoreUnusable: the disk refuses; call it again later.
            StoreDamaged: the ledger is damaged, this process must begin anew; or the journal's end is, and its writer
                will begin another.
        """
        if not self._uncommitted and not self._fold_rows(enough):
            return None
        return self._commit()

    def _fold_rows(self, enough: Callable[[], bool]) -> bool:
        read = self._reader.read(self.position, 1 if self._singly else self._options.batch_rows, _READ_BYTES)
        if read is None:
            return False
        batch = self._batch
        row = read.rows[0]
        if self._singly and self._ledger.begin_row(Position(read.uuid, row.n)) >= _SURVIVED:
            error = "the process died twice at this row"
            if (order := redrive.ordered(row)) is None:
                self._set_aside(read.uuid, row, None, "process", error, "")
            else:
                at = Position(read.uuid, row.n)
                batch.attempts = [Attempt(each.id, order.id, at, error) for each, _aside, _told in self._entries(order)]
            self._folded(read.uuid, row)
            return True
        for row in read.rows:
            if (order := redrive.ordered(row)) is None:
                self._fold_row(read.uuid, row, _NOTHING)
            elif batch.rows:
                break  # what it applies must be in the ledger, which may refuse to say: it begins the next batch
            else:
                self._redrive(order, row, Position(read.uuid, row.n))
            self._folded(read.uuid, row)
            if enough():
                break
        return True

    def _folded(self, uuid: str, row: Row) -> None:
        """A row is done but for its commit."""
        batch = self._batch
        batch.rows += 1
        batch.arrived.extend([row.at_ms] * (len(batch.messages) - len(batch.arrived)))
        batch.position, batch.at_ms = Position(uuid, row.n), row.at_ms
        self._uncommitted = True

    def _commit(self) -> Committed:
        batch = self._batch
        assert batch.position is not None
        now_ms = self._clock()
        entries: list[Entry] = []
        try:
            with self._ledger.transaction():
                self._ledger.move(batch.position, now_ms)
                entries = self._ledger.outbox.add(batch.messages, now_ms)
                self._ledger.quarantine.add(batch.suspects, now_ms)
                self._ledger.quarantine.settle(batch.attempts, now_ms)
                sequences = {each.stream: each.sequence for each in batch.messages}
                self._ledger.marks.move(
                    {stream: last for stream, last in sequences.items() if stream not in batch.amended}, batch.ended
                )
                self._ledger.marks.amend(batch.amended)
        except StoreUnusable:
            if not self._was_made(batch.position, entries):
                raise
        self.position = batch.position
        self._ended.update(batch.ended, batch.amended)
        self._uncommitted = False
        self._batch = _Batch()
        self._singly = max(0, self._singly - batch.rows)
        self._since_snapshot += batch.rows
        if self._snapshot_due or (self._since_snapshot >= self._snapshot_rows() and self._snapshot is None):
            self._snapshot_due = False
            self.begin_snapshot()
        return Committed(
            batch.rows,
            batch.at_ms,
            tuple(entries),
            tuple(batch.arrived),
            tuple(batch.suspects),
            batch.rejected,
            tuple(batch.unexpected),
            batch.began,
            len(batch.ended),
            tuple(batch.attempts),
        )

    def _snapshot_rows(self) -> int:
        """How many rows are folded between two snapshots."""
        return min(self._options.snapshot_rows, max(_FEWEST_ROWS, _ROWS_PER_CALL * len(self._calls.states)))

    def _was_made(self, position: Position, entries: list[Entry]) -> bool:
        """Whether a COMMIT that failed was made all the same. What says no is done again."""
        with translated(self._ledger.path):
            if entries:
                found = self._ledger.outbox.load(entries[-1].id - 1, 1, 1)
                return bool(found) and found[0] == entries[-1]
            # An empty batch at the old position may be done twice.
            return position != self.position and self._ledger.position() == position

    def _fold_row(self, uuid: str, row: Row, skip: Aside) -> None:
        if (row.n, None) in skip:
            return
        try:
            step = world.step(self._world, row, self._settings)
        except Exception as problem:  # noqa: BLE001  # whatever a row does to us, it is kept and the others go on
            self._set_aside(uuid, row, None, "correlate", repr(problem), "".join(traceback.format_exception(problem)))
            return
        if step.rejected is not None:
            self._batch.rejected += 1
            self._set_aside(uuid, row, None, "decode", f"{step.rejected.reason}: {step.rejected.detail}", "")
        self._take(uuid, row, step, skip)

    def _take(self, uuid: str, row: Row, step: world.Step, skip: Aside) -> None:
        """A step's outcome: the world after it, and what is told to calls."""
        self._world = step.world
        self._batch.messages.extend(step.pbx_messages)
        self._batch.unexpected.extend(step.reports)
        lost: set[str] = set()
        for index, routed in enumerate(step.routed):
            call_id = routed.call_id
            if call_id in lost:
                continue  # from the input on that it could not take, the row is lost to it
            part = skip.get((row.n, call_id)) if skip else None
            is_aside = part is not None and _part(step.routed, index) >= part
            if call_id in self.waiting:
                full = self.waiting.keep(call_id, Kept(uuid, row, None if is_aside else routed))
                if full and not self.restoring:
                    self._log.error("switchboard.call_resumed_by_itself", call_id=call_id)
                    self.resume(call_id)
            elif is_aside:
                self._calls.degrade(call_id)
            elif (poisoned := self._deliver(routed)) is not None:
                self._lose(uuid, row, step.routed, index, poisoned)
                lost.add(call_id)
            elif call_id not in self._calls.states:
                lost.add(call_id)  # it has ended, and the rest of the row would begin it anew

    def _deliver(self, routed: Routed) -> "Poisoned | None":
        """Give an input to its call; what it came to if the call could not take it."""
        if routed.call_id in self._closed:
            return None
        if self._over and routed.call_id in self._over:
            self._batch.unexpected.append(redrive.too_late(routed))
            return None
        known = routed.call_id in self._calls.states
        self._begin_unknown(routed.call_id)
        folded = self._calls.deliver(routed)
        if not isinstance(folded, Folded):
            return folded
        batch = self._batch
        batch.messages.extend(folded.messages)
        batch.unexpected.extend(folded.unexpected)
        batch.began += not known
        if folded.ended:
            batch.ended.append(_stream(routed.call_id))
            if not redrive.has_ended(self._world, routed.call_id):
                self._over.add(routed.call_id)
        return None

    def _begin_unknown(self, call_id: str) -> None:
        """A call that began in rows that are gone goes on with the numbers of its stream."""
        if self._unknown and (sequence := self._unknown.pop(call_id, None)) is not None:
            call = Call.new(call_id, self._server, self._settings)
            self._calls.restore(call_id, call.lived(sequence, call.legs, call.life))

    def _lose(self, uuid: str, row: Row, routed: Sequence[Routed], index: int, poisoned: "Poisoned") -> None:
        """A call could not take one of a row's inputs: that and the rest of the row is set aside for it."""
        call_id = routed[index].call_id
        rest = tuple(each for each in routed[index:] if each.call_id == call_id)
        error, trace = _told(poisoned)
        self._batch.suspects.append(
            Suspect(uuid, row, call_id, "call", error, trace, _part(routed, index), CODEC.encode(rest))
        )
        self._calls.degrade(call_id)

    def _set_aside(self, uuid: str, row: Row, call_id: str | None, stage: Stage, error: str, trace: str) -> None:
        self._batch.suspects.append(Suspect(uuid, row, call_id, stage, error, trace))

    # --- redrive ------------------------------------------------------------------------------------------------------

    def _entries(self, wanted: redrive.Order | Position) -> list[tuple[Quarantined, Aside, int]]:
        """The entries that an order means, or those that were applied at one: each with what a refold leaves out of its
        row, and the last sequence of its call. All that is read: what follows cannot fail because of a disk."""
        ledger = self._ledger
        with translated(ledger.path):
            if isinstance(wanted, Position):
                found = ledger.quarantine.redriven_at(wanted)
            else:
                found = ledger.quarantine.find(wanted.n, wanted.uuid)
            return [
                (
                    each,
                    ledger.quarantine.keys(each.uuid, each.row.n - 1, each.row.n),
                    ledger.marks.of(_stream(each.call_id or "")),
                )
                for each in found
            ]

    def _redrive(self, order: redrive.Order, row: Row, at: Position) -> None:
        """Apply what was set aside once more; what fails again stays where it is."""
        for each, aside, told in self._entries(order):
            error: str | None = None
            trace = ""
            try:
                self._apply(each, aside, told, row)
            except redrive.NotApplied as problem:
                error = str(problem)
            except Exception as problem:  # noqa: BLE001  # as in `_fold_row`
                error, trace = repr(problem), "".join(traceback.format_exception(problem))
            self._batch.attempts.append(Attempt(each.id, order.id, at, error, trace))

    def _redrive_as_before(self, row: Row, at: Position) -> None:
        """A refold is at an order: apply what was applied then, and nothing else."""
        for each, aside, told in self._entries(at):
            try:
                self._apply(each, aside, told, row)
            except Exception as problem:  # noqa: BLE001  # other code than then; the streams' marks see to the numbers
                self._log.error("switchboard.redrive_differs", n=each.row.n, call_id=each.call_id, error=repr(problem))

    def _apply(self, each: Quarantined, aside: Aside, told: int, row: Row) -> None:
        if each.call_id is None:
            step = redrive.late(self._world, each.row, self._settings)
            self._take(each.uuid, each.row, step, aside)
            return
        if each.inputs is None:
            raise redrive.NotApplied("an older arimon set it aside, and did not keep what the call was told")
        inputs: tuple[Routed, ...] = CODEC.decode(each.inputs)
        if each.call_id in self.waiting:
            self._log.error("switchboard.call_resumed_by_redrive", call_id=each.call_id)
            self.resume(each.call_id)
        is_active = each.call_id in self._calls.states or not redrive.has_ended(self._world, each.call_id)
        if is_active and each.call_id not in self._closed and each.call_id not in self._over:
            self._tell_late(each.call_id, inputs)
        elif not self.restoring:
            self._batch.messages.extend(redrive.amendment(inputs, told + 1, row, self._server, self._settings))
            self._batch.amended[_stream(each.call_id)] = told + 1

    def _tell_late(self, call_id: str, inputs: Sequence[Routed]) -> None:
        """Tell a call all that it was not told, or nothing."""
        self._begin_unknown(call_id)
        before = self._calls.states.get(call_id)
        batch = self._batch
        told = len(batch.messages), len(batch.unexpected), len(batch.ended), batch.began
        for routed in inputs:
            poisoned = self._deliver(routed)
            if poisoned is None:
                if len(batch.ended) > told[2]:
                    return
                continue
            if before is not None:
                if self._calls.states[call_id] is not before:
                    self._calls.replace(call_id, before)
            elif call_id in self._calls.states:
                self._calls.dismiss(call_id)
            else:
                self._calls.degrade(call_id)
            del batch.messages[told[0] :], batch.unexpected[told[1] :], batch.ended[told[2] :]
            batch.began = told[3]
            raise redrive.NotApplied(_told(poisoned)[0])

    # --- suspended calls ----------------------------------------------------------------------------------------------

    def suspend(self, call_id: str) -> None:
        """Keep a call's inputs from now on; actors.waiting says how nothing is lost by it.

        Raises:
            StoreUnusable: the disk refuses, and the call goes on.
        """
        if self._uncommitted:
            raise StoreUnusable(self._ledger.path, "what was folded is not committed yet")
        self.waiting.begin(call_id)
        self._since_snapshot += 1
        try:
            self.begin_snapshot()
            while self.snapshot():
                pass
        except StoreUnusable:
            self.waiting.end(call_id)
            raise

    def _resume_all(self) -> list[str]:
        """A new process suspends nobody. Returns who was."""
        marks = self._ledger.marks.all()
        suspended = list(self.waiting)
        for call_id in suspended:
            mark = marks.get(_stream(call_id))
            self.resume(call_id, 0 if mark is None else mark.sequence)
        return suspended

    def resume(self, call_id: str, told: int = 0) -> int:
        """Give a call what was kept for it; the next `fold` commits what comes of it.

        Args:
            call_id: the call.
            told: sequence up to which its messages are in the outbox already, or were: it was resumed before, and the
                process died before a snapshot knew of it.

        Returns:
            How many inputs it was.
        """
        kept = self.waiting.end(call_id)
        batch = self._batch
        lost: tuple[str, int] | None = None
        for uuid, row, routed in kept:
            if routed is None:
                self._calls.degrade(call_id)
            elif lost != (uuid, row.n) and (poisoned := self._deliver(routed)) is not None:
                lost = (uuid, row.n)
                its = [each for each in kept if (each.uuid, each.row.n) == lost]
                inputs = [each.routed for each in its if each.routed is not None]
                self._lose(uuid, row, inputs, inputs.index(routed), poisoned)
            known = len(batch.arrived)
            batch.messages[known:] = [each for each in batch.messages[known:] if each.sequence > told]
            batch.arrived.extend([row.at_ms] * (len(batch.messages) - known))
        if batch.position is None:
            batch.position, batch.at_ms = self.position, kept[-1].row.at_ms if kept else self._clock()
        self._uncommitted = self.position is not None
        self._snapshot_due = True
        self._since_snapshot += 1
        return len(kept)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def begin_snapshot(self) -> None:
        """Store the state at the checkpoint, if there is anything new; `snapshot` does it."""
        # What waits for the disk is in the state, and not behind the checkpoint.
        if self.position is not None and self._since_snapshot and not self._uncommitted:
            self._since_snapshot = 0
            self._over = {call_id for call_id in self._over if not redrive.has_ended(self._world, call_id)}
            # Immutable values: this copy is all calls at this row, however long it takes to write.
            self._snapshot = self._write_snapshot(
                self.position, self._world, dict(self._calls.states), self.waiting.plain(), frozenset(self._ended)
            )

    def snapshot(self) -> bool:
        """Write one slice of the snapshot under way; False if there is none, or it is complete.

        Raises:
            StoreUnusable: the disk refuses. This one is given up; the older ones stay.
        """
        if self._snapshot is None:
            return False
        try:
            next(self._snapshot)
        except StopIteration:
            self._snapshot = None
            return False
        except StoreUnusable:
            self._snapshot = None
            raise
        return True

    def _write_snapshot(
        self,
        position: Position,
        world: World,
        calls: dict[str, Call],
        waiting: dict[str, Any],
        ended: frozenset[str],
    ) -> Iterator[None]:
        snapshots = self._ledger.snapshots
        number = snapshots.begin(position, SNAPSHOT_VERSION, configuration_hash(self._settings), self._clock())
        snapshots.put(number, [("", CODEC.encode(world)), (WAITING_KEY, CODEC.encode(waiting))])
        yield
        items = list(calls.items())
        for begin in range(0, len(items), _SNAPSHOT_SLICE):
            chosen = items[begin : begin + _SNAPSHOT_SLICE]
            snapshots.put(number, [(call_id, CODEC.encode(call)) for call_id, call in chosen])
            yield
        snapshots.complete(number, self._clock())
        with self._ledger.transaction():
            # Whoever is redriven goes on with the numbers of its stream.
            kept = self._ledger.quarantine.calls() | self._over
            forgotten = ended - {_stream(call_id) for call_id in kept}
            self._ledger.marks.forget(forgotten)
            self._ledger.quarantine.forget(snapshots.complete_ones()[-1].position)
        self._ended -= forgotten


def _part(routed: Sequence[Routed], index: int) -> int:
    """Which of the inputs of its call one of a row's inputs is, from 0."""
    return sum(each.call_id == routed[index].call_id for each in routed[:index])


def _told(poisoned: "Poisoned") -> tuple[str, str]:
    """Error and traceback."""
    reason = poisoned.reason
    return str(reason), reason.traceback if isinstance(reason, Crash) else ""


def _stream(call_id: str) -> str:
    return f"{_STREAM}{call_id}"


def _own_stream(server: str) -> str:
    return f"pbx:{server}"


def configuration_hash(settings: Settings) -> str:
    """A name for what of the configuration decides how rows are folded."""
    told = settings.call.model_dump_json() + settings.publisher.form
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
