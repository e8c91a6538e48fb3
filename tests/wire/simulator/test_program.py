"""What is played, in which order and how fast."""

import asyncio
from dataclasses import dataclass, field

import pytest

from wire.simulator.minting import Minter
from wire.simulator.program import DEMO, MIXES, Program, perform
from wire.simulator.recording import Recording, load
from wire.simulator.run import Run


@dataclass
class Stage:
    """A PBX that notes what happens, and when."""

    happened: list[tuple[float, int, int]] = field(default_factory=list)
    """(loop time, number of the run, events)"""
    runs: list[Run] = field(default_factory=list)
    accepting: bool = True
    running: bool = True
    stopped: bool = False
    most: int = 0
    live: int = 0

    async def wait_until_running(self) -> None:
        raise AssertionError("always running")

    async def wait_for_client(self) -> None:
        raise AssertionError("nobody asked for this")

    def begin(self, recording: Recording, program: Program) -> Run:
        run = Run(recording, Minter(), {}, "x", program.start_ms(recording, 0))
        self.runs.append(run)
        self.live += 1
        self.most = max(self.most, self.live)
        return run

    def happen(self, run: Run, stop: int) -> None:
        self.happened.append((asyncio.get_running_loop().time(), self.runs.index(run), stop - run.position))
        run.advance(stop)

    def finish(self, run: Run) -> None:
        assert run.position == len(run.recording)
        run.end()
        self.live -= 1

    def flush(self) -> None:
        pass

    async def drain(self) -> None:
        pass


async def test_recorded_pace_is_kept() -> None:
    """At ten times the speed, a call of 7.3 seconds takes 0.73, and no event comes before its time."""
    stage = Stage()
    begin = asyncio.get_running_loop().time()
    played = await perform(stage, Program(("01_inbound",), speed=10))
    recording = load("01_inbound")
    assert played.events == len(recording) == 75
    assert recording.seconds / 10 <= played.seconds
    done = 0
    for at, _, count in stage.happened:
        assert at - begin >= recording.times[done] / 10 - 0.02
        done += count


async def test_a_rate_is_kept_whatever_the_recordings_pace() -> None:
    """2,000 events a second are not more than that."""
    played = await perform(Stage(), Program(("04_busy",), rate=2000, loops=50))
    assert played.events == 1400
    assert played.seconds >= 0.65


async def test_lanes_interleave_recordings() -> None:
    """Three lanes have three recordings under way, and their events come in the order of their times."""
    stage = Stage()
    await perform(stage, Program(("01_inbound", "02_answered", "04_busy"), speed=0, lanes=3))
    assert stage.most == 3
    order = [run for _, run, _ in stage.happened]
    assert order != sorted(order)


async def test_loops_go_through_the_list_again() -> None:
    """Each loop plays every recording once, in order, or in an order of its own."""
    stage = Stage()
    await perform(stage, Program(("04_busy", "27d_"), speed=0, loops=3))
    assert [run.recording.name[:3] for run in stage.runs] == ["04_", "27d"] * 3
    shuffled = Stage()
    await perform(shuffled, Program(("04_busy", "27d_", "27_", "06_"), speed=0, loops=3, shuffle=1))
    names = [run.recording.name for run in shuffled.runs]
    assert names[:4] != names[4:8]
    assert sorted(names[:4]) == sorted(names[4:8])


async def test_every_begins_recordings_on_time() -> None:
    """A new recording begins each 2 recorded seconds, however many are under way."""
    stage = Stage()
    await perform(stage, Program(("01_inbound",), speed=0, every=2.0, loops=4))
    assert len(stage.runs) == 4
    assert stage.most == 4


@pytest.mark.parametrize(
    ("speed", "rate", "lead"), [(1.0, None, 0.0), (0.5, None, 0.0), (2.0, None, 0.5), (0, None, 1.0), (1.0, 10.0, 1.0)]
)
def test_no_event_lies_in_the_future(speed: float, rate: float | None, lead: float) -> None:
    """What is played faster than it happened began earlier, so that its end is now."""
    recording = load("01_inbound")
    start = Program(speed=speed, rate=rate).start_ms(recording, 1_000_000)
    assert start == 1_000_000 - int(recording.seconds * lead * 1000)


def test_the_mixes_can_be_loaded_and_the_demo_is_quick() -> None:
    """The demo's first two calls are complete within 8 seconds, and it goes on for ever."""
    for name, mix in MIXES.items():
        if name != "all":
            assert mix.load()
    first, second = DEMO.load()[:2]
    assert DEMO.every is not None
    assert first.seconds < 1
    assert DEMO.every + second.seconds < 9
    assert DEMO.loops is None
