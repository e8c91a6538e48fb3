"""ARI's events as the call model sees them: light, and under ARI's names.

They are made of frames by `actors.call.decoding`, and of what nobody saw by `actors.call.inference`.

Source: Asterisk's description of ARI (`events.json`), and what Asterisk 22 really sent (`tests/traces`).
"""

from typing import NamedTuple


class Channel(NamedTuple):
    """A channel as one event shows it."""

    id: str
    name: str
    state: str
    number: str
    """Caller id number of the party on this channel."""
    cid_name: str
    """Caller id name of that party."""
    connected: str
    """Number of the other party."""
    context: str
    exten: str
    priority: int
    app: str
    creationtime: str
    """As ARI wrote it; `milliseconds` reads it."""
    linkedid: str | None
    """`channelvars`' CHANNEL(linkedid); None where the PBX does not send it."""


class Bridge(NamedTuple):
    """A bridge as one event shows it."""

    id: str
    technology: str
    kind: str
    """`bridge_class`: basic, stasis, base, parking …"""
    creator: str
    name: str
    members: tuple[str, ...]
    """Ids of the channels in it, in Asterisk's own order."""

    @property
    def merges(self) -> bool:
        """Whether calls meet in it: a dialplan's or an ARI application's, unless it only holds who is in it."""
        return self.kind in {"basic", "stasis"} and self.technology != "holding_bridge"


class ChannelCreated(NamedTuple):
    at_ms: int
    channel: Channel


class ChannelStateChange(NamedTuple):
    at_ms: int
    channel: Channel


class ChannelDialplan(NamedTuple):
    at_ms: int
    channel: Channel
    app: str
    app_data: str
    connected_name: str | None = None
    """Caller id name of the other party; None where nobody saw the event itself (`inference`)."""


class ChannelCallerId(NamedTuple):
    at_ms: int
    channel: Channel


class ChannelConnectedLine(NamedTuple):
    at_ms: int
    channel: Channel


class ChannelVarset(NamedTuple):
    at_ms: int
    channel: Channel
    variable: str
    value: str


class ChannelDtmfReceived(NamedTuple):
    at_ms: int
    channel: Channel
    digit: str
    duration_ms: int


class ChannelHold(NamedTuple):
    at_ms: int
    channel: Channel
    music_class: str | None
    """None for "N/A", which Asterisk writes for feature holds."""


class ChannelUnhold(NamedTuple):
    at_ms: int
    channel: Channel


class ChannelHangupRequest(NamedTuple):
    at_ms: int
    channel: Channel
    cause: int | None
    soft: bool


class ChannelDestroyed(NamedTuple):
    at_ms: int
    channel: Channel
    cause: int | None
    """None for an end that nobody saw (`recovery`)."""
    cause_text: str


class ChannelEnteredBridge(NamedTuple):
    at_ms: int
    channel: Channel
    bridge: Bridge


class ChannelLeftBridge(NamedTuple):
    at_ms: int
    channel: Channel
    bridge: Bridge


class BridgeDestroyed(NamedTuple):
    at_ms: int
    bridge: Bridge


class BridgeMerged(NamedTuple):
    at_ms: int
    bridge: Bridge
    bridge_from: Bridge


class BridgeBlindTransfer(NamedTuple):
    at_ms: int
    channel: Channel
    """Who transferred."""
    transferee: Channel | None
    exten: str
    context: str
    result: str


class BridgeAttendedTransfer(NamedTuple):
    at_ms: int
    channel: Channel
    """Who transferred, by the leg to the transferred party."""
    second: Channel
    """Who transferred, by the leg to the new party."""
    transferee: Channel | None
    target: Channel | None
    members: tuple[str, ...]
    """Channels of the first leg's bridge, as it was before."""
    second_members: tuple[str, ...]
    """Channels of the second leg's bridge, as it was before."""
    result: str


class Dial(NamedTuple):
    at_ms: int
    channel: Channel | None
    """The caller; None for an originated channel."""
    peer: Channel
    dialstatus: str
    """Empty at the begin."""
    dialstring: str
    """What was dialled, as "79035550111@trunk"; on the begin only."""
    forwarded: Channel | None


class Recording(NamedTuple):
    """RecordingStarted, RecordingFinished and RecordingFailed of ARI's own recordings."""

    at_ms: int
    event: str
    name: str
    target_kind: str
    """`channel` or `bridge`."""
    target: str
    """Id of that channel or bridge."""
    state: str
    duration_seconds: int | None
    cause: str | None
    channel: str | None = None
    """Name of that channel, once it is known whose it is: a snoop is no leg of the call that it listens to."""


class UnknownEvent(NamedTuple):
    at_ms: int
    type: str


Event = (
    ChannelCreated
    | ChannelStateChange
    | ChannelDialplan
    | ChannelCallerId
    | ChannelConnectedLine
    | ChannelVarset
    | ChannelDtmfReceived
    | ChannelHold
    | ChannelUnhold
    | ChannelHangupRequest
    | ChannelDestroyed
    | ChannelEnteredBridge
    | ChannelLeftBridge
    | BridgeDestroyed
    | BridgeMerged
    | BridgeBlindTransfer
    | BridgeAttendedTransfer
    | Dial
    | Recording
    | UnknownEvent
)


def endpoint(name: str) -> str:
    """The endpoint (`tech/resource`) that a channel's name tells of."""
    head, dash, _ = name.rpartition("-")
    return head if dash else name
