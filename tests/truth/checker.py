"""Compares arimon's account with Asterisk's, fact by fact.

calls       each ended call of the CEL has exactly one finished-call, with `merged_into` the call that its channels
            went on in
channels    each channel is a leg of each call that it stayed in, and of no other; `moved_to` names the next one
start       a leg's and a call's times are CEL's CHAN_START, ANSWER (a call's: of its oldest channel), and CHAN_END or
answer      LINKEDID_END within 10 ms, null exactly where CEL has none
end
cause       a leg's and a call's cause is HANGUP's `hangupcause` (a call's: of its oldest channel)
hangup_by   the side that HANGUP's `hangupsource` names (see `oracle`)
segments    each answered CDR row has a segment of its own: same parties, answer, end, billsec and disposition
surplus     no segment without a CDR row of its own, no leg without a CEL channel of its own, no finished-call without a
            CEL call
strays      no call_id that the CEL does not name
parties     origin, origin_name, destiny and direction are those of the oldest channel's first row, where that leaves no
            doubt (see `oracle`)
disposition ANSWERED, BUSY and CONGESTION are what the CDR leaves no doubt about (see `oracle`)
dtmf        a call's digits are those of CEL's DTMF rows, in their order
transfers   a call's transfers that succeeded are CEL's BLINDTRANSFER and ATTENDEDTRANSFER rows: kind, time
parks       its parked-call and unparked-call messages are CEL's PARK_START and PARK_END rows: outcome, time
figures     duration and talk are what the record's own times add up to
sequence    1, 2, 3 … per stream, ids unique, nothing after finished-call (see `account`)
schema      the message is valid (see `account`)

A leg that moved on is alive when the younger call ends, so its end and cause may be null there; they are judged where
it stayed. Its answer may be null only if it was answered later.

Where A did not dial B (a conference, a Stasis bridge, after a transfer, pickup or retrieval), ari/truth.md defines
answer and end as *when they met and parted*, while the CDR goes on from where A's row began (14: a conference's first
row begins before the second party came; 11b: the caller's row with the consultation's Local half covers the music on
hold). Both are accepted there: CEL's meeting, because it is the definition; the CDR's own, because it is the CDR.

A row of the CDR that nobody answered is not demanded (the bar is on the answered ones); how many have their segment
is told in the column `others`, for information. A segment with no row at all is surplus, answered or not.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.truth.account import Account, Fault, microseconds
from tests.truth.cdr import CdrRow
from tests.truth.oracle import Call, Channel, Oracle

TOLERANCE = 10_000
"""Most that two clocks' readings of one event may differ, microseconds."""

FACTS = (
    "calls",
    "channels",
    "start",
    "answer",
    "end",
    "cause",
    "hangup_by",
    "segments",
    "surplus",
    "strays",
    "parties",
    "disposition",
    "dtmf",
    "transfers",
    "parks",
    "figures",
    "sequence",
    "schema",
)
"""Names of the facts, in the table's order."""

Data = dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """How an account compares."""

    total: Counter[str] = field(default_factory=Counter)
    """How many of each fact were judged."""
    faults: list[Fault] = field(default_factory=list)
    others: tuple[int, int] = (0, 0)
    """Rows of the CDR that are not demanded: how many have a segment, and how many there are. For information."""

    @property
    def right(self) -> Counter[str]:
        """How many of each fact agree."""
        return self.total - Counter(fault.fact for fault in self.faults)

    def judge(self, fact: str, subject: str, expected: object, got: object, *, agrees: bool | None = None) -> None:
        """Count a fact, and note it if it does not agree (by default: is not equal)."""
        self.total[fact] += 1
        if not (expected == got if agrees is None else agrees):
            self.faults.append(Fault(fact, subject, str(expected), str(got)))


def check(account: Account, oracle: Oracle) -> Verdict:
    """Compare.

    Args:
        account: What arimon published.
        oracle: What Asterisk wrote.

    Returns:
        Each fact judged, and each that does not agree.
    """
    verdict = Verdict()
    verdict.total["schema"] = verdict.total["sequence"] = len(account.messages)

    verdict.faults.extend(account.faults)
    _strays(verdict, account, oracle)
    for call in oracle.calls.values():
        _call(verdict, account, oracle, call)
    for channel in oracle.channels.values():
        _channel(verdict, account, oracle, channel)
    _segments(verdict, account, oracle)
    return verdict


