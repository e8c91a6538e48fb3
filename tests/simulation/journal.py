"""The journal's writer without its thread: the thread's own steps, done when the simulation says so; and a reader."""

import contextlib
import sqlite3
from pathlib import Path

from tests.simulation.disk import Disk
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.journal import Batch, JournalReader, JournalWriter
from wire.store.row import Position
from wire.store.segment import mark


class DrivenJournal(JournalWriter):
    """As its base, but `drive` in place of `start` and the thread."""

    def begin(self) -> None:
        """Take the lock."""
        self._lock.acquire()

    def drive(self) -> bool:
        """Do all that there is to do; False if the disk refuses, and this is to be called again later."""
        try:
            if self._connection is None:
                self._open()
            while self._has_work():
                self._step()
        except (StoreUnusable, StoreDamaged) as error:
            if isinstance(error, StoreDamaged):
                self._drop_connection()
                self._distrusted = str(error)
            self._enter("refused", str(error))
            return False
        return True

    @property
    def waiting_bytes(self) -> int:
        """Memory that rows take which are not committed, bytes."""
        return self._bytes

    def _has_work(self) -> bool:
        gap = self._gap is not None and self._bytes * 2 < self._settings.reserve_bytes
        return bool(self._waiting) or self._needed is not None or gap

    def die(self) -> None:
        """The process is gone: what waited in memory too."""
        self._drop_connection()
        self._lock.release()

    def end(self) -> None:
        """A clean close, if the disk allows."""
        if self.drive():
            assert self._connection is not None
            with contextlib.suppress(sqlite3.Error):  # as the product's thread
                mark(self._connection, self._boot_id, self._settings.synchronous, clean=True)
        self.die()


AHEAD = 100
"""Rows that are read at once."""


class PatientReader(JournalReader):
    """As its base, but it looks for nothing that it knows: most reads would find the same once more.

    Where it found nothing there is nothing until somebody touched the journal's files. Rows that were found stay as
    they are until the host loses its power. And nothing is known while the disk has something to say.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        super().__init__(directory)
        self._disk = disk
        self._empty: tuple[Position | None, int] | None = None
        """Where nothing was found, and how often the files had been touched by then."""
        self._found: Batch | None = None
        """Rows of one segment."""
        self._complete: int | None = None
        """How often the files had been touched when these were all that there were; None: there were more."""

    def read(self, after: Position | None, rows: int, max_bytes: int) -> Batch | None:
        """As its base's."""
        disk = self._disk
        look = (after, disk.journal_touched)
        minds = disk.minds("journal")
        if look == self._empty and not minds:
            return None
        if minds or disk.torn:
            self._found, ahead = None, rows
        elif (known := self._known(after, rows)) is not None:
            return known
        else:
            ahead = max(rows, AHEAD)
        found = super().read(after, ahead, max_bytes)
        self._empty = look if found is None else None
        if found is None or ahead == rows:
            return found
        self._found, self._complete = found, disk.journal_touched if len(found.rows) < ahead else None
        return Batch(found.uuid, found.rows[:rows])

    def _known(self, after: Position | None, rows: int) -> Batch | None:
        found = self._found
        if found is None or after is None or after.uuid != found.uuid:
            return None
        at = after.n + 1 - found.rows[0].n
        enough = at + rows <= len(found.rows) or self._complete == self._disk.journal_touched
        return Batch(found.uuid, found.rows[at : at + rows]) if 0 < at < len(found.rows) and enough else None
