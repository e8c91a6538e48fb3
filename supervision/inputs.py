"""What a supervisor machine is told: past tense for what happened, `Ask…` for what somebody outside wants.

`id` is a child's id, `generation` which incarnation of it: every start attempt has a new one, so that whatever is told
late or twice about an old one does nothing.
"""

from dataclasses import dataclass

from supervision.child_spec import ChildSpec
from supervision.reasons import SHUTDOWN, Reason


@dataclass(frozen=True, slots=True)
class Boot:
    """Start the children. The first input, once."""


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child is initialised."""

    id: str
    generation: int
    info: object = None
    """What its start told besides, for whoever asked for the start (OTP: `{ok, Pid, Info}`)."""


@dataclass(frozen=True, slots=True)
class ChildStartFailed:
    """A child could not be started, and nothing of this generation is left (no process, no port)."""

    id: str
    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class ChildIgnored:
    """A child's start found that it is not wanted: it does not run, and that is no failure (OTP: `ignore`)."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child is dead: its process is gone, not only about to go. Before `ChildStarted`, it is a failed start."""

    id: str
    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Timer:
    """Names a timer. It cannot be cancelled; one that no longer matters does nothing when it fires."""

    purpose: str
    """`stop`, `start`, `restart` or `probe`; for readers."""
    id: str | None
    """The child that it is about; None for all dynamic children."""
    serial: int
    """Never repeats within a machine."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer's time has come."""

    timer: Timer
    starved_ms: int = 0
    """Of a probe: how long the child, and who asks it, have waited for a CPU since it was asked, milliseconds."""


@dataclass(frozen=True, slots=True)
class ChildAnswered:
    """A child answered a liveness probe."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class ProbeSwitched:
    """Stop or resume probing a child, because an operator suspended or resumed it. A new generation is probed again."""

    id: str
    on: bool


@dataclass(frozen=True, slots=True)
class AskStartChild:
    """Add a child and start it (OTP: `start_child/2`). Answers `Ok(ChildRef | None)`; None if its start was ignored."""

    caller: object
    """Comes back in the `Reply`."""
    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class AskStartDynamic:
    """Start a child of the template (OTP: `start_child/2` of a simple_one_for_one). Answers as `AskStartChild`.

    Deviation: a dynamic child has an id of its own, which outlives its restarts; in OTP only its pid names it.
    """

    caller: object
    id: str
    args: tuple[object, ...] = ()
    """Appended to the template's `start` by the driver."""


@dataclass(frozen=True, slots=True)
class AskTerminateChild:
    """Stop a child; its specification stays, unless it is temporary or dynamic. Answers `Ok(None)`."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class AskRestartChild:
    """Start a child that was stopped. Answers as `AskStartChild`."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class AskDeleteChild:
    """Forget the specification of a child that was stopped. Answers `Ok(None)`."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class AskWhichChildren:
    """List the children. Answers `Ok(tuple[ChildInfo, …])`."""

    caller: object


@dataclass(frozen=True, slots=True)
class AskCountChildren:
    """Count the children. Answers `Ok(Counts)`."""

    caller: object


@dataclass(frozen=True, slots=True)
class AskChildSpec:
    """Show a child's specification (OTP: `get_childspec/2`). Answers `Ok(ChildSpec)`."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The parent wants this supervisor to stop its children and exit."""

    reason: Reason = SHUTDOWN
    """With which it exits then."""


Ask = (
    AskStartChild
    | AskStartDynamic
    | AskTerminateChild
    | AskRestartChild
    | AskDeleteChild
    | AskWhichChildren
    | AskCountChildren
    | AskChildSpec
)

Input = (
    Boot
    | ChildStarted
    | ChildStartFailed
    | ChildIgnored
    | ChildExited
    | TimerFired
    | ChildAnswered
    | ProbeSwitched
    | ShutDown
    | Ask
)
