"""What the supervisor machine promises, in OTP's words. That it does as OTP does is shown in otp/."""

import time

import pytest

from supervision.child_spec import (
    AutoShutdown,
    Budget,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorSpec,
)
from supervision.commands import (
    CallError,
    ChildInfo,
    ChildRef,
    ChildState,
    Counts,
    Exit,
    Initialised,
    Ok,
    Refused,
    Reply,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.inputs import (
    AskChildSpec,
    AskCountChildren,
    AskDeleteChild,
    AskRestartChild,
    AskStartChild,
    AskStartDynamic,
    AskTerminateChild,
    AskWhichChildren,
    Boot,
    ChildExited,
    ChildStarted,
    ChildStartFailed,
    ShutDown,
    Timer,
    TimerFired,
)
from supervision.machine import handle, new
from supervision.reasons import KILLED, NORMAL, SHUTDOWN, Crash, FailedToStart, Killed, Shutdown
from supervision.reports import Context, Report, ReportKind
from supervision.state import Phase
from tests.supervision.stage import Stage, moves, reports

BUG = Crash("ValueError", "what an assumption said", "Traceback …")


def spec(
    *ids: str, strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 3, period_ms: int = 5000
) -> SupervisorSpec:
    return SupervisorSpec(
        strategy, intensity, period_ms, children=tuple(ChildSpec(id, start=f"start {id}") for id in ids)
    )


def simple(restart: Restart = Restart.TRANSIENT, **flags: object) -> SupervisorSpec:
    template = ChildSpec("call", start="start call", restart=restart)
    return SupervisorSpec(Strategy.SIMPLE_ONE_FOR_ONE, children=(template,), **flags)  # type: ignore[arg-type]


# -- starting ----------------------------------------------------------------------------------------------------------


def test_the_whole_of_a_first_step() -> None:
    """A boot starts the first child, and nothing else until that is initialised."""
    two = spec("a", "b")
    state, commands = handle(new(two, "root"), Boot(), 0)
    assert commands == (StartChild("a", 1, two.children[0]),)
    state, commands = handle(state, ChildStarted("a", 1), 3)
    progress = Report(
        ReportKind.PROGRESS, Context.STARTED, "root", "a", generation=1, restart="permanent", type="worker"
    )
    assert commands == (progress, StartChild("b", 2, two.children[1]))
    state, commands = handle(state, ChildStarted("b", 2), 4)
    assert commands[1:] == (Initialised(),)
    assert state.phase is Phase.RUNNING


def test_a_crash_in_start_at_boot_unwinds_and_exits() -> None:
    """What was started is stopped in reverse order, and the exit says which start failed and why."""
    stage = Stage(spec("a", "b", "c"), failing={"c"})
    assert moves(stage.log) == ["start a", "start b", "start c", "stop b", "stop a"]
    assert stage.exit == Shutdown(FailedToStart("c", Crash("Refused")))
    assert Initialised() not in stage.log


def test_a_crash_in_start_at_restart_is_tried_again_and_counts() -> None:
    """Each attempt counts; the supervisor gives up with `shutdown` when they are too many."""
    stage = Stage(spec("a", "b"))
    stage.failing = {"a"}
    commands = stage.end("a", BUG)
    assert moves(commands) == ["start a", "start a", "start a", "stop b"]
    assert [report.context for report in reports(commands)] == [
        Context.CHILD_TERMINATED,
        Context.START_ERROR,
        Context.START_ERROR,
        Context.START_ERROR,
        Context.SHUTDOWN,
    ]
    assert stage.exit == SHUTDOWN


def test_a_start_that_exceeds_its_limit_is_killed_and_has_failed() -> None:
    """A child that hangs in its start cannot hang its supervisor for ever."""
    slow = ChildSpec("slow", start=1, start_timeout=500)
    stage = Stage(SupervisorSpec(children=(ChildSpec("a", start=1), slow)), silent={"slow"})
    assert stage.exit is None
    assert moves(stage.advance(499)) == []
    assert moves(stage.advance(1)) == ["kill slow", "stop a"]
    assert str(stage.exit) == "shutdown: failed to start child slow: not started within 500 ms"


def test_a_start_that_is_told_after_its_limit_is_a_failure_all_the_same() -> None:
    """`ChildStarted` that crosses the kill changes nothing."""
    stage = Stage(SupervisorSpec(children=(ChildSpec("slow", start=1, start_timeout=500),)), silent={"slow"})
    state, _ = handle(stage.state, TimerFired(stage.timers[0].timer), 500)
    state, commands = handle(state, ChildStarted("slow", 1), 501)
    assert commands == ()
    state, commands = handle(state, ChildExited("slow", 1, KILLED), 502)
    assert isinstance(commands[-1], Exit)


def test_an_exit_before_started_is_a_failed_start() -> None:
    """A process that dies in its start never answers it."""
    state, _ = handle(new(spec("a"), "root"), Boot(), 0)
    _, commands = handle(state, ChildExited("a", 1, Killed("signal 11")), 1)
    assert commands[-1] == Exit(Shutdown(FailedToStart("a", Killed("signal 11"))))


# -- restarting --------------------------------------------------------------------------------------------------------


def test_three_restarts_in_five_seconds_survive_and_the_fourth_takes_the_supervisor_down() -> None:
    """Intensity 3 in 5 s tolerates three; a new incarnation has a fresh window."""
    stage = Stage(spec("a", "b"))
    for _ in range(3):
        assert moves(stage.end("a", BUG)) == ["start a"]
        stage.advance(1000)
    commands = stage.end("a", BUG)
    assert moves(commands) == ["stop b"]
    assert stage.exit == SHUTDOWN
    again = Stage(stage.spec)
    assert moves(again.end("a", BUG)) == ["start a"]


def test_restarts_leave_the_window() -> None:
    """Slow crashes never use up the budget."""
    stage = Stage(spec("a"))
    for _ in range(20):
        stage.advance(1667)  # three of these are longer than 5000 ms
        assert moves(stage.end("a", BUG)) == ["start a"]


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("done")], ids=str)
def test_a_transient_child_that_ends_in_order_stays_ended(reason: Shutdown) -> None:
    """`normal`, `shutdown` and `{shutdown, x}` are orderly."""
    stage = Stage(simple())
    stage.give(AskStartDynamic(1, "c1"))
    assert moves(stage.end("c1", reason)) == []
    assert "c1" not in stage.state.children


