"""Scenarios for both sides: what is drawn, step by step, from what is possible in our world just then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from supervision.child_spec import AutoShutdown, ChildSpec, ChildType, Restart, Strategy, SupervisorSpec
from supervision.commands import ChildState
from supervision.inputs import (
    AskChildSpec,
    AskCountChildren,
    AskDeleteChild,
    AskRestartChild,
    AskStartChild,
    AskStartDynamic,
    AskTerminateChild,
    AskWhichChildren,
    Input,
)
from supervision.state import Phase, State
from tests.supervision.otp.world import DISOBEYS, Path, World, canonical

T = TypeVar("T")

STEPS = 24
"""Most steps of a scenario, before it is wound up."""


class Pick:
    """Draws one of several; earlier ones are simpler, and shrinking goes there."""

    def __init__(self, draw: Callable[[Sequence[Any]], Any]) -> None:
        self._draw = draw

    def one(self, options: Sequence[T]) -> T:
        return self._draw(options)  # type: ignore[no-any-return]  # hypothesis and random agree on this

    def rarely(self, one_in: int) -> bool:
        return self._draw(range(one_in)) == one_in - 1  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Step:
    """One step, as Erlang is told and as our world is: the name of a method and its arguments."""

    line: str
    method: str
    arguments: tuple[Any, ...]


@dataclass
class Scenario:
    """What was done, and what Erlang answered."""

    steps: list[Step] = field(default_factory=list)
    answers: list[dict[Path, list[str]]] = field(default_factory=list)


class Mismatch(AssertionError):
    """Erlang/OTP and our machine did different things."""

    def __init__(self, scenario: Scenario, ours: dict[Path, list[str]]) -> None:
        told = [f"{step.line}\n    {answer}" for step, answer in zip(scenario.steps, scenario.answers, strict=True)]
        super().__init__("\n".join([*told, f"but ours did\n    {ours}"]))


def play(pick: Pick, tell: Callable[[str], list[str]], world: World) -> Scenario:
    """Play one scenario on both sides.

    Raises:
        Mismatch: at the first step in which they differ.
    """
    scenario = Scenario()

    def do(step: Step) -> None:
        scenario.steps.append(step)
        lines = tell(step.line)
        ours = run(world, step)
        scenario.answers.append(by_supervisor(lines, world))
        if ours != scenario.answers[-1]:
            raise Mismatch(scenario, ours)

    spec = draw_supervisor(pick, 0)
    do(Step(f"{{new,{supervisor_term(spec)}}}", "new", (spec,)))
    for number in range(STEPS):
        if not world.supervisors:
            return scenario
        step = draw_step(pick, world, number)
        do(step)
    if pick.one((True, False)):
        while world.starts and () not in world.initialised and world.supervisors:
            do(let_go(world))
        if world.supervisors:
            do(Step("{shutdown,shutdown}", "shutdown", ("shutdown",)))
        while world.supervisors:
            do(let_go(world))
    return scenario


def run(world: World, step: Step) -> dict[Path, list[str]]:
    """What our world does in a step."""
    world.events.clear()
    getattr(world, step.method)(*step.arguments)
    return {path: canonical(lines, path in world.simple) for path, lines in world.events.items() if lines}


def by_supervisor(lines: list[str], world: World) -> dict[Path, list[str]]:
    """Erlang's events, those of each supervisor apart: they run beside each other."""
    events: dict[Path, list[str]] = {}
    for line in lines:
        where, _, what = line.partition(" ")
        events.setdefault(tuple(where.split("/")[1:]), []).append(what)
    return {path: canonical(those, path in world.simple) for path, those in events.items()}


# -- what is drawn -----------------------------------------------------------------------------------------------------


def draw_supervisor(pick: Pick, depth: int) -> SupervisorSpec:
    strategy = pick.one(tuple(Strategy))
    if strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        auto, count = AutoShutdown.NEVER, 1  # together with any other OTP 29 refuses it
    else:
        auto = pick.one(
            (AutoShutdown.NEVER, AutoShutdown.NEVER, AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT)
        )
        count = pick.one((2, 1, 3, 4, 0))
    spec = SupervisorSpec(
        strategy=strategy,
        intensity=pick.one((1, 2, 3, 5, 0)),
        period_ms=pick.one((1000, 2000, 5000)),
        auto_shutdown=auto,
        children=tuple(draw_child(pick, id, auto, strategy, depth) for id in "abcd"[:count]),
    )
    return spoilt(pick, spec) if depth == 0 and pick.rarely(15) else spec


