"""What folding some rows came to: gathered row by row, committed in one transaction, told to whoever drives it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from actors.call.effects import Unexpected
from wire.message import OutboundMessage
from wire.store.ledger import Attempt, Suspect
from wire.store.outbox import Entry
from wire.store.row import Position, Row


@dataclass(slots=True)
class Batch:
    """What is being folded, or waits for the disk."""

    position: Position | None = None
    """Up to here; None until there is something to commit."""
    rows: int = 0
    at_ms: int = 0
    """When we had the last of them, Unix milliseconds."""
    latest_ms: int = 0
    """The latest of their times and of those before: another, where the host's clock was set back."""
    back_ms: int | None = None
    """The earliest of their times that are before the latest until then."""
    messages: list[OutboundMessage] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    """As in `Committed`; those of the row under way have none yet."""
    suspects: list[Suspect] = field(default_factory=list)
    rejected: int = 0
    unexpected: list[Unexpected] = field(default_factory=list)
    began: int = 0
    ended: list[str] = field(default_factory=list)
    """Streams."""
    amended: dict[str, int] = field(default_factory=dict)
    """Streams that have ended, of which something was said all the same → its sequence."""
    attempts: list[Attempt] = field(default_factory=list)

    def passed(self, uuid: str, row: Row) -> None:
        """A row is done but for its commit."""
        self.rows += 1
        self.arrived.extend([row.at_ms] * (len(self.messages) - len(self.arrived)))
        self.position, self.at_ms = Position(uuid, row.n), row.at_ms
        if row.at_ms >= self.latest_ms:
            self.latest_ms = row.at_ms
        elif self.back_ms is None or row.at_ms < self.back_ms:
            self.back_ms = row.at_ms

    def committed(self, entries: list[Entry]) -> "Committed":
        """All of it is on disk.

        Args:
            entries: the messages, as the outbox has them.
        """
        return Committed(
            self.rows,
            self.at_ms,
            tuple(entries),
            tuple(self.arrived),
            tuple(self.suspects),
            self.rejected,
            tuple(self.unexpected),
            self.began,
            len(self.ended),
            tuple(self.attempts),
        )


class Committed(NamedTuple):
    """What one `Folding.fold` made of some rows. All of it is committed."""

    rows: int
    """How many."""
    at_ms: int
    """When we had the last of them, Unix milliseconds."""
    entries: tuple[Entry, ...]
    """New in the outbox, in order: to be offered."""
    arrived: tuple[int, ...]
    """For each entry, when we had the row that caused it, Unix milliseconds."""
    suspects: tuple[Suspect, ...]
    """Set aside."""
    rejected: int
    """Rows that the PBX got wrong; they are among the suspects."""
    unexpected: tuple[Unexpected, ...]
    """To be counted and logged."""
    began: int
    """Calls."""
    ended: int
    """Calls."""
    attempts: tuple[Attempt, ...]
    """What became of what an operator ordered to be applied once more."""
