"""The checker is proven here: it accepts a perfect account of every recording, and refuses each sabotage of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.truth import account, checker, forge, oracle, recordings
from tests.truth.sabotage import SABOTAGE, Sabotage, forged, judge, leg_time

SUBJECTS = (
    "01_inbound_answered_caller_hangup",
    "07_dtmf_during_call",
    "11_attended_transfer",
    "12b_queue_local_members",
)
"""One answered call; two calls; two calls that become one; a call through Local channels."""


@pytest.mark.parametrize("name", recordings.names())
def test_a_perfect_account_is_accepted(name: str) -> None:
    """What agrees with Asterisk has no fault, and every fact is judged."""
    truth = oracle.read(name)
    verdict = checker.check(account.read(forge.forge(truth)), truth)
    assert [str(fault) for fault in verdict.faults] == []
    for fact in ("calls", "channels", "start", "end", "cause", "hangup_by", "sequence", "schema"):
        assert verdict.total[fact] > 0, fact


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize(("fact", "sabotage"), [case[1:] for case in SABOTAGE], ids=[case[0] for case in SABOTAGE])
def test_sabotage_is_found(name: str, fact: str, sabotage: Sabotage) -> None:
    """An account spoilt in one place fails in the fact that was spoilt."""
    messages = forged(oracle.read(name))
    sabotage(messages)
    verdict = judge(messages, oracle.read(name))
    assert fact in {fault.fact for fault in verdict.faults}
    assert verdict.right[fact] < verdict.total[fact]


@pytest.mark.parametrize("field", ["started_at", "answered_at", "ended_at"])
@pytest.mark.parametrize("milliseconds", [-8, 9])
def test_what_two_clocks_may_differ_by_is_no_sabotage(field: str, milliseconds: int) -> None:
    """Less than 10 ms is agreement."""
    messages = forged(oracle.read(SUBJECTS[0]))
    leg_time(field, milliseconds)(messages)
    assert judge(messages, oracle.read(SUBJECTS[0])).faults == []


@pytest.mark.parametrize(
    ("name", "fact", "spoil"),
    [
        ("07_dtmf_during_call", "dtmf", lambda data: data.update(dtmf=data["dtmf"][:-1])),
        ("01_inbound_answered_caller_hangup", "dtmf", lambda data: data.update(dtmf="1")),
        ("10_blind_transfer", "transfers", lambda data: data["transfers"].clear()),
        ("10_blind_transfer", "transfers", lambda data: data["transfers"].append(data["transfers"][0])),
        ("11_attended_transfer", "transfers", lambda data: [one.update(kind="blind") for one in data["transfers"]]),
        ("17b_park_timeout_comeback", "parks", lambda data: data.update(outcome="retrieved")),
    ],
)
def test_what_parties_did_is_compared_too(name: str, fact: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    """Digits, transfers and parking that are not CEL's are found."""
    truth = oracle.read(name)
    messages = forged(truth)
    for message in messages:
        if message["operation"]["type"] == ("unparked-call" if fact == "parks" else "finished-call"):
            spoil(message["data"])
    assert {fault.fact for fault in judge(messages, truth).faults} == {fact}


def test_a_move_forgotten_is_found() -> None:
    """When two calls become one, the younger must say where its channel and itself went."""
    truth = oracle.read("11_attended_transfer")
    for spoil in ("moved_to", "merged_into"):
        messages = forged(truth)
        for message in messages:
            data = message["data"]
            if data.get("merged_into"):
                if spoil == "merged_into":
                    data["merged_into"] = None
                for leg in data["legs"]:
                    leg["moved_to"] = None if spoil == "moved_to" else leg["moved_to"]
        found = {fault.fact for fault in judge(messages, truth).faults}
        assert found == {"channels"} if spoil == "moved_to" else found == {"calls"}


def test_a_conference_may_be_told_by_its_meetings_or_by_the_cdr() -> None:
    """Where A did not dial B, both the definition's time and the CDR's own are right; nothing between them is."""
    truth = oracle.read("14_conference_three")
    row = next(row for row in truth.rows if row.is_answered)
    assert not row.is_dialled
    for answer, billsec, right in (
        (row.answer, row.billsec, True),
        (truth.meetings(row)[0][0], 3, True),
        ((row.answer or 0) + 500_000, 3, False),
    ):
        messages = forged(truth)
        for message in messages:
            for segment in message["data"].get("segments", ()):
                if (segment["channel"], segment["dst_channel"]) == (row.channel, row.dst_channel):
                    segment["answer"], segment["billsec"] = forge.rfc3339(answer), billsec
        assert ("segments" not in {fault.fact for fault in judge(messages, truth).faults}) is right


def test_a_queue_is_not_told_by_its_meetings() -> None:
    """Where A dialled B, the answer is A's Up, not the moment in which both were in a bridge."""
    truth = oracle.read("12_queue_two_agents_ringall")
    row = next(row for row in truth.rows if row.is_answered)
    messages = forged(truth)
    for segment in messages[-1]["data"]["segments"]:
        if segment["dst_channel"] == row.dst_channel:
            segment["answer"] = forge.rfc3339(truth.meetings(row)[0][0])
    assert "segments" in {fault.fact for fault in judge(messages, truth).faults}


def test_a_gap_is_known_by_the_websockets_life() -> None:
    """What happened while nobody listened is neither demanded nor counted; the rest of the recording is."""
    truth = oracle.read("22_ws_drop_mid_call")
    unseen = [call.linkedid for call in truth.calls.values() if not truth.call_seen_to_end(call)]
    assert unseen == ["1795339132.814", "1795339135.821"]
    deaf = oracle.read("22c_second_client_replaces_app")
    began = deaf.channels["1795338101.22"].start
    assert not deaf.seen(began)
    assert oracle.watched("01_inbound_answered_caller_hangup") is None


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("02_answered_callee_hangup", ["destiny"]),
        ("03_no_answer_timeout", ["system"]),
        ("12b_queue_local_members", ["destiny"]),  # the agent behind a Local member
        ("15c_stasis_bridge_own_app", ["system"]),
        ("15e_click_to_call_ami_local", ["origin"]),  # the agent behind the originated Local pair
        ("20_local_channel_chain", ["origin"]),
        ("28_max_duration_limit", ["system", "system"]),
        ("34_originate_no_dialplan_and_external", ["destiny", "origin"]),
    ],
)
def test_hangup_sides_are_those_that_people_wrote_down(name: str, sides: list[str]) -> None:
    """The oracle's sides agree with the recordings' README, Local channels included."""
    truth = oracle.read(name)
    assert [truth.hangup_by(call) for call in truth.calls.values()] == sides
