"""What a call is told: the vocabulary between the fold of a PBX (`world`) and its calls."""

from typing import NamedTuple

from actors.call.events import Channel, Event
from actors.call.quick import quick


@quick
class Party(NamedTuple):
    """What is known of a channel at the moment when it joins a call."""

    channel_id: str
    """Asterisk's uniqueid."""
    channel: str
    """Channel name."""
    number: str
    """Caller id number of the party on this channel, as first seen."""
    name: str
    """Caller id name, as first seen."""
    state: str
    """ARI's channel state: Down, Ring, Ringing, Up …"""
    context: str
    """Dialplan context of the first event."""
    exten: str
    """Dialplan extension of the first event: for a calling channel the number dialled."""
    created_ms: int
    """Creation time, Unix milliseconds."""
    answered_ms: int | None
    """When it went Up; None if it did not, or was born so. Of one that was met Up in mid-life, when it was met."""
    born_up: bool
    """Up when it was created: nobody answered it."""
    origin: str
    """How it came to be: `caller` (entered by itself), `dialled`, `originated`, `local` (a Local `;2`), `snoop`."""
    dialled_by: str | None
    """Channel id of the caller that dials it; None where there is none."""
    bridge_id: str | None
    """The bridge that it is in; None outside of one."""
    technology: str | None
    """That bridge's technology."""
    held_ms: int | None
    """Since when it holds its peer; None when it does not."""
    monitors: tuple[tuple[str, int], ...]
    """Files that MixMonitor writes from it, each with the time of its beginning."""


class ChannelJoined(NamedTuple):
    """A channel belongs to this call from here on; always the first that a call hears of it."""

    party: Party
    """The channel."""
    moved_from: str | None
    """The call that it was in until now; None for a channel that was in none."""
    order: int
    """Place in the order of creation of all channels of the PBX: the smaller is the elder."""


class ChannelMoved(NamedTuple):
    """A channel of this call goes on in another call: two calls met, the elder goes on."""

    channel_id: str
    """The channel."""
    to_call: str
    """The call that it goes on in."""
    entered: Channel | None = None
    """Who entered the bridge where they met; None where they met otherwise."""


class SegmentEnded(NamedTuple):
    """A segment of this call is complete: what Asterisk's CDR would write as a row."""

    channel: str
    """Party A's channel name."""
    dst_channel: str | None
    """Party B's channel name; None where A was alone in an application."""
    src: str
    """Party A's number."""
    dst: str
    """The extension."""
    start_ms: int
    """Begin, Unix milliseconds."""
    answer_ms: int | None
    """Answer; None for an unanswered one."""
    end_ms: int
    """End."""
    disposition: str
    """ANSWERED, NO ANSWER, BUSY, CONGESTION or FAILED, as in the CDR."""
    app: str
    """The application that A was in."""


@quick
class Quality(NamedTuple):
    """What Asterisk measured of a channel's voice; None where it measured nothing."""

    mes: float | None = None
    """Media experience score, 0 to 100."""
    jitter_ms: float | None = None
    loss_percent: float | None = None
    rtt_ms: float | None = None


class ChannelEnded(NamedTuple):
    """A channel of this call is gone."""

    channel_id: str
    """The channel."""
    cause: int | None
    """Hang-up cause (Q.850); None if nobody saw the end."""
    cause_text: str
    """The same in words."""
    quality: Quality | None
    """What was measured of its voice; None if Asterisk said nothing of it."""


CallBody = Event | ChannelJoined | ChannelMoved | ChannelEnded | SegmentEnded


class CallInput(NamedTuple):
    """One thing that a call is told."""

    n: int
    """The row of the journal that it comes from (an event held back keeps its own row)."""
    at_ms: int
    """When the PBX says that it happened, else when we had the row; Unix milliseconds."""
    body: CallBody
    """What happened."""
    recovered: bool = False
    """Inferred after a gap, not told by an event."""


class Routed(NamedTuple):
    """An input on its way to its call. The first one for a `call_id` creates the call."""

    call_id: str
    """The call's linkedid."""
    input: CallInput
    """What the call is told."""