def draw_child(pick: Pick, id: str, auto: AutoShutdown, strategy: Strategy, depth: int) -> ChildSpec:
    restart = pick.one(tuple(Restart))
    significant = auto is not AutoShutdown.NEVER and restart is not Restart.PERMANENT and pick.one((True, False))
    if depth == 0 and strategy is not Strategy.SIMPLE_ONE_FOR_ONE and pick.rarely(6):
        below = draw_supervisor(pick, depth + 1)
        return ChildSpec(id, below, restart, significant, "infinity", ChildType.SUPERVISOR)
    shutdown = pick.one((5000, "infinity", "brutal_kill", DISOBEYS))
    return ChildSpec(id, "leaf", restart, significant, shutdown, pick.one(tuple(ChildType)))  # type: ignore[arg-type]


def spoilt(pick: Pick, spec: SupervisorSpec) -> SupervisorSpec:
    """The specification with a mistake in it."""
    wrong: list[SupervisorSpec] = [
        replace(spec, intensity=-1),
        replace(spec, period_ms=0),
        replace(spec, strategy="some_for_none"),  # type: ignore[arg-type]
        replace(spec, auto_shutdown="sometimes"),  # type: ignore[arg-type]
    ]
    if spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        wrong.append(replace(spec, children=()))
    elif spec.children:
        first, *rest = spec.children
        wrong.append(replace(spec, children=(first, first, *rest)))
        wrong += [replace(spec, children=(bad, *rest)) for bad in spoilt_children(first)]
    return pick.one(wrong)


def spoilt_children(child: ChildSpec) -> list[ChildSpec]:
    return [
        replace(child, restart=Restart.PERMANENT, significant=True),
        replace(child, restart="sometimes", significant=False),  # type: ignore[arg-type]
        replace(child, shutdown=-1),
        replace(child, start="leaf", type="boss"),  # type: ignore[arg-type]
    ]


def draw_step(pick: Pick, world: World, number: int) -> Step:
    starts = list(world.starts)
    told = [path for path in world.living if path in world.told]
    if starts and not pick.rarely(3):
        return draw_answer(pick, world, pick.one(starts))
    if starts and not pick.rarely(2):
        return draw_call(pick, world, pick.one(starts)[:-1], number)
    if told and not pick.rarely(3):
        return end_child(pick.one(told), pick.one(("shutdown", "shutdown", "normal", "{shutdown,x}", "boom", "killed")))
    free = [path for path in world.living if path not in world.told]
    kind = pick.one(("exit", "exit", "exit", "call", "call", "clock", "end" if pick.rarely(12) else "exit"))
    if kind == "exit" and free:
        return end_child(pick.one(free), pick.one(("boom", "killed", "normal", "shutdown", "{shutdown,x}", "boom")))
    if kind == "clock":
        seconds = world.now_ms // 1000 + pick.one((1, 2, 3))
        return Step(f"{{clock,{seconds}}}", "clock", (seconds,))
    # Until the root is started its parent is blocked in start_link, and cannot tell it anything.
    if kind == "end" and () in world.initialised:
        reason = pick.one(("shutdown", "normal", "{shutdown,x}"))
        return Step(f"{{shutdown,{reason}}}", "shutdown", (reason,))
    return draw_call(pick, world, pick.one(sorted(world.supervisors)), number)


def draw_answer(pick: Pick, world: World, path: Path) -> Step:
    where = path_term(path)
    # OTP files a dynamic child whose restart is ignored under the pid `undefined`: a deviation that machine.py names.
    may_ignore = not (path[:-1] in world.simple and world.starts[path].again)
    booting = world.supervisors[path[:-1]].phase is Phase.BOOTING
    failures = 1 if booting else 6  # a tree that never stands up shows little
    how = pick.one(("started",) * 12 + ("info",) + ("failed",) * failures + ("ignored",) * may_ignore)
    if how == "failed":
        reason = pick.one(("boom", "normal", "shutdown", "{shutdown,x}"))
        return Step(f"{{failed,{where},{reason}}}", "failed", (path, reason))
    if how == "ignored":
        return Step(f"{{ignored,{where}}}", "ignored", (path,))
    info = "extra" if how == "info" else None
    return Step(f"{{started,{where},{info or 'none'}}}", "started", (path, info))


