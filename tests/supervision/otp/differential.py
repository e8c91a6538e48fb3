"""Many random scenarios through Erlang/OTP's supervisor and through our machine; hypothesis draws and shrinks them."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from supervision.child_spec import Restart, Strategy
from tests.supervision.otp.erlang import Erlang
from tests.supervision.otp.scenarios import Pick, play
from tests.supervision.otp.world import REASONS, World

RULES = frozenset(
    [
        *(f"strategy {strategy}" for strategy in Strategy),
        *(f"{restart} ends {reason}" for restart in Restart for reason in REASONS),
        *(f"told to stop, ends {reason}" for reason in REASONS),
        *("reply ok", "reply ok undefined", "reply ok extra", "reply which", "reply count", "reply spec"),
        *("reply error already_present", "reply error already_started", "reply error not_found"),
        *("reply error running", "reply error restarting", "reply error simple_one_for_one"),
        *("reply error bad_spec", "reply error start_failed", "reply error noproc"),
        *("bad spec at boot", "boot is unwound", "boot fails with nothing to unwind"),
        *("first start fails", "restart fails", "start ignored", "supervisor below"),
        *("restarts within the window", "a restart leaves the window"),
        *("gives up after an exit", "gives up after a failed start", "gives up at the root", "gives up below"),
        *("auto_shutdown any_significant", "auto_shutdown all_significant"),
        *("one_for_all stops siblings", "rest_for_one stops siblings", "an elder is left alone"),
        *("a temporary child goes with its group", "a child dead already is not told to stop"),
        *("stops in reverse", "stops dynamic children together", "killed after its limit", "does not stop as told"),
        *("told by parent to end", "call while busy", "exit while busy"),
    ]
)
"""What has to occur in at least one of a hundred scenarios."""

LEAST = 0.01
"""Share of the scenarios in which each rule occurs."""


@dataclass
class Tally:
    """What a run did."""

    scenarios: int = 0
    steps: int = 0
    rules: Counter[str] = field(default_factory=Counter)

    def rare(self) -> dict[str, float]:
        """Rules that occurred in too few scenarios, with their share."""
        shares = {rule: self.rules[rule] / max(self.scenarios, 1) for rule in RULES}
        return {rule: share for rule, share in shares.items() if share < LEAST}


def compare(erlang: Erlang, scenarios: int, number: int) -> Tally:
    """Play that many scenarios on both sides.

    Args:
        erlang: the other side.
        scenarios: how many.
        number: seed of the draws.

    Raises:
        Mismatch: the two sides differ; the scenario is shrunk.
    """
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=scenarios,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        world = World()
        scenario = play(Pick(lambda options: data.draw(st.sampled_from(options))), erlang.tell, world)
        tally.scenarios += 1
        tally.steps += len(scenario.steps)
        tally.rules.update(world.rules)

    one()
    return tally
