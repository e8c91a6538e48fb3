"""The file sink on real files: what is in them, when messages are confirmed, and what a bad disk does."""

# ruff: noqa: ASYNC240
# The files are small and local, and the tests are about them.

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import orjson
import pytest

from conf.settings import Settings
from conf.validation import validated
from wire.file_sink import FileSink
from wire.message import OutboundMessage
from wire.sink import Outcome, Phase, SinkState, Verdict


def message(number: int, body: bytes | None = None) -> OutboundMessage:
    """Message `number`, whose body says so."""
    body = orjson.dumps({"n": number}) if body is None else body
    return OutboundMessage(f"id{number}", "v3", "pbx1", "call:1", number, "x", None, 0, "call.pbx1.x", body)


class Running:
    """A sink that runs, and everything that it said."""

    def __init__(self, settings: Settings) -> None:
        self.states: list[SinkState] = []
        self.outcomes: list[Outcome] = []
        self.calls = 0
        self._changed = asyncio.Event()
        self.sink = FileSink(settings, on_outcomes=self._took_outcomes, on_state=self._took_state)
        self.task = asyncio.create_task(self.sink.run())

    def _took_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self.calls += 1
        self.outcomes += outcomes
        self._changed.set()

    def _took_state(self, state: SinkState) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact that a state or an outcome brings about."""
        async with asyncio.timeout(60.0):
            while not fact():
                self._changed.clear()
                await self._changed.wait()

    async def phase(self, phase: Phase) -> SinkState:
        """Wait for the sink to be in this phase."""
        await self.until(lambda: self.sink.state.phase is phase)
        return self.sink.state

    async def write(self, *messages: OutboundMessage) -> list[Verdict]:
        """Publish when connected and wait for the verdicts."""
        await self.phase(Phase.CONNECTED)
        before = len(self.outcomes)
        self.sink.publish(messages)
        await self.until(lambda: len(self.outcomes) >= before + len(messages))
        return [outcome.verdict for outcome in self.outcomes[before:]]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the messages go."""
    return tmp_path / "out" / "messages.jsonl"


@pytest.fixture
async def start(path: Path) -> AsyncIterator[Start]:
    """Starts a sink on `path`; keywords are options of `publisher.file`."""
    started: list[Running] = []

    async def make(**options: object) -> Running:
        settings = validated(
            Settings,
            {
                "publisher": {"sink": "file", "file": {"path": path, **options}},
                "rabbitmq": {"retry": {"minimum": 0.01, "maximum": 0.05}},
            },
        )
        started.append(Running(settings))
        return started[-1]

    yield make
    for running in started:
        await running.sink.close(5.0)
        await asyncio.wait([running.task])


def numbers(path: Path) -> list[int]:
    """What the file holds; every line must be JSON."""
    return [orjson.loads(line)["n"] for line in path.read_bytes().splitlines()]


async def test_messages_are_lines_in_order(start: Start, path: Path) -> None:
    """Every message is one line, in the order of publishing, confirmed when it is in the file; the file is private."""
    running = await start()
    assert await running.write(*(message(n) for n in range(500))) == [Verdict.CONFIRMED] * 500
    assert numbers(path) == list(range(500))
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(outcome.seconds > 0 for outcome in running.outcomes)


async def test_what_comes_during_a_write_goes_into_the_next(start: Start, path: Path) -> None:
    """A batch is one write and one call of on_outcomes."""
    running = await start()
    await running.phase(Phase.CONNECTED)
    for number in range(1000):
        running.sink.publish([message(number)])
    await running.until(lambda: len(running.outcomes) == 1000)
    assert running.calls <= 2
    assert numbers(path) == list(range(1000))


async def test_an_existing_file_is_appended_to(start: Start, path: Path) -> None:
    """A restart goes on where the file ended."""
    first = await start()
    await first.write(message(1))
    await first.sink.close(1.0)
    second = await start()
    await second.write(message(2))
    assert numbers(path) == [1, 2]


async def test_a_torn_last_line_is_cut_off(start: Start, path: Path) -> None:
    """What a power cut left of a line goes away before the next line is written."""
    path.parent.mkdir()
    path.write_bytes(b'{"n":1}\n{"n":2')
    running = await start()
    await running.write(message(3))
    assert numbers(path) == [1, 3]


async def test_a_body_with_newlines_stays_one_line(start: Start, path: Path) -> None:
    """Whitespace of JSON never splits a line."""
    running = await start()
    await running.write(message(1, b'{\n "n":\n 1}'), message(2))
    assert numbers(path) == [1, 2]


