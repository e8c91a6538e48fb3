"""Frames decoded: the raw bytes of one WebSocket message become an event, or nothing.

`decode` gives one of the named tuples of `actors.call.events`, or None when the model has no use for the frame. Two
thirds of what Asterisk sends are ChannelVarset, most of variables that nobody asks for, the rest of channels that look
as they did a moment before: these are read at a `glance`, by their form.

What is wrong with a frame is the peer's fault and a `DecodeError`; an event type that we have never heard of is no
fault at all and becomes `UnknownEvent`, so that it can be counted.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import orjson

from actors.call.events import (
    Bridge,
    BridgeAttendedTransfer,
    BridgeBlindTransfer,
    BridgeDestroyed,
    BridgeMerged,
    Channel,
    ChannelCallerId,
    ChannelConnectedLine,
    ChannelCreated,
    ChannelDestroyed,
    ChannelDialplan,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelHangupRequest,
    ChannelHold,
    ChannelLeftBridge,
    ChannelStateChange,
    ChannelUnhold,
    ChannelVarset,
    Dial,
    Event,
    Recording,
    UnknownEvent,
)
from wire.store.row import Row

VARIABLES = frozenset(
    {
        # Asterisk publishes a snapshot of the channel with these two; the segments need to know when.
        "BRIDGEPEER",
        "BRIDGEPVTCALLID",
        # Who transfers, and called a Local channel for that.
        "ATTENDEDTRANSFER",
        "BLINDTRANSFER",
        "RTPAUDIOQOS",
        "RTPAUDIOQOSJITTER",
        "RTPAUDIOQOSRTT",
        "RTPAUDIOQOSMES",
        "MIXMONITOR_FILENAME",
        "QUEUEPOSITION",
        "QEORIGINALPOS",
        "QUEUESTATUS",
        "MEMBERINTERFACE",
        "PARKING_SPACE",
        "PARKEDLOT",
        "PARKER",
    }
)
"""Channel variables that the model reads; ChannelVarset of any other is dropped."""

_OF_INTEREST = {one.encode(): one for one in VARIABLES}

_VARSET = re.compile(
    rb'(?:\{[^{]{0,40}+)?\{"variable":"([^"]*)","value":"([^"]*)","type":"ChannelVarset","timestamp":"([^"]{28})","channel":'
)
"""How Asterisk begins a ChannelVarset: variable, value and time. In a recording, "t" and "event" go before it."""
_ASTERISK = b',"asterisk_id":"'
_APPLICATION = b',"application":"'
_LAST = -96
"""Bytes, from the end, within which the name of the application stands."""
_ENDS = (b'"}', b'"}}', b'"}\n', b'"}}\n')
"""How Asterisk ends every event, and a recording its line."""

IRRELEVANT = frozenset(
    {
        "ApplicationMoveFailed",
        "ApplicationRegistered",
        "ApplicationReplaced",
        "ApplicationUnregistered",
        "BridgeCreated",
        "BridgeVideoSourceChanged",
        "ChannelTalkingFinished",
        "ChannelTalkingStarted",
        "ChannelToneDetected",
        "ChannelTransfer",
        "ChannelUserevent",
        "ContactStatusChange",
        "DeviceStateChanged",
        "EndpointStateChange",
        "PeerStatusChange",
        "PlaybackContinuing",
        "PlaybackFinished",
        "PlaybackStarted",
        "ReferTo",
        "RTCPReceived",
        "RTCPSent",
        "StasisEnd",
        "StasisStart",
        "TextMessageReceived",
    }
)
"""Types that say nothing about a call; another module may well read them from the same frame."""


class DecodeError(Exception):
    """A frame that is not what ARI promises: the peer's fault. It is set aside, counted, and the link goes on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """A short fixed name: `not-json`, `not-an-event`, `wrong-shape`."""
        self.detail = detail
        """What exactly is wrong."""

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, str]]:
        return (DecodeError, (self.reason, self.detail))


Decoder = Callable[[dict[str, Any], int], Event | None]


@lru_cache(maxsize=256)
def _second(date: str, zone: str) -> int:
    """Unix milliseconds of a whole second. Cached: a busy PBX sends a thousand events in each."""
    return int(datetime.strptime(date + zone, "%Y-%m-%dT%H:%M:%S%z").timestamp()) * 1000


