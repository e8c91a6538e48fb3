"""What is played, in which order, how fast: a programme, and the performer that keeps its time."""

import asyncio
import heapq
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from wire.simulator.recording import DIRECTORY, Recording, find, load
from wire.simulator.run import Run

FASTEST = 0.0
"""The speed that is as fast as the clients read."""

BATCH = 400
"""Most events that happen between two looks at the clock and the clients."""

TICK = 0.002
"""A target rate is kept by bursts this far apart, seconds."""

REFUSED = 0.05
"""A call that the PBX does not take is tried again after this many recorded seconds."""

CATCH_UP = 1.0
"""A programme with a rate that fell behind makes up for at most this much, seconds."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to play."""

    recordings: tuple[str | Path, ...] = ()
    """Files, folders, or names (or their beginnings) in tests/traces; empty is every recording there."""
    speed: float = 1.0
    """1.0 is as recorded, 2.0 twice as fast, 0 as fast as possible."""
    rate: float | None = None
    """Events per second, whatever the recorded pace; None keeps to `speed`."""
    every: float | None = None
    """Begin a recording every so many recorded seconds, however many are under way; None keeps `lanes` under way."""
    lanes: int = 1
    """How many recordings are under way at once."""
    loops: int | None = 1
    """How many times through the list; None is for ever."""
    shuffle: int | None = None
    """Seed of a new order for each time through the list; None keeps the order."""
    verbatim: bool = False
    """Keep ids and times as recorded (a second loop then repeats the first one's ids)."""
    channelvars: bool = False
    """Put the linkedid into every channel object, as `channelvars = CHANNEL(linkedid)` in ari.conf does."""
    wait_for_client: bool = False
    """Begin when a client is connected."""

    def load(self) -> list[Recording]:
        """The recordings, in order.

        Raises:
            RecordingError: one cannot be found or read.
        """
        names = self.recordings or (DIRECTORY,)
        return [load(path, self.channelvars) for name in names for path in find(name)]

    def start_ms(self, recording: Recording, now_ms: int) -> int:
        """The time that a recording's first event gets: durations stay as recorded, and no event lies in the future.

        Args:
            now_ms: now, Unix milliseconds.
        """
        ahead = 1.0 if self.rate is not None or self.speed == FASTEST else max(0.0, 1.0 - 1.0 / self.speed)
        return now_ms - int(recording.seconds * ahead * 1000)


DEMO = Program(
    recordings=(
        "04_busy",
        "01_inbound",
        "08b_ivr_only_never_dials",
        "02_answered",
        "05_rejected_603",
        "07_dtmf_during_call",
        "06_caller_cancel",
        "09_hold_unhold",
        "13_ring_group_dial_both",
        "08_ivr",
        "12_queue_two_agents_ringall",
        "03_no_answer_timeout",
        "10_blind_transfer",
        "14_conference_three",
        "29_two_calls_same_caller_interleaved",
        "11_attended_transfer",
        "35_voicemail",
        "15_click_to_call",
    ),
    every=1.5,
    loops=None,
)
"""An ordinary quarter of an hour in an office, compressed; a first complete call at once, a second within 8 s."""

MIXES = {
    "demo": DEMO,
    "ordinary": replace(
        DEMO,
        recordings=(
            "01_",
            "02_",
            "03_",
            "03b",
            "04_",
            "05_",
            "06_",
            "07_",
            "08_",
            "08b",
            "08c",
            "09_",
            "09b",
            "13_",
            "13b",
            "13c",
        ),
        every=None,
    ),
    "all": replace(DEMO, recordings=(), every=None),
}
"""Ready-made programmes, by name."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a programme came to."""

    runs: int
    """Recordings begun."""
    events: int
    """Events that happened, sent or not."""
    seconds: float
    """How long it took, seconds."""


class Stage(Protocol):
    """What a performer needs of a PBX."""

    @property
    def accepting(self) -> bool:
        """Whether new calls may begin."""

    @property
    def running(self) -> bool:
        """Whether anything happens: the PBX is up and not paused."""

    @property
    def stopped(self) -> bool:
        """Whether it is all over."""

    async def wait_until_running(self) -> None:
        """Wait for `running`, or for `stopped`."""

    async def wait_for_client(self) -> None:
        """Wait until a client gets events."""

    def begin(self, recording: Recording, program: Program) -> Run:
        """A recording begins."""

    def happen(self, run: Run, stop: int) -> None:
        """A run's events up to `stop` happen."""

    def finish(self, run: Run) -> None:
        """A run is over."""

    def flush(self) -> None:
        """What happened goes out."""

    async def drain(self) -> None:
        """Wait for clients that read slower than events happen."""


