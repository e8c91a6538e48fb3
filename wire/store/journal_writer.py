"""The journal's writer: a thread that commits what has arrived. See wire/store/journal.py for the whole.

The loop thread appends to a deque under a lock that is only ever held for a few instructions; the writer thread peeks
at its head, commits that in one transaction, and only then takes it off. There is no timer: an idle writer commits a
lone row at once, a busy one finds more waiting when it comes back, so batches form by themselves.

The thread's states::

    starting ──opened──▶ working ──disk refuses──▶ refused ──a commit succeeds──▶ working
        └──disk refuses──────────────────────────────▲                     close() ends each of them: closed

While the disk refuses, rows wait in the deque up to `reserve_bytes`. What comes beyond is counted, not kept, until
half of the reserve is free again; then one `lost` row takes its place in the order. Link and operator rows are small
and rare, and a journal that lacks them lies, so they have some room of their own and end an open gap early.
"""

import contextlib
import os
import random
import sqlite3
import threading
import time
import uuid as uuids
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from conf.settings import Journal as JournalSettings
from wire import host_clock
from wire.backoff import Backoff
from wire.host_clock import now_ms
from wire.store.database import WriterLock, disk_size, move_aside, open_sound, remove, transaction, translated
from wire.store.errors import StoreDamaged, StoreError, StoreUnusable
from wire.store.row import Kind, Position
from wire.store.segment import SCHEMA, Segment, end, index_of, insert, list_segments, mark, segment_path

BATCH_ROWS = 4096  # about 4 MB: bounds the time that the first row of a batch waits for the last
BATCH_BYTES = 8 * 1024 * 1024
ROW_COST = 200  # bytes of memory that a waiting row takes besides its body
CONTROL_ROOM = 1024 * 1024  # bytes above the reserve for link and operator rows
CONTROL = frozenset({Kind.LINK_UP, Kind.LINK_DOWN, Kind.CLOCK, Kind.OPERATOR})
RETRY = Backoff(minimum=0.1, maximum=2.0)  # seconds; a local disk costs nothing to ask, and minutes of reserve are few

State = Literal["starting", "working", "refused", "closed", "failed"]


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """What the writer can say about itself."""

    state: State
    """`refused`: the disk does not take rows, they wait in the reserve; `failed`: a fault of ours ended the thread."""
    reason: str | None
    """Why it is refused or failed."""
    since_ms: int
    """Since when it is in this state, Unix milliseconds."""
    uuid: str | None
    """The journal's name; None before it could be opened."""
    last_n: int
    """The last committed row."""
    waiting_rows: int
    """Rows appended, not committed."""
    waiting_bytes: int
    """Memory that they take, bytes."""
    losing_rows: int
    """Rows lost in the gap that is open now; a `lost` row tells them once the disk works."""
    lost_rows: int
    """Rows lost since the start, open gap included."""
    set_aside: tuple[str, ...]
    """Damaged files set aside since the start."""


class _Waiting(NamedTuple):
    kind: str
    at_ms: int
    body: bytes

    @property
    def cost(self) -> int:
        return len(self.body) + ROW_COST


@dataclass(slots=True)
class _Gap:
    from_ms: int
    to_ms: int
    rows: int
    reason: str


