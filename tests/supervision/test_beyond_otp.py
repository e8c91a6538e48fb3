"""What the supervisor machine does beyond OTP: delayed restarts, liveness probes, budgets that can be seen."""

import pytest

from supervision.child_spec import BadSpec, ChildSpec, LivenessProbe, Strategy, SupervisorSpec
from supervision.commands import CallError, ChildState, KillChild, ProbeChild, Refused, SetTimer
from supervision.delay import Delay
from supervision.inputs import (
    AskDeleteChild,
    AskTerminateChild,
    ChildAnswered,
    ChildExited,
    ProbeSwitched,
    TimerFired,
)
from supervision.intensity import Gauge
from supervision.machine import handle, new
from supervision.reasons import KILLED, SHUTDOWN, Crash
from supervision.reports import Context
from supervision.views import budget, count_children, which_children
from tests.supervision.stage import Stage, moves, reports

BUG = Crash("ValueError")
DELAY = Delay(minimum_ms=100, maximum_ms=400, healthy_ms=2000)


def delayed(strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 5, period_ms: int = 10_000) -> SupervisorSpec:
    children = (
        ChildSpec("elder", start=1),
        ChildSpec("outside", start=1, delay=DELAY),
        ChildSpec("younger", start=1),
    )
    return SupervisorSpec(strategy, intensity, period_ms, children=children)


# -- delayed restart ---------------------------------------------------------------------------------------------------


def test_the_first_restart_comes_at_once_and_the_next_ones_wait() -> None:
    """A child that fails again and again is tried less and less often, until the budget is used up."""
    stage = Stage(delayed())
    stage.failing = {"outside"}
    assert moves(stage.end("outside", BUG)) == ["start outside"]
    waits = [stage.timers[-1].at_ms - stage.now_ms]
    for _ in range(4):
        stage.advance(waits[-1])
        waits.append(stage.timers[-1].at_ms - stage.now_ms)
    assert all(wait <= bound for wait, bound in zip(waits, (100, 200, 400, 400, 400), strict=True))
    assert stage.exit is None
    assert moves(stage.advance(400)) == ["stop younger", "stop elder"]
    assert stage.exit == SHUTDOWN


def test_a_healthy_life_starts_over_with_the_first_attempt() -> None:
    """Only a child that ends soon after its start has to wait."""
    stage = Stage(delayed())
    stage.end("outside", BUG)
    assert moves(stage.end("outside", BUG)) == []
    stage.advance(100)
    stage.advance(2000)
    assert moves(stage.end("outside", BUG)) == ["start outside"]


def test_jitter_is_drawn_from_a_seed() -> None:
    """The same inputs give the same commands; another seed gives other delays."""

    def first_delay(seed: int) -> int:
        stage = Stage(delayed(), seed=seed)
        stage.end("outside", BUG)
        stage.end("outside", BUG)
        return stage.timers[-1].at_ms

    assert first_delay(1) == first_delay(1)
    assert len({first_delay(seed) for seed in range(20)}) > 5


def test_a_group_stands_stopped_while_its_child_waits() -> None:
    """Those that depend on the child do not run without it; the elder is left alone."""
    stage = Stage(delayed(Strategy.REST_FOR_ONE))
    stage.end("outside", BUG)
    assert moves(stage.end("outside", BUG)) == ["stop younger"]
    assert [(child.id, child.state) for child in which_children(stage.state)] == [
        ("younger", ChildState.STOPPED),
        ("outside", ChildState.RESTARTING),
        ("elder", ChildState.RUNNING),
    ]
    assert moves(stage.advance(100)) == ["start outside", "start younger"]


def test_a_group_that_is_restarted_takes_the_waiting_child_along() -> None:
    """Its own timer then does nothing."""
    stage = Stage(delayed(Strategy.REST_FOR_ONE))
    stage.end("outside", BUG)
    stage.end("outside", BUG)
    assert moves(stage.end("elder", BUG)) == ["start elder", "start outside", "start younger"]
    assert moves(stage.advance(1000)) == []


def test_a_waiting_child_can_be_terminated() -> None:
    """Its restart is off; asked to delete it before, the answer is `restarting`."""
    stage = Stage(delayed())
    stage.end("outside", BUG)
    stage.end("outside", BUG)
    assert stage.ask(AskDeleteChild(1, "outside")) == Refused(CallError.RESTARTING)
    stage.ask(AskTerminateChild(1, "outside"))
    assert moves(stage.advance(1000)) == []


@pytest.mark.parametrize(("intensity", "period_ms", "accepted"), [(5, 2001, True), (5, 2000, False), (0, 1, True)])
def test_a_delay_that_could_hide_a_failing_child_is_refused(intensity: int, period_ms: int, accepted: bool) -> None:
    """intensity + 1 attempts, as far apart as they can be, have to fall within the window."""
    spec = delayed(intensity=intensity, period_ms=period_ms)
    if accepted:
        new(spec, "root")
    else:
        with pytest.raises(BadSpec, match=r"outside: bad_combination: .* choose intensity \* maximum_ms < period_ms"):
            new(spec, "root")


