"""The checker: a consumer that only drops message ids that it has seen, and the facts that must hold then.

    complete     per stream the sequences 1 … n, in order, with the contents that a replay of the exported journal gives
    received     every frame that went over a link is in the journal, or in a hole that the journal tells of
    told         every such hole is covered by a `monitoring-gap`, and so is the oldest row from which a lost ledger was
                 made good in part

Every violation is a sentence that says what, where.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

from actors.call.envelope import rfc3339
from tests.simulation.clock import Moment
from wire.store.row import Kind, Row

WAY_MS = 5
"""Longest that a frame is on its way, milliseconds."""
WITHHELD = "messages-withheld"
NOTHING: Mapping[str, bytes] = {}
Streams = dict[str, list[dict[str, Any]]]


class Damage(IntEnum):
    """What a run's faults did to what was stored, beyond what may be made good."""

    NONE = 0
    JOURNAL = 1
    """Rows that had been folded are gone: nobody can replay what came of them. Numbers go on all the same."""
    BOTH = 2
    """So are the marks that the ledger had of them (a power cut with `synchronous: normal`, or a ledger lost too):
    numbers may be given twice."""


class Stretch(NamedTuple):
    """One link as the PBX had it: what went over the wire, in order."""

    number: int
    sent: Sequence[bytes]


def verdict(
    bodies: Sequence[bytes],
    rows: Sequence[Row],
    replayed: Iterable[bytes],
    links: Sequence[Stretch],
    server: str,
    returned: Mapping[str, bytes] = NOTHING,
    damage: Damage = Damage.NONE,
    redriven: Collection[str] = (),
    unsaid: Collection[Row] = (),
    set_back: bool = False,
) -> list[str]:
    """All violations.

    Args:
        bodies: what the consumer got, in this order, copies and all.
        rows: the journal.
        replayed: bodies of the messages that a replay of the exported journal gives.
        links: what went over the wire of the PBX.
        server: the PBX's name.
        returned: bodies of messages that came back as unroutable for a time, by id: order is promised among the others.
        damage: what cannot be asked for.
        redriven: ids of those that were parked, and that the consumer had not got when all that was parked was offered
            again: order is promised among these.
        unsaid: rows that the journal had cut off when the ledger was lost, and with it what no broker had of them.
        set_back: the host's clock was.
    """
    streams, doubtful = consumed(bodies)
    replayed_streams, _ = consumed(replayed)
    # Where a replay cannot say what was withheld, of what had come back it is known all the same: it may be late.
    originals = replayed_streams if damage is Damage.NONE else consumed(returned.values())[0]
    streams, wrong = with_withheld(streams, originals if damage is not Damage.BOTH else {}, set_back)
    if damage is not Damage.BOTH or not returned:
        # A message that was returned waits in the ledger while later ones of its stream go. Where that is lost, and the
        # journal's rows too, no copy of it is left. What was never returned goes in order, and is lost at the end only.
        wrong += without_hole(streams)
    if damage is not Damage.BOTH:
        wrong += doubtful + in_order(streams, returned, redriven)
    if damage is Damage.NONE:
        wrong += as_replayed(streams, replayed_streams) + ended(streams)
    wrong += received(links, rows)
    return wrong + told(streams, rows, server, None if damage is Damage.NONE else 1, unsaid)


def consumed(bodies: Iterable[bytes]) -> tuple[Streams, list[str]]:
    """What a consumer has after dropping ids that it knows, by stream in the order of arrival; and violations."""
    seen: dict[str, bytes] = {}
    streams: Streams = {}
    wrong = []
    for body in bodies:
        message = orjson.loads(body)
        known = seen.get(message["message_id"])
        if known is None:
            seen[message["message_id"]] = body
            streams.setdefault(message["stream"], []).append(message)
        elif known != body:
            wrong.append(f"{_name(message)}: two contents under one message_id")
    return streams, wrong


