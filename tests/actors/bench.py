"""A journal with a recording, folded by one process after the other, whatever becomes of process, disk and journal."""

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from actors.folding import Folding
from conf.settings import Settings
from conf.validation import validated
from tests.actors.site import Log
from tests.simulation.calls import PlainCalls
from tests.simulation.disk import Disk
from tests.simulation.journal import DrivenJournal
from tests.truth import recordings
from wire.message import OutboundMessage
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger
from wire.store.row import Kind
from wire.store.segment import list_segments

RECORDING = "07_dtmf_during_call"


class Bench:
    """A journal with one recording, and folds of it one after the other on the same ledger."""

    def __init__(
        self, folder: Path, disk: Disk, recording: str | None = RECORDING, synchronous: str = "normal"
    ) -> None:
        self.folder = folder
        self.disk = disk
        self.log = Log()
        self.began_ms = self.now_ms = 5_000
        self.settings = validated(
            Settings,
            {
                "pbx": [{"name": "pbx1"}],
                "journal": {"segment_bytes": 65536, "synchronous": synchronous},
                "switchboard": {"snapshot_rows": 100},
            },
        )
        self.begin_journal()
        self.frames = [] if recording is None else list(recordings.frames(recording))
        self.append(self.frames)
        self.begin()

    def begin_journal(self) -> None:
        """The journal's process starts, on another boot of the host."""
        self.journal = DrivenJournal(
            self.folder / "journal",
            self.settings.journal,
            lambda uuid, n: None,
            clock=lambda: self.now_ms,
            boot_id=f"boot at {self.now_ms}",
        )
        self.journal.begin()

    def cut(self, rows: int) -> None:
        """The host loses its power, and all but these first rows of the journal; what runs is started again."""
        self.hurt("DELETE FROM row WHERE n > ?", rows)

    def hurt(self, statement: str, *values: int) -> None:
        """The host loses its power, and the journal's rows what this SQL says; what runs is started again."""
        self.die()
        self.journal.die()
        for segment in list_segments(self.folder / "journal")[0]:
            connection = sqlite3.connect(segment.path)
            connection.execute(statement, values)
            connection.commit()
            connection.close()
        self.now_ms += 1
        self.begin_journal()
        assert self.journal.drive()
        self.begin()

    def row(self, kind: Kind, at_ms: int, body: dict[str, Any]) -> None:
        """A row comes."""
        self.journal.append(kind, at_ms, orjson.dumps(body))
        assert self.journal.drive()

    def append(self, frames: list[bytes]) -> None:
        """Rows come, one by one."""
        for number, line in enumerate(frames):
            body = line[line.index(b'"event":') + 8 : line.rindex(b"}")].strip()
            self.journal.append(Kind.FRAME, 1_000 + number, body)
            assert self.journal.drive()

    def begin(self) -> None:
        """A process starts."""
        self.ledger = Ledger(self.folder / "ledger.db")
        self.ledger.open()
        self.reader = JournalReader(self.folder / "journal")
        self.calls = PlainCalls(self.settings)
        self.folding = Folding(
            "pbx1", self.settings, self.ledger, self.reader, self.calls, self.log, lambda: self.now_ms
        )
        for _ in self.folding.restore():
            pass

    def begin_without_ledger(self) -> None:
        """A process starts and finds none."""
        self.die()
        (self.folder / "ledger.db").unlink()
        self.begin()

    def die(self) -> None:
        """A process ends, and everything in its memory with it."""
        self.ledger.close()
        self.reader.close()

    def fold(self, rows: int | None = None) -> None:
        """Fold some rows, or all."""
        left = rows
        while left is None or left > 0:
            done = self.folding.fold(lambda: True)
            if done is None:
                return
            left = None if left is None else left - done.rows

    def published(self) -> list[OutboundMessage]:
        """What is in the outbox, in order."""
        return [entry.message for entry in self.ledger.outbox.load(0, 1000, 1 << 24)]
