"""What a supervisor machine wants done, in this order, by the driver around it."""

from dataclasses import dataclass
from enum import StrEnum

from supervision.child_spec import ChildSpec, ChildType, Limit, Restart
from supervision.inputs import Timer
from supervision.reasons import Reason
from supervision.reports import Report


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a child. Answer with `ChildStarted`, `ChildStartFailed` or `ChildIgnored`, each with this generation."""

    id: str
    """A dynamic child's own id; else `spec.id`."""
    generation: int
    spec: ChildSpec
    """A dynamic child's template."""
    args: tuple[object, ...] = ()
    """Of a dynamic child: appended to `spec.start`."""
    again: bool = False
    """Whether it ran before under this supervisor: it is a restart."""


@dataclass(frozen=True, slots=True)
class StopChild:
    """Tell a child to stop in an orderly way. Answer with `ChildExited` when it is dead; the machine keeps the time."""

    id: str
    generation: int
    limit: Limit
    """How long it has until `KillChild`, milliseconds; the child may want to know."""


@dataclass(frozen=True, slots=True)
class KillChild:
    """Kill a child (SIGKILL). Answer with `ChildExited` when it is dead."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class ProbeChild:
    """Ask a child whether it lives. Give its answer as `ChildAnswered`."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give `TimerFired(timer)` at that time."""

    timer: Timer
    at_ms: int
    """On the clock of `handle`, milliseconds."""


class CallError(StrEnum):
    """Why a call was refused. OTP's words."""

    ALREADY_PRESENT = "already_present"
    """The id is taken by a child that does not run."""
    ALREADY_STARTED = "already_started"
    """The id is taken by a child that runs."""
    NOT_FOUND = "not_found"
    """No child has this id."""
    RUNNING = "running"
    """The child runs."""
    RESTARTING = "restarting"
    """The child waits for another attempt to start it."""
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"
    """Not with this strategy."""
    BAD_SPEC = "bad_spec"
    """The specification contradicts itself; the detail says how."""
    START_FAILED = "start_failed"
    """The child could not be started; the detail is the reason."""
    NOPROC = "noproc"
    """The supervisor has ended, or is about to (in OTP the caller itself exits with that)."""


@dataclass(frozen=True, slots=True)
class ChildRef:
    """Answer of a call that started a child."""

    id: str
    generation: int
    info: object = None
    """What the start told besides."""


class ChildState(StrEnum):
    """Where a child is, in the words of `which_children`."""

    RUNNING = "running"
    """Alive (OTP: its pid)."""
    RESTARTING = "restarting"
    """Its last start failed, or is delayed; there will be another."""
    STOPPED = "stopped"
    """Not running (OTP: `undefined`)."""


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One line of `which_children`."""

    id: str
    state: ChildState
    generation: int | None
    """None unless it runs."""
    type: ChildType
    restart: Restart


@dataclass(frozen=True, slots=True)
class Counts:
    """Answer of `count_children`."""

    specs: int
    """Children, running or not; 1 under simple_one_for_one."""
    active: int
    """Children that run."""
    supervisors: int
    """Children of type supervisor, running or not."""
    workers: int
    """Children of type worker, running or not."""


@dataclass(frozen=True, slots=True)
class Ok:
    """A call did what was asked."""

    value: object = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A call did not do what was asked."""

    error: CallError
    detail: object = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a call."""

    caller: object
    result: Ok | Refused


@dataclass(frozen=True, slots=True)
class Initialised:
    """All children are started: tell the parent that this supervisor is started. Once."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End this supervisor; its children are dead. The last command. Before `Initialised`, it is a failed start."""

    reason: Reason


Command = StartChild | StopChild | KillChild | ProbeChild | SetTimer | Reply | Report | Initialised | Exit
