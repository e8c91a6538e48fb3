"""The words of the offer protocol: what may happen to an outbox's offers, what is then to be done, and the limits.

`wire.store.offers` decides, and has the rules. Offer and Accepted are also what owner and Publisher send each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wire.store.outbox import Entry

# Inputs


@dataclass(frozen=True, slots=True)
class Added:
    """Messages were added to the outbox, committed."""

    entries: tuple[Entry, ...]
    """In order of id."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outbox's answer to Load."""

    after_id: int
    """As in the Load."""
    entries: tuple[Entry, ...]
    """None means that there are no more."""
    parked: int | None = None
    """How many messages are parked; None if it was not counted."""


@dataclass(frozen=True, slots=True)
class Unparked:
    """Parked messages were made waiting again (in the outbox, committed)."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PublisherUp:
    """A Publisher takes offers."""

    generation: int
    """A new one knows nothing of what the old one held."""


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
class Tick:
    """The deadline has come."""


Input = Added | Loaded | Unparked | PublisherUp | PublisherDown | Accepted | Confirmed | Failed | Returned | Tick

# Commands


@dataclass(frozen=True, slots=True)
class Offer:
    """Send to the Publisher of this generation; the same offer may go twice."""

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
    """outbox.load(after_id, rows, max_bytes), after all earlier Delete and Park; answer with Loaded."""

    after_id: int
    rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Withhold:
    """outbox.withhold(ids, told), and no Offer before that is committed: it goes again when it is unanswered."""

    ids: tuple[int, ...]
    told: Entry
    operation: str
    """Of the messages withheld."""

    @property
    def count(self) -> int:
        """Messages withheld."""
        return len(self.ids) + 1


Command = Offer | Delete | Park | Load | Withhold


@dataclass(frozen=True, slots=True)
class Limits:
    """What an owner allows its offers."""

    window: int = 100
    """Lanes with a message in flight at once."""
    offer_bytes: int = 1024 * 1024
    """Bodies in one Offer, bytes; one message always goes."""
    entries: int = 10_000
    """Messages in memory."""
    bytes: int = 64 * 1024 * 1024
    """Their bodies, bytes."""
    answer_ms: int = 2_000
    """An Offer unanswered for this long goes again, milliseconds."""
    confirm_ms: int = 60_000
    """A message that nothing was heard of for this long is offered again, milliseconds. Above
    publisher.confirm_timeout, so that it is a lost answer and not a slow broker."""
    retry_min_ms: int = 200
    """Delay before a message is offered for the third time, milliseconds (the second time comes at once)."""
    retry_max_ms: int = 10_000
    """Longest such delay, milliseconds."""
    parked: int = 100_000
    """Messages parked."""
    ages: Mapping[str, int] = field(default_factory=dict)
    """Age policy: operation → milliseconds since their cause after which its messages are withheld."""
