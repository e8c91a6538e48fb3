"""The journal's reader. See wire/store/journal.py for the whole.

It keeps no place: every read says from where, so a reader that was restarted, or a second one, reads the same. Each
read is one bounded SELECT that is finished before it returns (an open one would pin the WAL). The one subtle moment is
the end of a segment: the writer may have committed to it between our empty read and its beginning of the next, so the
next is entered only after a second look at this one.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from wire.store.database import disk_size, open_reader
from wire.store.errors import StoreDamaged, StoreError, StoreUnusable, classify
from wire.store.row import Kind, Position, Row
from wire.store.segment import COLUMNS, SCHEMA, Segment, index_of, is_sound, list_segments

EXPORT_ROWS = 1000
EXPORT_BYTES = 4 * 1024 * 1024
PAUSE_MS = 120_000
"""A longer time without a row is no part of the journal's life: while the link is up, an audit writes some a minute."""
_FROM = f"SELECT {COLUMNS} FROM row WHERE n >= ? ORDER BY n LIMIT ?"  # noqa: S608
_BEFORE = f"SELECT {COLUMNS} FROM row WHERE n < ? ORDER BY n DESC LIMIT ?"  # noqa: S608
_BEYOND = (1 << 63) - 1
"""No row has this n: SQLite's largest."""


class Batch(NamedTuple):
    """Some rows in order, of one journal."""

    uuid: str
    """The journal they are of: another than was asked for when that one has ended and a later one was begun."""
    rows: list[Row]
    """At least one, n without gaps: what is damaged or missing is told by one `lost` row, whose n is the last of it.
    Where that is the end of the journal before, and nothing of this one, it is 0."""


class JournalRange(NamedTuple):
    """What a journal directory holds."""

    first: Position | None
    """The oldest row kept; None if there are no rows."""
    last: Position | None
    """The newest row."""
    first_ms: int | None
    """When we had the oldest, Unix milliseconds."""
    last_ms: int | None
    """When we had the newest, Unix milliseconds."""
    segments: int
    """Segments in use."""
    bytes: int
    """Their size on disk, WAL included."""
    set_aside: tuple[str, ...]
    """Files set aside as damaged."""