class JournalWriter:
    """The one writer of a journal.

    Args:
        directory: Where its segments are; made if missing, of nobody else's use.
        settings: Sizes, ages, synchronous.
        on_committed: Called by the writer thread with (uuid, last n) after each commit, and once after opening. It must
            not block and not raise.
        clock: Unix milliseconds.
        boot_id: Names this boot of the host.
    """

    def __init__(
        self,
        directory: Path,
        settings: JournalSettings,
        on_committed: Callable[[str, int], None],
        *,
        clock: Callable[[], int] = now_ms,
        boot_id: str | None = None,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._on_committed = on_committed
        self._clock = clock
        # Where the host does not say, every start looks like one after a power cut, which is safe.
        self._boot_id = boot_id or host_clock.boot_id() or f"{os.getpid()}-{now_ms()}"
        self._lock = WriterLock(directory / "writer.lock")
        self._thread: threading.Thread | None = None
        # Shared with the thread, under the condition's lock.
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._gap: _Gap | None = None
        self._lost_rows = 0
        self._needed: tuple[Position, ...] | None = None
        self._closing = False
        self._close_by = float("inf")
        self._asleep = False
        self._state: State = "starting"
        self._reason: str | None = None
        self._since_ms = clock()
        self._failure: BaseException | None = None
        self._set_aside: tuple[str, ...] = ()
        self._uuid: str | None = None
        self._last_n = 0
        # The thread's own.
        self._connection: sqlite3.Connection | None = None
        self._segment: Segment | None = None
        self._segment_bytes = 0
        self._in_doubt = False
        self._distrusted: str | None = None

    # The owner's side

    def start(self) -> None:
        """Take the lock and start the thread; after the fork, in the process that writes.

        A disk that refuses is no error here: health() tells it, and rows wait in the reserve.

        Raises:
            StoreLocked: another writer has the journal.
        """
        # An unusable disk is a state, not an error: the thread takes the lock when the disk is back.
        with contextlib.suppress(StoreUnusable):
            self._lock.acquire()
        self._thread = threading.Thread(target=self._run, name=f"journal {self._directory.name}", daemon=True)
        self._thread.start()

    def append(self, kind: str, at_ms: int, body: bytes) -> None:
        """Hand a row over. Never waits for the disk, never fails for its sake.

        Raises:
            RuntimeError: the writer is closed, or a fault of ours ended its thread.
        """
        with self._changed:
            if self._closing or self._failure is not None:
                raise RuntimeError("the journal's writer has ended") from self._failure
            row = _Waiting(kind, at_ms, body)
            control = kind in CONTROL
            room = self._settings.reserve_bytes + (CONTROL_ROOM if control else 0)
            if self._bytes + row.cost > room or (self._gap is not None and not control):
                self._lose(at_ms)
                return
            if self._gap is not None:
                self._tell_gap()
            self._push(row)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was appended is committed; False if it was not within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or not (self._waiting or self._gap), timeout)
            return self._failure is None and not (self._waiting or self._gap)

    def retire(self, needed: Iterable[Position]) -> None:
        """Unlink, soon, whole segments that are older than everything needed, and too old or too much (settings).

        Args:
            needed: Positions from which somebody may yet read. If one is of a journal that is not here, nothing older
                than the newest journal is known to be unneeded, and nothing is unlinked. A position ahead of our last
                row means that committed rows are gone (a WAL was removed): a new journal is begun, and says so.
        """
        with self._changed:
            self._needed = tuple(needed)
            self._changed.notify_all()

    def health(self) -> JournalHealth:
        """How it is; from any thread."""
        with self._changed:
            return JournalHealth(
                state=self._state,
                reason=self._reason,
                since_ms=self._since_ms,
                uuid=self._uuid,
                last_n=self._last_n,
                waiting_rows=len(self._waiting),
                waiting_bytes=self._bytes,
                losing_rows=self._gap.rows if self._gap else 0,
                lost_rows=self._lost_rows,
                set_aside=self._set_aside,
            )

    def close(self, timeout: float = 5.0) -> bool:
        """Commit what waits, end the thread, release the lock.

        Returns:
            False if rows could not be committed within `timeout` seconds; they are gone with the process.
        """
        with self._changed:
            self._closing = True
            self._close_by = time.monotonic() + timeout
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout + 1.0)
            if self._thread.is_alive():
                return False  # stuck in a system call: the lock stays with it
        self._lock.release()
        with self._changed:
            return self._failure is None and not self._waiting

    # Under the condition's lock

    def _push(self, row: _Waiting) -> None:
        self._waiting.append(row)
        self._bytes += row.cost
        if self._asleep:
            self._changed.notify_all()

    def _lose(self, at_ms: int) -> None:
        if self._gap is None:
            self._gap = _Gap(at_ms, at_ms, 0, self._reason or "rows came faster than the disk took them")
        self._gap.rows += 1
        # The clock may be set back meanwhile.
        self._gap.from_ms = min(self._gap.from_ms, at_ms)
        self._gap.to_ms = max(self._gap.to_ms, at_ms)
        self._lost_rows += 1

    def _tell_gap(self) -> None:
        assert self._gap is not None
        gap, self._gap = self._gap, None
        self._push(_lost(gap.from_ms, gap.to_ms, gap.reason, gap.rows))

    def _enter(self, state: State, reason: str | None = None) -> None:
        if self._state != state:
            self._state, self._since_ms = state, self._clock()
        self._reason = reason

    # The thread's side

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever appends next; a thread has no supervisor
            with self._changed:
                self._failure = error
                self._enter("failed", repr(error))
                self._changed.notify_all()
        finally:
            if self._connection is not None:
                self._connection.close()

    def _work(self) -> None:
        attempt = 0
        while True:
            try:
                if self._connection is None:
                    self._open()
                done = self._step()
            except (StoreUnusable, StoreDamaged) as error:
                attempt += 1
                if not self._refused(error, attempt):
                    return
                continue
            attempt = 0
            if done:
                break
        assert self._connection is not None
        with contextlib.suppress(sqlite3.Error):  # if the disk refuses just now, the next start trusts the file less
            mark(self._connection, self._boot_id, self._settings.synchronous, clean=True)
        with self._changed:
            self._enter("closed")

    def _step(self) -> bool:
        """Wait for work and do one piece of it; True when closing and nothing is left."""
        with self._changed:
            if not self._waiting:
                self._enter("working")
            if self._gap is not None and (self._bytes * 2 < self._settings.reserve_bytes or self._closing):
                self._tell_gap()
            self._asleep = True
            self._changed.wait_for(lambda: self._waiting or self._closing or self._needed is not None)
            self._asleep = False
            needed, self._needed = self._needed, None
        if needed is not None:
            self._retire(needed)
        with self._changed:
            # After retiring: that may begin a new journal, and put what it must tell first in front.
            rows = list(islice(self._waiting, BATCH_ROWS))
        if rows:
            self._commit(rows)
            return False
        with self._changed:
            return self._closing and not self._waiting and self._gap is None

    def _refused(self, error: StoreError, attempt: int) -> bool:
        """The disk refused: say so, and wait before the next attempt; False when closing leaves no time for one."""
        if isinstance(error, StoreDamaged):
            # Found while writing; what is open cannot be trusted, whatever a quick look says.
            self._drop_connection()
            self._distrusted = str(error)
        with self._changed:
            self._enter("refused", str(error))
            until = time.monotonic() + RETRY.delay(attempt, random.random)
            while (left := min(until, self._close_by) - time.monotonic()) > 0:
                if self._needed is not None and self._segment is not None:
                    break  # retiring may be what frees the disk
                self._changed.wait(left)
            expired = self._closing and time.monotonic() >= self._close_by
            needed, self._needed = self._needed, None
            if expired:
                self._enter("closed", str(error))
        if needed is not None and self._segment is not None:
            with contextlib.suppress(StoreUnusable):  # it will be asked for again
                self._retire(needed)
        return not expired

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        """Go on with the last segment, or begin a new journal if there is none or its end cannot be trusted."""
        if not self._lock.held:
            self._lock.acquire()
        segments, aside = list_segments(self._directory)
        last = segments[-1] if segments else None
        highest = max((s.ordinal for s in (*segments, *aside)), default=0)
        if last is None or (aside and aside[-1].ordinal == highest):
            # A crash may have come between setting a segment aside and beginning the next journal.
            gap = (aside[-1].begun_ms, "the journal's last segment was damaged") if aside else None
            self._begin_journal(highest + 1, gap)
            return
        try:
            if self._distrusted is not None:
                raise StoreDamaged(last.path, self._distrusted)
            opened = open_sound(last.path, SCHEMA, synchronous=self._settings.synchronous)
            if opened.fresh:
                opened.connection.close()
                # A segment gets its name when it is complete, so this one was cut to nothing.
                raise StoreDamaged(last.path, "is empty")
        except StoreDamaged as error:
            target = move_aside(last.path)
            with self._changed:
                self._set_aside += (str(target),)
            self._begin_journal(highest + 1, (last.begun_ms, f"a segment was damaged: {error.detail}"))
            self._distrusted = None
            return
        connection = opened.connection
        try:
            with translated(last.path):
                boot_id, clean, synchronous = connection.execute(
                    "SELECT boot_id, clean, synchronous FROM origin"
                ).fetchone()
                n, at_ms, damaged = end(connection, last)
                trusted = not damaged and (clean or boot_id == self._boot_id)
                if trusted:
                    mark(connection, self._boot_id, self._settings.synchronous, clean=False)
        except BaseException:  # whatever it was, it goes on; the file must not stay open behind it
            connection.close()
            raise
        if not trusted:
            # The host went down under it: rows that were committed, and perhaps read by somebody, may not have
            # reached the disk. To go on counting here could give their numbers to other rows, and who had read the
            # first would pass the second by. Not where every commit was synced; but disks have lied about that, and
            # a WAL whose end is gone looks whole. So nothing is said to be lost then, and a new journal begun as well.
            connection.close()
            gap = (at_ms, "the last row was damaged" if damaged else "the host stopped without a clean close")
            self._begin_journal(highest + 1, gap if damaged or synchronous != "full" else None)
            return
        self._use(last, connection, n, last.path.stat().st_size)

    def _begin_journal(self, ordinal: int, gap: tuple[int, str] | None) -> None:
        """Begin a journal with a new uuid; its first row tells the gap (from_ms, reason), if there is one."""
        now = self._clock()
        if gap is not None:
            with self._changed:
                row = _lost(gap[0], now, gap[1], None)
                self._waiting.appendleft(row)
                self._bytes += row.cost
        try:
            self._begin_segment(ordinal, 1, now, str(uuids.uuid4()))
        except StoreError:
            if gap is not None:
                with self._changed:
                    self._bytes -= self._waiting.popleft().cost
            raise

    def _begin_segment(self, ordinal: int, first_n: int, begun_ms: int, uuid: str) -> None:
        path = segment_path(self._directory, ordinal, first_n, begun_ms, uuid)
        # Made complete under another name, so that a crash at any moment leaves either a whole segment or none.
        draft = self._directory / "next-segment"
        synchronous = self._settings.synchronous
        with translated(path):
            remove(draft)
            opened = open_sound(draft, SCHEMA, synchronous=synchronous)
            try:
                with transaction(opened.connection):
                    opened.connection.execute("INSERT INTO origin VALUES (1, ?, 0, ?)", (self._boot_id, synchronous))
            finally:
                opened.connection.close()
            os.rename(draft, path)
            connection = open_sound(path, SCHEMA, synchronous=synchronous, check=False).connection
        previous = self._connection
        self._use(Segment(ordinal, first_n, begun_ms, uuid, path), connection, first_n - 1, 0)
        if previous is not None:
            with contextlib.suppress(sqlite3.Error):
                # A reader that has it open would keep a full WAL alive; one in the midst of a read is not waited for.
                previous.execute("PRAGMA busy_timeout=0")
                previous.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            previous.close()

    def _use(self, segment: Segment, connection: sqlite3.Connection, last_n: int, size: int) -> None:
        self._segment, self._connection, self._segment_bytes = segment, connection, size
        self._in_doubt = False
        with self._changed:
            self._uuid, self._last_n = segment.uuid, last_n
        self._on_committed(segment.uuid, last_n)

    def _commit(self, rows: list[_Waiting]) -> None:
        assert self._segment is not None
        size = 0
        for count, row in enumerate(rows, 1):
            size += len(row.body)
            if size >= BATCH_BYTES:
                del rows[count:]
                break
        if self._in_doubt:
            # A COMMIT that failed may have reached the file all the same.
            with translated(self._segment.path):
                assert self._connection is not None
                last = self._connection.execute("SELECT max(n) FROM row").fetchone()[0] or 0
            self._in_doubt = False
            if last > self._last_n:
                self._committed(rows[: last - self._last_n], last)
                return
        first = self._last_n + 1
        if self._segment_bytes >= self._settings.segment_bytes:
            self._begin_segment(self._segment.ordinal + 1, first, rows[0].at_ms, self._segment.uuid)
        assert self._connection is not None
        self._in_doubt = True
        with translated(self._segment.path), transaction(self._connection):
            insert(self._connection, first, rows)
        self._in_doubt = False
        self._segment_bytes += size + 32 * len(rows)
        self._committed(rows, first + len(rows) - 1)

    def _committed(self, rows: list[_Waiting], last: int) -> None:
        assert self._segment is not None
        cost = sum(row.cost for row in rows)
        with self._changed:
            for _ in rows:
                self._waiting.popleft()
            self._bytes -= cost
            self._last_n = last
            self._enter("working")
            if not self._waiting:
                self._changed.notify_all()
        self._on_committed(self._segment.uuid, last)

    def _retire(self, needed: tuple[Position, ...]) -> None:
        assert self._segment is not None
        if self._in_doubt:
            return  # our last row may not be the last; it will be asked for again
        for position in needed:
            if position.uuid == self._segment.uuid and position.n > self._last_n:
                self._begin_journal(
                    self._segment.ordinal + 1,
                    (self._segment.begun_ms, f"rows {self._last_n + 1} to {position.n} were read, but are gone"),
                )
                return
        segments, _ = list_segments(self._directory)
        first_needed = len(segments) - 1
        for position in needed:
            index = index_of(segments, position.uuid, position.n)
            first_needed = min(first_needed, 0 if index is None else index)
        total = sum(disk_size(segment.path) for segment in segments)
        oldest_ms = self._clock() - int(self._settings.max_age * 1000)
        for segment, following in pairwise(segments[: first_needed + 1]):
            # All of a segment is as old as the beginning of the next one, or older.
            if total <= self._settings.max_bytes and following.begun_ms >= oldest_ms:
                break
            total -= disk_size(segment.path)
            with translated(segment.path):
                remove(segment.path)


def _lost(from_ms: int, to_ms: int, reason: str, rows: int | None) -> _Waiting:
    body = orjson.dumps({"from_ms": from_ms, "to_ms": to_ms, "reason": reason, "rows": rows})
    return _Waiting(Kind.LOST.value, to_ms, body)