def _strays(verdict: Verdict, account: Account, oracle: Oracle) -> None:
    for message in account.messages:
        if message["call_id"] is not None:
            subject = f"{message['operation']['type']} of {message['stream']}"
            known = message["call_id"] in oracle.linkedids
            verdict.judge("strays", subject, "a linkedid of the CEL", message["call_id"], agrees=known)
    for call_id, records in account.finished.items():
        known = call_id in oracle.calls
        verdict.judge("surplus", f"finished-call of {call_id}", "a call of the CEL", "none", agrees=known)
        told: set[str] = set()
        for leg in (leg for record in records for leg in record["legs"]):
            known = leg["channel_id"] in oracle.channels and leg["channel_id"] not in told
            told.add(leg["channel_id"])
            verdict.judge("surplus", f"leg of {call_id}", "a CEL channel, once", leg["channel_id"], agrees=known)


def _call(verdict: Verdict, account: Account, oracle: Oracle, call: Call) -> None:
    records = account.finished.get(call.linkedid, [])
    subject = f"call {call.linkedid}"
    if not oracle.call_seen_to_end(call):
        # Its end was not heard. A finished-call may come of a recovery, never two.
        verdict.judge("calls", subject, "at most one finished-call", len(records), agrees=len(records) <= 1)
        return
    verdict.judge("calls", subject, "one finished-call", len(records), agrees=len(records) == 1)
    for record in records[:1]:
        oldest = oracle.oldest(call)
        verdict.judge("calls", f"{subject} merged_into", call.merged_into, record["merged_into"])
        _time(verdict, oracle, "start", subject, oldest.start, record["started_at"])
        # A channel that moved on takes its later answer with it: the record is out by then.
        answer = oldest.answer if oracle.answered_by_then(oldest, call.linkedid) else None
        _time(verdict, oracle, "answer", subject, answer, record["answered_at"])
        if oracle.seen(answer) or answer is None:
            verdict.judge("answer", f"{subject} answered", answer is not None, record["answered"])
        _time(verdict, oracle, "end", subject, call.end, record["ended_at"])
        if oldest.stays[-1] == call.linkedid:
            verdict.judge("cause", subject, oldest.cause, record["cause"]["code"])
            side = oracle.hangup_by(call)
            if side is not None:
                verdict.judge("hangup_by", subject, side, record["hangup_by"])
        for name, expected in oracle.parties(call).items():
            verdict.judge("parties", f"{subject} {name}", expected, record[name])
        disposition = oracle.disposition(call)
        if disposition is not None:
            verdict.judge("disposition", subject, disposition, record["disposition"])
        _doings(verdict, account, oracle, call, record)
        _figures(verdict, subject, record)


def _doings(verdict: Verdict, account: Account, oracle: Oracle, call: Call, record: Data) -> None:
    """What parties did in a call: asked only where something was done or told, lest nothing be counted as right."""
    subject = f"call {call.linkedid}"
    if not oracle.seen(*(at for at, _ in (*call.dtmf, *call.transfers, *call.parks))):
        return
    digits = "".join(digit for _, digit in call.dtmf)
    if digits or record["dtmf"]:
        verdict.judge("dtmf", subject, digits, record["dtmf"])
    done = [
        (microseconds(transfer["at"]), transfer["kind"])
        for transfer in record["transfers"]
        if transfer["result"] == "success"
    ]
    parked = [
        (microseconds(message["timestamp"]), message["data"].get("outcome", "parked"))
        for message in account.parks.get(call.linkedid, ())
    ]
    for fact, expected, got in (("transfers", call.transfers, done), ("parks", call.parks, parked)):
        if expected or got:
            agrees = [what for _, what in expected] == [what for _, what in got] and all(
                _close(one, other) for (one, _), (other, _) in zip(expected, got, strict=True)
            )
            verdict.judge(fact, subject, _timed(expected), _timed(got), agrees=agrees)


def _timed(events: Sequence[tuple[int | None, str]]) -> str:
    return ", ".join(f"{what} {_clock(at)}" for at, what in events) or "none"


