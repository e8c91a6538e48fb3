"""Gaps in recordings: what is concluded is what Asterisk's own CEL and CDR say, as far as anybody can know it."""

import json
import pickle

import pytest

from actors.call.decoding import milliseconds
from conf.settings import Settings
from tests import gaps
from tests.telling import Told
from tests.truth import recordings
from wire.store.row import Kind


def cel(name: str, channel: str, event: str) -> int:
    """Unix milliseconds of a row of Asterisk's channel event log."""
    [row] = [row for row in recordings.cel(name) if row["uniqueid"] == channel and row["eventtype"] == event]
    return int(float(row["eventtime"]) * 1000)


def near(text: str, at_ms: int) -> bool:
    """A message's time is this one; CEL and ARI write one moment up to some milliseconds apart."""
    return abs(milliseconds(text) - at_ms) <= 5


A, B, C, D, E = range(5)
DROPS = {
    "22_ws_drop_mid_call": (
        "1795339132.814",
        "1795339132.817",
        "1795339135.819",
        "1795339135.821",
        "1795339132.816",
    ),
    "22b_ws_drop_graceful_close": (
        "1795339144.823",
        "1795339145.826",
        "1795339148.828",
        "1795339148.830",
        "1795339144.825",
    ),
}


@pytest.mark.parametrize("name", DROPS)
def test_a_call_that_goes_on_is_left_alone(told: Told, name: str) -> None:
    """E talked all through the gap: nothing recovered is said of it, and its account is the CDR's."""
    calls = DROPS[name]
    told.rows(gaps.journal(name))
    assert not any(one["recovered"] for one in told.messages if one["call_id"] == calls[E])
    [row] = [row for row in recordings.cdr(name) if row["uniqueid"] == calls[E]]
    finished = told.finished(calls[E])
    assert near(finished["answered_at"], int(float(row["answer"]) * 1000))
    assert near(finished["ended_at"], int(float(row["end"]) * 1000))


@pytest.mark.parametrize("name", DROPS)
def test_a_call_answered_in_the_gap_has_its_true_answer_time(told: Told, name: str) -> None:
    """B: answered-call and the account have the moment of the CEL, not of the snapshot."""
    call = DROPS[name][B]
    told.rows(gaps.journal(name))
    [answered] = told.said("answered-call", call)
    assert answered["recovered"]
    assert near(answered["timestamp"], cel(name, answered["data"]["channel_id"], "ANSWER"))
    finished = told.finished(call)
    assert not finished["recovered"]
    assert near(finished["answered_at"], cel(name, call, "ANSWER"))
    [row] = [row for row in recordings.cdr(name) if row["uniqueid"] == call]
    [segment] = finished["segments"]
    assert (segment["channel"], segment["dst_channel"]) == (row["channel"], row["dstchannel"])
    assert near(segment["start"], int(float(row["start"]) * 1000))
    assert near(segment["answer"], int(float(row["answer"]) * 1000))
    assert near(segment["end"], int(float(row["end"]) * 1000))
    assert segment["billsec"] == int(row["billsec"])


@pytest.mark.parametrize("name", DROPS)
def test_a_call_that_began_in_the_gap_is_adopted(told: Told, name: str) -> None:
    """C: its parties, who dialled whom, its begin, its answer and its segment are the CDR's."""
    call = DROPS[name][C]
    told.rows(gaps.journal(name))
    assert [(one["operation"]["type"], one["recovered"]) for one in told.messages if one["call_id"] == call] == [
        ("received-call", True),
        ("answered-call", True),
        ("finished-call", False),
    ]
    [row] = [row for row in recordings.cdr(name) if row["uniqueid"] == call]
    finished = told.finished(call)
    assert (finished["origin"], finished["destiny"], finished["direction"]) == (row["src"], row["dst"], "inbound")
    assert near(finished["started_at"], cel(name, call, "CHAN_START"))
    assert near(finished["answered_at"], cel(name, call, "ANSWER"))
    [segment] = finished["segments"]
    assert (segment["channel"], segment["dst_channel"]) == (row["channel"], row["dstchannel"])
    assert near(segment["answer"], int(float(row["answer"]) * 1000))
    assert segment["billsec"] == int(row["billsec"])