@pytest.mark.parametrize("reason", [BUG, KILLED, Killed("signal 9")], ids=str)
def test_a_transient_child_that_raises_is_started_again(reason: Crash) -> None:
    """An exception and a kill are not orderly."""
    stage = Stage(simple())
    stage.give(AskStartDynamic(1, "c1", ("first argument",)))
    (again,) = [command for command in stage.end("c1", reason) if isinstance(command, StartChild)]
    assert (again.id, again.args, again.again) == ("c1", ("first argument",), True)


def test_a_temporary_child_under_one_for_all_goes_and_does_not_come_back() -> None:
    """It is stopped with its group and forgotten; its own end restarts nobody."""
    children = (
        ChildSpec("a", start=1),
        ChildSpec("t", start=1, restart=Restart.TEMPORARY),
        ChildSpec("u", start=1, restart=Restart.TEMPORARY),
    )
    stage = Stage(SupervisorSpec(Strategy.ONE_FOR_ALL, children=children))
    assert moves(stage.end("u", BUG)) == []
    assert moves(stage.end("a", BUG)) == ["stop t", "start a"]
    assert stage.ask(AskChildSpec(1, "t")) == Refused(CallError.NOT_FOUND)


def test_rest_for_one_leaves_the_elder_alone() -> None:
    """Those started later are stopped in reverse order and started in order; those before are not touched."""
    stage = Stage(spec("a", "b", "c", "d", strategy=Strategy.REST_FOR_ONE))
    elder = stage.generation("a")
    assert moves(stage.end("b", BUG)) == ["stop d", "stop c", "start b", "start c", "start d"]
    assert stage.generation("a") == elder


def test_a_group_restart_counts_once() -> None:
    """The children that are restarted along with another cost nothing."""
    stage = Stage(spec("a", "b", "c", strategy=Strategy.ONE_FOR_ALL, intensity=1))
    stage.end("b", BUG)
    assert len(stage.state.restarts) == 1


def test_a_group_waits_stopped_while_one_of_it_fails_to_start() -> None:
    """The child whose end began it is then stopped like the others, not restarting."""
    stage = Stage(spec("a", "b", "c", strategy=Strategy.ONE_FOR_ALL))
    stage.silent = {"b"}
    assert moves(stage.end("c", BUG)) == ["stop b"]
    assert moves(stage.end("b", SHUTDOWN)) == ["stop a", "start a", "start b"]
    stage.give(AskDeleteChild("c is stopped", "c"))
    stage.give(AskDeleteChild("b is restarting", "b"))
    commands = stage.give(ChildStartFailed("b", stage.state.generation, BUG))
    assert [command for command in commands if isinstance(command, Reply)] == [
        Reply("c is stopped", Ok()),
        Reply("b is restarting", Refused(CallError.RESTARTING)),
    ]


