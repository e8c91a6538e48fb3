"""A journal that grows, and whoever folds it, with bugs that can be mended: for tests of what is set aside."""

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from actors.call import redrive
from actors.call.redrive import Command, Order
from actors.call.replay import Replay
from actors.call_system import CallSystem
from actors.folding import Folding
from conf.settings import Settings
from tests.schemas import schemas
from tests.truth import recordings
from wire.message import OutboundMessage
from wire.store.journal import JournalReader, JournalWriter
from wire.store.ledger import Ledger, Quarantined
from wire.store.row import Kind
from wire.store.snapshots import KEEP

SERVER = "pbx1"
RECORDING = "07_dtmf_during_call"
FRAMES = [row.body for row in recordings.rows(RECORDING)]
TYPED = [n for n, frame in enumerate(FRAMES, 1) if b'"ChannelDtmfReceived"' in frame]
"""Rows in which a digit is typed."""


class Log:
    """What an operator would read."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def error(self, event: str, **_keys: Any) -> None:
        self.told.append(event)

    warning = error


class Fault:
    """A bug that some rows meet, until it is mended."""

    def __init__(self, *rows: int) -> None:
        self.rows = set(rows)
        self.error: type[Exception] = ZeroDivisionError

    def mend(self) -> None:
        self.rows = set()

    def strikes(self, n: int) -> None:
        if n in self.rows:
            raise self.error("on purpose")


class Site:
    """A journal that grows, processes that fold it one after the other, and a replay of it beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings()
        self.log = Log()
        self.writer = JournalWriter(folder / "journal", self.settings.journal, lambda _uuid, _n: None)
        self.writer.start()
        self.count = 0
        self.replay = Replay(SERVER, self.settings)
        self.replayed: list[OutboundMessage] = []
        self.begin()

    def begin(self) -> None:
        """A process starts."""
        self.ledger = Ledger(self.folder / "ledger.db")
        self.ledger.open()
        self.reader = JournalReader(self.folder / "journal")
        self.calls = CallSystem(SERVER, self.settings)
        self.folding = Folding(SERVER, self.settings, self.ledger, self.reader, self.calls, self.log, lambda: 1)
        for _ in self.folding.restore():
            pass

    def die(self) -> None:
        self.ledger.close()
        self.reader.close()

    def anew(self) -> None:
        """One process dies, the next starts."""
        self.die()
        self.begin()

    def frames(self, begin: int, end: int) -> None:
        """Rows of the recording come, are folded one by one, and replayed."""
        for frame in FRAMES[begin:end]:
            self.row(Kind.FRAME, frame)
        self.fold()

    def row(self, kind: Kind, body: bytes) -> None:
        self.count += 1
        self.writer.append(kind, 1_795_000_000_000 + self.count, body)
        assert self.writer.flush(20.0)
        line = {"n": self.count, "at_ms": 1_795_000_000_000 + self.count, "kind": kind, "text": body.decode()}
        self.replayed.extend(self.replay.feed(orjson.dumps(line)))

    def order(self, n: int, command: Command = "redrive") -> None:
        """An operator orders a redrive, or a drop."""
        [uuid] = {each.uuid for each in self.ledger.quarantine.find(n)}
        self.row(Kind.OPERATOR, orjson.dumps(redrive.command(Order(f"order {self.count}", uuid, n, command))))

    def fold(self) -> None:
        while self.folding.fold(lambda: True) is not None:
            pass

    def snapshot(self, times: int = KEEP) -> None:
        """Store the state: if as often as snapshots are kept, nothing older is folded again."""
        for _ in range(times):
            self.folding._since_snapshot += 1
            self.folding.begin_snapshot()
            while self.folding.snapshot():
                pass

    def spoil_snapshot(self) -> None:
        """The newest snapshot becomes unreadable."""
        info = self.ledger.snapshots.latest_complete()
        assert info is not None
        with sqlite3.connect(self.ledger.path) as other:
            other.execute("UPDATE slice SET blob = x'00' WHERE snapshot = ?", (info.id,))
        other.close()

    def published(self) -> list[OutboundMessage]:
        return [entry.message for entry in self.ledger.outbox.load(0, 100_000, 1 << 30)]

    def told(self) -> list[str]:
        """Operations, in order."""
        return [message.operation for message in self.published()]

    def waiting(self) -> list[Quarantined]:
        return self.ledger.quarantine.listing()

    def check(self) -> None:
        """Each stream has 1, 2, 3 …, all is as documented, and a replay of the journal says the same."""
        published = self.published()
        streams: dict[str, list[int]] = {}
        for message in published:
            streams.setdefault(message.stream, []).append(message.sequence)
            assert schemas().errors(orjson.loads(message.body)) == []
        for sequences in streams.values():
            assert sequences == list(range(1, len(sequences) + 1))
        assert sorted(published) == sorted(self.replayed)