def with_withheld(streams: Streams, originals: Streams, set_back: bool = False) -> tuple[Streams, list[str]]:
    """What the consumer would have had without the age policy; and violations.

    A `messages-withheld` stands for the messages that it names, which must be of the operation that it names. One of
    them may have come all the same: the broker had it, and its confirm was lost.

    Args:
        streams: what the consumer has.
        originals: what was withheld, as far as it is known.
        set_back: the host's clock was, so that a ledger made anew may find young what had been too old: such a message
            comes late, and counts where it was said to be withheld.
    """
    found: Streams = {}
    wrong = []
    for stream, messages in streams.items():
        came = {message["sequence"] for message in messages if message["operation"]["type"] != WITHHELD}
        had = set() if set_back else came
        given = {message["sequence"]: message for message in originals.get(stream, [])}
        found[stream] = []
        placed: set[int] = set()
        for message in messages:
            if message["operation"]["type"] != WITHHELD:
                if not set_back or message["sequence"] not in placed:
                    found[stream].append(message)
                    had.add(message["sequence"])
                continue
            operation = message["data"]["operation"]
            for first, last in message["data"]["sequences"]:
                for sequence in range(first, last + 1):
                    original = given.get(sequence, {"sequence": sequence, "operation": {"type": operation}})
                    if original["operation"]["type"] != operation:
                        wrong.append(f"{stream} {sequence}: withheld as {operation}: {_name(original)}")
                    if sequence not in had:
                        had.add(sequence)
                        placed.add(sequence)
                        found[stream].append({"stream": stream, "message_id": None} | original)
    return found, wrong


def without_hole(streams: Streams) -> list[str]:
    """Every sequence from 1 to the last."""
    wrong = []
    for stream, messages in streams.items():
        sequences = {message["sequence"] for message in messages}
        if missing := sorted(set(range(1, max(sequences) + 1)) - sequences):
            wrong.append(f"{stream}: sequences {missing} are missing")
    return wrong


def in_order(streams: Streams, returned: Collection[str] = (), redriven: Collection[str] = ()) -> list[str]:
    """Each sequence once, and after the one before it.

    Args:
        streams: what the consumer has.
        returned: ids of messages that were unroutable for a time: they may come later than their place. One whose
            parking did not get to the disk goes as if it had never come back, perhaps before one that is parked.
        redriven: ids of those that came late since they were parked: in order.
    """
    wrong = []
    for stream, messages in streams.items():
        counts = Counter(message["sequence"] for message in messages)
        doubled = [f"sequence {each} came under {count} message ids" for each, count in counts.items() if count > 1]
        wrong += [f"{stream}: {sentence}" for sentence in doubled]
        late = [message["sequence"] for message in messages if message["message_id"] in redriven]
        others = [message["sequence"] for message in messages if message["message_id"] not in returned]
        for sequences in (others, late):
            if not doubled and sequences != sorted(sequences):
                wrong.append(f"{stream}: out of order: {sequences}")
    return wrong


def ended(streams: Streams) -> list[str]:
    """Every call is told to have ended, once; behind that come only amendments. One that could be told of no channel
    may have nothing but these."""
    wrong = []
    for stream, messages in streams.items():
        if not stream.startswith("call:"):
            continue
        told = [each["operation"]["type"] for each in sorted(messages, key=_sequence)]
        while told and told[-1] == "call-amended":
            told.pop()
        if told and (told[-1] != "finished-call" or told.count("finished-call") > 1):
            wrong.append(f"{stream}: does not end with one finished-call: {told}")
    return wrong


def as_replayed(streams: Streams, expected: Streams) -> list[str]:
    """Contents equal to a replay of the exported journal.

    Args:
        streams: what the consumer has.
        expected: what the replay gives.
    """
    wrong = []
    for stream in expected.keys() | streams.keys():
        got = sorted(streams.get(stream, []), key=_sequence)
        want = expected.get(stream, [])
        if got == want:
            continue
        if len(got) != len(want):
            wrong.append(f"{stream}: {len(got)} messages came, a replay gives {len(want)}")
        for one, other in zip(got, want, strict=False):
            if one != other:
                wrong.append(f"{_name(one)}: not what a replay gives: {_difference(one, other)}")
                break
    return sorted(wrong)