# -- liveness probe ----------------------------------------------------------------------------------------------------


def probed() -> SupervisorSpec:
    probe = LivenessProbe(interval_ms=1000, limit_ms=3000)
    return SupervisorSpec(children=(ChildSpec("a", start=1, probe=probe), ChildSpec("b", start=1)))


def test_a_child_that_answers_its_probe_is_asked_again_after_the_interval() -> None:
    """One question at a time, and nothing else happens."""
    stage = Stage(probed())
    commands = stage.advance(10_000)
    assert [command for command in commands if isinstance(command, ProbeChild)] == [ProbeChild("a", 1)] * 10
    assert moves(commands) == []


def test_a_hung_child_is_killed_reported_and_restarted() -> None:
    """It has `limit_ms` for its answer; the kill is an exit like any other, and counts."""
    stage = Stage(probed())
    stage.silent = {"a"}
    assert moves(stage.advance(3999)) == []
    stage.silent = set()
    commands = stage.advance(1)
    assert moves(commands) == ["kill a", "start a"]
    assert [(report.context, report.reason) for report in reports(commands)] == [
        (Context.HUNG, None),
        (Context.CHILD_TERMINATED, KILLED),
    ]
    assert budget(stage.state, stage.now_ms).used == 1


def test_a_supervisor_that_slept_asks_once_more() -> None:
    """After SIGSTOP or a suspended host the answer may be in the mailbox behind the timer."""
    stage = Stage(probed())
    stage.silent = {"a"}
    stage.advance(1000)
    (limit,) = stage.timers
    state, commands = handle(stage.state, TimerFired(limit.timer), 60_000)
    assert [type(command) for command in commands] == [ProbeChild, type(limit)]
    _, commands = handle(state, ChildAnswered("a", 1), 60_001)
    assert not any(isinstance(command, KillChild) for command in commands)


def test_a_child_that_gets_no_cpu_is_not_killed_for_it() -> None:
    """Time that it or its supervisor waited for a CPU is given to it; of what it has had, the limit is kept."""
    stage = Stage(probed())
    stage.silent = {"a"}
    stage.advance(1000)
    (limit,) = stage.timers
    state, commands = handle(stage.state, TimerFired(limit.timer, starved_ms=2500), 4000)
    (rest,) = commands
    assert isinstance(rest, SetTimer)
    assert rest.at_ms == 6500
    _, commands = handle(state, TimerFired(rest.timer, starved_ms=2500), 6500)
    assert KillChild("a", 1) in commands
    _, commands = handle(state, TimerFired(rest.timer, starved_ms=5000), 6500)
    assert KillChild("a", 1) not in commands


def test_a_child_without_a_cpu_for_ten_limits_is_killed() -> None:
    """Where waits overlap they are counted twice; no child is silent for ever because of that."""
    stage = Stage(probed())
    stage.silent = {"a"}
    stage.advance(1000)
    (limit,) = stage.timers
    _, commands = handle(stage.state, TimerFired(limit.timer, starved_ms=60_000), 31_000)
    assert KillChild("a", 1) in commands


def test_a_suspended_child_is_not_probed() -> None:
    """An operator who suspends a child does not have it killed for that; resumed, it is probed again."""
    stage = Stage(probed())
    stage.silent = {"a"}
    stage.give(ProbeSwitched("a", on=False))
    assert stage.advance(60_000) == []
    stage.silent = set()
    stage.give(ProbeSwitched("a", on=True))
    assert ProbeChild("a", 1) in stage.advance(1000)


def test_a_hung_child_is_noticed_while_another_is_stopping() -> None:
    """Probes do not wait for the queue; what follows from the kill does."""
    stage = Stage(probed())
    stage.silent = {"a", "b"}
    stage.advance(2000)
    assert moves(stage.give(AskTerminateChild(1, "b"))) == ["stop b"]
    assert moves(stage.advance(2000)) == ["kill a"]
    assert moves(stage.give(ChildExited("b", 2, SHUTDOWN))) == ["start a"]


# -- what can be seen --------------------------------------------------------------------------------------------------


def test_the_budget_is_a_gauge() -> None:
    """It says how much is used, and when none of it is any more."""
    stage = Stage(delayed(intensity=5, period_ms=10_000))
    stage.advance(1000)
    stage.end("elder", BUG)
    stage.advance(4000)
    stage.end("elder", BUG)
    stage.advance(1000)
    assert budget(stage.state, stage.now_ms) == Gauge(used=2, intensity=5, period_ms=10_000, reset_ms=9001)
    assert str(budget(stage.state, stage.now_ms)) == "2 of 5 used, 9 s to reset"
    assert str(budget(stage.state, 60_000)) == "0 of 5 used"


def test_the_children_can_be_seen_while_a_stop_is_outstanding() -> None:
    """Whoever holds the state need not ask through the queue."""
    stage = Stage(probed())
    stage.silent = {"b"}
    stage.give(AskTerminateChild(1, "b"))
    assert count_children(stage.state).active == 2
