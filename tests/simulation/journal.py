"""The journal's writer without its thread: the thread's own steps, done when the simulation says so; and a reader."""

import contextlib
import sqlite3
from pathlib import Path

from tests.simulation.disk import Disk
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.journal import Batch, JournalReader, JournalWriter
from wire.store.row import Position


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
                self._mark(self._connection, clean=True)
        self.die()


class PatientReader(JournalReader):
    """As its base, but where it found nothing it does not look again until somebody touched the journal's files, or
    the disk has something to say: one look in two would find nothing once more."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        super().__init__(directory)
        self._disk = disk
        self._empty: tuple[Position | None, int] | None = None
        """Where nothing was found, and how often the files had been touched by then."""

    def read(self, after: Position | None, rows: int, max_bytes: int) -> Batch | None:
        """As its base's."""
        look = (after, self._disk.journal_touched)
        if look == self._empty and not self._disk.minds("journal"):
            return None
        found = super().read(after, rows, max_bytes)
        self._empty = look if found is None else None
        return found
