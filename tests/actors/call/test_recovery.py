"""Gaps, made by hand: what is concluded from links, looks and lost rows."""

from collections.abc import Callable

import pytest

from actors.call.decoding import milliseconds
from actors.call.envelope import rfc3339
from actors.call.events import Channel
from actors.call.gap import Gap
from tests.telling import DOWN, SECOND, UP, Told, call_under_way, frame, look, stamp
from wire.store.row import Kind


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


@pytest.mark.parametrize("shown", [[], ["Playback"]])
def test_a_look_says_nothing_of_who_spoke_after_its_question(told: Told, caller: Channel, shown: list[str]) -> None:
    """A call that began between two gaps is gone since the second, also if a look lacked it or showed it as it was."""
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(3, 12 * SECOND, Kind.LINK_UP, UP)
    first = caller._replace(state="Ring", app="", creationtime=stamp(12_100))
    told.row(4, 12_100, Kind.FRAME, frame("ChannelCreated", 12_100, first))
    spoken = frame("ChannelDialplan", 12_110, first, dialplan_app="Echo", dialplan_app_data="")
    told.row(5, 12_110, Kind.FRAME, spoken)
    pictured = [first._replace(app=app) for app in shown]
    told.row(6, 12_200, Kind.SNAPSHOT, look(12_200, pictured, asked_ms=12_050))
    told.row(7, 20 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(8, 22 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 22 * SECOND, Kind.SNAPSHOT, look(22 * SECOND, []))
    told.row(10, 25 * SECOND, Kind.SNAPSHOT, look(25 * SECOND, [], nth=2))
    assert told.finished(caller.id)["ended_at"] == rfc3339(20 * SECOND)


def test_who_speaks_by_another_clock_ends_by_absence_all_the_same(told: Told, caller: Channel) -> None:
    """An event later than the look's own row was not after its question: the clock was set back."""
    call_under_way(told, caller)
    told.row(7, 11_100, Kind.SNAPSHOT, look(11_100, []))
    told.row(8, 13_200, Kind.SNAPSHOT, look(13_200, [], nth=2))
    assert told.finished("a")["ended_at"] == rfc3339(15 * SECOND - 10)


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
