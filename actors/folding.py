"""The fold of one PBX's journal, with its state on disk: what Switchboard does, without actors, clocks and sockets.

    restore()     the newest snapshot, and the rows since then folded again with effects muted
    fold(enough)  some rows, and one transaction: checkpoint, outbox, quarantine
    snapshot()    one slice of the snapshot under way

What a row does stands in actors.standing; what is applied once more, in actors.redrive; how a state is stored, in
actors.snapshots. Whoever drives it decides when, and reads the outcome as data; the Switchboard (actors.switchboard)
does it by the doorbell, the simulation (tests/simulation) by its schedule.

A disk that refuses is a state: what was folded and could not be committed is kept, nothing more is folded, and the next
`fold` tries to commit that first. So the state is never more than one batch ahead of the checkpoint.
"""

from collections.abc import Callable, Collection, Generator, Iterator

from actors import snapshots
from actors.batch import Batch, Committed
from actors.call import redrive
from actors.call.watch import Watch
from actors.redrive import Redrive
from actors.standing import NOTHING, Calls, Complaints, Standing, stream_of
from actors.waiting import Waiting
from conf.settings import Settings
from wire.store.database import translated
from wire.store.errors import CodecError, StoreUnusable
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger
from wire.store.outbox import Entry
from wire.store.row import Kind, Position, Row
from wire.store.snapshots import KEEP

