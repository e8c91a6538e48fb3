"""Ways to spoil an account in one place, each with the fact that must show it. For proving the checker."""

import copy
import json
from collections.abc import Callable
from typing import Any

from tests.truth import account, checker, forge, oracle
from tests.truth.checker import Verdict

Messages = list[dict[str, Any]]
Sabotage = Callable[[Messages], None]


def judge(messages: Messages, truth: oracle.Oracle) -> Verdict:
    """The verdict on messages given as objects."""
    return checker.check(account.read(json.dumps(message) for message in messages), truth)


def forged(truth: oracle.Oracle) -> Messages:
    """A perfect account as objects."""
    return [json.loads(line) for line in forge.forge(truth)]


def answered_segments(record: dict[str, Any]) -> Messages:
    """Segments whose CDR row is demanded: somebody would be billed for them."""
    return [
        segment
        for segment in record["segments"]
        if segment["dst_channel"] and segment["billsec"] and segment["disposition"] == "ANSWERED"
    ]


def finished(messages: Messages) -> dict[str, Any]:
    """Data of the last finished-call that has an answered segment of two parties and became part of no other call."""
    records = [message["data"] for message in messages if message["operation"]["type"] == "finished-call"]
    found: dict[str, Any] = [one for one in records if answered_segments(one) and one["merged_into"] is None][-1]
    return found


def shift(text: str, milliseconds: int) -> str:
    """A message's time, moved."""
    moved = forge.rfc3339((account.microseconds(text) or 0) + milliseconds * 1000)
    assert moved is not None
    return moved


def renumber(messages: Messages) -> None:
    """Give each message the sequence of its place, and an id of its own: sabotage that hides its traces."""
    last: dict[str, int] = {}
    for number, message in enumerate(messages):
        message["sequence"] = last[message["stream"]] = last.get(message["stream"], 0) + 1
        message["message_id"] = f"00000000-0000-7000-8000-{number:012x}"


# -- sabotage, by the fact that must show it


def another_call(messages: Messages) -> None:
    for message in messages:
        if message["operation"]["type"] == "finished-call":
            message["call_id"] += "9"
            message["stream"] += "9"
    renumber(messages)


def wrong_call(messages: Messages) -> None:
    """A message of another call names a channel that is not that call's."""
    record = finished(messages)
    stranger = {**messages[0], "call_id": "1795337565.4711", "stream": "call:1795337565.4711"}
    stranger["data"] = {**messages[0]["data"], "channel_id": record["legs"][-1]["channel_id"]}
    messages.insert(0, stranger)
    renumber(messages)


def leg_lost(messages: Messages) -> None:
    finished(messages)["legs"].pop()


def leg_surplus(messages: Messages) -> None:
    record = finished(messages)
    record["legs"].append(record["legs"][0] | {"channel_id": "1795337565.4711"})


def leg_doubled(messages: Messages) -> None:
    record = finished(messages)
    record["legs"].append(record["legs"][0])


def leg_of_another_name(messages: Messages) -> None:
    finished(messages)["legs"][0]["channel"] += "0"


def leg_moved(messages: Messages) -> None:
    finished(messages)["legs"][0]["moved_to"] = "1795337565.0"


def leg_time(field: str, milliseconds: int) -> Sabotage:
    def sabotage(messages: Messages) -> None:
        leg = finished(messages)["legs"][-1]
        leg[field] = shift(leg[field], milliseconds)

    return sabotage


def call_time(field: str, milliseconds: int) -> Sabotage:
    def sabotage(messages: Messages) -> None:
        record = finished(messages)
        record[field] = shift(record[field], milliseconds)

    return sabotage


def never_answered(messages: Messages) -> None:
    finished(messages)["legs"][-1]["answered_at"] = None


def call_never_answered(messages: Messages) -> None:
    finished(messages)["answered"] = False


def leg_cause(messages: Messages) -> None:
    finished(messages)["legs"][-1]["cause"]["code"] = 26


def call_cause(messages: Messages) -> None:
    finished(messages)["cause"]["code"] = 26


def no_cause(messages: Messages) -> None:
    finished(messages)["cause"]["code"] = None


def other_side(messages: Messages) -> None:
    record = finished(messages)
    record["hangup_by"] = {"origin": "destiny", "destiny": "system", "system": "origin"}[record["hangup_by"]]


def lost(messages: Messages) -> None:
    del messages[0]


def lost_in_secret(messages: Messages) -> None:
    del messages[[message["operation"]["type"] for message in messages].index("finished-call")]
    renumber(messages)


def doubled(messages: Messages) -> None:
    messages.append(copy.deepcopy(messages[-1]))


def doubled_in_secret(messages: Messages) -> None:
    messages.append(copy.deepcopy(messages[-1]))
    renumber(messages)


def same_id(messages: Messages) -> None:
    messages[-1]["message_id"] = messages[0]["message_id"]


def swapped(messages: Messages) -> None:
    stream = messages[0]["stream"]
    first, second, *_ = [place for place, message in enumerate(messages) if message["stream"] == stream]
    messages[first], messages[second] = messages[second], messages[first]


