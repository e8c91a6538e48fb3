"""Gaps: what is concluded from snapshots is what Asterisk's own CEL and CDR say, as far as anybody can know it."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from actors.call.decoding import milliseconds
from actors.call.envelope import rfc3339
from actors.call.events import Channel
from actors.call.gap import Gap
from actors.call.recovery import clock, link_up, missed, rows_lost
from conf.settings import Settings
from tests import gaps
from tests.telling import DOWN, SECOND, UP, Told, call_under_way, frame, look, stamp
from tests.truth import recordings
from wire.store.row import Kind, Row


def cel(name: str, channel: str, event: str) -> int:
    """Unix milliseconds of a row of Asterisk's channel event log."""
    [row] = [row for row in recordings.cel(name) if row["uniqueid"] == channel and row["eventtype"] == event]
    return int(float(row["eventtime"]) * 1000)


def near(text: str, at_ms: int) -> bool:
    """A message's time is this one; CEL and ARI write one moment up to some milliseconds apart."""
    return abs(milliseconds(text) - at_ms) <= 5


# --- the recordings ---------------------------------------------------------------------------------------------------

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


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_the_very_first_link_up_is_the_end_of_no_gap(told: Told, caller: Channel) -> None:
    """Nothing was under way: nothing to tell."""
    assert call_under_way(told, caller).run.world.watch.past == ()


def test_calls_from_before_the_very_first_link_up(told: Told, caller: Channel) -> None:
    """They are adopted when two looks show them, and the gap begins with the oldest."""
    told.row(1, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller]))
    assert not told.run.calls
    told.row(3, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], gap["adopted"]) == ("started", ["a"])
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (11 * SECOND, 20 * SECOND)
    assert list(told.run.calls) == ["a"]


def test_a_link_up_without_a_link_down(told: Told, caller: Channel) -> None:
    """Connection was killed: the gap begins with the last row that it wrote."""
    call_under_way(told, caller)
    told.row(7, 30 * SECOND, Kind.LINK_UP, UP | {"last_row_ms": 19 * SECOND})
    told.row(8, 31 * SECOND, Kind.SNAPSHOT, look(31 * SECOND, [caller]))
    told.row(9, 34 * SECOND, Kind.SNAPSHOT, look(34 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 19_000, 30_000)
    assert gap["inferred"] == 0


def test_a_look_over_a_dead_link_is_no_hearing(told: Told, caller: Channel) -> None:
    """It comes by REST; if the journal begins anew then, the gap begins when the event link was last heard."""
    call_under_way(told, caller)
    told.row(20, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [caller]) | {"heard_ms": 17 * SECOND})
    told.row(1, 30 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 31 * SECOND, Kind.SNAPSHOT, look(31 * SECOND, [caller]))
    told.row(3, 34 * SECOND, Kind.SNAPSHOT, look(34 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("journal-lost", 17_000, 30_000)


def test_a_journal_that_begins_anew(told: Told, caller: Channel) -> None:
    """Its n begin again: the gap begins with the last thing known of the old one."""
    call_under_way(told, caller)
    told.row(1, 30 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 31 * SECOND, Kind.SNAPSHOT, look(31 * SECOND, []))
    assert told.run.calls
    told.row(3, 34 * SECOND, Kind.SNAPSHOT, look(34 * SECOND, []))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), gap["ended"]) == ("journal-lost", 15_000, ["a"])
    assert not told.run.calls


