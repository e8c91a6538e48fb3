"""What Asterisk itself says about each call: its CEL and CDR, read as facts.

Definitions
-----------
*Channel*: a uniqueid with a CHAN_START. Others appear in CEL only as companions (CBAnn, Recorder: announcer and
recorder channels that Asterisk hides from ARI too). A snoop channel (an ear, no party) has a call of its own with a
CDR row of its own; as a leg it is not demanded (ari/truth.md: legs are "every channel but snoops"), and in another call
it would be a fault.

*Stays*: CEL writes a channel's linkedid in each of its rows. It changes only when calls meet (bridge, pickup,
retrieval), so a channel's distinct linkedids in order of time are the calls it was in: `a` then `b` means a leg in
`a` with `moved_to` b, and a leg in `b`.

*Call*: a linkedid that some channel stayed in. It has ended when LINKEDID_END says so: for a younger call that is the
moment when the last channel left it, whether by dying or by moving on.

*Oldest channel*: the one whose uniqueid is the linkedid.

*Hang-up side*: HANGUP's `hangupsource` of the oldest channel. It names a channel, `dialplan/…`, or nobody. It is looked
at *through Local channels*, because a Local half has no will of its own: if it names nobody and the oldest channel's
last companion was a Local half, the other half is asked (recording 12b: the agent behind a queue's Local member
hung up); and if the oldest channel is itself a Local half (a click-to-call by AMI, 15e), the origin is the party
behind it, also after the pair was optimised away. Otherwise, whoever ends at another time did not end this one.

*Watched*: the time in which the recorder's websocket was open and heard anything (rest.json `ws`; after
ApplicationReplaced it is deaf though open). What CEL says of any other time nobody can derive from events, so it is
neither demanded nor counted: recordings 21c, 22, 22b and 22c. Nothing else is left out by name.
"""

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.truth import recordings
from tests.truth.cdr import CdrRow, cdr_row, microseconds

HIDDEN = ("CBAnn/", "Recorder/", "Announcer/")
"""Technologies of channels that Asterisk keeps for itself."""

DOINGS = frozenset({"DTMF", "BLINDTRANSFER", "ATTENDEDTRANSFER", "PARK_START", "PARK_END"})
"""CEL's rows about what parties did."""

PARK_ENDS = {"ParkedCallUnparked": "retrieved", "ParkedCallTimeOut": "timeout", "ParkedCallGiveUp": "abandoned"}
"""CEL's reasons for the end of parking, in the words of `unparked-call`."""

TRUNK_CONTEXTS = re.compile("from-trunk|from-pstn|trunk")
"""The default of `pbx.trunk_contexts` (ari/truth.md): an endpoint whose channels start there is a trunk."""

DIRECTIONS = {
    (True, False): "inbound",
    (False, True): "outbound",
    (False, False): "internal",
    (True, True): "transit",
}
"""By whether origin, and destiny, came over a trunk."""

TOGETHER = 100_000
"""Two channels ended together within this time, microseconds."""

TOLD = frozenset({17, 34})
"""Causes of a caller who was told BUSY or CONGESTION, and hung up then."""

ORIGIN, DESTINY, SYSTEM = "origin", "destiny", "system"


@dataclass(slots=True)
class BridgeStay:
    """A channel's time in a bridge."""

    bridge: str
    channel: str
    """Uniqueid."""
    enter: int
    """Microseconds."""
    exit: int | None = None
    """Microseconds; None if CEL never says."""

    def overlap(self, other: "BridgeStay") -> tuple[int, int] | None:
        """From when to when both were in the same bridge; None if never."""
        if self.bridge != other.bridge or self.exit is None or other.exit is None:
            return None
        met, parted = max(self.enter, other.enter), min(self.exit, other.exit)
        return (met, parted) if met <= parted else None


