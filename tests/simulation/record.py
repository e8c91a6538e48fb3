"""The record of a journal: every row that was ever in it, for the checker."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.simulation.disk import Disk
from wire.store.errors import StoreDamaged
from wire.store.journal import Batch, JournalReader, export_line
from wire.store.row import Position, Row
from wire.store.segment import list_segments


class Record:
    """Rows noted before they are cut off, and those that are still there.

    Args:
        directory: the journal's.
        disk: where it is.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self._kept: list[Row] = []
        """Rows that the journal may have cut off by now."""
        self._kept_to: Position | None = None
        self._journals: dict[Row, str] = {}
        """The journal of each row."""

    def keep(self) -> None:
        """Note what the journal holds, before it cuts off what nobody needs any more."""
        with self._readable():
            self._kept.extend(self._rows())

    def gone(self) -> frozenset[Row]:
        """Rows that were noted, and that the journal does not have any more; none if it cannot be read."""
        with self._readable():
            return frozenset(self._kept) - {row for batch in self._batches(None) for row in batch.rows}
        return frozenset()

    def all(self) -> tuple[list[Row], list[bytes]]:
        """Every row, and its line of the exported journal."""
        rows = [*self._kept, *self._rows()]
        return rows, [export_line(row, self._journals[row]) for row in rows]

    def is_cut(self) -> bool:
        """Whether the journal's beginning is not there any more."""
        kept, aside = list_segments(self._directory)
        return not any(segment.ordinal == 1 for segment in (*kept, *aside))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Within, the disk refuses nothing; what cannot be read ends it."""
        trouble, fatal = self._disk.trouble, self._disk.fatal
        self._disk.trouble, self._disk.fatal = {}, {}
        with suppress(StoreDamaged):
            yield
        self._disk.trouble, self._disk.fatal = trouble, fatal

    def _rows(self) -> Iterator[Row]:
        """Rows of the journal behind those that are noted, from here on noted too."""
        for batch in self._batches(self._kept_to):
            self._kept_to = Position(batch.uuid, batch.rows[-1].n)
            self._journals.update(dict.fromkeys(batch.rows, batch.uuid))
            yield from batch.rows

    def _batches(self, after: Position | None) -> Iterator[Batch]:
        reader = JournalReader(self._directory)
        try:
            while (batch := reader.read(after, 1000, 1 << 24)) is not None:
                after = Position(batch.uuid, batch.rows[-1].n)
                yield batch
        finally:
            reader.close()
