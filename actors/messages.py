"""What process actors say to each other about the work; what supervisors say stands in supervision.messages.

Each of these may come twice, and says nothing that is not still true the second time. Streams of messages go through a
line of credit one (actors.line): `Streamed` and `StreamAnswered` carry them.
"""

from dataclasses import dataclass
from typing import Any, Literal

from wire.metrics.registry import Snapshot
from wire.sink import SinkState
from wire.store.offer import Accepted
from wire.store.row import Position


@dataclass(frozen=True, slots=True)
class Streamed:
    """One message of a line; its receiver answers at once."""

    line: str
    """The sender's name for the line."""
    token: int
    item: Any


@dataclass(frozen=True, slots=True)
class StreamAnswered:
    line: str
    token: int


@dataclass(frozen=True, slots=True)
class JournalNeeded:
    """Switchboard → Connection: rows from these positions on must be kept; older segments may go."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """Connection → Recovery: the link to the PBX is up, or down."""

    up: bool
    link: int
    """Number of the link-up, as in its journal row."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Recovery → Connection: ask the PBX what there is, and journal the answer."""

    purpose: Literal["link-up", "audit", "operator"]
    nth: Literal[1, 2]
    """1, or 2 for the second look."""
    link: int
    """Only if this link is still up."""
    name: str = ""
    """The snapshot's id, if whoever asked wants to find its outcome."""
    dry_run: bool = False
    """Only to say what would be concluded."""


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """Connection → Recovery: what became of the last TakeSnapshot."""

    order: TakeSnapshot
    taken: bool
    """It is in the journal."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """Switchboard → Connection: of these channels the next look should ask more."""

    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class OutcomesCame:
    """Publisher → owner of an outbox: what became of messages. Ids are the outbox's."""

    confirmed: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    returned: tuple[tuple[int, str], ...] = ()
    """(id, reason)."""

    def and_then(self, later: "OutcomesCame") -> "OutcomesCame":
        """Both in one."""
        return OutcomesCame(
            self.confirmed + later.confirmed, self.failed + later.failed, self.returned + later.returned
        )


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """Publisher → owner: an offer was accepted, and this is what has become of its messages so far."""

    accepted: Accepted
    outcomes: OutcomesCame


@dataclass(frozen=True, slots=True)
class SinkChanged:
    """Publisher → owners: whether it takes messages now."""

    state: SinkState


@dataclass(frozen=True, slots=True)
class Vitals:
    """Every process → Monitor, once a second."""

    pid: int
    at_ms: int
    metrics: Snapshot
    """Cumulative since the process began."""
    details: dict[str, Any]
    """What the role shows of itself."""
