"""What `bin/chaos` tells of many seeds."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest

from tests.simulation import __main__ as chaos
from tests.simulation.faults import Fault
from tests.simulation.lab import run, schedule_of
from tests.simulation.result import Result

FIRST = next(seed for seed in range(1, 1000) if len(schedule_of(seed)) == 3)


def test_each_failing_seed_is_told_with_its_shortest_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    """At the end, behind what happened; the others go on, also when the simulation itself fails."""

    def spoilt(seed: int, schedule: Sequence[Fault] | None = None) -> Result:
        if seed == FIRST and (schedule is None or any(fault.number == 2 for fault in schedule)):
            raise ZeroDivisionError("on purpose")
        return run(seed, ())

    with mock.patch.object(chaos, "run", spoilt):
        assert chaos.main(["--seed", str(FIRST), "--seeds", "2", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert f"seed {FIRST} fails; shortest schedule found: bin/chaos --seed {FIRST} --faults 2" in told
    assert "ZeroDivisionError: on purpose" in told
    assert f"failed: {FIRST}\n" in told
    assert f"seeds {FIRST} to {FIRST + 1} in" in told
    assert told.rstrip().endswith("1 seeds failed")


def test_seeds_without_a_violation_are_told_in_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """How many seeds and faults, and what happened."""
    given: Any = ["--seed", str(FIRST), "--seeds", "1", "--jobs", "1"]
    assert chaos.main(given) == 0
    told = capsys.readouterr().out
    assert "snapshot" in told
    assert told.rstrip().endswith("3 faults, 0 seeds failed")


@pytest.mark.parametrize("lines", ["x", "1,99", ""])
def test_a_line_that_the_schedule_has_not_is_refused(capsys: pytest.CaptureFixture[str], lines: str) -> None:
    """It is named: to run without it would say that nothing is wrong."""
    with pytest.raises(SystemExit) as ended:
        chaos.main(["--seed", str(FIRST), "--faults", lines])
    assert ended.value.code == 2
    assert f"in the schedule of seed {FIRST}" in capsys.readouterr().err