def let_go(world: World) -> Step:
    """A step towards the end, once the root was told to end."""
    for path in world.starts:
        return Step(f"{{started,{path_term(path)},none}}", "started", (path, None))
    return end_child(next(path for path in world.living if path in world.told), "shutdown")


def draw_call(pick: Pick, world: World, where: Path, number: int) -> Step:
    state = world.supervisors[where]
    draw = draw_simple_call if state.simple else draw_static_call
    request, given = draw(pick, world, where, state, number)
    return Step(f"{{call,{number},{path_term(where)},{request}}}", "call", (where, given))


def draw_static_call(pick: Pick, world: World, where: Path, state: State, number: int) -> tuple[str, Input]:
    starts, other = (number, True), (number, False)
    stopped = [child.id for child in state.children.values() if child.state is not ChildState.RUNNING]
    starting = [path[-1] for path in world.starts if path[:-1] == where] * 4
    id = pick.one([*state.order, *stopped, *starting, "e", "z"])
    kinds = ("start", "terminate", "restart", "delete", "which", "count", "spec")
    # What waits while a restart is under way is where a mistake hides best.
    match pick.one(("terminate", "restart", "delete", "which", "count") if starting else kinds):
        case "start":
            spec = draw_child(pick, id, AutoShutdown(state.spec.auto_shutdown), Strategy.ONE_FOR_ONE, 1)
            if pick.rarely(6):
                spec = pick.one(spoilt_children(spec))
            return f"{{start_child,{child_term(spec)}}}", AskStartChild(starts, spec)
        case "terminate":
            return f"{{terminate_child,{id}}}", AskTerminateChild(other, id)
        case "restart":
            return f"{{restart_child,{id}}}", AskRestartChild(starts, id)
        case "delete":
            return f"{{delete_child,{id}}}", AskDeleteChild(other, id)
        case "which":
            return "which_children", AskWhichChildren(other)
        case "count":
            return "count_children", AskCountChildren(other)
        case _:
            return f"{{get_childspec,{id}}}", AskChildSpec(other, id)


def draw_simple_call(pick: Pick, world: World, where: Path, state: State, number: int) -> tuple[str, Input]:
    starts, other = (number, True), (number, False)
    kinds = ["start", "start", "start", "which", "restart", "delete"]
    if where not in world.slipped:
        kinds.append("count")
    # A pid that dies while the call waits is another deviation (machine.py): ask only when nothing is outstanding.
    if state.outstanding is None:
        kinds += ["terminate", "spec"]
    tag = pick.one([*sorted(state.children), "stranger"])
    match pick.one(kinds):
        case "start":
            return f"{{start_dynamic,t{number}}}", AskStartDynamic(starts, f"t{number}")
        case "which":
            return "which_children", AskWhichChildren(other)
        case "count":
            return "count_children", AskCountChildren(other)
        case "restart":
            return f"{{restart_child,{tag}}}", AskRestartChild(starts, tag)
        case "delete":
            return f"{{delete_child,{tag}}}", AskDeleteChild(other, tag)
        case "terminate":
            return f"{{terminate_dynamic,{tag}}}", AskTerminateChild(other, tag)
        case _:
            return f"{{spec_of_dynamic,{tag}}}", AskChildSpec(other, tag)


def end_child(path: Path, reason: str) -> Step:
    return Step(f"{{exit,{path_term(path)},{reason}}}", "exit", (path, reason))


# -- Erlang's words ----------------------------------------------------------------------------------------------------


def path_term(path: Path) -> str:
    return f"[{','.join(reversed(path))}|root]" if path else "root"


def supervisor_term(spec: SupervisorSpec) -> str:
    children = ",".join(child_term(child) for child in spec.children)
    return f"{{{spec.strategy},{spec.intensity},{spec.period_ms // 1000},{spec.auto_shutdown}}},[{children}]"


def child_term(child: ChildSpec) -> str:
    below = child.start if isinstance(child.start, SupervisorSpec) else None
    kind = f"{{supervisor,{supervisor_term(below)}}}" if below is not None else str(child.type)
    return f"{{{child.id},{child.restart},{str(child.significant).lower()},{child.stop_limit},{kind}}}"