async def perform(stage: Stage, program: Program) -> Played:
    """Play a programme to its end, or until the stage is stopped.

    Everything happens in recorded time: a heap has the next moment of each run, and the runs' bursts are interleaved
    as their recorded times say. The wall clock only decides how long to wait for the next one.
    """
    if program.wait_for_client:
        await stage.wait_for_client()
    clock = asyncio.get_running_loop().time
    began = clock()
    list_ = _playlist(program)
    pace = _Pace(program, began)
    sequence = runs = events = 0
    # (recorded time, sequence, the run or None for "begin one", the recorded time of its first event)
    heap: list[tuple[float, int, Run | None, float]] = []
    for _ in range(1 if program.every is not None else program.lanes):
        heap.append((0.0, sequence, None, 0.0))
        sequence += 1
    while heap and not stage.stopped:
        if not stage.running:
            stage.flush()
            before = clock()
            await stage.wait_until_running()
            pace.forgive(clock() - before)
            continue
        if pace.wait(heap[0][0], clock()) > 0:
            stage.flush()
            await stage.drain()
            delay = pace.wait(heap[0][0], clock())
            await asyncio.sleep(max(0.0, delay))
            continue
        at, _, run, first = heapq.heappop(heap)
        if run is None:
            if not stage.accepting:
                # A PBX that is about to restart takes no calls: the next one comes when it is back.
                heapq.heappush(heap, (at + REFUSED, sequence, None, 0.0))
                sequence += 1
                stage.flush()
                await asyncio.sleep(TICK)
                continue
            recording = next(list_, None)
            if recording is None:
                continue
            run, first = stage.begin(recording, program), at
            runs += 1
            if program.every is not None:
                heapq.heappush(heap, (at + program.every, sequence, None, 0.0))
                sequence += 1
        if not run.ended:
            count = _burst(run, first, pace, heap[0][0] if heap else None, clock())
            stage.happen(run, run.position + count)
            events += count
            if pace.spent(count):
                stage.flush()
                await stage.drain()
                await asyncio.sleep(0)
            if not run.ended and run.position < len(run.recording):
                heapq.heappush(heap, (first + run.recording.times[run.position], sequence, run, first))
                sequence += 1
                continue
            if not run.ended:
                stage.finish(run)
        if program.every is None:
            heapq.heappush(heap, (at, sequence, None, 0.0))
            sequence += 1
    stage.flush()
    await stage.drain()
    return Played(runs, events, clock() - began)


def _playlist(program: Program) -> Iterator[Recording]:
    recordings = program.load()
    order = random.Random(program.shuffle)  # noqa: S311 (an order to be repeated, no secret)
    loop = 0
    while program.loops is None or loop < program.loops:
        loop += 1
        if program.shuffle is not None:
            order.shuffle(recordings)
        yield from recordings


def _burst(run: Run, first: float, pace: "_Pace", next_at: float | None, now: float) -> int:
    """How many of a run's events happen before another run's turn, or before their time."""
    until = pace.reached(now)
    if next_at is not None and (until is None or next_at < until):
        until = next_at
    position = run.position
    stop = len(run.recording) if until is None else bisect_right(run.recording.times, until - first, position)
    return max(1, min(stop - position, pace.room(now)))


class _Pace:
    """When the next event may happen."""

    def __init__(self, program: Program, now: float) -> None:
        self._speed = 0.0 if program.rate is not None else program.speed
        self._rate = program.rate
        self._origin = now
        """The wall time of recorded second 0, or, with a rate, of an empty account."""
        self._count = 0
        self._batch = 0

    def room(self, now: float) -> int:
        """How many events may happen at once."""
        if self._rate is None:
            return BATCH - self._batch
        return max(1, min(BATCH - self._batch, int((now - self._origin) * self._rate - self._count)))

    def wait(self, at: float, now: float) -> float:
        """Seconds until a recorded time has come, or until the rate allows a burst; 0 or less is now."""
        if self._rate is not None:
            earned = (now - self._origin) * self._rate
            if earned - self._count > CATCH_UP * self._rate:
                self._origin = now - (self._count / self._rate + CATCH_UP)
                return 0.0
            return TICK if self._count >= earned else 0.0
        if self._speed == FASTEST:
            return 0.0
        return self._origin + at / self._speed - now

    def reached(self, now: float) -> float | None:
        """The recorded time that has come; None where it does not matter."""
        if self._rate is not None or self._speed == FASTEST:
            return None
        return (now - self._origin) * self._speed

    def spent(self, count: int) -> bool:
        """Events happened. Says whether it is time to look at the clients."""
        self._count += count
        self._batch += count
        if self._batch < BATCH and not (self._rate is not None and self._batch >= self._rate * TICK):
            return False
        self._batch = 0
        return True

    def forgive(self, seconds: float) -> None:
        """Time in which nothing could happen does not count."""
        self._origin += seconds