def test_a_kill_is_reported_with_what_is_known_of_it() -> None:
    """SIGKILL comes as `killed`, once."""
    stage = Stage(spec("a"))
    (report,) = reports(stage.end("a", Killed("signal 9")))
    assert (report.context, str(report.reason)) == (Context.CHILD_TERMINATED, "killed (signal 9)")


def test_a_death_that_is_told_twice_is_one_death() -> None:
    """A notice about an earlier generation does nothing, whatever reason it gives."""
    stage = Stage(spec("a"))
    first = stage.generation("a")
    stage.end("a", BUG)
    before = stage.state
    assert stage.give(ChildExited("a", first, KILLED)) == []
    assert stage.state == before


def test_an_exception_gives_one_crash_report() -> None:
    """What the dying process knew is reported where its death is counted."""
    stage = Stage(spec("a"))
    commands = stage.end("a", BUG)
    (crash,) = reports(commands, ReportKind.CRASH)
    assert crash.reason == BUG
    assert crash.generation == 1


def test_a_significant_end_ends_the_supervisor() -> None:
    """auto_shutdown any_significant: the others are stopped, and the exit is `shutdown`."""
    task = ChildSpec("task", start=1, restart=Restart.TRANSIENT, significant=True)
    stage = Stage(SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT, children=(ChildSpec("a", start=1), task)))
    assert moves(stage.end("task", NORMAL)) == ["stop a"]
    assert stage.exit == SHUTDOWN


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_shutdown_stops_in_reverse_and_exits_as_told() -> None:
    """The parent's reason is the supervisor's."""
    stage = Stage(spec("a", "b", "c"))
    assert moves(stage.give(ShutDown(Shutdown("upgrade")))) == ["stop c", "stop b", "stop a"]
    assert stage.exit == Shutdown("upgrade")


def test_a_child_that_ignores_its_stop_is_killed_after_its_limit() -> None:
    """Its `shutdown` time is kept to the millisecond, and that it had to be killed is reported."""
    stage = Stage(SupervisorSpec(children=(ChildSpec("deaf", start=1, shutdown=700),)))
    stage.silent = {"deaf"}
    assert moves(stage.give(ShutDown())) == ["stop deaf"]
    assert moves(stage.advance(699)) == []
    commands = stage.advance(1)
    assert moves(commands) == ["kill deaf"]
    (report,) = reports(commands)
    assert (report.context, report.reason) == (Context.SHUTDOWN_ERROR, KILLED)
    assert stage.exit == SHUTDOWN


def test_a_thousand_dynamic_children_start_and_stop_together() -> None:
    """All are told at once, under one timer; those that are deaf are killed by it."""
    stage = Stage(simple())
    began = time.perf_counter()
    for number in range(1000):
        stage.give(AskStartDynamic(number, f"c{number}"))
    assert stage.ask(AskCountChildren(1)) == Ok(Counts(specs=1, active=1000, supervisors=0, workers=1000))
    started = time.perf_counter()
    stage.silent = {"c7", "c8"}
    commands = stage.give(ShutDown())
    assert len([command for command in commands if isinstance(command, StopChild)]) == 1000
    assert len([command for command in commands if isinstance(command, SetTimer)]) == 1
    ended = time.perf_counter()
    print(f"1000 dynamic children: started in {started - began:.3f} s, stopped in {ended - started:.3f} s")
    assert stage.exit is None
    commands = stage.advance(5000)
    assert sorted(moves(commands)) == ["kill c7", "kill c8"]
    (report,) = reports(commands)
    assert (report.id, report.children) == ("call", 2)
    assert stage.exit == SHUTDOWN


# -- one thing at a time -----------------------------------------------------------------------------------------------


def test_calls_wait_while_a_stop_is_outstanding() -> None:
    """They are answered in the order in which they came, when it is done."""
    stage = Stage(spec("a", "b"))
    stage.silent = {"a"}
    assert moves(stage.give(AskTerminateChild("first", "a"))) == ["stop a"]
    assert stage.give(AskCountChildren("second")) == []
    assert stage.give(AskDeleteChild("third", "a")) == []
    commands = stage.end("a", SHUTDOWN)
    assert commands == [
        Reply("first", Ok()),
        Reply("second", Ok(Counts(specs=2, active=1, supervisors=0, workers=2))),
        Reply("third", Ok()),
    ]


