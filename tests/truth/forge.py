"""A perfect account, forged from the oracle: what arimon would publish if it agreed with Asterisk in everything.

With it the checker can be tried without a core: it must accept the forgery, and refuse each sabotage of it.
"""

import json
from datetime import UTC, datetime
from typing import Any

from tests.truth.cdr import CdrRow
from tests.truth.oracle import Call, Channel, Oracle

Data = dict[str, Any]


def forge(oracle: Oracle, server: str = "pbx1") -> list[bytes]:
    """Messages that agree with Asterisk: received-call, parking and finished-call of each call whose end was heard.

    Args:
        oracle: What Asterisk wrote.
        server: The PBX's name.

    Returns:
        JSON lines.
    """
    lines: list[bytes] = []
    for call in sorted(oracle.calls.values(), key=lambda call: oracle.oldest(call).start):
        oldest = oracle.oldest(call)
        if not (oracle.seen(oldest.start) or oracle.call_seen_to_end(call)):
            continue
        said: list[tuple[str, int, Data]] = [("received-call", oldest.start, _received(oldest))]
        said += [_parked(oldest, at, what) for at, what in call.parks]
        if oracle.call_seen_to_end(call):
            said.append(("finished-call", call.end or 0, _finished(oracle, call)))
        for sequence, (operation, at, data) in enumerate(said, start=1):
            message = {
                "message_id": f"{at // 1000:012x}"[:8] + f"-{at // 1000 & 0xFFFF:04x}-7000-8000-{len(lines):012x}",
                "schema": "arimon/3",
                "operation": {"type": operation},
                "server": server,
                "stream": f"call:{call.linkedid}",
                "sequence": sequence,
                "call_id": call.linkedid,
                "timestamp": rfc3339(at),
                "recovered": False,
                "degraded": False,
                "data": data,
            }
            lines.append(json.dumps(message).encode())
    return lines


def rfc3339(at: int | None) -> str | None:
    """Microseconds as messages have them; None for None."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1_000_000 // 1000:03d}Z"


def _endpoint(name: str) -> str:
    return name.rpartition("-")[0]


def _received(oldest: Channel) -> Data:
    return {
        "origin": "",
        "origin_name": "",
        "destiny": "",
        "direction": "internal",
        "channel_id": oldest.uniqueid,
        "channel": oldest.name,
        "endpoint": _endpoint(oldest.name),
    }


def _parked(oldest: Channel, at: int, what: str) -> tuple[str, int, Data]:
    data: Data = {"channel_id": oldest.uniqueid, "channel": oldest.name, "lot": None, "space": None, "by": None}
    if what == "parked":
        return "parked-call", at, data
    return "unparked-call", at, data | {"parked_seconds": 0, "outcome": what}


def _finished(oracle: Oracle, call: Call) -> Data:
    oldest = oracle.oldest(call)
    rows = [row for row in oracle.rows if row.linkedid == call.linkedid and not row.is_artefact]
    segments = [_segment(oracle, row) for row in rows]
    talk, until = 0, 0
    for begin, finish in sorted(
        (_ms(segment["answer"]), _ms(segment["end"]))
        for segment in segments
        if segment["dst_channel"] and segment["disposition"] == "ANSWERED"
    ):
        talk += max(0, finish - max(begin, until))
        until = max(until, finish)
    start, end = rfc3339(oldest.start), rfc3339(call.end)
    return {
        "origin": "",
        "origin_name": "",
        "destiny": "",
        "direction": "internal",
        **oracle.parties(call),
        "disposition": oracle.disposition(call) or "NO ANSWER",
        "answered": oldest.answer is not None,
        "started_at": start,
        "answered_at": rfc3339(oldest.answer),
        "ended_at": end,
        "duration_seconds": (_ms(end) - _ms(start)) / 1000,
        "talk_seconds": talk / 1000,
        "cause": {"code": oldest.cause, "text": ""},
        "hangup_by": oracle.hangup_by(call) or "system",
        "merged_into": call.merged_into,
        "legs": [
            _leg(call, oracle.channels[uniqueid])
            for uniqueid in call.channels
            if not oracle.channels[uniqueid].is_snoop
        ],
        "segments": segments,
        "transfers": [
            {"kind": kind, "at": rfc3339(at), "by": None, "from": None, "to": None, "result": "success"}
            for at, kind in call.transfers
        ],
        "holds": [],
        "dtmf": "".join(digit for _, digit in call.dtmf),
        "quality": {},
        "recordings": [],
    }


def _ms(text: str | None) -> int:
    return 0 if text is None else round(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * 1000)


def _leg(call: Call, channel: Channel) -> Data:
    place = channel.stays.index(call.linkedid)
    moved_to = channel.stays[place + 1] if place + 1 < len(channel.stays) else None
    return {
        "channel_id": channel.uniqueid,
        "channel": channel.name,
        "endpoint": _endpoint(channel.name),
        "number": "",
        "name": "",
        "started_at": rfc3339(channel.start),
        "answered_at": rfc3339(channel.answer),
        "ended_at": rfc3339(channel.end) if moved_to is None else None,
        "cause": {"code": channel.cause if moved_to is None else None, "text": ""},
        "moved_to": moved_to,
    }


def _segment(oracle: Oracle, row: CdrRow) -> Data:
    answer, end = row.answer, row.end
    if row.is_answered and not row.is_dialled:
        answer, end = next(iter(oracle.meetings(row)), (answer, end))
    return {
        "channel": row.channel,
        "dst_channel": row.dst_channel,
        "src": row.src,
        "dst": "",
        "start": rfc3339(row.start),
        "answer": rfc3339(answer),
        "end": rfc3339(end),
        "billsec": (end - answer) // 1_000_000 if answer else 0,
        "disposition": row.disposition,
    }