@lru_cache(maxsize=1024)
def milliseconds(text: str) -> int:
    """Read ARI's time, as "2026-11-22T08:52:45.516+0530".

    Returns:
        Unix milliseconds.

    Raises:
        ValueError: it is no such time.
    """
    return _second(text[:19], text[23:]) + int(text[20:23])


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def read_channel(raw: Any) -> Channel:
    """Read ARI's Channel object.

    Raises:
        KeyError, TypeError, AttributeError: it lacks what every channel has.
    """
    caller = raw["caller"]
    plan = raw["dialplan"]
    told = raw.get("channelvars")
    channel: Channel = _new(
        Channel,
        (
            raw["id"],
            raw["name"],
            raw["state"],
            caller["number"],
            caller["name"],
            raw["connected"]["number"],
            plan["context"],
            plan["exten"],
            plan["priority"],
            plan["app_name"],
            raw["creationtime"],
            (told.get("CHANNEL(linkedid)") or None) if told else None,
        ),
    )
    return channel


@lru_cache(maxsize=1024)
def _written(text: bytes) -> Channel:
    """Read a Channel as Asterisk wrote it. Cached: it sets several variables of a channel before that changes.

    Among 200 concurrent calls a cache of half the size had forgotten two in five of those that were read anew.
    """
    return read_channel(orjson.loads(text))


def _maybe(raw: Any) -> Channel | None:
    return read_channel(raw) if raw else None


def read_bridge(raw: Any) -> Bridge:
    """Read ARI's Bridge object; raises as `read_channel`."""
    bridge: Bridge = _new(
        Bridge,
        (raw["id"], raw["technology"], raw["bridge_class"], raw["creator"], raw["name"], tuple(raw["channels"])),
    )
    return bridge


def _members(raw: Any) -> tuple[str, ...]:
    return tuple(raw["channels"]) if raw else ()


def _shows(kind: type[Event]) -> Decoder:
    """Make the decoder of an event that says no more than that a channel is like this now."""

    def decoder(f: dict[str, Any], at: int) -> Event:
        event: Event = _new(kind, (at, read_channel(f["channel"])))
        return event

    return decoder


def _dialplan(f: dict[str, Any], at: int) -> Event:
    channel = f["channel"]
    event: Event = _new(
        ChannelDialplan,
        (at, read_channel(channel), f["dialplan_app"], f["dialplan_app_data"], channel["connected"]["name"]),
    )
    return event


_measured = re.compile("[1-9]").search
_ZERO = frozenset({"RTPAUDIOQOSRTT", "RTPAUDIOQOSMES"})
"""A round trip of zero and a score of zero mean that nothing was measured."""


def _varset(f: dict[str, Any], at: int) -> Event | None:
    if "channel" not in f:  # a global variable
        return None
    channel, variable, value = read_channel(f["channel"]), f["variable"], f["value"]
    return None if variable in _ZERO and not _measured(value) else ChannelVarset(at, channel, variable, value)


def _dtmf(f: dict[str, Any], at: int) -> Event:
    return ChannelDtmfReceived(at, read_channel(f["channel"]), f["digit"], int(f["duration_ms"]))


def _hold(f: dict[str, Any], at: int) -> Event:
    music = f.get("musicclass")
    return ChannelHold(at, read_channel(f["channel"]), None if music == "N/A" else music)


def _hangup_request(f: dict[str, Any], at: int) -> Event:
    event: Event = _new(ChannelHangupRequest, (at, read_channel(f["channel"]), f.get("cause"), bool(f.get("soft"))))
    return event


def _destroyed(f: dict[str, Any], at: int) -> Event:
    return ChannelDestroyed(at, read_channel(f["channel"]), int(f["cause"]), f["cause_txt"])


def _entered(f: dict[str, Any], at: int) -> Event:
    event: Event = _new(ChannelEnteredBridge, (at, read_channel(f["channel"]), read_bridge(f["bridge"])))
    return event


def _left(f: dict[str, Any], at: int) -> Event:
    event: Event = _new(ChannelLeftBridge, (at, read_channel(f["channel"]), read_bridge(f["bridge"])))
    return event


def _bridge_destroyed(f: dict[str, Any], at: int) -> Event:
    return BridgeDestroyed(at, read_bridge(f["bridge"]))


def _bridge_merged(f: dict[str, Any], at: int) -> Event:
    return BridgeMerged(at, read_bridge(f["bridge"]), read_bridge(f["bridge_from"]))


def _blind(f: dict[str, Any], at: int) -> Event:
    return BridgeBlindTransfer(
        at, read_channel(f["channel"]), _maybe(f.get("transferee")), f["exten"], f["context"], f["result"]
    )


def _attended(f: dict[str, Any], at: int) -> Event:
    return BridgeAttendedTransfer(
        at,
        read_channel(f["transferer_first_leg"]),
        read_channel(f["transferer_second_leg"]),
        _maybe(f.get("transferee")),
        _maybe(f.get("transfer_target")),
        _members(f.get("transferer_first_leg_bridge")),
        _members(f.get("transferer_second_leg_bridge")),
        f["result"],
    )


