"""The comparison with Erlang/OTP would find a mistake in our machine."""

import pytest

from tests.supervision.otp.mutants import MUTANTS, Mutant, mutated
from tests.supervision.otp.scenarios import Scenario, run
from tests.supervision.otp.world import World


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_found(mutant: Mutant, recorded: list[Scenario]) -> None:
    """A machine with one mistake does something else than Erlang/OTP in some recorded scenario."""
    machine = mutated(mutant)
    assert any(_differs(World(machine=machine), scenario) for scenario in recorded)


def _differs(world: World, scenario: Scenario) -> bool:
    try:
        return any(run(world, step) != answer for step, answer in zip(scenario.steps, scenario.answers, strict=True))
    except Exception:  # noqa: BLE001  # a mutant may also fail outright, which nobody would overlook
        return True
