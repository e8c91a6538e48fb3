"""Stores of a test's own, in its temporary folder."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.settings import Journal
from conf.validation import validated
from wire.message import OutboundMessage
from wire.store import outbox
from wire.store.journal import JournalReader, JournalWriter
from wire.store.row import Position, Row

Eventually = Callable[[Callable[[], object]], None]


class Harness:
    """A journal's writers and readers, closed at the test's end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told: list[Position] = []
        self._writers: list[JournalWriter] = []
        self._readers: list[JournalReader] = []

    def writer(
        self,
        *,
        segment_bytes: int = 65536,
        reserve_bytes: int = 1 << 20,
        max_bytes: int = 1 << 30,
        max_age: float = 1e6,
        synchronous: str = "normal",
        clock: Callable[[], int] = lambda: 1_000_000,
        boot_id: str | None = "boot 1",
        start: bool = True,
    ) -> JournalWriter:
        settings = validated(
            Journal,
            {
                "segment_bytes": segment_bytes,
                "reserve_bytes": reserve_bytes,
                "max_bytes": max_bytes,
                "max_age": max_age,
                "synchronous": synchronous,
            },
        )
        writer = JournalWriter(
            self.directory,
            settings,
            lambda uuid, n: self.told.append(Position(uuid, n)),
            clock=clock,
            boot_id=boot_id,
        )
        self._writers.append(writer)
        if start:
            writer.start()
        return writer

    def reader(self) -> JournalReader:
        reader = JournalReader(self.directory)
        self._readers.append(reader)
        return reader

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.journal"))

    def rows(self, after: Position | None = None) -> list[tuple[str, Row]]:
        """All that a new reader gives, with the journal's uuid."""
        reader, found = JournalReader(self.directory), list[tuple[str, Row]]()
        while (batch := reader.read(after, 100, 1 << 20)) is not None:
            found += [(batch.uuid, row) for row in batch.rows]
            after = Position(batch.uuid, batch.rows[-1].n)
        reader.close()
        return found

    def close(self) -> None:
        for writer in self._writers:
            writer.close(timeout=1)
        for reader in self._readers:
            reader.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Harness]:
    """A journal in a folder that does not exist yet."""
    harness = Harness(tmp_path / "state" / "journal")
    yield harness
    harness.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal")]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a fact is true; fail after 60 seconds."""

    def wait(fact: Callable[[], object]) -> None:
        until = time.monotonic() + 60
        while not fact():
            assert time.monotonic() < until, "it never came true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    """A database in memory with an outbox."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(outbox.STEP + outbox.CRC_STEP)
    yield connection
    connection.close()


@pytest.fixture
def message() -> Callable[..., OutboundMessage]:
    """Makes messages: message(stream, sequence)."""

    def make(
        stream: str = "call:1",
        sequence: int = 1,
        *,
        operation: str = "received-call",
        body: bytes = b"{}",
        form: str = "v3",
    ) -> OutboundMessage:
        return OutboundMessage(
            message_id=f"{form}/{stream}/{sequence}",
            form=form,
            server="pbx1",
            stream=stream,
            sequence=sequence,
            operation=operation,
            call_id=stream.removeprefix("call:"),
            timestamp_ms=1_795_337_565_516,
            routing_key=f"call.pbx1.{operation}",
            body=body,
        )

    return make
