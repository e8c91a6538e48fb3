"""`bin/chaos`: run seeds of the simulation, or the schedules against real processes.

    bin/chaos --seeds 100000            seeds 1 … 100000, on all cores
    bin/chaos --seed 4711               one seed, told in full
    bin/chaos --seed 4711 --faults 2,5  only these lines of its schedule
    bin/chaos --processes               the real daemon, tests/chaos and tests/spine/test_link.py

Exit code 0: nothing was violated; 1: something was; 2: wrong arguments.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulation.lab import Result, run, schedule_of
from tests.simulation.shrink import shortest

CHUNK = 20
"""Seeds that a process takes at once."""
TOLD = 5
"""Failing seeds that are shrunk and told; more are only counted."""


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
        return one(given.seed, given.faults)
    first = 1 if given.seed is None else given.seed
    return several(range(first, first + given.seeds), max(1, given.jobs))


def processes() -> int:
    """The schedules of docs/chaos.md, through pytest."""
    root = Path(__file__).resolve().parents[2]
    os.chdir(root)
    command = [sys.executable, "-m", "pytest", "-v", "tests/chaos", "tests/spine/test_link.py"]
    os.execv(sys.executable, command)


def one(seed: int, lines: str | None) -> int:
    """Run a seed and tell it in full."""
    schedule = schedule_of(seed)
    if lines is not None:
        chosen = set() if lines == "none" else {int(number) for number in lines.split(",")}
        schedule = tuple(fault for fault in schedule if fault.number in chosen)
    result = run(seed, schedule)
    print(f"seed {seed}, {result.steps} steps, digest {result.digest}")
    print(f"{len(result.rows)} rows journalled, {len(result.received)} messages received")
    _tell(result)
    for what, count in sorted(result.happened.items()):
        print(f"  {count:6d}  {what}")
    return 1 if result.wrong else 0


def several(seeds: Sequence[int], jobs: int) -> int:
    """Run seeds on several processes."""
    began = time.monotonic()
    happened: Counter[str] = Counter()
    failed: list[int] = []
    done = 0
    told = began
    for finished, counted, wrong in _spread(seeds, jobs):
        done += finished
        happened += counted
        for seed in wrong:
            failed.append(seed)
            if len(failed) <= TOLD:
                _tell_shortest(seed)
        if time.monotonic() - told > 10 and sys.stderr.isatty():
            told = time.monotonic()
            print(f"{done} of {len(seeds)} seeds, {len(failed)} failed, {told - began:.0f} s", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{done} seeds in {seconds:.1f} s ({done / seconds:.0f} a second): {len(failed)} failed")
    for what, count in sorted(happened.items()):
        print(f"  {count:8d}  {what}")
    if failed:
        print(f"failed: {' '.join(map(str, failed[:100]))}")
    return 1 if failed else 0


def _spread(seeds: Sequence[int], jobs: int) -> Iterator[tuple[int, Counter[str], list[int]]]:
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        yield from map(_chunk, chunks)
        return
    # Each chunk in a fresh state of the interpreter would be slower and show no more: runs share nothing but caches.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(_chunk, chunks)


def _chunk(seeds: Sequence[int]) -> tuple[int, Counter[str], list[int]]:
    happened: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        result = run(seed)
        happened += result.happened
        if result.wrong:
            wrong.append(seed)
    return len(seeds), happened, wrong


def _tell_shortest(seed: int) -> None:
    schedule = shortest(schedule_of(seed), lambda part: bool(run(seed, part).wrong))
    result = run(seed, schedule)
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
