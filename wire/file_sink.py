"""The sink that appends messages to a file: JSON Lines, one message's body a line.

**One write per batch.** What `publish` gave is written by the next turn of a thread; while that write is under way
more is collected, so a slow disk makes batches larger instead of the loop slower. A message is CONFIRMED when its
write has returned. With `publisher.file.fsync` the file is synced first and a power cut loses nothing confirmed;
without it (the default) the death of a process, ours or any, loses nothing, a power cut what the kernel had not yet
written.

**The file holds whole lines only.** A write that fails half-way (disk full) is cut off again; a torn last line found
at opening (power cut) is cut off too, its message was not confirmed or belongs to what the policy allows to be lost.

Rotation: a file that has reached `max_bytes` becomes `NAME.1`, that one `NAME.2` …, and what is beyond `keep` is
deleted. A file that was moved or deleted by somebody else (logrotate) is opened anew before the next write.

A disk that is full or refuses is a state, not an error: the batch is FAILED, the sink backs off as it does from a
broker, and tries again for ever. One process writes a file; nothing here locks it.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conf.settings import Settings
from wire.backoff import Backoff
from wire.message import OutboundMessage
from wire.sink import OnOutcomes, OnState, Outcome, Phase, SinkState, Verdict

TORN_SEARCH_BYTES = 16 * 1024 * 1024
"""How far back a torn line's beginning is looked for; longer than any message."""


class LineFile:
    """A file of whole lines that is appended to and rotated. Blocking; one thread at a time."""

    def __init__(self, path: Path, max_bytes: int, keep: int, fsync: bool) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._fsync = fsync
        self._fd = -1
        self._size = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Write these lines, each ending in a newline, with one write.

        Raises:
            OSError: the disk is full or refuses; none of the lines is in the file then, as far as the disk allows.
        """
        if self._fd >= 0 and not self._is_still_there():
            self.close()
        if self._fd < 0:
            self._open()
        if self._size >= self._max_bytes:
            self._rotate()
        data = memoryview(b"".join(lines))
        written = 0
        try:
            while written < len(data):  # one write, unless the kernel took less than all
                written += os.write(self._fd, data[written:])
            if self._fsync:
                os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            self.close()  # the next attempt looks at the file afresh
            raise
        self._size += written

    def close(self) -> None:
        """Close the file; the next `append` opens it."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _is_still_there(self) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._fd))

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = self._cut_torn_line(os.fstat(self._fd).st_size)
        if self._fsync:  # the name of a new file is on the disk only when its folder is
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _cut_torn_line(self, size: int) -> int:
        start = max(0, size - TORN_SEARCH_BYTES)
        if not size or os.pread(self._fd, 1, size - 1) == b"\n":
            return size
        end = start + os.pread(self._fd, size - start, start).rfind(b"\n") + 1
        os.ftruncate(self._fd, end)
        return end

    def _rotate(self) -> None:
        self.close()
        numbered = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, self._keep + 1)]
        for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), self._path], strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)
        self._open()


