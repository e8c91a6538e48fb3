"""What is known of the channels and calls of one PBX: the data that `belonging` works on."""

from typing import Any, NamedTuple

from actors.call.chain import Segments
from actors.call.events import Event
from actors.call.inputs import CallInput, Party, Quality
from actors.call.quick import quick
from actors.call.shelf import Shelf


@quick
class Known(NamedTuple):
    """A channel that lives."""

    party: Party
    """As first seen; who dialled it as known now."""
    order: tuple[int, int]
    """Creation time and place in the order of arrival: the smaller is the elder."""
    call: str | None
    """Its call; None while pending."""
    group: str | None
    """The channel that leads its group while pending; None once known."""
    late: bool
    """First seen in mid-life."""
    peer: bool
    """It has looked like a called leg: app AppDial or AppQueue."""
    dialled: bool
    """A Dial that began has named it as peer."""
    asker: str | None
    """Of an originated channel: the number of the channel on whose behalf it was, empty if it shows none; None while
    it has not been seen to be originated."""
    asker_name: str | None
    """That channel's caller id name; None if nobody saw it."""
    told: bool
    """The PBX says itself which call it belongs to."""
    state: str
    """ARI's channel state when first seen, or Up."""
    answered_ms: int | None
    bridge: tuple[str, str] | None
    """The bridge that it is in, and its technology."""
    held_ms: int | None
    """Since when it holds its peer."""
    monitors: tuple[tuple[str, int], ...]
    """See `Party.monitors`."""
    quality: Quality | None

    def may_lead(self) -> bool:
        """Whether it may give its call its id, while it is pending: not if the PBX named another call, that has ended,
        nor if it was called on behalf of another channel, or before anybody listened."""
        if self.told or self.asker:
            return False
        return not self.late or not (self.peer or self.party.channel[-2:] == ";2")


@quick
class Group(NamedTuple):
    """Pending channels that will become known together, and what has happened to them."""

    members: tuple[str, ...]
    held: tuple[tuple[str, CallInput], ...]
    claim: tuple[int, int] | None = None
    """The order of its leader, once that has gone and would have had a call of its own."""
    beside: tuple[str, ...] = ()
    """Channels that nobody has seen yet, but a bridge has named with them."""


@quick
class CallNode(NamedTuple):
    """A call that lives."""

    live: int
    """Channels in it."""
    order: tuple[int, int]
    """That of the channel whose id it bears."""


@quick
class Correlation(NamedTuple):
    """Channels, bridges and calls of one PBX: of those that live, but for what `gone` and `gone_before` remember."""

    counter: int
    """Channels seen so far."""
    channels: Shelf[str, Known]
    locals: Shelf[str, str]
    """Name of a living Local channel → its id."""
    groups: Shelf[str, Group]
    calls: Shelf[str, CallNode]
    bridges: Shelf[str, str]
    """Bridge where calls meet → the call in it."""
    recordings: Shelf[str, str]
    """ARI recording under way → the call that was told of it."""
    pages: Shelf[str, tuple[str, ...]]
    """Channel that runs Page → the endpoints that it has not called yet."""
    gone: Shelf[str, int]
    """Dead channels and ended calls, the newer half."""
    gone_before: Shelf[str, int]
    """The older half."""
    segments: Segments
    recent: tuple[Event, ...]
    """The last events that changed anything, the newest first: what equals one of them came twice."""

    @classmethod
    def new(cls) -> "Correlation":
        """Nothing is known yet."""
        empty: Any = Shelf()
        return cls(0, empty, empty, empty, empty, empty, empty, empty, empty, empty, Segments.new(), ())