@dataclass(slots=True)
class Channel:
    """What CEL says about a channel. Times are microseconds."""

    uniqueid: str
    name: str
    start: int
    number: str = ""
    """Caller id number at its start."""
    caller_name: str = ""
    """Caller id name at its start."""
    exten: str = ""
    """Extension at its start: what was dialled, of a channel that called in."""
    context: str = ""
    """Dialplan context at its start."""
    originated: bool = False
    """Whether it was called by an originate (its application is AppDial2 meanwhile)."""
    answer: int | None = None
    answered_in: str | None = None
    """Linkedid that it had when it was answered."""
    end: int | None = None
    cause: int | None = None
    hangup_source: str = ""
    stays: list[str] = field(default_factory=list)
    """Linkedids, in order of time."""
    bridges: list[BridgeStay] = field(default_factory=list)

    @property
    def is_snoop(self) -> bool:
        return self.name.startswith("Snoop/")

    @property
    def pair(self) -> str | None:
        """Name of the other half, of a Local channel."""
        if self.name.startswith("Local/") and self.name[-2:] in (";1", ";2"):
            return self.name[:-1] + ("2" if self.name.endswith("1") else "1")
        return None


@dataclass(slots=True)
class Call:
    """What CEL says about a call. Times are microseconds."""

    linkedid: str
    channels: list[str] = field(default_factory=list)
    """Uniqueids of those that were ever in it."""
    end: int | None = None
    """LINKEDID_END."""
    merged_into: str | None = None
    dtmf: list[tuple[int, str]] = field(default_factory=list)
    """Digits received, and when."""
    transfers: list[tuple[int, str]] = field(default_factory=list)
    """`blind` or `attended`, and when."""
    parks: list[tuple[int, str]] = field(default_factory=list)
    """`parked`, or how that ended (`retrieved`, `timeout`, `abandoned`), and when."""


