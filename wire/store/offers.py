"""interface draft: the design follows.

Use: `commands = offers.handle(input, now_ms)`; carry the commands out in order; call again with `Tick()` at
`offers.deadline()`. Commands: Offer → send to the Publisher; Delete → outbox.confirm; Park → outbox.park;
Load → outbox.load, whose answer is the input Loaded.
"""

from dataclasses import dataclass

from wire.store.outbox import Entry

# Inputs


@dataclass(frozen=True, slots=True)
class Added:
    """Messages were added to the outbox, committed."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outbox's answer to Load: fewer than asked for means that there are no more."""

    after_id: int
    entries: tuple[Entry, ...]
    complete: bool
    """True if nothing lies behind the last one."""


@dataclass(frozen=True, slots=True)
class Unparked:
    """Parked messages were made waiting again (in the outbox, committed)."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PublisherUp:
    """A Publisher takes offers. A new generation knows nothing of what the old one held."""

    generation: int


@dataclass(frozen=True, slots=True)
class PublisherDown:
    """No Publisher, or it takes no offers now (its broker is away)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The Publisher has the offer in memory and will answer for each of its messages."""

    generation: int
    offer: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker has them."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Nacked, or the channel was lost: not published as far as anyone knows."""

    generation: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """Unroutable."""

    generation: int
    ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The owner wants these gone unpublished (age policy, operator)."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline has come."""


Input = (
    Added | Loaded | Unparked | PublisherUp | PublisherDown | Accepted | Confirmed | Failed | Returned | Withdraw | Tick
)

# Commands


@dataclass(frozen=True, slots=True)
class Offer:
    """Send to the Publisher of this generation; the same offer may come twice."""

    generation: int
    offer: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Confirmed: outbox.confirm(ids)."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """Returned: outbox.park(ids, reason)."""

    ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    """outbox.load(after_id, rows, max_bytes); answer with Loaded."""

    after_id: int
    rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """outbox.drop(ids): these are not in flight, so they may go; the others will be confirmed or fail."""

    ids: tuple[int, ...]


Command = Offer | Delete | Park | Load | Withdrawn


@dataclass(frozen=True, slots=True)
class Limits:
    """What an owner allows its offers."""

    window: int = 100
    """Lanes with a message in flight at once."""
    entries: int = 10_000
    """Messages in memory."""
    bytes: int = 64 * 1024 * 1024
    """Their bodies in memory."""
    answer_ms: int = 2_000
    """An Offer unanswered for this long is offered again."""
    confirm_ms: int = 60_000
    """A message accepted, but answered by nobody for this long is offered again (above publisher.confirm_timeout)."""
    retry_min_ms: int = 200
    retry_max_ms: int = 10_000


class Offers:
    """One owner's side of the offer protocol."""

    def __init__(self, limits: Limits) -> None: ...

    def handle(self, event: Input, now_ms: int) -> list[Command]:
        raise NotImplementedError

    def deadline(self) -> int | None:
        """When Tick is due, on the clock of now_ms (monotonic is best); None: never as things are."""
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """Messages offered and not yet confirmed, returned or failed."""
        raise NotImplementedError

    @property
    def held(self) -> int:
        """Messages in memory, in flight included."""
        raise NotImplementedError