def after_the_end(messages: Messages) -> None:
    messages.append(messages[-1] | {"operation": messages[0]["operation"], "data": messages[0]["data"]})
    renumber(messages)


def call_surplus(messages: Messages) -> None:
    surplus = copy.deepcopy(messages[-1])
    surplus["call_id"], surplus["stream"] = "1.1", "call:1.1"
    messages.append(surplus)
    renumber(messages)


def stray(messages: Messages) -> None:
    messages.append(messages[0] | {"call_id": "1.1", "stream": "call:1.1"})
    renumber(messages)


def segment_lost(messages: Messages) -> None:
    record = finished(messages)
    record["segments"].remove(answered_segments(record)[-1])


def segment_surplus(messages: Messages) -> None:
    record = finished(messages)
    record["segments"].append(answered_segments(record)[-1] | {"dst_channel": None})


def segment_doubled(messages: Messages) -> None:
    record = finished(messages)
    record["segments"].append(answered_segments(record)[-1])


def segment_surplus_unanswered(messages: Messages) -> None:
    record = finished(messages)
    segment = answered_segments(record)[-1]
    end = shift(segment["end"], 500)
    record["segments"].append(segment | {"answer": None, "end": end, "billsec": 0, "disposition": "NO ANSWER"})


def segment_with(field: str, value: Callable[[Any], Any]) -> Sabotage:
    def sabotage(messages: Messages) -> None:
        segment = answered_segments(finished(messages))[-1]
        segment[field] = value(segment[field])

    return sabotage


def party(field: str, value: str) -> Sabotage:
    def sabotage(messages: Messages) -> None:
        finished(messages)[field] = value

    return sabotage


def talk(messages: Messages) -> None:
    finished(messages)["talk_seconds"] += 1


def duration(messages: Messages) -> None:
    finished(messages)["duration_seconds"] += 1


def merged(messages: Messages) -> None:
    finished(messages)["merged_into"] = "1795337565.0"


def invalid(messages: Messages) -> None:
    messages[-1]["data"]["surplus field"] = 1


SABOTAGE: list[tuple[str, str, Sabotage]] = [
    ("a call that nobody knows", "strays", another_call),
    ("a call that nobody knows takes a call's end", "calls", another_call),
    ("a channel in a wrong call", "channels", wrong_call),
    ("a leg lost", "channels", leg_lost),
    ("a leg under another name", "channels", leg_of_another_name),
    ("a leg said to have moved", "channels", leg_moved),
    ("a leg that is no channel", "surplus", leg_surplus),
    ("a leg told twice", "surplus", leg_doubled),
    ("a leg's start 11 ms late", "start", leg_time("started_at", 11)),
    ("a leg's answer 12 ms early", "answer", leg_time("answered_at", -12)),
    ("a leg's end 11 ms late", "end", leg_time("ended_at", 11)),
    ("a call's start 12 ms early", "start", call_time("started_at", -12)),
    ("a call's answer 11 ms late", "answer", call_time("answered_at", 11)),
    ("a call's end 12 ms early", "end", call_time("ended_at", -12)),
    ("a leg's answer forgotten", "answer", never_answered),
    ("a call's answer denied", "answer", call_never_answered),
    ("a leg's cause", "cause", leg_cause),
    ("a call's cause", "cause", call_cause),
    ("a call's cause forgotten", "cause", no_cause),
    ("the other side hung up", "hangup_by", other_side),
    ("a message lost", "sequence", lost),
    ("a finished-call lost without a trace", "calls", lost_in_secret),
    ("a message doubled", "sequence", doubled),
    ("a finished-call doubled without a trace", "calls", doubled_in_secret),
    ("two messages of one id", "sequence", same_id),
    ("two messages swapped", "sequence", swapped),
    ("a message after the last", "sequence", after_the_end),
    ("a surplus finished-call", "surplus", call_surplus),
    ("a stray message", "strays", stray),
    ("a segment lost", "segments", segment_lost),
    ("a surplus segment", "surplus", segment_surplus),
    ("a segment told twice", "surplus", segment_doubled),
    ("a surplus segment that nobody answered", "surplus", segment_surplus_unanswered),
    ("a segment's answer 12 ms early", "segments", segment_with("answer", lambda text: shift(text, -12))),
    ("a segment's end 11 ms late", "segments", segment_with("end", lambda text: shift(text, 11))),
    ("a segment's billsec", "segments", segment_with("billsec", lambda seconds: seconds + 1)),
    ("a segment's disposition", "segments", segment_with("disposition", lambda _: "NO ANSWER")),
    ("a segment's other party", "segments", segment_with("dst_channel", lambda name: name + "0")),
    ("a segment's own party", "segments", segment_with("channel", lambda name: name + "0")),
    ("another origin", "parties", party("origin", "0")),
    ("another name", "parties", party("origin_name", "Nobody")),
    ("another destiny", "parties", party("destiny", "0")),
    ("another direction", "parties", party("direction", "transit")),
    ("another disposition", "disposition", party("disposition", "CANCELLED")),
    ("talk that does not add up", "figures", talk),
    ("a duration that does not add up", "figures", duration),
    ("a merger that never was", "calls", merged),
    ("a field too many", "schema", invalid),
]