async def test_it_rotates_by_size_and_keeps_so_many(start: Start, path: Path) -> None:
    """A file that reached max_bytes is numbered, the oldest beyond `keep` go, no line is split or lost before that."""
    running = await start(max_bytes=1024, keep=2)
    for number in range(20):
        await running.write(message(number, orjson.dumps({"n": number, "x": "y" * 300})))
    names = sorted(item.name for item in path.parent.iterdir())
    assert names == ["messages.jsonl", "messages.jsonl.1", "messages.jsonl.2"]
    kept = numbers(path.with_name("messages.jsonl.2")) + numbers(path.with_name("messages.jsonl.1")) + numbers(path)
    assert kept == list(range(kept[0], 20))
    assert len(numbers(path.with_name("messages.jsonl.1"))) == 4


@pytest.mark.parametrize("how", ["moved", "deleted"])
async def test_a_file_that_was_taken_away_is_opened_anew(start: Start, path: Path, how: str) -> None:
    """logrotate may move or delete it; the next message is in a new file of the same name."""
    running = await start()
    await running.write(message(1))
    if how == "moved":
        path.rename(path.with_name("old"))
    else:
        path.unlink()
    await running.write(message(2))
    assert numbers(path) == [2]


async def test_a_full_disk_is_a_state_and_passes(start: Start, path: Path) -> None:
    """ENOSPC: FAILED, backing off with a reason and growing attempts; with room again the same message is confirmed."""
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    running = await start()
    for attempt in (1, 2, 3):
        assert await running.write(message(1)) == [Verdict.FAILED]
        state = [state for state in running.states if state.phase is Phase.BACKING_OFF][-1]
        assert state.attempt == attempt
        assert "No space left" in state.reason
    path.unlink()
    assert await running.write(message(1)) == [Verdict.CONFIRMED]
    assert running.sink.state == SinkState(Phase.CONNECTED)
    assert numbers(path) == [1]


async def test_a_write_that_fails_half_way_leaves_no_torn_line(start: Start, path: Path) -> None:
    """The disk takes a part of a batch and refuses the rest: the part is cut off, and the batch FAILED as a whole."""
    running = await start()
    await running.write(message(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        verdicts = await running.write(message(2), message(3, b"[" + b"1," * 2000 + b"1]"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert verdicts == [Verdict.FAILED, Verdict.FAILED]
    assert numbers(path) == [1]
    await running.write(message(2))
    assert numbers(path) == [1, 2]


async def test_a_path_that_cannot_be_had_is_told(start: Start, path: Path) -> None:
    """A folder in place of the file: backing off at the start, and messages are FAILED at once."""
    path.mkdir(parents=True)
    running = await start()
    state = await running.phase(Phase.BACKING_OFF)
    assert str(path) in state.reason
    await running.until(lambda: running.sink.state.attempt >= 3)
    running.sink.publish([message(1)])
    await running.until(lambda: len(running.outcomes) == 1)
    assert running.outcomes[0].verdict is Verdict.FAILED
    path.rmdir()
    assert await running.write(message(1)) == [Verdict.CONFIRMED]


async def test_one_id_is_in_flight_once(start: Start, path: Path) -> None:
    """The same id twice at once is one line and one outcome."""
    running = await start()
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1), message(1), message(2)])
    running.sink.publish([message(2)])
    assert running.sink.in_flight == 2
    await running.until(lambda: running.sink.in_flight == 0)
    assert numbers(path) == [1, 2]
    assert len(running.outcomes) == 2


async def test_an_id_is_in_flight_until_its_outcome_is_told(start: Start, path: Path) -> None:
    """Refused and offered again within one turn of the loop: one outcome, not two."""
    path.mkdir(parents=True)
    running = await start()
    await running.phase(Phase.BACKING_OFF)
    running.sink.publish([message(1), message(1)])
    running.sink.publish([message(1)])
    await running.until(lambda: bool(running.outcomes))
    path.rmdir()
    assert await running.write(message(2)) == [Verdict.CONFIRMED]
    assert [outcome.message_id for outcome in running.outcomes] == ["id1", "id2"]


async def test_closing_drains(start: Start, path: Path) -> None:
    """close() writes what was given, fails what comes later, and run() returns."""
    running = await start()
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(n) for n in range(100)])
    closing = asyncio.create_task(running.sink.close(60.0))
    await asyncio.sleep(0)
    running.sink.publish([message(100)])
    await closing
    await running.task
    await running.until(lambda: len(running.outcomes) == 101)
    assert {outcome.message_id for outcome in running.outcomes if outcome.verdict is Verdict.FAILED} == {"id100"}
    assert numbers(path) == list(range(100))
    assert running.sink.state.phase is Phase.DISCONNECTED


async def test_with_fsync_it_confirms_after_the_sync(start: Start, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`publisher.file.fsync`: each batch is synced before its verdicts, and a failing sync FAILS it."""
    synced: list[int] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        if synced:
            raise OSError(5, "Input/output error")
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    running = await start(fsync=True)
    await running.phase(Phase.CONNECTED)
    synced.clear()
    assert await running.write(message(1)) == [Verdict.CONFIRMED]
    assert await running.write(message(2)) == [Verdict.FAILED]
    assert numbers(path) == [1]