class JournalReader:
    """Reads a journal while its writer writes, from the same process or another. For one thread at a time.

    Args:
        directory: The journal's; it need not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segments: list[Segment] = []
        self._aside: list[Segment] = []
        self._open: tuple[Segment, sqlite3.Connection] | None = None

    def read(self, after: Position | None, rows: int, max_bytes: int) -> Batch | None:
        """The next rows after a position.

        Args:
            after: Where the last read ended; None begins with the oldest row kept.
            rows: Most rows to give.
            max_bytes: Stop at the row whose body brings their bodies' sum to this size.

        Returns:
            None if there are none yet.

        Raises:
            StoreUnusable: the disk refuses.
            StoreDamaged: the end of what the writer is writing cannot be read; the writer will begin a new journal.
        """
        place = self._place(after)
        if place is None:
            return None
        segment, n = place
        while True:
            unread = False
            try:
                got = self._select(segment, n, rows, max_bytes)
                following = None if got else self._following(segment)
                if following is not None:
                    got = self._select(segment, n, rows, max_bytes)
            except StoreDamaged:
                # Not even its head or its end can be read: what follows tells how far it went.
                got, following, unread = [], self._following(segment), True
                if following is None:
                    raise
            if not got:
                if following is None:
                    return None
                if following.uuid != segment.uuid:
                    n = following.first_n - 1
                    if unread or n or self._is_hole(segment, following):
                        lost = _lost(n, 0, segment.begun_ms, following.begun_ms, "rows are missing")
                        return Batch(following.uuid, [lost])
                elif following.first_n > n + 1:
                    lost = _lost(following.first_n - 1, n, segment.begun_ms, following.begun_ms, "rows are missing")
                    return Batch(segment.uuid, [lost])
                segment = following
                continue
            if got[0].n != n + 1 and got[0].kind != Kind.LOST:
                got.insert(0, _lost(got[0].n - 1, n, segment.begun_ms, got[0].at_ms, "rows are missing"))
            return Batch(segment.uuid, got)

    def range(self) -> JournalRange:
        """First and last position, and the size on disk.

        Raises:
            StoreUnusable: the disk refuses.
        """
        self._look()
        first = None
        for segment in self._segments:
            first = first or self._edge(segment, "ASC")
        last = self._last()
        return JournalRange(
            first=first[0] if first else None,
            last=last[0] if last else None,
            first_ms=first[1] if first else None,
            last_ms=last[1] if last else None,
            segments=len(self._segments),
            bytes=sum(disk_size(segment.path) for segment in self._segments),
            set_aside=tuple(str(segment.path) for segment in self._aside),
        )

    def last(self) -> Position | None:
        """The newest row; None if there are none. Cheap: it reads one row.

        Raises:
            StoreUnusable: the disk refuses.
        """
        self._look()
        last = self._last()
        return last[0] if last else None

    def began_ms(self) -> int | None:
        """When the oldest segment in use was begun, or the first of those set aside just before it; None without any.

        Also if no row of it can be read any more.
        """
        self._look()
        if not self._segments:
            return None
        first = self._segments[0]
        for segment in reversed(self._aside):
            if segment.ordinal == first.ordinal - 1:
                first = segment
        return first.begun_ms

    def cut(self) -> Position | None:
        """Where the journal begins, if that is not its beginning: rows were cut off, or are gone with their segments.

        Returns:
            The position before its oldest row; None if it has its beginning, or does not exist.

        Raises:
            StoreDamaged: all segments were set aside; the writer will begin a new journal.
        """
        self._look()
        if not self._segments:
            if self._aside:
                raise StoreDamaged(self._aside[-1].path, "was set aside, and nothing follows it yet")
            return None
        oldest = self._segments[0]
        return Position(oldest.uuid, oldest.first_n - 1) if oldest.ordinal > 1 else None

    def uuid(self) -> str | None:
        """The newest journal's name; None if there is none."""
        self._look()
        return self._segments[-1].uuid if self._segments else None

    def rewound(self, span_ms: int) -> Generator[None, None, Position | None]:
        """Where to read from for the last stretch of the journal (`rebuild_window`); comes up for air now and then.

        A stretch is measured on the rows, not on a clock: what lies between two rows counts for `PAUSE_MS` at most, and
        nothing if the later one has the earlier time. So it is as long as ever when the host was off for a day, or had
        its clock set.

        Args:
            span_ms: How much, milliseconds.

        Returns:
            The position before its first row; None: from the oldest.

        Raises:
            StoreUnusable: the disk refuses.
        """
        self._look()
        later = None
        for segment in reversed(self._segments):
            before = _BEYOND
            while rows := self._times(segment, before):
                for n, at_ms in rows:
                    if later is not None:
                        span_ms -= min(max(0, later - at_ms), PAUSE_MS)
                        if span_ms < 0:
                            return Position(segment.uuid, n)
                    before, later = n, at_ms
                yield
        return None

    def _times(self, segment: Segment, before: int) -> list[tuple[int, int]]:
        """Sound rows before a row, the nearest first, as (n, at_ms); none where SQLite finds damage."""
        got: list[tuple[int, int]] = []
        try:
            connection = self._connect(segment)
            if connection is None:
                return []
            with contextlib.closing(connection.execute(_BEFORE, (before, EXPORT_ROWS))) as rows:
                for row in rows:
                    if is_sound(*row) and row[0] < before:
                        got.append(row[:2])
                        before = row[0]
        except (sqlite3.Error, UnicodeDecodeError, StoreDamaged) as error:
            self._meant(segment, error)  # what nobody can read, nobody has to fold again
        return got

    def export(self, after: Position | None = None, upto: Position | None = None) -> Iterator[bytes]:
        """Rows as lines that `arimon-ctl replay` reads, newline included.

        Args:
            after: As for read().
            upto: The last row to give; None ends with what is committed.
        """
        while (batch := self.read(after, EXPORT_ROWS, EXPORT_BYTES)) is not None:
            for row in batch.rows:
                if upto is not None and batch.uuid == upto.uuid and row.n > upto.n:
                    return
                yield export_line(row, batch.uuid)
            after = Position(batch.uuid, batch.rows[-1].n)

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _look(self) -> None:
        self._segments, self._aside = list_segments(self._directory)

    def _place(self, after: Position | None) -> tuple[Segment, int] | None:
        """The segment to read, and the row after which; None if there is nothing (yet)."""
        if after is None:
            self._look()
            return (self._segments[0], self._segments[0].first_n - 1) if self._segments else None
        index = index_of(self._segments, after.uuid, after.n)
        if index is None:
            self._look()
            index = index_of(self._segments, after.uuid, after.n)
        if index is not None:
            segment = self._segments[index]
            return segment, after.n
        # That journal is gone altogether. Where its damaged remains are kept, they tell which one came next; otherwise
        # only the newest can be later than what was read: an older one may have been read before.
        remains = [segment.ordinal for segment in self._aside if segment.uuid == after.uuid]
        if remains:
            later = [segment for segment in self._segments if segment.ordinal > max(remains)]
        else:
            later = [segment for segment in self._segments if segment.uuid == self._segments[-1].uuid]
        return (later[0], later[0].first_n - 1) if later else None

    def _following(self, segment: Segment) -> Segment | None:
        self._look()
        return next((each for each in self._segments if each.ordinal > segment.ordinal), None)

    def _is_hole(self, segment: Segment, following: Segment) -> bool:
        """Whether segments are missing between two, but for the one set aside that the later one's first row tells."""
        told = any(aside.ordinal == following.ordinal - 1 for aside in self._aside)
        return following.ordinal - told > segment.ordinal + 1

    def _connect(self, segment: Segment) -> sqlite3.Connection | None:
        """The connection to a segment, the only one kept; None if it has been unlinked."""
        if self._open is not None and self._open[0] == segment:
            return self._open[1]
        self.close()
        try:
            # A segment gets its name when it is complete, so what is none was damaged.
            connection = open_reader(segment.path, SCHEMA)
        except StoreUnusable:
            if segment.path.exists():
                raise
            return None
        self._open = (segment, connection)
        return connection

    def _select(self, segment: Segment, n: int, rows: int, max_bytes: int) -> list[Row]:
        connection = self._connect(segment)
        return [] if connection is None else self._sound(connection, segment, n, rows, max_bytes)

    def _sound(self, connection: sqlite3.Connection, segment: Segment, n: int, rows: int, max_bytes: int) -> list[Row]:
        """Sound rows after n; if the very first is damaged, a `lost` row for it and all damaged ones behind it."""
        got: list[Row] = []
        size = 0
        try:
            # Not n > ?: that would look for row n itself, and stumble when n lies on a damaged page.
            cursor = connection.execute(_FROM, (n + 1, rows))
            try:
                for number, at_ms, kind, body, crc in cursor:
                    if got and number > got[-1].n + 1:
                        break  # rows are missing, which the next read tells
                    if not is_sound(number, at_ms, kind, body, crc) or number <= (got[-1].n if got else n):
                        raise StoreDamaged(segment.path, f"row {number} has another checksum, or another place")
                    got.append(Row(number, at_ms, kind, body))
                    size += len(body)
                    if size >= max_bytes:
                        break
            finally:
                cursor.close()  # ends the read
        except (sqlite3.Error, UnicodeDecodeError, StoreDamaged) as error:
            self._meant(segment, error)
            return got or [self._single(connection, n) or self._past_damage(connection, segment, n)]
        return got

    def _meant(self, segment: Segment, error: sqlite3.Error | UnicodeDecodeError | StoreDamaged) -> None:
        """Pass over damage, and raise anything else."""
        known: StoreError | None = error if isinstance(error, StoreDamaged) else classify(segment.path, error)
        if not isinstance(known, StoreDamaged):
            raise (known or error) from error

    def _single(self, connection: sqlite3.Connection, n: int) -> Row | None:
        """The next row alone, if sound: the sqlite3 module looks a row ahead, and swallows the one before damage."""
        try:
            found = connection.execute(_FROM, (n + 1, 1)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return None  # _past_damage meets it again, and says what it is
        return Row(*found[:4]) if found is not None and is_sound(*found) and found[0] > n else None

    def _before(self, connection: sqlite3.Connection, segment: Segment, n: int) -> int:
        """When we had row n, the last before a hole; the segment's beginning if nobody can say."""
        row = self._single(connection, n - 1)
        return row.at_ms if row is not None and row.n == n else segment.begun_ms

    def _past_damage(self, connection: sqlite3.Connection, segment: Segment, n: int) -> Row:
        """A `lost` row from n + 1 to before the next row that can be read, found by doubling steps, then halving."""
        low, step = n + 1, 1
        while True:
            found = self._probe(connection, segment, low + step)
            if found is not None:
                break
            step *= 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._probe(connection, segment, middle)
            if tried is None:
                low = middle
            else:
                high, found = middle, tried
        number, at_ms = found
        before_ms = self._before(connection, segment, n)
        if at_ms is None:
            at_ms = self._claimed(connection, before_ms)
        return _lost(number - 1, n, before_ms, at_ms, "rows were damaged on disk")

    def _claimed(self, connection: sqlite3.Connection, before_ms: int) -> int:
        """When we had a damaged last row: what it says itself, if that may be true, or else when we had one before."""
        try:
            found = connection.execute("SELECT at_ms FROM row ORDER BY n DESC LIMIT 1").fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            found = None
        at_ms = None if found is None else found[0]
        return at_ms if isinstance(at_ms, int) and 0 <= at_ms - before_ms <= PAUSE_MS else before_ms

    def _probe(self, connection: sqlite3.Connection, segment: Segment, n: int) -> tuple[int, int | None] | None:
        """The first row from n on as (n, at_ms), None if it cannot be read; beyond the last row, what comes next.

        Nobody knows when the row comes that is yet to be written.

        Raises:
            StoreDamaged: the end of the last segment cannot be read, so nobody knows (here) where it is.
        """
        try:
            row = connection.execute(_FROM, (n, 1)).fetchone()
            if row is not None:
                return row[:2] if is_sound(*row) and row[0] >= n else None
            last = connection.execute("SELECT max(n) FROM row").fetchone()[0]
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._meant(segment, error)
            last = None
        following = self._following(segment)
        if following is not None and following.uuid == segment.uuid:
            return (following.first_n, following.begun_ms) if n >= following.first_n else None
        if last is not None and n > last:
            return (n, None if following is None else following.begun_ms)
        # Ten million rows of a kilobyte are far more than any segment holds.
        if n > segment.first_n + 10_000_000:
            raise StoreDamaged(segment.path, "its end cannot be read")
        return None

    def _last(self) -> tuple[Position, int] | None:
        edges = (self._edge(segment, "DESC") for segment in reversed(self._segments))
        return next((edge for edge in edges if edge is not None), None)

    def _edge(self, segment: Segment, order: str) -> tuple[Position, int] | None:
        try:
            connection = self._connect(segment)
            if connection is None:
                return None
            with contextlib.closing(connection.execute(f"SELECT {COLUMNS} FROM row ORDER BY n {order}")) as rows:  # noqa: S608
                return next(((Position(segment.uuid, row[0]), row[1]) for row in rows if is_sound(*row)), None)
        except (sqlite3.Error, UnicodeDecodeError, StoreDamaged) as error:
            self._meant(segment, error)
            return None  # the range tells what can be read


def _lost(last: int, after: int, from_ms: int, to_ms: int, reason: str) -> Row:
    told = {"from_ms": from_ms, "to_ms": to_ms, "reason": reason, "rows": last - after}
    return Row(last, to_ms, Kind.LOST.value, orjson.dumps(told))


def export_line(row: Row, uuid: str) -> bytes:
    """A row as one line of JSON: `body` holds its JSON as it came, or `text` a body that is no JSON.

    `uuid` names its journal: after a power cut or damage the next one counts its rows from 1 again.

    A byte that is no UTF-8 is written as `\\xNN`: that is no escape of JSON, so broken JSON stays broken.
    """
    try:
        body: object = orjson.loads(row.body)
    except orjson.JSONDecodeError:
        told: dict[str, object] = {"text": row.body.decode("utf-8", "backslashreplace")}
    else:
        # As it came, unless it is spread over lines: numbers too large for orjson would not survive being read.
        told = {"body": body if b"\n" in row.body or b"\r" in row.body else orjson.Fragment(row.body)}
    place = {"uuid": uuid, "n": row.n, "at_ms": row.at_ms, "kind": row.kind}
    return orjson.dumps(place | told, option=orjson.OPT_APPEND_NEWLINE)