def received(links: Sequence[Stretch], rows: Sequence[Row]) -> list[str]:
    """Every frame of every link is in the journal, or in a hole that the journal tells of.

    A link's frames stand in the journal in order. They may stop before the link's end: what was under way, or in the
    memory of a process that died, is gone, and a link-down or another link-up follows. A `lost` row may stand for some.
    """
    wrong = []
    parts = _parts(rows)
    for index, link in enumerate(links):
        # A Connection that was killed counts its links from 1 again, so a link is found by what it carried.
        known = set(link.sent)
        part = next((part for part in parts if (first := part.first) is not None and first in known), None)
        if part is None:
            # Nothing of it was journalled, perhaps not even its link-up: then another must follow, or a hole is told.
            kinds = [row.kind for row in parts[-1].rows if row.kind in (Kind.FRAME, Kind.LOST)]
            if link.sent and index + 1 == len(links) and kinds[-1:] != [Kind.LOST]:
                wrong.append(f"link {link.number}: none of its {len(link.sent)} frames is journalled")
            continue
        matched, excused = _matched(link.sent, part)
        if matched < len(link.sent) and not excused:
            wrong.append(f"link {link.number}: frame {matched + 1} of {len(link.sent)} is lost, and nothing says so")
    return wrong


class _Part(NamedTuple):
    """The journal from one link-up to the next."""

    rows: list[Row]
    ended: bool
    """It is known that the link ended."""

    @property
    def first(self) -> bytes | None:
        """Its first frame."""
        return next((row.body for row in self.rows if row.kind == Kind.FRAME), None)


def _parts(rows: Sequence[Row]) -> list[_Part]:
    found: list[list[Row]] = [[]]
    for row in rows:
        if row.kind == Kind.LINK_UP:
            found.append([])
        found[-1].append(row)
    last = len(found) - 1
    return [
        _Part(part, index < last or any(row.kind == Kind.LINK_DOWN for row in part)) for index, part in enumerate(found)
    ]


def _matched(sent: Sequence[bytes], part: _Part) -> tuple[int, bool]:
    """How many of a link's frames stand in a part of the journal, or are excused; whether the rest is excused too."""
    position = 0
    hole = False
    for row in part.rows:
        if row.kind == Kind.LOST:
            hole = True
        elif row.kind == Kind.FRAME:
            try:
                found = sent.index(row.body, position)
            except ValueError:
                # No frame of this link's: the rest of the part is another link's, whose link-up was lost too.
                return position, hole or part.ended
            if found > position and not hole:
                return position, False
            position, hole = found + 1, False
    return position, hole or part.ended


def told(
    streams: Streams, rows: Sequence[Row], server: str, since: int | None = None, unsaid: Collection[Row] = ()
) -> list[str]:
    """Every hole that the journal tells of is covered by a `monitoring-gap`.

    Args:
        streams: what the consumer has.
        rows: the journal.
        server: the PBX's name.
        since: only the rows lost at this place in their journal: all else may have been folded before it was lost;
            None: all count.
        unsaid: of these it cannot be asked.
    """
    if unsaid:
        rows = [row for row in rows if row not in unsaid]
    spans = _spans(streams, server)
    wrong = []
    for what, at in holes([row for row in rows if since is None or row.kind != Kind.LOST or row.n == since]):
        if not _is_covered(spans, at):
            wrong.append(f"pbx:{server}: {what} at {rfc3339(at)} is covered by no monitoring-gap")
    return wrong


def uncovered(streams: Streams, since_ms: int, server: str) -> list[str]:
    """A lost ledger was made good from a part of the journal only: a `monitoring-gap` covers where that begins.

    Args:
        streams: what the consumer has.
        since_ms: when we had its oldest row, Unix milliseconds.
        server: the PBX's name.
    """
    if _is_covered(_spans(streams, server), since_ms):
        return []
    return [f"pbx:{server}: the journal began at {rfc3339(since_ms)} for a lost ledger, and no monitoring-gap says so"]


def _is_covered(spans: Iterable[tuple[str | None, str | None]], at_ms: int) -> bool:
    moment = rfc3339(at_ms)
    return any((begin is None or begin <= moment) and (end is None or end >= moment) for begin, end in spans)


