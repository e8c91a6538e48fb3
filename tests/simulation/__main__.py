"""`bin/chaos`: run seeds of the simulation, or the schedules against real processes.

    bin/chaos --seeds 100000            seeds 1 … 100000, on all cores
    bin/chaos --seed 4711               one seed, told in full
    bin/chaos --seed 4711 --faults 2,5  only these lines of its schedule
    bin/chaos --processes               the real daemon, tests/chaos and tests/spine/test_link.py

Exit code 0: nothing was violated; 1: something was; 2: wrong arguments.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulation.faults import Fault
from tests.simulation.lab import run, schedule_of
from tests.simulation.result import Result
from tests.simulation.shrink import shortest

CHUNK = 20
"""Seeds that a process takes at once."""
TOLD = 20
"""Failing seeds of which the shortest schedule is looked for at the end; more are only named."""


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="chaos", description="Look for a schedule of faults that loses something.")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds (1000)")
    parser.add_argument("--seed", type=int, metavar="S", help="only this one, or with --seeds the first one (1)")
    parser.add_argument("--faults", metavar="N,N", help="with --seed: only these lines of its schedule; `none` is none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all cores)")
    parser.add_argument("--processes", action="store_true", help="the schedules against real processes (tests/chaos)")
    given = parser.parse_args(arguments)
    if given.processes:
        return processes()
    many = any(argument.startswith("--seeds") for argument in arguments)
    if given.faults is not None and (given.seed is None or many):
        parser.error("--faults is for one --seed")
    if given.seed is not None and not many:
        schedule = schedule_of(given.seed)
        if given.faults is not None:
            chosen = {} if given.faults == "none" else dict.fromkeys(given.faults.split(","))
            if unknown := chosen.keys() - {str(fault.number) for fault in schedule}:
                parser.error(f"--faults: no line {', '.join(sorted(unknown))} in the schedule of seed {given.seed}")
            schedule = tuple(fault for fault in schedule if str(fault.number) in chosen)
        return one(given.seed, schedule)
    first = 1 if given.seed is None else given.seed
    return several(range(first, first + given.seeds), max(1, given.jobs))


def processes() -> int:
    """The schedules of docs/chaos.md, through pytest."""
    root = Path(__file__).resolve().parents[2]
    os.chdir(root)
    command = [sys.executable, "-m", "pytest", "-v", "tests/chaos", "tests/spine/test_link.py"]
    os.execv(sys.executable, command)


def one(seed: int, schedule: Sequence[Fault]) -> int:
    """Run a seed under a schedule and tell it in full."""
    result = run(seed, schedule)
    print(f"seed {seed}, {result.steps} steps, digest {result.digest}")
    print(f"{len(result.rows)} rows journalled, {len(result.received)} messages received")
    _tell(result)
    for what, count in sorted(result.happened.items()):
        print(f"  {count:6d}  {what}")
    return 1 if result.wrong else 0


def several(seeds: Sequence[int], jobs: int) -> int:
    """Run seeds on several processes; whatever fails is told in short at once, and in full at the end."""
    began = told = time.monotonic()
    happened: Counter[str] = Counter()
    failed: list[int] = []
    done = faults = 0
    for finished, drawn, counted, wrong in _spread(seeds, jobs):
        done += finished
        faults += drawn
        happened += counted
        for seed, sentence in wrong:
            failed.append(seed)
            print(f"seed {seed} fails: {sentence.splitlines()[0]:.160}", flush=True)
        if time.monotonic() - told > 10 and sys.stderr.isatty():
            told = time.monotonic()
            print(f"{done} of {len(seeds)} seeds, {len(failed)} failed, {told - began:.0f} s", file=sys.stderr)
    seconds = time.monotonic() - began
    failed.sort()
    for seed in failed[:TOLD]:
        _tell_shortest(seed)
    print("happened:")
    for what, count in sorted(happened.items()):
        print(f"  {count:8d}  {what}")
    if failed:
        print(f"failed: {' '.join(map(str, failed[:100]))}")
    print(
        f"seeds {seeds[0]} to {seeds[-1]} in {seconds:.1f} s ({done / seconds:.0f} a second):"
        f" {faults} faults, {len(failed)} seeds failed"
    )
    return 1 if failed else 0


Chunk = tuple[int, int, Counter[str], list[tuple[int, str]]]
"""How many seeds, and faults in their schedules; what happened; those that failed with what was violated first."""


def _spread(seeds: Sequence[int], jobs: int) -> Iterator[Chunk]:
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        yield from map(_chunk, chunks)
        return
    # Each chunk in a fresh state of the interpreter would be slower and show no more: runs share nothing but caches.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(_chunk, chunks)


def _chunk(seeds: Sequence[int]) -> Chunk:
    happened: Counter[str] = Counter()
    wrong = []
    faults = 0
    gc.disable()  # a run leaves little behind in circles: looking for it once a chunk is enough
    for seed in seeds:
        result = _run(seed)
        faults += len(result.schedule)
        happened += result.happened
        if result.wrong:
            wrong.append((seed, result.wrong[0]))
    gc.enable()
    gc.collect()
    gc.freeze()  # what is left are modules and caches: the next time it need not be looked through again
    return len(seeds), faults, happened, wrong


def _run(seed: int, schedule: Sequence[Fault] | None = None) -> Result:
    try:
        return run(seed, schedule)
    except Exception:  # noqa: BLE001  # a fault of the simulation's own is told as the seed's, and the others go on
        chosen = schedule_of(seed) if schedule is None else tuple(schedule)
        return Result(
            seed,
            chosen,
            (f"the simulation itself: {traceback.format_exc()}",),
            Counter(),
            "",
            (),
            (),
            (),
            (),
            (),
            {},
            0,
        )


def _tell_shortest(seed: int) -> None:
    schedule = shortest(schedule_of(seed), lambda part: bool(_run(seed, part).wrong))
    result = _run(seed, schedule)
    numbers = ",".join(str(fault.number) for fault in schedule) or "none"
    print(f"seed {seed} fails; shortest schedule found: bin/chaos --seed {seed} --faults {numbers}")
    _tell(result)


def _tell(result: Result) -> None:
    for fault in result.schedule:
        print(f"  {fault}")
    for sentence in result.wrong:
        print(f"  ! {sentence}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