class Oracle:
    """Everything Asterisk wrote about one recording.

    Args:
        cel: CEL's rows.
        cdr: CDR's rows.
        watched: From when to when events were heard, microseconds; None means all the time.
    """

    def __init__(
        self,
        cel: Sequence[dict[str, str]],
        cdr: Sequence[dict[str, str]],
        watched: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.channels: dict[str, Channel] = {}
        self.calls: dict[str, Call] = {}
        self.linkedids: set[str] = set()
        """Every linkedid that CEL names, snoops' own included."""
        self._picked_up: dict[str, set[str]] = defaultdict(set)
        self._watched = watched
        self._read_cel(cel)
        self._by_name: dict[tuple[str, str], Channel] = {
            (linkedid, channel.name): channel for channel in self.channels.values() for linkedid in channel.stays
        }
        self._trunks = {
            channel.name.rpartition("-")[0]
            for channel in self.channels.values()
            if channel.pair is None and TRUNK_CONTEXTS.match(channel.context)
        }
        self._in_bridge: dict[str, list[BridgeStay]] = defaultdict(list)
        for channel in self.channels.values():
            for stay in channel.bridges:
                self._in_bridge[stay.bridge].append(stay)
        self.rows = [cdr_row(number, row) for number, row in enumerate(cdr, start=2)]

    def _read_cel(self, cel: Sequence[dict[str, str]]) -> None:
        ends: dict[str, int] = {}
        doings: list[tuple[str, int, dict[str, str]]] = []
        for row in cel:
            self.linkedids.add(row["linkedid"])
            at, uniqueid = microseconds(row["eventtime"]), row["uniqueid"]
            if row["eventtype"] == "CHAN_START" and not row["channame"].startswith(HIDDEN):
                self.channels[uniqueid] = Channel(
                    uniqueid, row["channame"], at, row["num"], row["name"], row["exten"], row["context"]
                )
            if row["eventtype"] == "LINKEDID_END":
                ends[row["linkedid"]] = at
            if row["eventtype"] == "PICKUP":
                self._picked_up[json.loads(row["eventextra"])["pickup_channel_uniqueid"]].add(row["linkedid"])
            if row["eventtype"] in DOINGS:
                doings.append((row["linkedid"], at, row))
            channel = self.channels.get(uniqueid)
            if channel is not None:
                self._read_row(channel, row, at)
        for channel in self.channels.values():
            for linkedid, following in zip(channel.stays, [*channel.stays[1:], None], strict=True):
                call = self.calls.setdefault(linkedid, Call(linkedid, end=ends.get(linkedid)))
                call.channels.append(channel.uniqueid)
                call.merged_into = call.merged_into or following
        for linkedid, at, row in doings:
            if linkedid in self.calls:
                _read_doing(self.calls[linkedid], at, row)

    @staticmethod
    def _read_row(channel: Channel, row: dict[str, str], at: int) -> None:
        if row["linkedid"] not in channel.stays:
            channel.stays.append(row["linkedid"])
        channel.originated = channel.originated or row["appname"] == "AppDial2"
        match row["eventtype"]:
            case "ANSWER" if channel.answer is None:
                channel.answer, channel.answered_in = at, row["linkedid"]
            case "HANGUP":
                told = json.loads(row["eventextra"])
                channel.cause, channel.hangup_source = told["hangupcause"], told["hangupsource"]
            case "CHAN_END":
                channel.end = at
            case "BRIDGE_ENTER":
                channel.bridges.append(BridgeStay(_bridge(row), channel.uniqueid, at))
            case "BRIDGE_EXIT":
                for stay in channel.bridges:
                    if stay.bridge == _bridge(row) and stay.exit is None:
                        stay.exit = at

    # -- what could be seen

    def answered_by_then(self, channel: Channel, linkedid: str) -> bool:
        """Whether a channel had been answered when it left a call that it stayed in."""
        if channel.answered_in is None:
            return False
        return channel.stays.index(channel.answered_in) <= channel.stays.index(linkedid)

    def picked_up(self, channel: Channel) -> set[str]:
        """Linkedids of the calls that a channel picked up, whether or not it stayed in them."""
        return self._picked_up.get(channel.uniqueid, set())

    def seen(self, *times: int | None) -> bool:
        """Whether events of all these times were heard; a time that does not exist was not."""
        return all(
            at is not None and (self._watched is None or any(begin <= at <= end for begin, end in self._watched))
            for at in times
        )

    def call_seen_to_end(self, call: Call) -> bool:
        """Whether a finished-call can be demanded: the ends of all its channels were heard."""
        return call.end is not None and self.seen(*(self.channels[uniqueid].end for uniqueid in call.channels))

    # -- the call as a whole

    def oldest(self, call: Call) -> Channel:
        """The call's oldest channel."""
        return self.channels.get(call.linkedid) or min(
            (self.channels[uniqueid] for uniqueid in call.channels), key=lambda channel: channel.start
        )

    def hangup_by(self, call: Call) -> str | None:
        """Who first asked to hang up the oldest channel, seen through Local channels.

        Returns:
            None where that leaves a doubt: a Local half at the root that passes on the end of nobody, for whoever was
            behind it was called in vain, or had gone before.
        """
        oldest = self.oldest(call)
        origins = {oldest.name}
        source = oldest.hangup_source
        if oldest.pair is not None:
            behind = self._behind(call, oldest, origins)
            if not source and behind is not None and (behind.end or 0) > (oldest.end or 0) - TOGETHER:
                source = behind.hangup_source
        if not source:
            source = self._source_through_local(call, oldest, set(origins))
        if not source and oldest.pair is not None:
            return None
        if source in origins:
            return ORIGIN
        return DESTINY if any(self._named(call, source)) else SYSTEM

    def _named(self, call: Call, name: str) -> Iterator[Channel]:
        channel = self._by_name.get((call.linkedid, name))
        if channel is not None:
            yield channel

    def _behind(self, call: Call, local: Channel, passed: set[str]) -> Channel | None:
        """The real party behind a Local half: the first companion of its other half, through further pairs."""
        for other in self._named(call, local.pair or ""):
            passed.add(other.name)
            for stay in other.bridges:
                for companion in self._companions(stay):
                    if companion.name in passed:
                        continue
                    passed.add(companion.name)
                    return companion if companion.pair is None else self._behind(call, companion, passed)
        return None

    def _source_through_local(self, call: Call, channel: Channel, passed: set[str]) -> str:
        """Who hung up the Local pair whose end ended this channel's last bridge; "" if nobody did."""
        for stay in channel.bridges[-1:]:
            for companion in self._companions(stay):
                for other in self._named(call, companion.pair or ""):
                    if other.name in passed:
                        continue
                    passed |= {companion.name, other.name}
                    if not self._together(other, channel):
                        continue
                    return other.hangup_source or self._source_through_local(call, other, passed)
        return ""

    @staticmethod
    def _together(one: Channel, other: Channel) -> bool:
        """Whether the end of one channel may be that of another: a Local half lives on if its peer is transferred."""
        return one.end is None or other.end is None or abs(one.end - other.end) < TOGETHER

    def _companions(self, stay: BridgeStay) -> list[Channel]:
        """Who else was in the bridge at that time, the one who stayed longest with it first: who left last, and of
        those who came first."""
        met = [
            (overlap[1], -overlap[0], other.channel)
            for other in self._in_bridge[stay.bridge]
            if other.channel != stay.channel and (overlap := stay.overlap(other)) is not None
        ]
        return [self.channels[uniqueid] for *_, uniqueid in sorted(met, reverse=True)]

    # -- parties

    def parties(self, call: Call) -> dict[str, str]:
        """What finished-call must say about who called whom, where CEL leaves no doubt.

        Returns:
            Of `origin`, `origin_name`, `destiny`, `direction` those that CEL's first row of the oldest channel tells.
            Nothing for an originated call, whose parties are no matter of its first row, nor for one whose beginning
            was not heard; no destiny where `s` or a
            feature code was dialled; no direction where legs other than the oldest are of both kinds, or all of them
            had a call of their own before; no name that holds what was bad UTF-8.
        """
        oldest = self.oldest(call)
        if oldest.originated or oldest.pair or oldest.is_snoop or not self.seen(oldest.start):
            return {}
        told = {"origin": oldest.number}
        if "\N{REPLACEMENT CHARACTER}" not in oldest.caller_name:
            told["origin_name"] = oldest.caller_name
        if oldest.exten == "s" or oldest.exten.startswith(("*", "#")):
            return told
        told["destiny"] = oldest.exten
        legs = (self.channels[uniqueid] for uniqueid in call.channels if uniqueid != oldest.uniqueid)
        people = [leg for leg in legs if leg.pair is None]
        # Who had a call of its own before was not called by this one, and may have called as the oldest did.
        kinds = {self._is_trunk(leg) for leg in people} or {False}
        if len(kinds) == 1 and (not people or any(leg.stays[0] == call.linkedid for leg in people)):
            told["direction"] = DIRECTIONS[self._is_trunk(oldest), kinds.pop()]
        return told

    def disposition(self, call: Call) -> str | None:
        """What became of a call, where the CDR leaves no doubt.

        Returns:
            ANSWERED if a row says that two parties talked; BUSY or CONGESTION if the last row says so, unless the
            caller gave up, which a row tells of no queue: it may be that of a member who was tried before. None for
            all else: the CDR's NO ANSWER and FAILED are not told apart as ari/truth.md tells them, and of a call that
            became part of another the CDR keeps no row.
        """
        rows = [row for row in self.rows if row.linkedid == call.linkedid]
        if not rows or call.merged_into is not None or not self.seen(*(row.end for row in rows)):
            return None
        if any(row.is_answered and row.dst_channel is not None and self.seen(row.answer) for row in rows):
            return "ANSWERED"
        last = max(rows, key=lambda row: row.start).disposition
        caller = self.oldest(call)
        if caller.hangup_source == caller.name and caller.cause not in TOLD:
            return None
        return last if last in ("BUSY", "CONGESTION") else None

    def _is_trunk(self, channel: Channel) -> bool:
        """Whether a channel's endpoint is a trunk by the default rule."""
        return channel.name.rpartition("-")[0] in self._trunks

    # -- segments

    def meetings(self, row: CdrRow) -> list[tuple[int, int]]:
        """From when to when the row's two parties were in a bridge together, within the row's time."""
        a = self.channels.get(row.uniqueid)
        if a is None or row.dst_channel is None:
            return []
        # Party B may belong to another call: conferences do not merge calls.
        others = [channel for channel in self.channels.values() if channel.name == row.dst_channel]
        return [
            overlap
            for stay in a.bridges
            for b in others
            for other in b.bridges
            if (overlap := stay.overlap(other)) is not None and overlap[0] < row.end and overlap[1] > row.start
        ]

    def leavings(self, row: CdrRow) -> list[int]:
        """When the row's two parties ended."""
        parties = [channel for channel in (self.channels.get(row.uniqueid),) if channel is not None]
        parties += self._named(self.calls[row.linkedid], row.dst_channel or "") if row.linkedid in self.calls else []
        return [party.end for party in parties if party.end is not None]

    def homes(self, row: CdrRow) -> set[str]:
        """Ids of the calls whose record may hold the row: those that party A was in.

        The row's own linkedid is what the channel had when the row was written, which for a channel that has moved
        since is the older call, though the segment may have been spent in the younger one.
        """
        channel = self.channels.get(row.uniqueid)
        return {row.linkedid, *(channel.stays if channel else ())}

    def is_demanded(self, row: CdrRow) -> bool:
        """Whether a segment must be there: an answered row whose beginning and end were heard, of an ended call."""
        calls = [self.calls[linkedid] for linkedid in self.homes(row) if linkedid in self.calls]
        return (
            row.is_answered
            and self.seen(row.start, row.answer, row.end)
            and any(self.call_seen_to_end(call) for call in calls)
        )


def _read_doing(call: Call, at: int, row: dict[str, str]) -> None:
    told = json.loads(row["eventextra"] or "{}")
    match row["eventtype"]:
        case "DTMF":
            # A digit that a Local half received was received by somebody else before.
            if row["userdeftype"] == "Received" and not row["channame"].startswith("Local/"):
                call.dtmf.append((at, told["digit"]))
        case "BLINDTRANSFER":
            call.transfers.append((at, "blind"))
        case "ATTENDEDTRANSFER":
            call.transfers.append((at, "attended"))
        case "PARK_START":
            call.parks.append((at, "parked"))
        case "PARK_END" if told["reason"] == "ParkedCallSwap":  # one takes another's place in the lot
            call.parks += [(at, "parked"), (at, "abandoned")]
        case "PARK_END" if told["reason"] == "ParkedCallFailed":
            pass  # there was no lot, or no room in it: nobody was parked
        case "PARK_END":
            call.parks.append((at, PARK_ENDS.get(told["reason"], told["reason"])))


def _bridge(row: dict[str, str]) -> str:
    return str(json.loads(row["eventextra"])["bridge_id"])


def watched(name: str, folder: Path = recordings.FOLDER) -> list[tuple[int, int]] | None:
    """From when to when a recording's websocket heard events.

    Args:
        name: The recording's name.
        folder: Where it is.

    Returns:
        Intervals, microseconds; None if nobody wrote down when it was connected.
    """
    life: list[dict[str, Any]] = recordings.websocket(name, folder)
    if len(life) <= 2:  # connected at the beginning, closed at the end: no gap
        return None
    offsets, deaf = [], []
    for line in recordings.frames(name, folder):
        frame = json.loads(line)
        at = datetime.strptime(frame["event"]["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
        offsets.append(at - frame["t"])
        if frame["event"]["type"] == "ApplicationReplaced":
            deaf.append(frame["t"])
    offset = statistics.median(offsets)
    found, begin = [], None
    for entry in sorted([*life, *({"t": at, "what": "closed"} for at in deaf)], key=lambda entry: float(entry["t"])):
        at = int((entry["t"] + offset) * 1_000_000)
        if entry["what"] == "connected":
            begin = at
        elif entry["what"] == "closed" and begin is not None:
            found.append((begin, at))
            begin = None
    return found


@cache
def read(name: str, folder: Path = recordings.FOLDER) -> Oracle:
    """What Asterisk wrote about a recording.

    Args:
        name: The recording's name.
        folder: Where it is.

    Returns:
        The oracle; nobody changes it.
    """
    return Oracle(recordings.cel(name, folder), recordings.cdr(name, folder), watched(name, folder))