class FileSink:
    """Appends messages to a file. See `wire.sink.Sink` for what its methods promise."""

    def __init__(self, settings: Settings, *, on_outcomes: OnOutcomes, on_state: OnState) -> None:
        """Prepare; opens nothing.

        Args:
            settings: `publisher.file` is used, `state_dir` if it names no path, and `rabbitmq.retry` for the delays.
            on_outcomes: gets the verdicts.
            on_state: gets each change of state.
        """
        conf = settings.publisher.file
        self.path = conf.path or settings.state_dir / "messages.jsonl"
        self._file = LineFile(self.path, conf.max_bytes, conf.keep, conf.fsync)
        self._backoff = Backoff(settings.rabbitmq.retry.minimum, settings.rabbitmq.retry.maximum)
        self._on_outcomes = on_outcomes
        self._on_state = on_state
        self._state = SinkState(Phase.DISCONNECTED)
        self._failures = 0
        self._waiting: dict[str, tuple[OutboundMessage, float]] = {}  # given, not yet in a write; by message_id
        self._writing: dict[str, tuple[OutboundMessage, float]] = {}
        self._refused: dict[str, Outcome] = {}  # decided and not yet told: in flight as far as the owner knows
        self._retry_at = 0.0
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._drained = asyncio.Event()
        self._closing = False
        self._running = False

    @property
    def state(self) -> SinkState:
        """The state now."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Messages without an outcome that the owner has heard of."""
        return len(self._waiting) + len(self._writing) + len(self._refused)

    def publish(self, batch: Sequence[OutboundMessage]) -> None:
        """Have these messages written. See `wire.sink.Sink.publish`."""
        now = time.monotonic()
        takes = self._state.takes_messages and not self._closing
        for message in batch:
            key = message.message_id
            if key in self._waiting or key in self._writing or key in self._refused:
                continue
            if takes:
                self._waiting[key] = (message, now)
            else:
                why = self._state.reason or ("closing" if self._closing else self._state.phase)
                self._refuse(Outcome(key, Verdict.FAILED, why, 0.0))
        if self._waiting:
            self._news.set()

    async def run(self) -> None:
        """Write what is published, until `close`. See `wire.sink.Sink.run`."""
        if self._closing:
            return
        self._running = True
        try:
            # One thread of our own: the file has one writer, and the loop never waits for a disk.
            with ThreadPoolExecutor(1, "file-sink") as thread:
                # With nothing to write it only opens, and so finds out whether the file can be had at all.
                await self._write(thread)
                while not (self._closing and not self._waiting):
                    if self._state.phase is Phase.BACKING_OFF:
                        await self._back_off(thread)
                    else:
                        await self._news.wait()
                        self._news.clear()
                        await self._write(thread)
                    if self._error is not None:
                        raise self._error
        finally:
            self._file.close()
            self._running = False
            self._say(Phase.DISCONNECTED, "closed")
            self._tell_refused()
            self._drained.set()

    async def close(self, drain_seconds: float) -> None:
        """Write what was given, and let `run` return. See `wire.sink.Sink.close`."""
        self._closing = True
        self._news.set()
        if not self._running:
            self._say(Phase.DISCONNECTED, "closed")
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), drain_seconds)
        self._fail(self._waiting, "closed")  # a write that the disk has not answered ends as it ends
        await self._drained.wait()

    async def _write(self, thread: ThreadPoolExecutor) -> None:
        """Write all that waits, in a thread; verdicts for all of it."""
        self._writing, self._waiting = self._waiting, {}
        lines = [_line(message.body) for message, _ in self._writing.values()]
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._file.append, lines)
        except OSError as error:
            self._failed(error)
            return
        if lines or self._state.phase is not Phase.CONNECTED:
            # An empty write proves nothing on a full disk: only lines take the failures back.
            self._failures = 0 if lines else self._failures
            if self._state.phase is not Phase.CONNECTED or self._state.attempt != self._failures:
                self._say(Phase.CONNECTED, self._state.reason if self._failures else "")
        now = time.monotonic()
        written, self._writing = self._writing, {}
        if written:
            self._on_outcomes([Outcome(key, Verdict.CONFIRMED, "", now - sent) for key, (_, sent) in written.items()])

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        delay = self._backoff.delay(self._failures, random.random)
        why = f"{self.path}: {error.strerror or error}; messages wait in the outbox until it can be written"
        self._say(Phase.BACKING_OFF, why, until_ms=round((time.time() + delay) * 1000))
        self._retry_at = time.monotonic() + delay
        self._fail(self._writing, why)
        self._fail(self._waiting, why)

    async def _back_off(self, thread: ThreadPoolExecutor) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._retry_at - time.monotonic())):
                while not self._closing:
                    await self._news.wait()
                    self._news.clear()
        if not self._closing:
            await self._write(thread)

    def _say(self, phase: Phase, reason: str, until_ms: int | None = None) -> None:
        attempt = self._failures if phase is not Phase.DISCONNECTED else 0
        self._state = SinkState(phase, reason, attempt, until_ms)
        self._on_state(self._state)

    def _fail(self, messages: dict[str, tuple[OutboundMessage, float]], why: str) -> None:
        now = time.monotonic()
        for key, (_, sent) in messages.items():
            self._refuse(Outcome(key, Verdict.FAILED, why, now - sent))
        messages.clear()

    def _refuse(self, outcome: Outcome) -> None:
        """Outcomes without a write; told by the loop's next turn, all together."""
        if not self._refused:
            asyncio.get_running_loop().call_soon(self._tell_refused)
        self._refused[outcome.message_id] = outcome

    def _tell_refused(self) -> None:
        refused, self._refused = list(self._refused.values()), {}
        try:
            if refused:
                self._on_outcomes(refused)
        except Exception as error:  # noqa: BLE001 - in a loop callback nobody sees it; run() raises it
            self._error = error
            self._news.set()


def _line(body: bytes) -> bytes:
    """The body as one line: a newline within JSON is whitespace, strings escape theirs."""
    return (body.replace(b"\n", b" ") if b"\n" in body else body) + b"\n"