def unseen(
    streams: Streams,
    rows: Sequence[Row],
    happened: Iterable[tuple[Moment, bytes, bool]],
    told: Mapping[Row, Moment],
    server: str,
) -> list[str]:
    """Whatever happened on the PBX since the first link-up is in the journal, or within a `monitoring-gap`.

    This asks the PBX, and not the journal, where somebody was blind: a hole of which the journal knows nothing counts.

    Args:
        streams: what the consumer has.
        rows: the journal.
        happened: when, the frame of it, and whether the PBX itself did not send it to a listener; in order.
        told: when the journal was told its rows, other than frames.
        server: the PBX's name.
    """
    journalled = {row.body for row in rows if row.kind == Kind.FRAME}
    ups = sorted(told[row] for row in rows if row.kind == Kind.LINK_UP)
    known = {moment.setting for moment in told.values()}
    last = {moment.boot: moment.now for moment in sorted(told.values())}
    spans = _spans(streams, server)
    wrong = []
    for at, frame, dropped in happened:
        if not ups or at.now <= ups[0].now or dropped or frame in journalled:
            continue
        if at.setting not in known:
            continue  # the host's clock was set to this and set again, and of nobody who saw it is a row left
        up = next((each for each in ups if each.now > at.now), at)
        if up.boot != at.boot and last[at.boot] <= at.now and up.wall < at.wall:
            continue  # the host went down, and its clock went back: nobody can say how late it was when it did
        # A gap may begin when the last frame came, which was on its way for a moment.
        soonest, latest = rfc3339(at.wall), rfc3339(at.wall + WAY_MS)
        if not any((begin is None or begin <= latest) and (end is None or end >= soonest) for begin, end in spans):
            wrong.append(f"pbx:{server}: what happened at {soonest} was not seen, and no monitoring-gap says so")
    return wrong


def adopted(
    streams: Streams, rows: Sequence[Row], happened: Iterable[tuple[Moment, bytes, bool]], server: str, aside: bool
) -> list[str]:
    """A call that began unseen, and of which anything was told, is adopted in the account of a gap; no other is.

    Args:
        streams: what the consumer has.
        rows: the journal.
        happened: see `unseen`.
        server: the PBX's name.
        aside: frames may have been set aside, so that a call began in vain before our eyes.
    """
    journalled = {row.body for row in rows if row.kind == Kind.FRAME and b"ChannelCreated" in row.body}
    accounts = {call for gap in _gaps(streams, server) for call in gap["adopted"]}
    wrong = []
    for at, frame, dropped in happened:
        if b"ChannelCreated" in frame:
            call = orjson.loads(frame)["channel"]["id"]
            if frame not in journalled and not dropped and f"call:{call}" in streams and call not in accounts:
                wrong.append(
                    f"call:{call}: it began unseen at {rfc3339(at.wall)}, and no monitoring-gap has adopted it"
                )
            if frame in journalled and call in accounts and not aside:
                wrong.append(
                    f"call:{call}: its begin at {rfc3339(at.wall)} was seen, and a monitoring-gap has adopted it"
                )
    return wrong


def _spans(streams: Streams, server: str) -> list[tuple[str | None, str | None]]:
    """From when to when each `monitoring-gap` is."""
    return [(gap["from"], gap["to"]) for gap in _gaps(streams, server)]


def _gaps(streams: Streams, server: str) -> list[dict[str, Any]]:
    """The data of each `monitoring-gap`."""
    told = streams.get(f"pbx:{server}", [])
    return [each["data"] for each in told if each["operation"]["type"] == "monitoring-gap"]


def holes(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """What the journal says that nobody saw: link-downs that were followed by a link-up, and lost rows; with times."""
    found: list[tuple[str, int]] = []
    down: int | None = None
    for row in rows:
        if row.kind == Kind.LINK_DOWN:
            down = row.at_ms
        elif row.kind == Kind.LINK_UP:
            if down is not None:
                found.append(("a link-down", down))
            down = None
        elif row.kind == Kind.LOST:
            found.append(("lost rows", orjson.loads(row.body)["to_ms"]))
    return found


def _sequence(message: dict[str, Any]) -> int:
    sequence: int = message["sequence"]
    return sequence


def _name(message: dict[str, Any]) -> str:
    return f"{message['stream']} {message['sequence']} {message['operation']['type']}"


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    keys = [key for key in other if one.get(key) != other[key]]
    return ", ".join(f"{key} {one.get(key)!r:.200} instead of {other[key]!r:.200}" for key in keys[:2])
