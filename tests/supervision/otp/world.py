"""A tree of our machines with virtual children, moved by the same steps as supervisor.escript, and telling the same."""

import itertools
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from supervision import machine
from supervision.child_spec import BadSpec, ChildSpec, Strategy, SupervisorSpec
from supervision.commands import (
    CallError,
    ChildRef,
    Command,
    Counts,
    Exit,
    Initialised,
    KillChild,
    Ok,
    Refused,
    Reply,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.inputs import (
    Boot,
    ChildExited,
    ChildIgnored,
    ChildStarted,
    ChildStartFailed,
    Input,
    ShutDown,
    TimerFired,
)
from supervision.reasons import KILLED, NORMAL, SHUTDOWN, Crash, FailedToStart, Killed, Normal, Reason, Shutdown
from supervision.reports import Context, Report, ReportKind
from supervision.state import Draining, Phase, State, Stopping, ThenExit, ThenStart, is_temporary

Path = tuple[str, ...]
"""Of a supervisor or a child, the outermost first; the root is ()."""

REASONS: dict[str, Reason] = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "{shutdown,x}": Shutdown("x"),
    "boom": Crash("boom"),
    "killed": KILLED,
}
"""Exit reasons by what Erlang prints."""

DISOBEYS = 1
"""A child with this `shutdown` never obeys: it is killed after 1 ms."""


def reason_text(reason: Reason) -> str:
    """As Erlang prints it."""
    match reason:
        case Normal():
            return "normal"
        case Killed():
            return "killed"
        case Shutdown(None):
            return "shutdown"
        case Shutdown(FailedToStart(id, why)):
            return f"{{shutdown,{{failed_to_start_child,{id},{reason_text(why)}}}}}"
        case Shutdown(detail):
            return f"{{shutdown,{detail}}}"
        case _:
            return str(reason)


