"""A driver with virtual children and virtual time, for tests of the supervisor machine."""

from dataclasses import dataclass, field

from supervision.child_spec import SupervisorSpec
from supervision.commands import Command, Exit, KillChild, ProbeChild, Reply, SetTimer, StartChild, StopChild
from supervision.inputs import Boot, ChildAnswered, ChildExited, ChildStarted, ChildStartFailed, Input, TimerFired
from supervision.machine import handle, new
from supervision.reasons import KILLED, SHUTDOWN, Crash, Reason
from supervision.reports import Report, ReportKind
from supervision.state import State


@dataclass
class Stage:
    """Performs commands at once: starts succeed, stops are obeyed, except for the children named here."""

    spec: SupervisorSpec
    failing: set[str] = field(default_factory=set)
    """Their start fails."""
    silent: set[str] = field(default_factory=set)
    """They never answer: not their start, not a stop, not a probe."""
    seed: int = 0
    """Of jitter."""
    state: State = field(init=False)
    now_ms: int = 0
    log: list[Command] = field(default_factory=list)
    """All commands so far."""
    timers: list[SetTimer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = new(self.spec, "root", seed=self.seed)
        self.give(Boot())

    def give(self, given: Input) -> list[Command]:
        """Give an input and perform what follows; returns the commands."""
        first = len(self.log)
        inputs = [given]
        while inputs:
            self.state, commands = handle(self.state, inputs.pop(0), self.now_ms)
            self.log += commands
            inputs += [answer for command in commands if (answer := self._perform(command)) is not None]
        return self.log[first:]

    def _perform(self, command: Command) -> Input | None:
        match command:
            case SetTimer():
                self.timers.append(command)
            case KillChild(id, generation):
                return ChildExited(id, generation, KILLED)
            case StartChild(id) | StopChild(id) | ProbeChild(id) if id in self.silent:
                return None
            case StartChild(id, generation) if id in self.failing:
                return ChildStartFailed(id, generation, Crash("Refused"))
            case StartChild(id, generation):
                return ChildStarted(id, generation)
            case StopChild(id, generation):
                return ChildExited(id, generation, SHUTDOWN)
            case ProbeChild(id, generation):
                return ChildAnswered(id, generation)
        return None

    def advance(self, ms: int) -> list[Command]:
        """Let time pass; returns the commands of timers that fire."""
        first = len(self.log)
        until_ms = self.now_ms + ms
        while due := [timer for timer in self.timers if timer.at_ms <= until_ms]:
            timer = min(due, key=lambda one: one.at_ms)
            self.timers.remove(timer)
            self.now_ms = max(self.now_ms, timer.at_ms)
            self.give(TimerFired(timer.timer))
        self.now_ms = until_ms
        return self.log[first:]

    def generation(self, id: str) -> int:
        """Of a child that runs."""
        generation = self.state.children[id].generation
        assert generation is not None, f"{id} does not run"
        return generation

    def end(self, id: str, reason: Reason) -> list[Command]:
        """A child ends by itself."""
        return self.give(ChildExited(id, self.generation(id), reason))

    def ask(self, given: Input) -> object:
        """Call the supervisor; returns what it answered."""
        return next(command.result for command in self.give(given) if isinstance(command, Reply))

    @property
    def exit(self) -> Reason | None:
        """With which the supervisor exited."""
        return next((command.reason for command in self.log if isinstance(command, Exit)), None)


def moves(commands: list[Command]) -> list[str]:
    """Starts, stops and kills among commands, as `start a`."""
    verbs = {StartChild: "start", StopChild: "stop", KillChild: "kill"}
    return [
        f"{verbs[type(command)]} {command.id}"
        for command in commands
        if isinstance(command, StartChild | StopChild | KillChild)
    ]


def reports(commands: list[Command], kind: ReportKind = ReportKind.SUPERVISOR) -> list[Report]:
    """Reports of one kind among commands."""
    return [command for command in commands if isinstance(command, Report) and command.kind is kind]