def _dial(f: dict[str, Any], at: int) -> Event | None:
    if "peer" not in f and f["dialstatus"]:
        return None  # who was called has another body since (`segments`): the dial ends without anybody
    event: Event = _new(
        Dial,
        (
            at,
            _maybe(f.get("caller")),
            read_channel(f["peer"]),
            f["dialstatus"],
            f["dialstring"],
            _maybe(f.get("forwarded")),
        ),
    )
    return event


def _recording(f: dict[str, Any], at: int) -> Event:
    recording = f["recording"]
    kind, _, target = recording["target_uri"].partition(":")
    return Recording(
        at,
        f["type"],
        recording["name"],
        kind,
        target,
        recording["state"],
        recording.get("duration"),
        recording.get("cause"),
    )


DECODERS: dict[str, Decoder] = {
    "ChannelVarset": _varset,
    "ChannelDialplan": _dialplan,
    "Dial": _dial,
    "ChannelStateChange": _shows(ChannelStateChange),
    "ChannelConnectedLine": _shows(ChannelConnectedLine),
    "ChannelCreated": _shows(ChannelCreated),
    "ChannelDestroyed": _destroyed,
    "ChannelHangupRequest": _hangup_request,
    "ChannelLeftBridge": _left,
    "ChannelEnteredBridge": _entered,
    "ChannelCallerId": _shows(ChannelCallerId),
    "BridgeDestroyed": _bridge_destroyed,
    "BridgeMerged": _bridge_merged,
    "ChannelDtmfReceived": _dtmf,
    "ChannelHold": _hold,
    "ChannelUnhold": _shows(ChannelUnhold),
    "BridgeBlindTransfer": _blind,
    "BridgeAttendedTransfer": _attended,
    "RecordingStarted": _recording,
    "RecordingFinished": _recording,
    "RecordingFailed": _recording,
}


def interpret(frame: object, at_ms: int) -> Event | None:
    """Make an event of a frame's JSON.

    Args:
        frame: what the JSON says.
        at_ms: when we had it, Unix milliseconds; the event's time if it has none of its own.

    Returns:
        The event; None if the model has no use for it.

    Raises:
        DecodeError: it is no ARI event, or lacks what this type of event always has.
    """
    try:
        kind = frame["type"]  # type: ignore[index]
        decoder = DECODERS.get(kind)
    except (KeyError, TypeError, IndexError):
        raise DecodeError("not-an-event", "no object with a `type`") from None
    if decoder is None and kind in IRRELEVANT:
        return None
    try:
        at = milliseconds(frame["timestamp"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        at = at_ms
    if decoder is None:
        return UnknownEvent(at, str(kind)[:64])
    try:
        if decoder is _varset and frame.get("variable") not in VARIABLES:  # type: ignore[attr-defined]
            return None
        return decoder(frame, at)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DecodeError("wrong-shape", f"{kind}: {type(error).__name__} {error}") from None


_varset_form = _VARSET.match


def glance(raw: bytes) -> Event | Literal[False] | None:
    """Read a ChannelVarset by its form: what is not of interest by its first bytes and its last, the rest without
    reading the channel again, if it was written in the same words before.

    It spares two frames of three their decoding, which costs five times as much. What is between the first bytes and
    the last of one without interest is only looked at for bytes beyond ASCII: were it garbled otherwise, the frame
    would concern nobody all the same. A frame in any other form than Asterisk's own is to be decoded.

    Returns:
        The event; None if the model has no use for the frame; False if it has to be decoded.
    """
    form = _varset_form(raw)
    if form is None or raw.find(_APPLICATION, _LAST) < 0 or not raw.endswith(_ENDS) or not raw.isascii():
        return False
    variable = _OF_INTEREST.get(form[1])
    if variable is None:
        return None
    text = form[2].decode()
    if "\\" in text or not text.isprintable():
        return False
    if variable in _ZERO and not _measured(text):
        return None
    try:
        at_ms = milliseconds(form[3].decode())
        shown = _written(raw[form.end() : raw.rfind(_ASTERISK)])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    event: Event = _new(ChannelVarset, (at_ms, shown, variable, text))
    return event


def decode(row: Row) -> Event | None:
    """Make an event of a journal row that holds a frame.

    Args:
        row: the row; its body is the raw WebSocket message.

    Returns:
        The event; None if the model has no use for it.

    Raises:
        DecodeError: bad JSON, no ARI event, or a wrong shape.
    """
    event = glance(row.body)
    if event is not False:
        return event
    try:
        frame = orjson.loads(row.body)
    except orjson.JSONDecodeError as error:
        raise DecodeError("not-json", str(error)) from None
    return interpret(frame, row.at_ms)
