"""The ledger: a Switchboard's own database. What has been done with the journal, up to which row.

::

    ledger = Ledger(path)
    opened = ledger.open()                        # in the process that uses it: takes the lock, sets damage aside
    with ledger.transaction():                    # all of it or nothing
        ledger.move(Position(uuid, n), row_ms)
        entries = ledger.outbox.add(messages, now_ms)
        ledger.quarantine.add(suspects, now_ms)
    offers.handle(Added(tuple(entries)), monotonic_ms)

The checkpoint, the outbox and the quarantine move in one transaction, so after any death the three agree, and the
refold goes on behind the checkpoint without doing anything twice. Snapshots (wire/store/snapshots.py), the quarantine
(wire/store/quarantine.py) and the streams' marks (wire/store/marks.py) have modules of their own.

**Poison** that kills the process cannot be caught, only counted, and the count must be on disk before the row is
touched. `begin_attempt()` counts the starts that found the checkpoint where the last one did; from the third on the
Switchboard takes single rows, each behind a `begin_row()`, which tells how often that row was begun and not survived::

    if ledger.begin_attempt() >= 3:
        deaths = ledger.begin_row(position)       # 2: it has killed us twice, so quarantine it instead
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from wire.store import marks, outbox, quarantine, snapshots
from wire.store.database import Schema, WriterLock, open_writer, transaction, translated
from wire.store.marks import Marks
from wire.store.outbox import Outbox
from wire.store.quarantine import Attempt, Quarantine, Quarantined, Stage, Suspect
from wire.store.row import Position
from wire.store.snapshots import SnapshotInfo, Snapshots

__all__ = [
    "Attempt",
    "Ledger",
    "LedgerOpened",
    "Quarantine",
    "Quarantined",
    "SnapshotInfo",
    "Snapshots",
    "Stage",
    "Suspect",
]


def _damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with its content; texts without a checksum only must be texts."""
    for columns in ("* FROM checkpoint", "* FROM mark", "* FROM quarantine", "* FROM snapshot", "key FROM slice"):
        for _ in connection.execute(f"SELECT {columns}"):
            pass
    uuid, n, crc = connection.execute("SELECT uuid, n, crc FROM checkpoint").fetchone()
    if crc is not None and crc != _checksum(uuid, n):
        return "the checkpoint has another checksum"
    looks = (outbox.damage, marks.damage, quarantine.damage, snapshots.damage)
    return next((found for look in looks if (found := look(connection)) is not None), None)


def _checksum(uuid: str | None, n: int) -> int:
    return zlib.crc32(f"{uuid} {n}".encode())


SCHEMA = Schema(
    name="ledger",
    application_id=0x41724C67,  # "ArLg"
    steps=(
        """
        CREATE TABLE checkpoint (     -- one row
            one INTEGER PRIMARY KEY CHECK (one = 1),
            uuid TEXT,                -- null until something was folded
            n INTEGER NOT NULL,
            moved_ms INTEGER,          -- see Ledger.latest_ms
            attempts INTEGER NOT NULL, -- starts that found it here
            row_uuid TEXT,            -- the row being tried in single steps
            row_n INTEGER,
            row_begun INTEGER NOT NULL
        );
        INSERT INTO checkpoint VALUES (1, NULL, 0, NULL, 0, NULL, NULL, 0);
        """,
        outbox.STEP,
        quarantine.STEP,
        snapshots.STEP,
        marks.STEP,
        quarantine.REDRIVE_STEP,
        outbox.CRC_STEP,
        "ALTER TABLE checkpoint ADD COLUMN crc INTEGER; -- of uuid and n; null: moved by a version that wrote none",
        marks.CRC_STEP,
        quarantine.CRC_STEP,
        snapshots.CRC_STEP,
        "-- Since here the version is said twice.",
        "ALTER TABLE checkpoint ADD COLUMN back_ms INTEGER; -- see Ledger.back_ms",
    ),
    repeats_on="slice",
    repeats_since=12,
    check="integrity_check",
    damage=_damage,
)


_BEFORE_ALL = Position("", 0)
"""Of no journal that there is: nothing is unlinked for it."""


class LedgerOpened(NamedTuple):
    """What opening found."""

    fresh: bool
    """True if it was begun now: there is no checkpoint, and the journal must be refolded (`rebuild_window`)."""
    set_aside: Path | None
    """Where its damaged predecessor is kept."""
    damage: str | None
    """What was wrong with that."""


