"""What supervisors and their children say to each other.

Every message travels in a `Letter` that names its addressee with role and generation, since addresses (ports) are used
again: the base actor drops and counts a letter that is for somebody else. `Init` alone comes bare: it makes the
addressee.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from thespian.actors import ActorAddress

from conf.settings import Pbx, Settings
from supervision.child_spec import SupervisorSpec


class Identity(NamedTuple):
    """Who a process actor is."""

    role: str
    """Place in the tree: `root`, `publisher`, `connection`, …"""
    pbx: str | None
    """Name of the PBX in conf whose branch it stands in; None above the branches."""
    generation: int
    """1 for the first process in this place; one more at each restart."""

    @property
    def place(self) -> "Place":
        """The same without the generation."""
        return Place(self.role, self.pbx)

    def __str__(self) -> str:
        return f"{self.place}#{self.generation}"


class Place(NamedTuple):
    """A place in the tree, whoever stands in it now."""

    role: str
    pbx: str | None

    def __str__(self) -> str:
        """The path that arimon-ctl uses."""
        if self.pbx is None:
            return self.role
        return f"pbx/{self.pbx}" if self.role == "pbx" else f"pbx/{self.pbx}/{self.role}"


@dataclass(frozen=True, slots=True)
class Start:
    """What a child's spec holds for it: which actor it is, and what it needs to begin."""

    actor: str
    """Dotted name of the actor class; a name, so that the tree can be drawn without loading what it starts."""
    place: Place
    settings: Settings
    supervisor: SupervisorSpec | None = None
    """Of a supervisor: its flags and children."""
    arimond_pid: int = 0
    """Of Root: the process with which everything ends."""

    @property
    def pbx(self) -> Pbx:
        """The settings of the PBX in whose branch this is."""
        return next(pbx for pbx in self.settings.pbx if pbx.name == self.place.pbx)

    @property
    def directory(self) -> Path:
        """Where this PBX's journal and ledger are."""
        assert self.place.pbx is not None
        return self.settings.state_dir / "pbx" / self.place.pbx


@dataclass(frozen=True, slots=True)
class Letter:
    """A message with its addressee and its sender."""

    to: Identity
    sender: Identity
    body: Any


@dataclass(frozen=True, slots=True)
class Init:
    """First message to a new process actor: who it is, and all that it needs."""

    identity: Identity
    supervisor: Identity
    supervisor_address: ActorAddress | None
    """None for Root, whose supervisor is arimond; the sender of `Init` then."""
    start: Start


@dataclass(frozen=True, slots=True)
class Started:
    """The child is initialised."""

    pid: int


@dataclass(frozen=True, slots=True)
class StillStarting:
    """A child whose start takes long is at it, and looks at its mailbox meanwhile. Once a second until `Started`."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """A child was suspended by an operator, or resumed: whether to probe it is to be switched."""

    on: bool
    """True if it is suspended now."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Are you alive? To be answered by way of everything that may hang."""

    token: int


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    token: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what is in hand, then end; in order."""

    milliseconds: int | None
    """Time until SIGKILL; None is no limit."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """Last words of a process actor: why it ends."""

    reason: Any
    """An exit reason of supervision.reasons."""


class Peer(NamedTuple):
    """Where a process actor can be written to."""

    identity: Identity
    address: ActorAddress


@dataclass(frozen=True, slots=True)
class PeersBelow:
    """From a supervisor to the one above: all process actors that are up in its branch, itself not included."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """From Root to everybody, at every change: who is up, and where."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """From a supervisor to Monitor: crash, supervisor and progress reports."""

    reports: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A question to any process actor, as arimon-ctl asks it through Monitor."""

    reference: int
    name: str
    """The asked actor's method `query_<name>` answers."""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a Query."""

    reference: int
    value: Any = None
    """Plain data (what JSON can hold)."""
    problem: str | None = None
    """Why there is no value, in words."""
