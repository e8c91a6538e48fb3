"""Hundreds of seeds: whatever goes wrong, what is published is complete, in order, and what a replay gives."""

import os
import subprocess
import sys
from collections import Counter
from functools import lru_cache

import pytest

from tests.daemon import ROOT
from tests.simulation.faults import COUNTED
from tests.simulation.lab import run, schedule_of
from tests.simulation.shrink import shortest

CHUNKS = [range(begin, begin + 20) for begin in range(1, 241, 20)]


@lru_cache
def ran(seeds: range) -> tuple[Counter[str], list[str]]:
    """What happened in these seeds, and what was violated."""
    happened: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        result = run(seed)
        happened += result.happened
        if result.wrong:
            left = shortest(result.schedule, lambda part, seed=seed: bool(run(seed, part).wrong))  # type: ignore[misc]
            numbers = ",".join(str(fault.number) for fault in left) or "none"
            # What cannot be repeated was wrong all the same.
            said = run(seed, left).wrong or ("not repeatable:", *result.wrong)
            lines = [f"bin/chaos --seed {seed} --faults {numbers}", *map(str, left), *said]
            wrong.append("\n".join(lines))
    return happened, wrong


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_nothing_is_lost_whatever_goes_wrong(seeds: range) -> None:
    """Each seed's schedule of faults leaves every stream complete, in order, and equal to a replay of the journal."""
    _happened, wrong = ran(seeds)
    assert not wrong, "\n\n".join(wrong)


def test_every_fault_has_happened() -> None:
    """Over these seeds no kind of fault is only written down."""
    happened = sum((ran(seeds)[0] for seeds in CHUNKS), Counter[str]())
    assert [what for what in COUNTED if not happened[what]] == []


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Also where strings hash otherwise, so that no order hangs on a set or a dict of the interpreter's making."""
    seed = next(seed for seed in range(1, 100) if len(schedule_of(seed)) > 5)
    told = set()
    for hashing in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hashing, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
        told.add(subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout)
    assert len(told) == 1
    assert run(seed).digest in told.pop().decode()