def test_lost_rows_are_a_gap(told: Told, caller: Channel) -> None:
    """With their number; what they hid is inferred from the looks that follow."""
    call_under_way(told, caller)
    told.row(9, 20 * SECOND, Kind.LOST, {"from_ms": 16_000, "to_ms": 20_000, "reason": "disk full", "rows": 3})
    told.row(10, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, []))
    told.row(11, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    [gap] = told.gaps
    assert (gap["reason"], gap["rows_lost"], gap["ended"]) == ("rows-lost", 3, ["a"])
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (16_000, 20_000)


def test_rows_lost_while_the_link_is_down_belong_to_its_gap(told: Told, caller: Channel) -> None:
    """One gap, with the reason of the link, and the number of rows."""
    call_under_way(told, caller)
    told.row(7, 17 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(9, 20 * SECOND, Kind.LOST, {"from_ms": 16_000, "to_ms": 20_000, "reason": "disk full", "rows": None})
    told.row(10, 21 * SECOND, Kind.LINK_UP, UP)
    told.row(11, 22 * SECOND, Kind.SNAPSHOT, look(22 * SECOND, [caller]))
    told.row(12, 25 * SECOND, Kind.SNAPSHOT, look(25 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], gap["rows_lost"]) == ("lost", 0)
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (16_000, 21_000)


def test_a_look_shows_that_a_link_up_was_lost(told: Told, caller: Channel) -> None:
    """A look is taken through a link: the link is up again, the gap is told, and the next one without a word too."""
    call_under_way(told, caller)
    told.row(7, 17 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(1, 20 * SECOND, Kind.LOST, {"from_ms": 17_000, "to_ms": 20_000, "reason": "damage", "rows": None})
    told.row(2, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller]))
    assert [one["timestamp"] for one in told.said("pbx-connected")] == [rfc3339(10_000), rfc3339(21_000)]
    told.row(3, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    told.row(4, 30 * SECOND, Kind.LINK_UP, UP)
    told.row(5, 31 * SECOND, Kind.LINK_DOWN, DOWN)
    assert [(one["reason"], milliseconds(one["from"]), milliseconds(one["to"])) for one in told.gaps] == [
        ("lost", 17_000, 21_000),
        ("killed", 24_000, 30_000),
    ]


def test_a_gap_in_which_the_clock_was_set_back(told: Told, caller: Channel) -> None:
    """It reaches from the earlier of its ends to the latest moment known of it: nothing that it hid lies outside."""
    call_under_way(told, caller)
    told.row(7, 30 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 29_500})
    told.row(8, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller]))
    told.row(10, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", 20_000, 30_000)


def clock_row(seconds: int, ahead: int, began: bool = False, heard: int | None = None, boot: int = 1) -> dict[str, Any]:
    """A row of the host's clock, at some time by it, in seconds."""
    heard_ms = None if heard is None else heard * SECOND
    return {"boot_id": f"boot {boot}", "ahead_ms": ahead * SECOND, "began": began, "heard_ms": heard_ms}


AHEAD = 5
"""How far the host's clock is ahead of the time since the boot, until it is set, seconds."""


def test_a_clock_set_back_in_a_silence(told: Told, caller: Channel) -> None:
    """What the PBX stamped by the old clock, and then by the new one, is covered, though no row has such a time."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 1 * SECOND, Kind.CLOCK, clock_row(1, AHEAD - 20, heard=-1))
    told.row(9, 2 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": -1 * SECOND})
    told.row(10, 3 * SECOND, Kind.LINK_UP, UP)
    told.row(11, 4 * SECOND, Kind.SNAPSHOT, look(4 * SECOND, [caller]))
    told.row(12, 7 * SECOND, Kind.SNAPSHOT, look(7 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", -1_000, 23_000)


@pytest.mark.parametrize("dies", [False, True])
def test_a_clock_set_twice_within_a_gap(told: Told, caller: Channel, dies: bool) -> None:
    """The gap covers what it said in between, though both its ends were stamped by one clock; whoever tells of them."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 39 * SECOND})
    told.row(9, 36 * SECOND, Kind.CLOCK, clock_row(36, AHEAD - 5))
    told.row(10, 42 * SECOND, Kind.CLOCK, clock_row(42, AHEAD, began=dies, heard=36))
    told.row(11, 43 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 44 * SECOND, Kind.SNAPSHOT, look(44 * SECOND, [caller]))
    told.row(13, 47 * SECOND, Kind.SNAPSHOT, look(47 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("lost", 34_000, 43_000)


def test_a_clock_set_back_across_a_death(told: Told, caller: Channel) -> None:
    """The next Connection has the same time since the boot: the gap covers what either clock said."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 27 * SECOND, Kind.CLOCK, clock_row(27, AHEAD - 5, began=True, heard=30))
    told.row(9, 28 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 29 * SECOND, Kind.SNAPSHOT, look(29 * SECOND, [caller]))
    told.row(11, 32 * SECOND, Kind.SNAPSHOT, look(32 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 25_000, 33_000)


def test_a_second_connection_that_dies_before_its_link_is_up(told: Told, caller: Channel) -> None:
    """The gap begins where the one before last heard the PBX, whatever the journal held since."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.CLOCK, clock_row(40, AHEAD, began=True, heard=30))
    told.row(9, 60 * SECOND, Kind.CLOCK, clock_row(60, AHEAD, began=True, heard=38))
    told.row(10, 61 * SECOND, Kind.LINK_UP, UP)
    told.row(11, 62 * SECOND, Kind.SNAPSHOT, look(62 * SECOND, [caller]))
    told.row(12, 65 * SECOND, Kind.SNAPSHOT, look(65 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 30_000, 61_000)


def test_a_gap_that_is_not_confirmed_ends_with_its_connection(told: Told, caller: Channel) -> None:
    """The next one's begins there."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 20 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 19 * SECOND})
    told.row(9, 21 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 30 * SECOND, Kind.CLOCK, clock_row(30, AHEAD, began=True, heard=25))
    told.row(11, 31 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 32 * SECOND, Kind.SNAPSHOT, look(32 * SECOND, [caller]))
    told.row(13, 35 * SECOND, Kind.SNAPSHOT, look(35 * SECOND, [caller]))
    assert [(one["reason"], milliseconds(one["from"]), milliseconds(one["to"])) for one in told.gaps] == [
        ("lost", 19_000, 21_000),
        ("killed", 25_000, 31_000),
    ]


@pytest.mark.parametrize(
    ("ahead", "from_ms", "to_ms"),
    [
        pytest.param(60, 18_000, 71_000, id="the clock went on"),
        pytest.param(-90, -90_000, 31_000, id="the clock was set back"),
    ],
)
def test_a_reboot_within_a_gap(told: Told, caller: Channel, ahead: int, from_ms: int, to_ms: int) -> None:
    """The gap covers what the clock said before, as far as rows tell, and all since the boot by the new one."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 30 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 29 * SECOND})
    told.row(9, 20 * SECOND, Kind.CLOCK, clock_row(20, AHEAD - 11))
    at = ahead + 10
    told.row(1, at * SECOND, Kind.CLOCK, clock_row(at, ahead, began=True, heard=20, boot=2))
    told.row(2, (at + 1) * SECOND, Kind.LINK_UP, UP)
    told.row(3, (at + 2) * SECOND, Kind.SNAPSHOT, look((at + 2) * SECOND, [caller]))
    told.row(4, (at + 5) * SECOND, Kind.SNAPSHOT, look((at + 5) * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("journal-lost", from_ms, to_ms)


def test_a_clock_set_back_while_connection_was_dead(told: Told, caller: Channel) -> None:
    """The gap covers the last row of the old Connection, though it seems to lie in the future."""
    call_under_way(told, caller)
    told.row(7, 13 * SECOND, Kind.LINK_UP, UP | {"last_row_ms": 19 * SECOND})
    told.row(8, 14 * SECOND, Kind.SNAPSHOT, look(14 * SECOND, [caller]))
    told.row(9, 17 * SECOND, Kind.SNAPSHOT, look(17 * SECOND, [caller]))
    [gap] = told.gaps
    assert (gap["reason"], milliseconds(gap["from"]), milliseconds(gap["to"])) == ("killed", 13_000, 19_000)


def test_rows_that_are_gone_after_a_clock_set_back(caller: Channel, told: Told) -> None:
    """A gap that was not told when they went keeps its ends, though all that is left has earlier times."""
    told.row(1, 9 * SECOND, Kind.CLOCK, clock_row(9, AHEAD, began=True))
    call_under_way(told, caller, 1)
    told.row(8, 40 * SECOND, Kind.LINK_DOWN, DOWN | {"last_data_ms": 39 * SECOND})
    told.row(9, 42 * SECOND, Kind.LINK_UP, UP)
    told.row(10, 13 * SECOND, Kind.CLOCK, clock_row(13, AHEAD - 30, heard=13))
    watch = missed(told.run.world.watch, 12, 14 * SECOND, 15 * SECOND)
    lost = {"from_ms": 14 * SECOND, "to_ms": 16 * SECOND, "reason": "the host stopped", "rows": None}
    correlation = told.run.world.correlation
    watch = rows_lost(watch, correlation, Row(1, 16 * SECOND, Kind.LOST, b""), lost)
    watch, _ = clock(watch, Row(2, 16 * SECOND, Kind.CLOCK, b""), clock_row(16, 12, began=True, boot=2), True)
    watch, _ = link_up(watch, correlation, Row(3, 17 * SECOND, Kind.LINK_UP, b""), UP, True)
    assert watch.gap is not None
    assert (watch.gap.reason, watch.gap.from_ms, watch.gap.to_ms) == ("journal-lost", 14 * SECOND, 42 * SECOND)


def test_rows_lost_across_a_clock_set_back(told: Told, caller: Channel) -> None:
    """The gap covers both ends, whichever seems the earlier."""
    call_under_way(told, caller)
    told.row(9, 16 * SECOND, Kind.LOST, {"from_ms": 20_000, "to_ms": 16_000, "reason": "disk full", "rows": 3})
    told.row(10, 17 * SECOND, Kind.SNAPSHOT, look(17 * SECOND, [caller]))
    told.row(11, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [caller]))
    [gap] = told.gaps
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (16_000, 20_000)


def test_a_link_that_flaps_has_a_gap_for_each_time(told: Told, caller: Channel) -> None:
    """A gap that no second look has confirmed is told when the next begins, once."""
    call_under_way(told, caller)
    told.row(7, 17 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(8, 18 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 18_500, Kind.SNAPSHOT, look(18_500, [caller]))
    told.row(10, 19 * SECOND, Kind.LINK_DOWN, DOWN | {"reason": "closed", "last_data_ms": 18_900})
    told.row(11, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller]))
    told.row(13, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    told.row(14, 27 * SECOND, Kind.SNAPSHOT, look(27 * SECOND, [caller]))
    assert [(one["reason"], milliseconds(one["from"]), milliseconds(one["to"])) for one in told.gaps] == [
        ("lost", 17_000, 18_000),
        ("closed", 18_900, 20_000),
    ]


def test_who_was_not_heard_of_between_two_gaps_is_gone_since_the_first(told: Told, caller: Channel) -> None:
    """The second began before a second look: the end is in its account, its time is the begin of the first."""
    call_under_way(told, caller)
    told.row(10, 20 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(11, 22 * SECOND, Kind.LINK_UP, UP)
    told.row(12, 22 * SECOND, Kind.SNAPSHOT, look(22 * SECOND, []))
    told.row(13, 23 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(14, 24 * SECOND, Kind.LINK_UP, UP)
    told.row(15, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    told.row(16, 27 * SECOND, Kind.SNAPSHOT, look(27 * SECOND, [], nth=2))
    assert [gap["ended"] for gap in told.gaps] == [[], ["a"]]
    assert told.finished("a")["ended_at"] == rfc3339(20 * SECOND)


def test_who_spoke_between_two_gaps_is_gone_since_the_second(told: Told, caller: Channel) -> None:
    """It was still there then."""
    call_under_way(told, caller)
    told.row(10, 20 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(11, 22 * SECOND, Kind.LINK_UP, UP)
    shown = frame("ChannelDialplan", 22 * SECOND, caller, dialplan_app="Echo", dialplan_app_data="")
    told.row(12, 22 * SECOND, Kind.FRAME, shown)
    told.row(13, 23 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(14, 24 * SECOND, Kind.LINK_UP, UP)
    told.row(15, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    told.row(16, 27 * SECOND, Kind.SNAPSHOT, look(27 * SECOND, [], nth=2))
    assert told.finished("a")["ended_at"] == rfc3339(23 * SECOND)


def test_who_was_seen_otherwise_between_two_gaps_is_gone_since_then(told: Told, caller: Channel) -> None:
    """One look cannot correct what has spoken, but it shows that it was there."""
    call_under_way(told, caller)
    told.row(10, 20 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(11, 22 * SECOND, Kind.LINK_UP, UP)
    shown = frame("ChannelDialplan", 22 * SECOND, caller, dialplan_app="Echo", dialplan_app_data="")
    told.row(12, 22 * SECOND, Kind.FRAME, shown)
    told.row(13, 22_500, Kind.SNAPSHOT, look(22_500, [caller._replace(app="Playback")]))
    told.row(14, 23 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(15, 24 * SECOND, Kind.LINK_UP, UP)
    told.row(16, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    told.row(17, 27 * SECOND, Kind.SNAPSHOT, look(27 * SECOND, [], nth=2))
    assert told.finished("a")["ended_at"] == rfc3339(22_500)


def test_two_looks_too_close_conclude_nothing(told: Told, caller: Channel) -> None:
    """Nothing ends by absence, and the gap is not told, before two seconds are between two looks."""
    call_under_way(told, caller)
    told.row(7, 17 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(8, 18 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 19_000, Kind.SNAPSHOT, look(19_000, []))
    told.row(10, 21_009, Kind.SNAPSHOT, look(21_009, [], nth=2))
    assert (list(told.run.calls), told.gaps) == (["a"], [])
    told.row(11, 21_010, Kind.SNAPSHOT, look(21_010, [], nth=2))
    assert not told.run.calls
    [gap] = told.gaps
    assert gap["ended"] == ["a"]
    assert milliseconds(told.finished("a")["ended_at"]) == 17_000


def test_a_first_look_that_comes_soon_begins_a_new_pair(told: Told, caller: Channel) -> None:
    """An operator's, say, just after an audit: what it shows is concluded two seconds later, not at once, not never."""
    call_under_way(told, caller)
    told.row(7, 16_500, Kind.SNAPSHOT, look(16_500, [], id="mine", purpose="operator"))
    assert list(told.run.calls) == ["a"]
    told.row(8, 18_600, Kind.SNAPSHOT, look(18_600, [], id="mine", purpose="operator", nth=2))
    assert not told.run.calls
    outcome = told.run.world.watch.outcome
    assert outcome is not None
    assert outcome.ended == ("a",)


def test_a_channel_that_speaks_between_two_looks_lives(told: Told, caller: Channel) -> None:
    """An event of it is stronger than two snapshots without it."""
    call_under_way(told, caller)
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, []))
    told.row(8, 21 * SECOND, Kind.FRAME, frame("ChannelHold", 21 * SECOND, caller))
    told.row(9, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    assert list(told.run.calls) == ["a"]
    told.row(10, 27 * SECOND, Kind.SNAPSHOT, look(27 * SECOND, []))
    assert not told.run.calls


def test_an_audit_ends_what_was_lost_under_a_live_link(told: Told, caller: Channel) -> None:
    """Its gap reaches from the last look that agreed to the first that did not."""
    call_under_way(told, caller)
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, []))
    told.row(8, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, []))
    [gap] = told.gaps
    assert (gap["reason"], gap["ended"], gap["inferred"]) == ("audit", ["a"], 1)
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (14_990, 20_000)
    assert milliseconds(told.finished("a")["ended_at"]) == 14_990


def test_an_audit_that_finds_nothing_says_nothing(told: Told, caller: Channel) -> None:
    """Looks that agree with what is known make no message."""
    call_under_way(told, caller)
    before = len(told.messages)
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [caller]))
    told.row(8, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [caller]))
    assert len(told.messages) == before


def test_a_snapshot_of_a_channel_that_has_died_since_adopts_nothing(told: Told, caller: Channel) -> None:
    """Its ChannelDestroyed came before the snapshot that still shows it."""
    call_under_way(told, caller)
    told.row(7, 20 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(8, 21 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 21_100, Kind.FRAME, frame("ChannelDestroyed", 21_100, caller, cause=16, cause_txt="Normal Clearing"))
    told.row(10, 21_200, Kind.SNAPSHOT, look(21_200, [caller]))
    told.row(11, 24_000, Kind.SNAPSHOT, look(24_000, [caller]))
    assert not told.run.calls
    assert told.finished("a")["cause"]["code"] == 16
    assert not told.finished("a")["recovered"]


def test_a_channel_younger_than_the_link_waits_for_its_own_event(told: Told, channel: Callable[..., Channel]) -> None:
    """A snapshot may be ahead of ChannelCreated; only if that has not come until the next look, it never will."""
    young = channel("y", created=stamp(20_500), app="Echo", state="Up")
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 12 * SECOND, Kind.SNAPSHOT, look(12 * SECOND, []))
    told.row(3, 15 * SECOND, Kind.SNAPSHOT, look(15 * SECOND, []))
    told.row(4, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [young]))
    assert not told.run.calls
    told.row(5, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [young]))
    assert list(told.run.calls) == ["y"]
    [gap] = told.gaps
    assert (gap["reason"], gap["adopted"]) == ("audit", ["y"])


def test_an_answer_that_the_first_frame_shows(told: Told, channel: Callable[..., Channel]) -> None:
    """The hang-up comes before the first look, and shows that it had been answered: at the latest at the link-up."""
    ringing = channel("a", created=stamp(11 * SECOND))
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.FRAME, frame("ChannelCreated", 11 * SECOND, ringing))
    told.row(3, 12 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(4, 20 * SECOND, Kind.LINK_UP, UP)
    up = ringing._replace(state="Up")
    told.row(5, 20_100, Kind.FRAME, frame("ChannelDestroyed", 20_100, up, cause=16, cause_txt=""))
    finished = told.finished("a")
    assert finished["answered"]
    assert milliseconds(finished["answered_at"]) == 20_000


def test_a_leg_that_speaks_before_the_first_look(told: Told, channel: Callable[..., Channel]) -> None:
    """It began unseen, and an event showed it before a snapshot could: who dialled it is found all the same."""
    calling = channel("a", created=stamp(15 * SECOND), state="Up", app="Dial", number="79031112233")
    called = channel("b", created=stamp(15_001), state="Up", app="AppDial", number="1121", exten="")
    calling, called = calling._replace(connected="1121"), called._replace(connected="79031112233")
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(3, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(4, 20_050, Kind.FRAME, frame("ChannelHold", 20_050, called))
    bridge = {
        "id": "m",
        "technology": "simple_bridge",
        "bridge_class": "basic",
        "creator": "",
        "name": "",
        "channels": ["b", "a"],
        "creationtime": stamp(18 * SECOND),
    }
    variables = {"a": {"CHANNEL(linkedid)": "a"}, "b": {"CHANNEL(linkedid)": "a", "CDR(answer,u)": "17.900000"}}
    told.row(5, 20_100, Kind.SNAPSHOT, look(20_100, [calling, called], [bridge], variables))
    assert list(told.run.calls) == ["a"]
    assert [(one["operation"]["type"], one["recovered"]) for one in told.messages if one["call_id"] == "a"] == [
        ("received-call", True),
        ("held-call", False),
        ("answered-call", True),
    ]
    [answered] = told.said("answered-call")
    assert (answered["data"]["number"], milliseconds(answered["timestamp"])) == ("1121", 17_900)


def test_a_late_leg_that_waits_is_asked_about(told: Told, caller: Channel, channel: Callable[..., Channel]) -> None:
    """Events were lost under a live link: the second look asks for the call of a leg that nobody else tells of."""
    call_under_way(told, caller)
    leg = channel("b", created=stamp(16 * SECOND), state="Up", app="AppDial", exten="")
    told.row(7, 17 * SECOND, Kind.FRAME, frame("ChannelHold", 17 * SECOND, leg))
    told.row(8, 18 * SECOND, Kind.SNAPSHOT, look(18 * SECOND, [caller, leg]))
    assert told.run.world.watch.doubts == {"b"}
    variables = {"b": {"CHANNEL(linkedid)": "a"}}
    told.row(9, 21 * SECOND, Kind.SNAPSHOT, look(21 * SECOND, [caller, leg], variables=variables, nth=2))
    assert told.run.world.correlation.channels["b"].call == "a"


def test_a_call_adopted_in_an_ivr(told: Told, channel: Callable[..., Channel]) -> None:
    """Its extension is that of the IVR by now; the number that it dialled is asked for."""
    caller = channel("a", state="Up", app="Read", context="ivr", exten="s", created=stamp(15 * SECOND))
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(3, 20 * SECOND, Kind.LINK_UP, UP)
    variables = {"a": {"CALLERID(dnid)": "74957770010"}}
    told.row(4, 20_100, Kind.SNAPSHOT, look(20_100, [caller], variables=variables))
    ended = caller._replace(exten="h")
    told.row(5, 25_000, Kind.FRAME, frame("ChannelDestroyed", 25_000, ended, cause=16, cause_txt=""))
    assert told.finished("a")["destiny"] == "74957770010"


def test_a_linkedid_that_was_asked_for_is_not_believed_for_ever(told: Told, channel: Callable[..., Channel]) -> None:
    """It says which call a channel is in now; later bridges move it all the same."""
    one = channel("a", created=stamp(11 * SECOND), state="Up", app="Wait")
    two = channel("b", created=stamp(12 * SECOND), state="Up", app="Wait")
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 10_100, Kind.LINK_DOWN, DOWN)
    told.row(3, 20 * SECOND, Kind.LINK_UP, UP)
    variables = {"a": {"CHANNEL(linkedid)": "a"}, "b": {"CHANNEL(linkedid)": "b"}}
    told.row(4, 20_100, Kind.SNAPSHOT, look(20_100, [one, two], variables=variables))
    assert sorted(told.run.calls) == ["a", "b"]
    bridge = {"id": "m", "technology": "simple_bridge", "bridge_class": "basic", "creator": "", "name": ""}
    for n, (each, members) in enumerate(((one, ["a"]), (two, ["a", "b"])), 5):
        told.row(
            n,
            21 * SECOND,
            Kind.FRAME,
            frame("ChannelEnteredBridge", 21 * SECOND, each, bridge=bridge | {"channels": members}),
        )
    assert list(told.run.calls) == ["a"]
    assert told.finished("b")["merged_into"] == "a"


def test_a_bridge_left_and_a_bridge_entered_unseen(told: Told, channel: Callable[..., Channel]) -> None:
    """A conference that was left, and one that was entered at the moment of its making."""
    one = channel("a", created=stamp(11 * SECOND), state="Up", app="ConfBridge")
    rooms = [
        {
            "id": room,
            "technology": "softmix",
            "bridge_class": "base",
            "creator": "ConfBridge",
            "name": room,
            "channels": members,
            "creationtime": stamp(made_ms),
        }
        for room, members, made_ms in (("red", ["a"], 11_000), ("blue", ["a"], 19_000))
    ]
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.FRAME, frame("ChannelCreated", 11 * SECOND, one))
    told.row(3, 12 * SECOND, Kind.FRAME, frame("ChannelEnteredBridge", 12 * SECOND, one, bridge=rooms[0]))
    told.row(4, 18 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(5, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(6, 20_100, Kind.SNAPSHOT, look(20_100, [one], [rooms[1]]))
    [left] = told.said("left-conference")
    [_, joined] = told.said("joined-conference")
    assert (left["data"]["conference"], milliseconds(left["timestamp"])) == ("red", 18_000)
    assert (joined["data"]["conference"], milliseconds(joined["timestamp"])) == ("blue", 19_000)
    assert left["recovered"]
    assert joined["recovered"]


def test_a_dry_run_changes_nothing(told: Told, caller: Channel, channel: Callable[..., Channel]) -> None:
    """It only says what a look and a second one that agrees would come to."""
    call_under_way(told, caller)
    world, calls, count = told.run.world, dict(told.run.calls), len(told.messages)
    other = channel("z", created=stamp(16 * SECOND), state="Up", app="Echo")
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [other], id="try", purpose="operator", dry_run=True))
    outcome = told.run.world.watch.outcome
    assert outcome is not None
    assert (outcome.name, outcome.channels, outcome.adopted, outcome.corrected, outcome.ended) == (
        "try",
        1,
        ("z",),
        (),
        ("a",),
    )
    assert told.run.world._replace(watch=world.watch) == world
    assert told.run.world.watch._replace(outcome=None) == world.watch._replace(outcome=None)
    assert (dict(told.run.calls), len(told.messages)) == (calls, count)


def test_the_outcome_of_two_looks_of_one_name(told: Told, caller: Channel) -> None:
    """What both came to is added up: the answer to `arimon-ctl reconcile`."""
    call_under_way(told, caller)
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, look(20 * SECOND, [], id="mine", purpose="operator"))
    told.row(8, 24 * SECOND, Kind.SNAPSHOT, look(24 * SECOND, [], id="mine", purpose="operator", nth=2))
    outcome = told.run.world.watch.outcome
    assert outcome is not None
    assert (outcome.name, outcome.nth, outcome.ended) == ("mine", 2, ("a",))


def test_an_entry_that_ari_does_not_promise_is_left_out(told: Told, caller: Channel) -> None:
    """One odd channel costs the others nothing; it is counted."""
    call_under_way(told, caller)
    body = look(20 * SECOND, [caller])
    body["channels"].append({"id": "odd"})
    body["bridges"].append({"id": "odd"})
    told.row(7, 20 * SECOND, Kind.SNAPSHOT, body)
    assert told.run.counts["unexpected:wrong-shape"] == 2
    assert list(told.run.calls) == ["a"]


def test_gaps_are_remembered_for_the_operator(told: Told, caller: Channel) -> None:
    """The open one too, and no more than fifty."""
    call_under_way(told, caller)
    at_ms, n = 20 * SECOND, 10
    for _ in range(60):
        told.row(n, at_ms, Kind.LINK_DOWN, DOWN)
        told.row(n + 1, at_ms + 100, Kind.LINK_UP, UP)
        at_ms, n = at_ms + SECOND, n + 2
    watch = told.run.world.watch
    assert len(watch.past) == 50
    assert watch.past[-1] == Gap(at_ms - 2 * SECOND, at_ms - 2 * SECOND + 100, "lost")
    assert watch.gap == Gap(at_ms - SECOND, at_ms - SECOND + 100, "lost")