def _channel(verdict: Verdict, account: Account, oracle: Oracle, channel: Channel) -> None:
    subject = f"channel {channel.uniqueid} {channel.name}"
    said = account.called.get(channel.uniqueid, set())
    demanded = [linkedid for linkedid in channel.stays if oracle.call_seen_to_end(oracle.calls[linkedid])]
    if demanded or said:
        # Who picked up answered that call; where it is the elder, or they never met, it was no leg of it.
        allowed = set(channel.stays) | {one for one in oracle.picked_up(channel) if not _is_leg(account, one, channel)}
        if channel.is_snoop:  # what is said of it, as its recording, concerns the call that it listens to
            said = {call_id for call_id in said if _is_leg(account, call_id, channel)}
        needed = set() if channel.is_snoop else set(demanded)
        legs = {
            call_id: leg
            for call_id in said
            for record in account.finished.get(call_id, [])
            for leg in record["legs"]
            if leg["channel_id"] == channel.uniqueid
        }
        moves = {
            linkedid: following
            for linkedid, following in zip(channel.stays, [*channel.stays[1:], None], strict=True)
            if linkedid in legs
        }
        agrees = (
            said <= allowed
            and needed <= set(legs)
            and all(legs[one]["moved_to"] == to for one, to in moves.items())
            and all(leg["channel"] == channel.name for leg in legs.values())
        )
        told = {one: (leg["channel"], leg["moved_to"]) for one, leg in legs.items()}
        got = f"messages of {sorted(said)}, legs (name, moved_to) by call {told}"
        verdict.judge("channels", subject, f"{channel.stays}, each moved_to the next", got, agrees=agrees)
        for linkedid in demanded:
            for leg in _legs(account, linkedid, channel):
                _leg(verdict, oracle, channel, linkedid, leg)


def _is_leg(account: Account, call_id: str, channel: Channel) -> bool:
    return any(
        leg["channel_id"] == channel.uniqueid for record in account.finished.get(call_id, []) for leg in record["legs"]
    )


def _legs(account: Account, linkedid: str, channel: Channel) -> Iterator[Data]:
    for record in account.finished.get(linkedid, [])[:1]:
        for leg in record["legs"]:
            if leg["channel_id"] == channel.uniqueid:
                yield leg


def _leg(verdict: Verdict, oracle: Oracle, channel: Channel, linkedid: str, leg: Data) -> None:
    subject = f"leg {channel.uniqueid} {channel.name} of {linkedid}"
    _time(verdict, oracle, "start", subject, channel.start, leg["started_at"])
    stayed = channel.stays[-1] == linkedid
    if stayed or leg["answered_at"] is not None or oracle.answered_by_then(channel, linkedid):
        _time(verdict, oracle, "answer", subject, channel.answer, leg["answered_at"])
    if stayed or leg["ended_at"] is not None:
        _time(verdict, oracle, "end", subject, channel.end, leg["ended_at"])
    if (stayed or leg["cause"]["code"] is not None) and oracle.seen(channel.end):
        verdict.judge("cause", subject, channel.cause, leg["cause"]["code"])


def _time(verdict: Verdict, oracle: Oracle, fact: str, subject: str, expected: int | None, told: str | None) -> None:
    if expected is not None and not oracle.seen(expected):
        return
    verdict.judge(fact, subject, _clock(expected), told, agrees=_close(expected, microseconds(told)))