class Ledger:
    """A Switchboard's database; the Switchboard is its only writer, arimon-ctl may read.

    Args:
        path: The database's file; its lock file lies beside it.
        synchronous: As journal.synchronous: there is no use in a ledger that forgets less than its journal.
    """

    outbox: Outbox
    """Messages decided on and not yet confirmed. There once opened, as the next two."""
    quarantine: Quarantine
    """Rows that could not be taken."""
    snapshots: Snapshots
    """States at a row, to begin the refold from."""
    marks: Marks
    """How far each stream is published."""

    def __init__(self, path: Path, synchronous: Literal["normal", "full"] = "normal") -> None:
        self._path = path
        self._synchronous = synchronous
        self._lock = WriterLock(path.with_name(path.name + ".lock"))
        self._opened: sqlite3.Connection | None = None
        self._attempt: int | None = None
        """Which start at this checkpoint we are, once counted."""
        self._trying: tuple[Position, int] | None = None
        """The row begun in single steps, and how often it was before."""

    def open(self) -> LedgerOpened:
        """Take the lock and open the database; after the fork.

        Raises:
            StoreLocked: another process has it.
            StoreUnusable: the disk refuses; try again later.
            StoreForeign: the file is not ours to use.
        """
        self._lock.acquire()
        try:
            with translated(self._path):
                opened = open_writer(self._path, SCHEMA, synchronous=self._synchronous)
                self._use(opened.connection)
                self.snapshots.discard_incomplete()
        except BaseException:
            self.close()
            raise
        return LedgerOpened(opened.fresh, opened.set_aside, opened.damage)

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._path

    @property
    def is_open(self) -> bool:
        """True between `open` and `close`."""
        return self._opened is not None

    def _use(self, connection: sqlite3.Connection) -> None:
        self._opened = connection
        self.outbox = Outbox(connection, self._path)
        self.quarantine = Quarantine(connection)
        self.snapshots = Snapshots(connection, self._path)
        self.marks = Marks(connection)

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._opened is not None, "the ledger is not open"
        return self._opened

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is changed within is committed together at its end, or, if anything raises, not at all.

        Raises:
            StoreUnusable: the disk refuses; nothing was changed, and the same may be tried again later.
            StoreDamaged: the file is damaged; begin anew, open() will set it aside.
        """
        with translated(self._path), transaction(self._connection):
            yield

    def position(self) -> Position | None:
        """The checkpoint: up to here all is done. None in a fresh ledger."""
        uuid, n = self._connection.execute("SELECT uuid, n FROM checkpoint").fetchone()
        return None if uuid is None else Position(uuid, n)

    def move(self, position: Position, latest_ms: int, back_ms: int | None = None) -> None:
        """Move the checkpoint; within a transaction. What was counted against the old one is forgotten.

        Args:
            position: Where to.
            latest_ms: The latest time of the rows passed, Unix milliseconds.
            back_ms: The earliest of theirs that is before one that came before it; None if there is none.
        """
        self._connection.execute(
            "UPDATE checkpoint SET uuid = ?, n = ?, crc = ?, moved_ms = max(coalesce(moved_ms, 0), ?),"
            " back_ms = coalesce(min(back_ms, ?), back_ms, ?), attempts = 0, row_uuid = NULL, row_n = NULL,"
            " row_begun = 0",
            (*position, _checksum(*position), latest_ms, back_ms, back_ms),
        )
        self._attempt = self._trying = None

    def latest_ms(self) -> int:
        """The latest time of the rows that a refold needs: where they are gone, nobody else can say it any more.

        Not that of the checkpoint's row, where the host's clock was set back. 0 in a fresh ledger.
        """
        found: int = self._connection.execute("SELECT coalesce(moved_ms, 0) FROM checkpoint").fetchone()[0]
        return found

    def back_ms(self) -> int | None:
        """The earliest time of those rows after the host's clock was set back; None if it was not."""
        found: int | None = self._connection.execute("SELECT back_ms FROM checkpoint").fetchone()[0]
        return found

    def forget_times(self, latest_ms: int, back_ms: int | None = None) -> None:
        """A refold begins later than it did; within a transaction.

        Args:
            latest_ms: The latest time of the rows that it needs now, Unix milliseconds.
            back_ms: As `back_ms` says it of these.
        """
        self._connection.execute("UPDATE checkpoint SET moved_ms = ?, back_ms = ?", (latest_ms, back_ms))

    def begin_attempt(self) -> int:
        """Count a start. Asked again since the disk refused, it counts no second one.

        Returns:
            How many starts found the checkpoint here, this one included.
        """
        with translated(self._path):
            if self._attempt is None:
                [before] = self._connection.execute("SELECT attempts FROM checkpoint").fetchone()
                self._attempt = before + 1
        with self.transaction():
            self._connection.execute("UPDATE checkpoint SET attempts = ?", (self._attempt,))
        return self._attempt

    def begin_row(self, position: Position) -> int:
        """Note, before a row is touched in single steps, that it is going to be.

        Asked again since the disk refused, it counts no second time: a COMMIT that failed may have been made.

        Returns:
            How often it was begun by processes before, without the checkpoint getting past it.
        """
        uuid, n = position
        with translated(self._path):
            if self._trying is None or self._trying[0] != position:
                found = self._connection.execute(
                    "SELECT row_begun FROM checkpoint WHERE row_uuid IS ? AND row_n IS ?", (uuid, n)
                ).fetchone()
                self._trying = (position, found[0] if found is not None else 0)
        deaths = self._trying[1]
        with self.transaction():
            self._connection.execute(
                "UPDATE checkpoint SET row_uuid = ?, row_n = ?, row_begun = ?", (uuid, n, deaths + 1)
            )
        return deaths

    def row_begun(self) -> bool:
        """Whether the row behind the checkpoint was begun in single steps, and not survived."""
        return bool(self._connection.execute("SELECT row_begun FROM checkpoint").fetchone()[0])

    def needed(self, quarantined_since_ms: int) -> list[Position]:
        """Positions from which the journal may yet be read, for JournalWriter.retire.

        The oldest snapshot (without one all: a restart would fold from the first row), and rows quarantined lately,
        whose neighbours somebody may want to look at. A row quarantined long ago holds nothing back: it is kept whole
        in the quarantine, and a journal that could never shrink for its sake would fill the disk.

        Args:
            quarantined_since_ms: Since when a quarantined row counts, Unix milliseconds.
        """
        found = [info.position for info in self.snapshots.complete_ones()[-1:]] or [_BEFORE_ALL]
        if (checkpoint := self.position()) is not None:
            found.append(checkpoint)
        return found + self.quarantine.positions(quarantined_since_ms)

    def close(self) -> None:
        """Close the database and release the lock."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._attempt = self._trying = None
        self._lock.release()
