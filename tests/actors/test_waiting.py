"""actors.waiting and what actors.folding does with it: a suspended call loses nothing, whatever happens meanwhile."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from actors.call_system import CallSystem
from actors.folding import Folding
from actors.snapshots import CODEC
from actors.waiting import MOST, Kept, Waiting
from conf.settings import Settings
from tests.truth import recordings
from wire.message import OutboundMessage
from wire.store.journal import JournalReader, JournalWriter
from wire.store.ledger import Ledger
from wire.store.row import Kind, Row

SERVER = "pbx1"
RECORDING = "11_attended_transfer"


class Quiet:
    """A log that nobody reads."""

    def error(self, event: str, **keys: Any) -> None:
        """Say nothing."""

    warning = error


class Process:
    """A Switchboard without its actor: what it knows is gone when the next one begins."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.ledger = Ledger(folder / "ledger.db")
        self.ledger.open()
        self.reader = JournalReader(folder / "journal")
        self.calls = CallSystem(SERVER, settings)
        self.folding = Folding(SERVER, settings, self.ledger, self.reader, self.calls, Quiet(), lambda: 1)
        for _ in self.folding.restore():
            pass

    def fold(self, rows: int | None = None) -> None:
        """Fold so many rows, one in each transaction; None is all there are."""
        for _ in islice(iter(lambda: self.folding.fold(lambda: True), None), rows):
            pass

    def end(self) -> None:
        """Without a word."""
        self.ledger.close()
        self.reader.close()

    def messages(self) -> list[OutboundMessage]:
        """What was ever put into the outbox; nobody takes anything out of it here."""
        return [entry.message for entry in self.ledger.outbox.load(0, 100_000, 1 << 30)]


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A journal with a recording in it."""
    writer = JournalWriter(tmp_path / "journal", settings.journal, lambda _uuid, _n: None)
    writer.start()
    for row in recordings.rows(RECORDING):
        writer.append(row.kind, row.at_ms, row.body)
    writer.close()
    return tmp_path


@pytest.fixture
def processes(folder: Path, settings: Settings) -> Iterator[list[Process]]:
    """Of each test; the last one lives."""
    made: list[Process] = []
    yield made
    for each in made:
        each.end()


def by_stream(messages: list[OutboundMessage]) -> dict[str, list[tuple[int, str, bytes]]]:
    """What each stream says, in order."""
    streams: dict[str, list[tuple[int, str, bytes]]] = {}
    for each in messages:
        streams.setdefault(each.stream, []).append((each.sequence, each.message_id, each.body))
    return streams


def undisturbed(folder: Path, settings: Settings) -> dict[str, list[tuple[int, str, bytes]]]:
    """What is said when nobody is suspended."""
    (folder / "other").mkdir()
    (folder / "other" / "journal").symlink_to(folder / "journal")
    process = Process(folder / "other", settings)
    process.fold()
    said = by_stream(process.messages())
    process.end()
    return said


def suspended(process: Process, rows: int) -> str:
    """Fold so many rows, then suspend the first call that there is."""
    process.fold(rows)
    call_id = next(iter(process.calls.states))
    process.folding.suspend(call_id)
    return call_id


@pytest.mark.parametrize("rows", [10, 40, 80])
@pytest.mark.parametrize("more", [1, 30, None])
def test_a_resumed_call_says_what_it_would_have_said(
    folder: Path, settings: Settings, processes: list[Process], rows: int, more: int | None
) -> None:
    """Wherever it is suspended, and for however long: the same messages with the same ids, in order."""
    process = Process(folder, settings)
    processes.append(process)
    call_id = suspended(process, rows)
    state = process.calls.states[call_id]
    process.fold(more)
    assert process.calls.states[call_id] is state
    process.folding.resume(call_id)
    process.fold()
    assert by_stream(process.messages()) == undisturbed(folder, settings)


@pytest.mark.parametrize("rows", [10, 40, 80])
@pytest.mark.parametrize("more", [1, 30, None])
def test_a_death_meanwhile_loses_nothing(
    folder: Path, settings: Settings, processes: list[Process], rows: int, more: int | None
) -> None:
    """The next process keeps in its refold what was kept, and folds it when it is through."""
    first = Process(folder, settings)
    suspended(first, rows)
    first.fold(more)
    first.end()
    second = Process(folder, settings)
    processes.append(second)
    assert list(second.folding.waiting) == []
    second.fold()
    assert by_stream(second.messages()) == undisturbed(folder, settings)


@pytest.mark.parametrize("rows", [10, 40, 80])
@pytest.mark.parametrize("after", [1, 5, None])
def test_a_death_right_after_the_resumption_repeats_nothing(
    folder: Path, settings: Settings, processes: list[Process], rows: int, after: int | None
) -> None:
    """Resumed and committed, but no snapshot knows it yet: the marks do."""
    first = Process(folder, settings)
    call_id = suspended(first, rows)
    first.fold(20)
    first.folding.resume(call_id)
    first.fold(after)
    first.end()
    second = Process(folder, settings)
    processes.append(second)
    second.fold()
    assert by_stream(second.messages()) == undisturbed(folder, settings)


def test_a_clean_stop_keeps_what_is_kept(folder: Path, settings: Settings, processes: list[Process]) -> None:
    """A snapshot taken while a call is suspended holds its inputs."""
    first = Process(folder, settings)
    suspended(first, 10)
    first.fold()
    first.folding.begin_snapshot()
    while first.folding.snapshot():
        pass
    first.end()
    second = Process(folder, settings)
    processes.append(second)
    second.fold()
    assert by_stream(second.messages()) == undisturbed(folder, settings)


def test_what_is_kept_survives_its_encoding() -> None:
    """Rows, inputs and the word that a row was set aside come back as they were."""
    waiting = Waiting()
    waiting.begin("1.0")
    kept = [Kept("j", Row(5, 6, Kind.FRAME, b"\xff{}"), None)]
    assert not waiting.keep("1.0", kept[0])
    again = Waiting.of(CODEC.decode(CODEC.encode(waiting.plain())))
    assert list(again) == ["1.0"]
    assert again.end("1.0") == kept
    assert "1.0" not in again


def test_there_is_a_most() -> None:
    """A call that is forgotten in suspension does not fill the memory."""
    waiting = Waiting()
    waiting.begin("1.0")
    kept = Kept("j", Row(1, 1, Kind.FRAME, b""), None)
    assert [waiting.keep("1.0", kept) for _ in range(MOST + 1)].count(True) == 1