def _close(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE


def _clock(at: int | None) -> str:
    """Microseconds as seconds, which is how the csv files have them."""
    return "null" if at is None else f"{at / 1e6:.6f}"


def _figures(verdict: Verdict, subject: str, record: Data) -> None:
    start, end = microseconds(record["started_at"]) or 0, microseconds(record["ended_at"]) or 0
    close = abs(record["duration_seconds"] * 1e6 - (end - start)) <= 1000
    verdict.judge("figures", f"{subject} duration", (end - start) / 1e6, record["duration_seconds"], agrees=close)
    talk, until = 0, 0
    answered = [segment for segment in record["segments"] if segment["disposition"] == "ANSWERED"]
    spans = [
        (microseconds(segment["answer"]) or 0, microseconds(segment["end"]) or 0)
        for segment in answered
        if segment["dst_channel"] is not None and segment["answer"] is not None
    ]
    for begin, finish in sorted(spans):
        talk += max(0, finish - max(begin, until))
        until = max(until, finish)
    close = abs(record["talk_seconds"] * 1e6 - talk) <= 1000
    verdict.judge("figures", f"{subject} talk", talk / 1e6, record["talk_seconds"], agrees=close)


# -- segments


@dataclass(slots=True)
class _Segment:
    call_id: str
    data: Data

    def __str__(self) -> str:
        data = self.data
        parties = f"{data['channel']} > {data['dst_channel'] or '-'}"
        times = f"answer {_clock(microseconds(data['answer']))} end {_clock(microseconds(data['end']))}"
        return f"segment of {self.call_id}: {parties} {times} billsec {data['billsec']} {data['disposition']}"


def _segments(verdict: Verdict, account: Account, oracle: Oracle) -> None:
    """Match rows and segments one to one: demanded rows first, exact matches first."""
    segments = [
        _Segment(call_id, data)
        for call_id, records in account.finished.items()
        for record in records
        for data in record["segments"]
    ]
    by_parties: dict[tuple[str, str | None], list[_Segment]] = {}
    for segment in segments:
        by_parties.setdefault((segment.data["channel"], segment.data["dst_channel"]), []).append(segment)
    demanded = [row for row in oracle.rows if oracle.is_demanded(row)]
    others = [row for row in oracle.rows if not oracle.is_demanded(row) and not row.is_artefact]
    missing: list[CdrRow] = []
    for row in demanded:
        found = _take(by_parties, oracle, row, strictly=True)
        if found is None:
            missing.append(row)
        else:
            verdict.judge("segments", str(row), None, None)
    matched = sum(_take(by_parties, oracle, row, strictly=False) is not None for row in others)
    verdict.others = (matched, len(others))
    for row in (row for row in oracle.rows if row.is_artefact):
        _take(by_parties, oracle, row, strictly=False)
    for row in missing:
        near = _nearest(by_parties, oracle, row)
        expected = f"answer {_clock(row.answer)} end {_clock(row.end)} billsec {row.billsec} {row.disposition}"
        expected += "".join(f" (met {_clock(met)}, parted {_clock(parted)})" for met, parted in oracle.meetings(row))
        verdict.judge("segments", f"{row} of {row.linkedid}", expected, near or "no such segment", agrees=False)
    left = {id(segment) for parties in by_parties.values() for segment in parties}
    for segment in segments:
        spare = id(segment) in left
        verdict.judge("surplus", str(segment), "a CDR row of its own", "none left", agrees=not spare)


def _take(
    by_parties: dict[tuple[str, str | None], list[_Segment]], oracle: Oracle, row: CdrRow, *, strictly: bool
) -> _Segment | None:
    """Find a row's segment, and take it out of those that are left."""
    left = by_parties.get((row.channel, row.dst_channel), [])
    homes = oracle.homes(row)
    for segment in left:
        if segment.call_id in homes and _matches(oracle, row, segment.data, strictly=strictly):
            left.remove(segment)
            return segment
    return None


def _nearest(by_parties: dict[tuple[str, str | None], list[_Segment]], oracle: Oracle, row: CdrRow) -> _Segment | None:
    """A segment of the row's parties that is not the row's, taken out lest it be told as surplus too."""
    left = by_parties.get((row.channel, row.dst_channel), [])
    for segment in sorted(left, key=lambda segment: abs((microseconds(segment.data["end"]) or 0) - row.end)):
        if segment.call_id in oracle.homes(row):
            left.remove(segment)
            return segment
    return None


def _matches(oracle: Oracle, row: CdrRow, data: Data, *, strictly: bool) -> bool:
    if not oracle.seen(row.start, row.answer or row.start, row.end):
        return True  # its parties are right, and its times were not heard
    answer, end = microseconds(data["answer"]), microseconds(data["end"])
    if not strictly:
        # Nobody answered, or for less than a second: the row of the CDR is the one that ended then. Asterisk writes as
        # the end of an unanswered row the last event that it counted for it, which may be the first ringing (31b: a
        # call picked up elsewhere); ari/truth.md says "ends when either leaves".
        ends = [row.end, *(parted for _, parted in oracle.meetings(row))]
        ends += [] if row.is_answered else oracle.leavings(row)
        return any(_close(one, end) for one in ends)
    if data["disposition"] != row.disposition:
        return False
    if _close(row.answer, answer) and _close(row.end, end):
        return _bills(row.answer, row.end, data["billsec"]) or data["billsec"] == row.billsec
    return not row.is_dialled and any(
        _close(met, answer) and _close(parted, end) and _bills(met, parted, data["billsec"])
        for met, parted in oracle.meetings(row)
    )


def _bills(answer: int | None, end: int, billsec: int) -> bool:
    """Whether billsec is the whole seconds from answer to end, give or take the tolerance at a second's edge."""
    return (
        answer is not None
        and (end - answer - 2 * TOLERANCE) // 1_000_000 <= billsec <= (end - answer + 2 * TOLERANCE) // 1_000_000
    )


__all__ = ["FACTS", "TOLERANCE", "Verdict", "check"]