_READ_BYTES = 8 * 1024 * 1024
"""Most bytes of journal read at once."""
_SUSPECTED_AFTER = 3
"""Starts at one checkpoint after which a row is suspected of killing the process, so that rows are taken singly."""
_SURVIVED = 2
"""Deaths at a row after which it is not tried again."""


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
        self._settings = settings
        self._options = settings.switchboard
        self._ledger = ledger
        self._reader = reader
        self._log = log
        self._clock = clock
        self._standing = Standing(server, settings, calls, log)
        self._redrive = Redrive(self._standing, ledger, settings, log)
        self._uncommitted = False
        self._singly = 0
        """Rows that are yet to be taken singly."""
        self._since_snapshot = 0
        self._at_ms = 0
        """The time of the last row."""
        self._latest_ms = 0
        """The latest time of a row since the last snapshot was begun."""
        self._back_ms: int | None = None
        """The earliest since then that is before one before it; None if there is none."""
        self._snapshot: Iterator[None] | None = None
        self._ended: set[str] = set()
        """Streams that have ended, whose calls some complete snapshot may yet need to be told of."""
        self._settled: set[str] = set()
        """Streams that have ended, whose calls are over also for the last complete snapshot."""
        self.position: Position | None = None
        """The checkpoint: up to here all is done and committed."""
        self.made_good_in_part = False
        """The ledger is new, and the journal did not reach back to its beginning: what came of earlier rows, and no
        broker had yet, is gone."""

    @property
    def watch(self) -> Watch:
        """How well the PBX is seen: gaps and doubts."""
        return self._standing.world.watch

    @property
    def waiting(self) -> Waiting:
        """Inputs of suspended calls."""
        return self._standing.waiting

    @property
    def restoring(self) -> bool:
        """Until `restore` is through."""
        return self._standing.muted

    # --- the start ----------------------------------------------------------------------------------------------------

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
            if self.position is None:
                self.position = self._reader.cut()
            if self.position is not None:
                self.made_good_in_part = True
                self._log.error("switchboard.rebuilt_in_part", position=str(self.position))
                self._miss_before(self.position)
                # A refold without a snapshot would begin with the oldest row, and come to other states.
                yield from self._keep()
        else:
            self.position = checkpoint
            position = yield from self._load_snapshot()
            yield from self._refold(position, checkpoint)
            self._standing.batch, self._uncommitted = Batch(latest_ms=self._ledger.latest_ms()), False
            self._agree(self._resume_all())
        self._standing.muted = False

    def _miss_before(self, position: Position) -> None:
        """Rows up to here were folded, and are not any more: a gap, from the oldest that the journal has."""
        began_ms, batch = self._reader.began_ms(), self._reader.read(position, 1, _READ_BYTES)
        latest_ms = self._clock() if batch is None else batch.rows[0].at_ms
        self._standing.miss(position.n, latest_ms if began_ms is None else min(began_ms, latest_ms), latest_ms)

    def _load_snapshot(self) -> Generator[None, None, Position | None]:
        stored, standing = self._ledger.snapshots, self._standing
        while (info := stored.latest_complete()) is not None:
            try:
                taken = yield from snapshots.read(stored, info)
            except CodecError as problem:
                # Rows since then are still in the journal, which keeps them for as long as this snapshot was there.
                self._log.error("switchboard.snapshot_refused", position=str(info.position), error=str(problem))
                stored.discard(info.id)
                continue
            if info.config_hash != snapshots.configuration_hash(self._settings, taken.world.server):
                # No reason to fold again: what was published was made so, and its numbers are taken.
                told = "calls under way keep the rules they began with, new ones have those of now"
                self._log.warning("switchboard.configuration_changed", position=str(info.position), effect=told)
            standing.world, standing.waiting = taken.world, Waiting.of(taken.waiting)
            for call_id, call in taken.calls.items():
                standing.calls.restore(call_id, call)
                yield
            standing.restore(self._ledger.marks.all(), taken.maimed)
            return info.position
        return None

    def _refold(self, position: Position | None, checkpoint: Position) -> Iterator[None]:
        """Fold rows whose effects are in the outbox already, up to the checkpoint."""
        gone = False
        while position != checkpoint:
            batch = self._reader.read(position, self._options.batch_rows, _READ_BYTES)
            rows = [] if batch is None or self._is_beyond(batch.uuid, checkpoint) else batch.rows
            if batch is not None and batch.uuid == checkpoint.uuid:
                # One row may stand for many lost ones, and so reach beyond the checkpoint.
                rows = [row for row in rows if row.n <= checkpoint.n]
            if batch is None or not rows:
                # Rows that were folded are gone. What the journal still has was folded; go on behind the checkpoint.
                self._log.error("switchboard.journal_short", checkpoint=str(checkpoint), position=str(position))
                latest_ms = self._ledger.latest_ms()
                began_ms = self._reader.began_ms()
                self._standing.miss(
                    checkpoint.n,
                    latest_ms if began_ms is None else min(began_ms, latest_ms),
                    latest_ms,
                    self._ledger.back_ms(),
                )
                self._close_ended()
                # From what is left nobody could put this together again.
                yield from self._keep()
                return
            aside = self._ledger.quarantine.keys(batch.uuid, rows[0].n - 1, rows[-1].n)
            for row in rows:
                if (order := redrive.ordered(row)) is None:
                    self._standing.row(batch.uuid, row, aside)
                else:
                    self._redrive.carry_out_again(order, row, Position(batch.uuid, row.n))
                # It may stand for rows that could be read when they were folded.
                gone = gone or row.kind == Kind.LOST
                self._since_snapshot += 1
                position = Position(batch.uuid, row.n)
                yield
        if gone:
            self._close_ended()

    def _keep(self) -> Iterator[None]:
        """Have the next process begin here: store the state before any row is folded upon it."""
        self._since_snapshot += 1
        self.begin_snapshot()
        while self.snapshot():
            yield

    def _close_ended(self) -> None:
        """Rows since the snapshot are gone: of what had ended nothing more is said.

        Where a call ended before its channels did, nobody knows any more that these are not to begin it anew.
        """
        with self._ledger.transaction():
            self._ledger.marks.close(self._ledger.marks.ended())

    def _is_beyond(self, uuid: str, checkpoint: Position) -> bool:
        """Whether a journal is a later one than the checkpoint's: the rest of that one is gone then."""
        if uuid == checkpoint.uuid:
            return False
        following = self._reader.read(checkpoint, 1, _READ_BYTES)
        return following is not None and following.uuid == uuid

    def _resume_all(self) -> list[str]:
        """A new process suspends nobody. Returns who was."""
        marks = self._ledger.marks.all()
        suspended = list(self.waiting)
        for call_id in suspended:
            mark = marks.get(stream_of(call_id))
            self.resume(call_id, 0 if mark is None else mark.sequence)
        return suspended

    def _agree(self, ahead: Collection[str]) -> None:
        """See to it that what comes next has the next numbers: see `Standing.agree`."""
        found = self._standing.agree(self._ledger.marks.all(), ahead)
        self._ended.update(found.ended)
        if found.again:
            with self._ledger.transaction():
                self._ledger.marks.close(map(stream_of, found.again))

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
        batch = self._standing.batch
        if self._singly and self._passed_by(Position(read.uuid, read.rows[0].n), read.rows[0]):
            self._uncommitted = True
            return True
        for row in read.rows:
            if (order := redrive.ordered(row)) is None:
                self._standing.row(read.uuid, row, NOTHING)
            elif batch.rows:
                break  # what it applies must be in the ledger, which may refuse to say: it begins the next batch
            else:
                self._redrive.carry_out(order, row, Position(read.uuid, row.n))
            batch.passed(read.uuid, row)
            self._uncommitted = True
            if enough():
                break
        return True

    def _passed_by(self, at: Position, row: Row) -> bool:
        """Whether a row is not tried any more, since too many processes died at it."""
        if self._ledger.begin_row(at) < _SURVIVED:
            return False
        error = "the process died twice at this row"
        if (order := redrive.ordered(row)) is None:
            self._standing.set_aside(at.uuid, row, "process", error, "")
        else:
            self._redrive.give_up(order, at, error)
        self._standing.batch.passed(at.uuid, row)
        return True

    def _commit(self) -> Committed:
        batch = self._standing.batch
        assert batch.position is not None
        now_ms = self._clock()
        entries: list[Entry] = []
        try:
            with self._ledger.transaction():
                self._ledger.move(batch.position, batch.latest_ms, batch.back_ms)
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
        self._standing.batch = Batch(latest_ms=batch.latest_ms)
        self._singly = max(0, self._singly - batch.rows)
        self._since_snapshot += batch.rows
        self._at_ms, self._latest_ms = batch.at_ms, max(self._latest_ms, batch.latest_ms)
        if batch.back_ms is not None:
            self._back_ms = batch.back_ms if self._back_ms is None else min(self._back_ms, batch.back_ms)
        if self._standing.resumed or (self._snapshot is None and self._since_snapshot >= self._snapshot_rows()):
            self._standing.resumed = False
            self.begin_snapshot()
        return batch.committed(entries)

    def _was_made(self, position: Position, entries: list[Entry]) -> bool:
        """Whether a COMMIT that failed was made all the same. What says no is done again."""
        with translated(self._ledger.path):
            if entries:
                found = self._ledger.outbox.load(entries[-1].id - 1, 1, 1)
                return bool(found) and found[0] == entries[-1]
            # An empty batch at the old position may be done twice.
            return position != self.position and self._ledger.position() == position

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

    def resume(self, call_id: str, told: int = 0) -> None:
        """Give a call what was kept for it, as `Standing.resume` does; the next `fold` commits what comes of it."""
        kept = self._standing.resume(call_id, told)
        batch = self._standing.batch
        if batch.position is None:
            batch.position, batch.at_ms = self.position, kept[-1].row.at_ms if kept else self._clock()
        self._uncommitted = self.position is not None
        self._since_snapshot += 1

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _snapshot_rows(self) -> int:
        return snapshots.rows_between(len(self._standing.calls.states), self._options.snapshot_rows)

    def begin_snapshot(self) -> None:
        """Store the state at the checkpoint, if there is anything new; `snapshot` does it."""
        # What waits for the disk is in the state, and not behind the checkpoint.
        if self.position is not None and self._since_snapshot and not self._uncommitted:
            self._since_snapshot, self._latest_ms, self._back_ms = 0, self._at_ms, None
            standing = self._standing
            standing.batch.latest_ms = self._at_ms  # what was before a snapshot needs no refold
            standing.forget_ended()
            standing.fade()
            # Immutable values: this copy is all calls at this row, however long it takes to write.
            self._snapshot = self._write_snapshot(
                snapshots.Taken(
                    self.position,
                    standing.world,
                    dict(standing.calls.states),
                    self.waiting.plain(),
                    tuple(sorted(standing.maimed)),
                ),
                frozenset(self._ended),
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

    def _write_snapshot(self, taken: snapshots.Taken, ended: frozenset[str]) -> Iterator[None]:
        ledger = self._ledger
        slices = snapshots.write(ledger.snapshots, taken, self._settings, self._clock)
        del taken  # what is written is let go, and not kept from here
        yield from slices
        with ledger.transaction():
            # Whoever is redriven goes on with the numbers of its stream.
            aside = ledger.quarantine.calls()
            kept = {stream_of(call_id) for call_id in aside | self._standing.over}
            forgotten: set[str] = set()
            faded: list[str] = []
            ledger.forget_times(self._latest_ms, self._back_ms)
            complete = ledger.snapshots.complete_ones()
            if len(complete) == KEEP:  # an only one may turn out to be unreadable: then all is folded again
                assert self.position is not None
                ledger.quarantine.forget(complete[-1].position, self.position)
                forgotten = self._settled - kept
                ledger.marks.forget(forgotten)
                faded = self._standing.faded(aside)
                ledger.marks.release(map(stream_of, faded))
        self._standing.forget_faded(faded)
        self._ended -= ended - kept
        self._settled = (self._settled - forgotten) | (ended - kept)