@pytest.mark.parametrize("name", DROPS)
def test_a_call_that_ended_in_the_gap_is_ended(told: Told, name: str) -> None:
    """A: no later than it really did, no earlier than it was last seen, and nobody claims to know why."""
    call = DROPS[name][A]
    rows = gaps.journal(name)
    told.rows(rows)
    finished = told.finished(call)
    assert finished["recovered"]
    last_frame = max(row.at_ms for row in rows if row.kind == Kind.FRAME and call.encode() in row.body)
    assert last_frame <= milliseconds(finished["ended_at"]) <= cel(name, call, "CHAN_END")
    assert (finished["cause"], finished["hangup_by"]) == ({"code": None, "text": None}, "system")
    assert finished["disposition"] == "ANSWERED"
    assert near(finished["answered_at"], cel(name, call, "ANSWER"))


@pytest.mark.parametrize("name", DROPS)
def test_what_was_never_seen_is_covered_by_the_gap(told: Told, name: str) -> None:
    """D began and ended in the gap: nobody can know of it, but the gap that hides it is told, once."""
    calls = DROPS[name]
    told.rows(gaps.journal(name))
    assert calls[D] not in json.dumps(told.messages)
    [gap] = told.gaps
    assert (gap["adopted"], gap["corrected"], gap["ended"]) == ([calls[C]], [calls[B]], [calls[A]])
    assert gap["reason"] == gaps.DOWN[name]
    assert milliseconds(gap["from"]) <= cel(name, calls[D], "CHAN_START")
    assert milliseconds(gap["to"]) >= cel(name, calls[D], "CHAN_END")


def test_a_name_taken_by_another_is_a_gap(told: Told) -> None:
    """22c: the link is silent from ApplicationReplaced on; the call that began meanwhile is adopted."""
    name = "22c_second_client_replaces_app"
    told.rows(gaps.journal(name))
    [gap] = told.gaps
    assert (gap["reason"], gap["adopted"], gap["corrected"], gap["ended"]) == ("replaced", ["1795338101.22"], [], [])
    [row] = [row for row in recordings.cdr(name) if row["uniqueid"] == "1795338101.22"]
    [segment] = told.finished("1795338101.22")["segments"]
    assert near(segment["answer"], int(float(row["answer"]) * 1000))
    assert segment["billsec"] == int(row["billsec"])


def test_a_restart_that_says_so_leaves_nothing_to_infer(told: Told) -> None:
    """21: everything was told before the link went; the gap is told all the same."""
    told.rows(gaps.journal("21_asterisk_restart_mid_call"))
    [gap] = told.gaps
    assert (gap["inferred"], gap["ended"]) == (0, [])
    assert not any(one["recovered"] for one in told.messages)


def test_a_crash_ends_all_calls_at_the_first_look(told: Told) -> None:
    """21c: another startup_time. They end when they were last seen, at the snapshot right after the reconnect."""
    name = "21c_asterisk_crash_mid_call"
    rows = gaps.journal(name)
    calls = ["1795338046.2", "1795338047.4", "1795338047.6"]
    first_look = next(row for row in rows if row.kind == Kind.SNAPSHOT and b"right after" in row.body)
    told.rows(rows[: first_look.n])
    assert not told.run.calls
    for call in calls:
        finished = told.finished(call)
        assert finished["recovered"]
        assert finished["cause"] == {"code": None, "text": None}
    answered, ringing, queued = (told.finished(call) for call in calls)
    assert (answered["disposition"], answered["talk_seconds"] > 2) == ("ANSWERED", True)
    assert (ringing["disposition"], ringing["talk_seconds"]) == ("NO ANSWER", 0)
    assert (queued["disposition"], queued["talk_seconds"]) == ("NO ANSWER", 0)
    told.rows(rows[first_look.n :])
    [gap] = told.gaps
    assert sorted(gap["ended"]) == calls


@pytest.mark.parametrize("name", gaps.DOWN)
def test_a_journal_of_snapshots_is_folded_the_same_twice(settings: Settings, name: str) -> None:
    """Byte for byte, also when the state went through a pickle at any row that is no frame."""
    rows = gaps.journal(name)
    once = Told(settings).rows(rows).messages
    again = Told(settings)
    for row in rows:
        if row.kind != Kind.FRAME:
            again.run.world = pickle.loads(pickle.dumps(again.run.world))
        again.rows([row])
    assert json.dumps(once) == json.dumps(again.messages)
