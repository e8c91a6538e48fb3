"""The state of one call: immutable, picklable, bounded by `conf`'s call.bounds.

`Call` is the whole; `Leg` is one channel's part in it, `Record` what has been gathered for `finished-call`. They are
named tuples inside one PClass because a PClass costs ten times as much to change: it is changed once per input.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from pyrsistent import PClass, field

from actors.call.inputs import Quality, SegmentEnded
from actors.call.quick import quick
from conf.settings import Bounds, Pbx, Settings


class Phase(StrEnum):
    """Where a leg stands. `moves.MOVES` says what may happen in which."""

    ABSENT = "absent"
    """Not a leg of this call."""
    DOWN = "down"
    """It exists."""
    RINGING = "ringing"
    """The phone rings, or the caller hears it ring."""
    UP = "up"
    """Answered."""
    ENDED = "ended"
    """The channel is gone."""
    MOVED = "moved"
    """It goes on in another call."""


class Rules(NamedTuple):
    """What of the configuration a call needs."""

    bounds: Bounds
    mask_dtmf: bool
    mask_dtmf_pattern: str | None
    trunks: tuple[str, ...]
    """Endpoint patterns; empty decides by `trunk_contexts`."""
    trunk_contexts: str


class Queue(NamedTuple):
    """A wait in a queue."""

    name: str
    since_ms: int
    position: int | None
    member: str | None
    """The member's interface, once somebody took the call."""


class Park(NamedTuple):
    """A stay in a parking lot."""

    lot: str | None
    space: int | None
    by: str | None
    since_ms: int
    timed_out: bool
    until_ms: int | None
    """When it left the lot, while it is not known yet what for."""


class Conference(NamedTuple):
    """A stay in a conference."""

    bridge_id: str
    name: str
    since_ms: int


@quick
class Leg(NamedTuple):
    """One channel's part in a call."""

    phase: Phase
    channel_id: str
    channel: str
    endpoint: str
    number: str
    name: str
    order: int
    origin: str
    """See `inputs.Party.origin`."""
    dialled_by: str | None
    context: str
    exten: str
    started_ms: int
    answered_ms: int | None
    ended_ms: int | None
    cause: int | None
    cause_text: str | None
    moved_to: str | None
    rang: bool
    """`ringing-call` was said."""
    reached: bool
    """`answered-call` was said."""
    wanted: str | None
    """The number that its Dial was to reach."""
    bridge: str | None
    technology: str | None
    source: str | None
    """Who asked first to hang it up: a channel's name, or `dialplan`."""
    app: str
    alone: bool
    """It was Up in an application that is there for its own sake."""
    held: tuple[int, str | None] | None
    """Since when it holds its peer, and with which music."""
    queue: Queue | None
    park: Park | None
    conference: Conference | None
    monitors: tuple[tuple[str, int], ...]
    """Files that MixMonitor writes, each with its beginning."""

    @property
    def person(self) -> bool:
        """Somebody may be at the end of it: it is no half of a Local pair, and no snoop."""
        return self.origin != "snoop" and self.channel[-2:] not in (";1", ";2")


class Transfer(NamedTuple):
    kind: str
    at_ms: int
    by: str
    transferred: str
    to: str
    result: str


class Hold(NamedTuple):
    channel: str
    from_ms: int
    to_ms: int | None
    until_ms: int
    """The end, or when the channel ended while it held."""


class Tape(NamedTuple):
    """A recording."""

    name: str
    how: str
    channel_id: str | None
    channel: str | None
    bridge: str | None
    from_ms: int
    to_ms: int | None
    result: str | None
    """None while it runs."""


@quick
class Life(NamedTuple):
    """What has been gathered for `finished-call`."""

    degraded: bool = False
    """Something of this call was set aside or dropped: its account may be incomplete."""
    announced: bool = False
    """`received-call` was said."""
    segments: Sequence[SegmentEnded] = ()
    """See `series`."""
    transfers: tuple[Transfer, ...] = ()
    holds: tuple[Hold, ...] = ()
    digits: str = ""
    tapes: tuple[Tape, ...] = ()
    quality: tuple[tuple[str, Quality], ...] = ()
    """Channel name and what was measured of its voice."""
    reached: tuple[str, str, str] | None = None
    """The person who answered first: channel id, number, endpoint."""
    merged_into: str | None = None
    last_ms: int = 0
    """Time of the last leg's end or move."""
    uncounted: frozenset[str] = frozenset()
    """Channels beyond the bound on legs: they live, but nothing is kept of them."""
    overflow: int = 0
    """What was dropped because of a bound."""
    unseen: bool = False
    """Its begin was: its oldest leg was met in mid-life, or found by a look."""


class Identity(NamedTuple):
    """What never changes in a call."""

    call_id: str
    server: str
    """The PBX's name in conf."""
    rules: Rules


class Call(PClass):
    """Everything that is known of one call."""

    identity = field(type=Identity, mandatory=True)
    sequence = field(type=int, initial=0)
    """Sequence of the last message of this call's stream."""
    legs = field(type=dict, initial={})
    """Channel id → Leg. Copied when it changes, never changed: for a few legs a plain dict is ten times as fast."""
    life = field(type=Life, initial=Life())

    @classmethod
    def new(cls, call_id: str, server: str, settings: Settings) -> "Call":
        """Make the state of a call of which nothing is known yet."""
        return _made(Identity(call_id, server, rules(settings, server)), 0, {}, _NEWBORN)

    def lived(self, sequence: int, legs: Mapping[str, Leg], life: Life) -> "Call":
        """Make what `set` of these three makes, at a tenth of its cost."""
        return _made(self.identity, sequence, legs, life)

    @property
    def call_id(self) -> str:
        """The call's linkedid."""
        return self.identity.call_id

    @property
    def degraded(self) -> bool:
        """Something of this call was set aside or dropped: its account may be incomplete."""
        return self.life.degraded


_NEWBORN = Life()


def _made(identity: Identity, sequence: int, legs: Mapping[str, Leg], life: Life) -> Call:
    """A Call without a PClass's checks, which a type checker has made: this is done for every input of every call."""
    made = object.__new__(Call)
    put = object.__setattr__  # a PClass refuses assignments; this is what it does itself before it is frozen
    put(made, "identity", identity)
    put(made, "sequence", sequence)
    put(made, "legs", legs)
    put(made, "life", life)
    put(made, "_pclass_frozen", True)
    return made


@lru_cache(maxsize=16)
def _default_pbx(name: str) -> Pbx:
    return Pbx(name="pbx")


_RULES: dict[tuple[int, str], tuple[Settings, Rules]] = {}


def rules(settings: Settings, server: str) -> Rules:
    """What of the configuration a call on this PBX needs; a PBX that is not configured has the defaults."""
    key = (id(settings), server)
    known = _RULES.get(key)
    if known is not None and known[0] is settings:
        return known[1]
    pbx = next((one for one in settings.pbx if one.name == server), None) or _default_pbx(server)
    made = Rules(
        settings.call.bounds,
        settings.call.mask_dtmf,
        settings.call.mask_dtmf_pattern,
        pbx.trunks,
        pbx.trunk_contexts,
    )
    if len(_RULES) >= 64:
        _RULES.clear()
    _RULES[key] = (settings, made)
    return made
