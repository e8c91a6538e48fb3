"""Our machine and Erlang/OTP's supervisor, on the same scenarios."""

from tests.supervision.otp.differential import Tally, compare
from tests.supervision.otp.erlang import Erlang
from tests.supervision.otp.scenarios import Scenario, run
from tests.supervision.otp.world import World


def test_starts_stops_exits_replies_and_reports_are_those_of_otp(erlang: Erlang) -> None:
    """On a few hundred random trees and inputs, both do the same in the same order."""
    assert compare(erlang, scenarios=250, number=4).scenarios >= 250


def test_every_rule_is_put_to_the_test(recorded: list[Scenario]) -> None:
    """Each rule of supervision occurs in at least one of a hundred scenarios."""
    tally = Tally()
    for scenario in recorded:
        world = World()
        for step in scenario.steps:
            run(world, step)
        tally.scenarios += 1
        tally.rules.update(world.rules)
    assert tally.rare() == {}