def test_calls_that_come_too_late_are_refused() -> None:
    """Nobody waits for an answer for ever: also what was in the queue at the end is answered."""
    stage = Stage(spec("a"))
    stage.silent = {"a"}
    stage.give(ShutDown())
    stage.give(AskCountChildren("queued"))
    assert stage.end("a", SHUTDOWN)[-2:] == [Exit(SHUTDOWN), Reply("queued", Refused(CallError.NOPROC))]
    assert stage.give(AskWhichChildren("late")) == [Reply("late", Refused(CallError.NOPROC))]


def test_a_stale_timer_does_nothing() -> None:
    """Timers cannot be cancelled; the one of a stop that was obeyed fires into nothing."""
    stage = Stage(spec("a"))
    stage.give(AskTerminateChild(1, "a"))
    assert moves(stage.advance(60_000)) == []
    assert stage.give(TimerFired(Timer("stop", None, 99))) == []


# -- calls -------------------------------------------------------------------------------------------------------------


def test_each_call_answers_with_otp_s_words() -> None:
    """A child's life by calls: added, stopped, listed, started, stopped, deleted."""
    stage = Stage(spec("a"))
    b = ChildSpec("b", start=1)
    assert stage.ask(AskStartChild(1, b)) == Ok(ChildRef("b", 2))
    assert stage.ask(AskStartChild(1, b)) == Refused(CallError.ALREADY_STARTED, ChildRef("b", 2))
    assert stage.ask(AskDeleteChild(1, "b")) == Refused(CallError.RUNNING)
    assert stage.ask(AskRestartChild(1, "b")) == Refused(CallError.RUNNING)
    assert stage.ask(AskTerminateChild(1, "b")) == Ok()
    assert stage.ask(AskStartChild(1, b)) == Refused(CallError.ALREADY_PRESENT)
    assert stage.ask(AskWhichChildren(1)) == Ok(
        (
            ChildInfo("b", ChildState.STOPPED, None, b.type, b.restart),
            ChildInfo("a", ChildState.RUNNING, 1, b.type, b.restart),
        )
    )
    assert stage.ask(AskRestartChild(1, "b")) == Ok(ChildRef("b", 3))
    assert stage.ask(AskTerminateChild(1, "b")) == Ok()
    assert stage.ask(AskDeleteChild(1, "b")) == Ok()
    assert stage.ask(AskChildSpec(1, "b")) == Refused(CallError.NOT_FOUND)
    assert stage.ask(AskChildSpec(1, "a")) == Ok(stage.spec.children[0])


def test_a_start_of_the_wrong_kind_is_refused() -> None:
    """A template takes arguments, the other strategies take specifications."""
    static, dynamic = Stage(spec("a")), Stage(simple())
    assert isinstance(answer := static.ask(AskStartDynamic(1, "x")), Refused)
    assert answer.error is CallError.BAD_SPEC
    assert isinstance(answer := dynamic.ask(AskStartChild(1, ChildSpec("x", start=1))), Refused)
    assert answer.error is CallError.SIMPLE_ONE_FOR_ONE


def test_a_bad_specification_is_refused_and_changes_nothing() -> None:
    """The answer says what is wrong."""
    stage = Stage(spec("a"))
    before = stage.state
    assert stage.ask(AskStartChild(1, ChildSpec("b", start=1, significant=True))) == Refused(
        CallError.BAD_SPEC, "b: bad_combination: significant=True means nothing while auto_shutdown is never"
    )
    assert stage.state == before


# -- a budget of one's own ---------------------------------------------------------------------------------------------


def test_a_call_that_uses_up_its_own_budget_ends_alone() -> None:
    """Its siblings and the supervisor go on, and its end is reported."""
    stage = Stage(simple(intensity=2, budget=Budget.CHILD))
    stage.give(AskStartDynamic(1, "sick"))
    stage.give(AskStartDynamic(1, "well"))
    stage.end("well", BUG)
    for _ in range(2):
        assert moves(stage.end("sick", BUG)) == ["start sick"]
    commands = stage.end("sick", BUG)
    assert moves(commands) == []
    assert [report.context for report in reports(commands)] == [Context.CHILD_TERMINATED, Context.ABANDONED]
    assert stage.exit is None
    assert set(stage.state.children) == {"well"}
