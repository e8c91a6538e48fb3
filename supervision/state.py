"""What a supervisor machine knows: its children, what is outstanding, and what waits meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from pyrsistent import PDeque, PMap, pdeque, pmap

from supervision.child_spec import ChildSpec, Restart, Strategy, SupervisorSpec
from supervision.commands import ChildState
from supervision.inputs import Input
from supervision.intensity import Restarts
from supervision.reasons import Reason


class Phase(Enum):
    """Where a supervisor is in its life."""

    NEW = auto()
    """Before its boot."""
    BOOTING = auto()
    """Starting the children that it begins with."""
    RUNNING = auto()
    """Initialised."""
    ENDING = auto()
    """Stopping its children to exit."""
    ENDED = auto()
    """Its `Exit` is out."""


@dataclass(frozen=True, slots=True)
class Child:
    """One child."""

    id: str
    spec: ChildSpec
    args: tuple[object, ...] = ()
    """Of a dynamic child; dropped when a temporary one has started, since it is never started again (as OTP does)."""
    state: ChildState = ChildState.STOPPED
    generation: int | None = None
    """Its incarnation while it runs."""
    born: int = 0
    """Generation of its first start: the order of dynamic children."""
    ran: bool = False
    """Whether it ever ran."""
    since_ms: int = 0
    """When it was started last."""
    reason: Reason | None = None
    """Why it ended, or could not be started, last time."""
    restarts: Restarts = ()
    """With a budget of its own: its restarts."""
    attempts: int = 0
    """With a delay: attempts to restart it since it was last healthy."""
    retry: int | None = None
    """Serial of the timer that ends its delay."""
    probe: int | None = None
    """Serial of the timer of its probe; None while it is not probed."""
    asked_ms: int | None = None
    """When it was asked whether it lives, while the answer is awaited."""


# -- what is outstanding -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Booting:
    """Start the first children; if one fails, stop those before it, in reverse, and exit."""


@dataclass(frozen=True, slots=True)
class Restarting:
    """Start a child and its group again; if one fails, try again from that one."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Start a child for a caller; if it fails, tell."""

    caller: object


StartFor = Booting | Restarting | Answering


@dataclass(frozen=True, slots=True)
class Starting:
    """One child's start is outstanding."""

    child: Child
    generation: int
    timer: int | None
    """Serial of the timer of its `start_timeout`."""
    rest: tuple[str, ...]
    """To be started after it, in this order."""
    why: StartFor
    late: bool = False
    """It exceeded its time and is being killed."""


@dataclass(frozen=True, slots=True)
class ThenStart:
    """Start these, in order."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ThenWait:
    """Let this child's delay pass, then restart it."""

    id: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class ThenTell:
    """Tell the caller that it is done."""

    caller: object


@dataclass(frozen=True, slots=True)
class ThenExit:
    """Exit."""

    reason: Reason


Then = ThenStart | ThenWait | ThenTell | ThenExit


@dataclass(frozen=True, slots=True)
class Stopping:
    """One child's stop is outstanding."""

    id: str
    generation: int
    timer: int | None
    """Serial of the timer of its `shutdown`."""
    rest: tuple[str, ...]
    """To be stopped after it, in this order."""
    then: Then


@dataclass(frozen=True, slots=True)
class Draining:
    """All dynamic children are stopped at once, under one timer."""

    waiting: PMap[str, int]
    """Generation of each that still lives."""
    timer: int | None
    strays: PMap[str, tuple[Reason, int]]
    """How many ended in another way than told, by the reason's text: reported together, as OTP does."""
    reason: Reason
    """To exit with."""


Outstanding = Starting | Stopping | Draining


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A failed restart is tried again when what came in meanwhile has been dealt with (OTP: `try_again_restart`)."""

    id: str


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a supervisor knows. Opaque to its driver."""

    name: str
    """Its path, for reports."""
    spec: SupervisorSpec
    generation: int
    """Last one given."""
    seed: int
    """Of jitter."""
    phase: Phase = Phase.NEW
    children: PMap[str, Child] = field(default_factory=pmap)
    order: tuple[str, ...] = ()
    """Ids in start order; of dynamic children there is none, `born` tells."""
    restarts: Restarts = ()
    serial: int = 0
    """Last timer's."""
    outstanding: Outstanding | None = None
    queue: PDeque[Input | TryAgain] = field(default_factory=pdeque)
    """What came in while something was outstanding, oldest first."""
    dead: PMap[str, Reason] = field(default_factory=pmap)
    """Reasons of running children whose exit waits in the queue: nobody tells them to stop."""

    @property
    def simple(self) -> bool:
        """Whether all children are dynamic."""
        return self.spec.strategy == Strategy.SIMPLE_ONE_FOR_ONE

    def newest_first(self) -> Iterator[Child]:
        """The children, the one started last first: the order of stopping, and of `which_children`."""
        if self.simple:
            return iter(sorted(self.children.values(), key=lambda child: -child.born))
        return (self.children[id] for id in reversed(self.order))


def is_temporary(child: Child) -> bool:
    """Whether it is forgotten when it ends."""
    return child.spec.restart == Restart.TEMPORARY
