"""What holds of the supervisor machine whatever happens, what it does beyond OTP included."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from supervision.child_spec import (
    Budget,
    ChildSpec,
    LivenessProbe,
    Restart,
    Strategy,
    SupervisorSpec,
)
from supervision.commands import (
    ChildState,
    Command,
    Exit,
    KillChild,
    ProbeChild,
    Reply,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.delay import Delay
from supervision.inputs import (
    AskDeleteChild,
    AskRestartChild,
    AskStartDynamic,
    AskTerminateChild,
    AskWhichChildren,
    Boot,
    ChildAnswered,
    ChildExited,
    ChildIgnored,
    ChildStarted,
    ChildStartFailed,
    Input,
    ProbeSwitched,
    ShutDown,
    TimerFired,
)
from supervision.machine import handle, new
from supervision.reasons import KILLED, NORMAL, SHUTDOWN, Crash, Reason
from supervision.state import State

REASONS: tuple[Reason, ...] = (Crash("ValueError"), NORMAL, SHUTDOWN, KILLED)


def children(strategy: Strategy) -> st.SearchStrategy[tuple[ChildSpec, ...]]:
    count = 1 if strategy is Strategy.SIMPLE_ONE_FOR_ONE else 3
    specs = [
        st.builds(
            ChildSpec,
            id=st.just(id),
            start=st.just("start"),
            restart=st.sampled_from(Restart),
            shutdown=st.sampled_from([None, 500, "brutal_kill", "infinity"]),
            start_timeout=st.sampled_from(["infinity", 300]),
            delay=st.sampled_from([None, Delay(50, 100, 1000)]),
            probe=st.sampled_from([None, LivenessProbe(100, 200)]),
        )
        for id in "abc"[:count]
    ]
    return st.tuples(*specs)


def supervisors(strategy: Strategy) -> st.SearchStrategy[SupervisorSpec]:
    alone = strategy in (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE)
    return st.builds(
        SupervisorSpec,
        strategy=st.just(strategy),
        intensity=st.integers(0, 4),
        budget=st.sampled_from(Budget) if alone else st.just(Budget.SUPERVISOR),
        children=children(strategy),
    )


@dataclass
class Model:
    """What a driver sees, and what must be true of it."""

    state: State
    now_ms: int = 0
    starting: dict[str, int] = field(default_factory=dict)
    living: dict[str, int] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    """Told to stop."""
    killed: set[str] = field(default_factory=set)
    """Killed, and not known to be dead."""
    timers: list[SetTimer] = field(default_factory=list)
    past: list[Input] = field(default_factory=list)
    """Notices that were given, to be given again."""
    generation: int = 0
    asked: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    exits: int = 0

    def give(self, given: Input) -> None:
        if isinstance(given, ChildStarted | ChildStartFailed | ChildIgnored | ChildExited | TimerFired):
            self.past.append(given)
        before = self.state
        self.state, commands = handle(before, given, self.now_ms)
        assert handle(before, given, self.now_ms) == (self.state, commands), "the same inputs give the same commands"
        for command in commands:
            self.check(command)

    def check(self, command: Command) -> None:
        assert self.exits == 0 or isinstance(command, Reply), f"{command} after the exit"
        match command:
            case StartChild(id, generation):
                assert generation > self.generation, "generations never repeat"
                assert id not in self.starting, "not two of one id"
                assert id not in self.living, "not two of one id"
                assert not self.starting, "one start at a time"
                assert not self.stopping, "no start while a stop is outstanding"
                self.generation = generation
                self.starting[id] = generation
            case StopChild(id, generation):
                assert self.living.get(id) == generation, "only what lives is told to stop"
                self.stopping.add(id)
            case KillChild(id, generation):
                assert generation in (self.living.get(id), self.starting.get(id)), "only what lives is killed"
                self.killed.add(id)
            case ProbeChild(id, generation):
                assert self.living.get(id) == generation, "only what lives is probed"
            case SetTimer():
                assert command.at_ms >= self.now_ms
                self.timers.append(command)
            case Reply(int(caller)):
                assert caller not in self.answered, "one answer to each call"
                self.answered.add(caller)
            case Exit():
                assert not self.living, "its children are dead"
                assert not self.starting
                self.exits += 1

    def end(self, id: str, generation: int, given: Input) -> None:
        for known in (self.starting, self.living):
            if known.get(id) == generation:
                del known[id]
        self.stopping.discard(id)
        self.killed.discard(id)
        self.give(given)


def _reason(data: st.DataObject) -> Reason:
    return data.draw(st.sampled_from(REASONS))


def step(model: Model, data: st.DataObject, number: int) -> None:
    choices = ["time", "again", "ask", "probe"]
    choices += ["answer"] * 4 * bool(model.starting)
    choices += ["exit"] * 3 * bool(model.living)
    choices += ["stopped"] * 3 * bool(model.stopping | model.killed)
    match data.draw(st.sampled_from(choices)):
        case "answer":
            (id, generation), *_ = model.starting.items()
            match data.draw(st.sampled_from(["started", "started", "failed", "ignored", "exited"])):
                case "started":
                    if id not in model.killed:  # else it says so, and dies all the same
                        del model.starting[id]
                        model.living[id] = generation
                    model.give(ChildStarted(id, generation))
                case "failed":
                    model.end(id, generation, ChildStartFailed(id, generation, _reason(data)))
                case "ignored":
                    model.end(id, generation, ChildIgnored(id, generation))
                case _:
                    model.end(id, generation, ChildExited(id, generation, KILLED))
        case "exit" | "stopped" as kind:
            id = data.draw(st.sampled_from(sorted(model.living if kind == "exit" else model.stopping | model.killed)))
            generation = (model.living | model.starting)[id]
            model.end(id, generation, ChildExited(id, generation, _reason(data)))
        case "time":
            model.now_ms += data.draw(st.sampled_from([0, 60, 250, 1000, 10_000]))
            for timer in [timer for timer in model.timers if timer.at_ms <= model.now_ms]:
                model.timers.remove(timer)
                model.give(TimerFired(timer.timer))
        case "again" if model.past:
            model.give(data.draw(st.sampled_from(model.past)))
        case "probe" if model.living:
            id = data.draw(st.sampled_from(sorted(model.living)))
            switches: list[Input] = [ProbeSwitched(id, on=False), ProbeSwitched(id, on=True)]
            model.give(data.draw(st.sampled_from([ChildAnswered(id, model.living[id]), *switches])))
        case "ask":
            model.asked.add(number)
            id = data.draw(st.sampled_from([*model.state.children, "x", "y"]))
            asks: list[Input] = [AskTerminateChild(number, id), AskRestartChild(number, id), AskDeleteChild(number, id)]
            model.give(data.draw(st.sampled_from([*asks, AskStartDynamic(number, id), AskWhichChildren(number)])))


def wind_up(model: Model) -> None:
    """The parent wants it to end; everything obeys."""
    model.give(ShutDown())
    for _ in range(200):
        if model.exits:
            return
        for id, generation in list(model.starting.items()):
            model.end(id, generation, ChildIgnored(id, generation))
        for id in [id for id in model.stopping | model.killed if id in model.living]:
            model.end(id, model.living[id], ChildExited(id, model.living[id], SHUTDOWN))
    raise AssertionError("it does not end")


@settings(deadline=None, max_examples=100, database=None)
@given(st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    """One thing at a time, never two of one id, one answer to each call, and nothing left at the exit."""
    spec = data.draw(st.sampled_from(Strategy).flatmap(supervisors))
    model = Model(new(spec, "root"))
    model.give(Boot())
    for number in range(data.draw(st.integers(1, 40))):
        step(model, data, number)
        running = {c.id: c.generation for c in model.state.children.values() if c.state is ChildState.RUNNING}
        unread = set(model.state.dead)
        assert {
            id: generation for id, generation in running.items() if id not in unread
        }.items() <= model.living.items()
    wind_up(model)
    assert model.answered == model.asked