@dataclass
class World:
    """Our machines and what their drivers would know. `machine` is the module under test, whole or mutated."""

    machine: Any = machine
    now_ms: int = 0
    supervisors: dict[Path, State] = field(default_factory=dict)
    """Those that have not ended."""
    starts: dict[Path, StartChild] = field(default_factory=dict)
    """Children whose start waits for an answer."""
    living: dict[Path, int] = field(default_factory=dict)
    """Generation of each child that is started and not dead; no supervisors."""
    told: set[Path] = field(default_factory=set)
    """Living children that were told to stop."""
    events: dict[Path, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What each supervisor did in this step, in the words of supervisor.escript."""
    rules: set[str] = field(default_factory=set)
    """Which rules occurred."""
    incarnations: dict[Path, int] = field(default_factory=dict)
    """Generation of each supervisor below the root."""
    initialised: set[Path] = field(default_factory=set)
    """Supervisors that are started."""
    simple: set[Path] = field(default_factory=set)
    """Supervisors whose children are dynamic: there, OTP stops in no particular order."""
    slipped: set[Path] = field(default_factory=set)
    """Supervisors whose count_children is wrong in OTP; see machine.py."""
    inputs: deque[tuple[Path, Input]] = field(default_factory=deque)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def new(self, spec: SupervisorSpec) -> None:
        try:
            state = self.machine.new(spec, "root")
        except BadSpec as error:
            self.rules.add("bad spec at boot")
            self.events[()].append(f"bad_spec {error.error}")
            return
        self._born((), state)
        self.feed((), Boot())

    def clock(self, seconds: int) -> None:
        self.now_ms = seconds * 1000

    def started(self, path: Path, info: str | None) -> None:
        start = self.starts.pop(path)
        self.living[path] = start.generation
        self.feed(path[:-1], ChildStarted(path[-1], start.generation, info))

    def failed(self, path: Path, reason: str) -> None:
        start = self.starts.pop(path)
        self.rules.add("restart fails" if start.again else "first start fails")
        self.feed(path[:-1], ChildStartFailed(path[-1], start.generation, REASONS[reason]))

    def ignored(self, path: Path) -> None:
        start = self.starts.pop(path)
        self.rules.add("start ignored")
        self.feed(path[:-1], ChildIgnored(path[-1], start.generation))

    def exit(self, path: Path, reason: str) -> None:
        generation = self.living.pop(path)
        spec = self.supervisors[path[:-1]].children[path[-1]].spec
        if path in self.told:
            self.rules.add(f"told to stop, ends {reason}")
        else:
            self.rules.add(f"{spec.restart} ends {reason}")
            if self.supervisors[path[:-1]].outstanding is not None:
                self.rules.add("exit while busy")
        self.told.discard(path)
        # Twice, since Thespian tells some deaths twice; the second notice must do nothing.
        self.feed(path[:-1], ChildExited(path[-1], generation, REASONS[reason]))
        if path[:-1] in self.supervisors:
            self.feed(path[:-1], ChildExited(path[-1], generation, KILLED))

    def call(self, path: Path, given: Input) -> None:
        if self.supervisors[path].outstanding is not None:
            self.rules.add("call while busy")
        self.feed(path, given)

    def shutdown(self, reason: str) -> None:
        self.rules.add("told by parent to end")
        self.feed((), ShutDown(REASONS[reason]))

    # -- machines ------------------------------------------------------------------------------------------------------

    def feed(self, path: Path, given: Input) -> None:
        self.inputs.append((path, given))
        while self.inputs:
            path, given = self.inputs.popleft()
            if path in self.supervisors:
                before = self.supervisors[path]
                state, commands = self.machine.handle(before, given, self.now_ms)
                self.supervisors[path] = state
                for command in commands:
                    self.perform(path, command)
                self._note(given, before, state, commands)

    def perform(self, path: Path, command: Command) -> None:
        tell = self.events[path].append
        match command:
            case StartChild(id, generation, spec):
                tell(f"start {id}")
                if isinstance(spec.start, SupervisorSpec):
                    self.incarnations[*path, id] = generation
                    # Above every generation that an earlier incarnation gave, as drivers have to.
                    self._born((*path, id), self.machine.new(spec.start, id, generation * 1000))
                    self.rules.add("supervisor below")
                    self.inputs.append(((*path, id), Boot()))
                else:
                    self.starts[*path, id] = command
            case StopChild(id):
                tell(f"stop {id}")
                if (*path, id) in self.supervisors:
                    self.inputs.append(((*path, id), ShutDown()))
                else:
                    self.told.add((*path, id))
            case KillChild(id, generation):
                tell(f"kill {id}")
                self.living.pop((*path, id), None)
                self.told.discard((*path, id))
                self.inputs.append((path, ChildExited(id, generation, KILLED)))
            case SetTimer(timer, at_ms) if at_ms == self.now_ms + DISOBEYS:
                self.rules.add("killed after its limit")
                self.inputs.append((path, TimerFired(timer)))
            case Initialised():
                tell("initialised")
                self.initialised.add(path)
                if path:
                    self.inputs.append((path[:-1], ChildStarted(path[-1], self.incarnations[path])))
            case Exit(reason):
                tell(f"exit {reason_text(reason)}")
                self._ended(path, reason)
            case Reply((number, starts), result):
                text = "ok undefined" if starts and result == Ok() else result_text(result)
                words = text.split()
                self.rules.add(" ".join(["reply", *words[: 2 if words[0] in ("error", "ok") else 1]]))
                tell(f"reply {number} {text}")
            case Report() if command.kind is not ReportKind.CRASH:
                tell(f"report {report_text(command, self.supervisors[path].spec)}")

    def _born(self, path: Path, state: State) -> None:
        self.supervisors[path] = state
        self.rules.add(f"strategy {state.spec.strategy}")
        self.simple.discard(path)
        self.slipped.discard(path)
        if state.simple:
            self.simple.add(path)

    def _ended(self, path: Path, reason: Reason) -> None:
        del self.supervisors[path]
        if path:
            given = ChildExited if path in self.initialised else ChildStartFailed
            self.inputs.append((path[:-1], given(path[-1], self.incarnations[path], reason)))
        self.initialised.discard(path)

    # -- what occurred -------------------------------------------------------------------------------------------------

    def _note(self, given: Input, before: State, after: State, commands: tuple[Command, ...]) -> None:
        add = self.rules.add
        contexts = {command.context for command in commands if isinstance(command, Report)}
        where = "below" if before.name != "root" else "at the root"
        if Context.SHUTDOWN in contexts:
            add(f"gives up {where}")
            add("gives up after a failed start" if isinstance(given, ChildStartFailed) else "gives up after an exit")
        elif (
            before.phase is Phase.RUNNING
            and after.phase in (Phase.ENDING, Phase.ENDED)
            and not any(isinstance(told, ShutDown) for told in (given, *before.queue))
        ):
            add(f"auto_shutdown {before.spec.auto_shutdown}")
        if Context.SHUTDOWN_ERROR in contexts:
            add("does not stop as told")
        if before.phase is Phase.BOOTING and Context.START_ERROR in contexts:
            add("boot is unwound" if after.phase is Phase.ENDING else "boot fails with nothing to unwind")
        if after.restarts != before.restarts:
            add(
                "restarts within the window"
                if len(after.restarts) > len(before.restarts)
                else "a restart leaves the window"
            )
        match after.outstanding:
            case Stopping(then=ThenStart(group)):
                add(f"{after.spec.strategy} stops siblings")
                if len(group) < len(after.order):
                    add("an elder is left alone")
                if any(is_temporary(child) for id in group if (child := before.children.get(id)) is not None):
                    add("a temporary child goes with its group")
            case Stopping(then=ThenExit()):
                add("stops in reverse")
            case Draining():
                add("stops dynamic children together")
        if isinstance(before.outstanding, Stopping) and any(id not in after.dead for id in before.dead):
            add("a child dead already is not told to stop")


def result_text(result: Ok | Refused) -> str:
    """As supervisor.escript prints replies."""
    match result:
        case Ok(ChildRef(info=info)):
            return "ok" if info is None else f"ok {info}"
        case Ok(Counts(specs, active, supervisors, workers)):
            return f"count {specs} {active} {supervisors} {workers}"
        case Ok(ChildSpec() as spec):
            significant = str(spec.significant).lower()
            return f"spec {spec.id} {spec.restart} {significant} {spec.stop_limit} {spec.type}"
        case Ok(tuple(children)):
            return " ".join(["which", *(f"{child.id}:{child.type}:{child.state}" for child in children)])
        case Refused(CallError.START_FAILED, reason):
            return f"error start_failed {reason_text(reason)}"  # type: ignore[arg-type]  # details are opaque
        case Refused(CallError.BAD_SPEC, detail):
            return f"error bad_spec {str(detail).split(': ')[1]}"
        case Refused(error):
            return f"error {error}"
        case _:
            return "ok"


def report_text(report: Report, spec: SupervisorSpec) -> str:
    """As supervisor.escript prints reports."""
    simple = spec.strategy == Strategy.SIMPLE_ONE_FOR_ONE
    words = [str(report.kind), str(report.context), spec.children[0].id if simple else report.id]
    if report.kind is ReportKind.SUPERVISOR and report.context is not Context.SHUTDOWN:
        assert report.reason is not None
        words.append(reason_text(report.reason))
    if simple and report.generation is None and report.context is Context.SHUTDOWN_ERROR:
        words.append(f"x{report.children}")
    return " ".join(words)


def canonical(lines: list[str], simple: bool) -> list[str]:
    """The lines of one supervisor in one step, without the order that OTP leaves open for dynamic children."""
    if not simple:
        return lines
    ordered: list[str] = []
    for line_kind, run in itertools.groupby(lines, key=_kind):
        some = list(run)
        ordered += sorted(some) if line_kind in ("stop", "kill", "report supervisor shutdown_error") else some
    return [" ".join([*line.split()[:3], *_which(line)]) if " which" in line else line for line in ordered]


def _kind(line: str) -> str:
    words = line.split()
    return " ".join(words[:3]) if words[0] == "report" else words[0]


def _which(line: str) -> list[str]:
    """The children of a `which` reply, restarting ones without their id, which OTP does not tell, in any order."""
    children = line.split()[3:]
    return sorted(
        child.split(":", 1)[1] if child.count(":") == 2 and child.endswith(":restarting") else child
        for child in children
    )
