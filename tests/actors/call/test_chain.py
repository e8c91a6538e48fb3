"""Chains by hand: whom a channel was called by, and what becomes of that when it goes on in another body."""

from collections.abc import Callable

from actors.call.chain import Row
from actors.call.events import Bridge, Channel
from tests.actors.call.test_segments import Tape, bridge

Make = Callable[..., Channel]

BORN, LATER = "2026-11-22T08:00:00.000+0000", "2026-11-22T08:00:09.000+0000"


def _originated(tape: Tape, leg: Channel, now: int = 0) -> None:
    """The PBX calls a leg by itself, who answers."""
    tape.at(now, "born", leg, (now, now))
    shown = leg._replace(app="AppDial2")
    tape.at(now + 1, "snapshot", shown, (now, now), True)
    tape.at(now + 2, "dial_began", None, shown)
    tape.at(now + 3, "snapshot", shown._replace(state="Up"), (now, now))
    tape.at(now + 3, "dial_ended", None, shown._replace(state="Up"), "ANSWER", True)


def test_an_originated_channel_is_told_alone(channel: Make) -> None:
    """It is party A of what it runs by itself."""
    tape = Tape()
    leg = channel("a", state="Down", exten="s")
    _originated(tape, leg)
    tape.at(50, "destroyed", leg._replace(state="Up", app="AppDial2"), (0, 0), 16)
    assert [(row.channel, row.dst_channel, row.answer, row.end) for row in tape.rows] == [("PJSIP/a-1", None, 3, 50)]


def test_an_originated_channel_in_a_new_body_counts_as_dialled(channel: Make) -> None:
    """A redirect takes it out of what it runs and gives it a new body: alone it makes no segment any more."""
    tape = Tape()
    leg = channel("a", state="Down", exten="s")
    _originated(tape, leg)
    tape.at(9_010, "snapshot", channel("a", state="Up", app="Read", created=LATER), (0, 0), True)
    tape.at(9_050, "destroyed", channel("a", state="Up", created=LATER), (0, 0), 16)
    assert tape.rows == []


def test_who_was_called_to_hear_something_counts_as_dialled_in_a_new_body(channel: Make) -> None:
    """ParkAndAnnounce calls without a Dial, and nothing runs there: taken into a bridge, it makes no segment alone."""
    tape = Tape()
    leg = channel("a", state="Down", exten="s")
    tape.at(0, "born", leg, (0, 0))
    tape.at(3, "snapshot", leg._replace(state="Up"), (0, 0))
    moved = channel("a", state="Up", exten="s", created=LATER)
    tape.at(9_010, "entered", moved, bridge("a"), (0, 0))
    tape.at(9_050, "destroyed", moved, (0, 0), 16)
    assert tape.rows == []


def test_who_is_refused_by_a_bridge_goes_on_where_it_stood(channel: Make) -> None:
    """A new body that runs the dialplan where the old one stood has survived a bridge: nobody dialled it any more."""
    tape = Tape()
    leg = channel("a", state="Down")
    _originated(tape, leg)
    tape.at(9_010, "snapshot", channel("a", state="Up", app="Answer", created=LATER), (0, 0), True)
    tape.at(9_050, "destroyed", channel("a", state="Up", app="Answer", created=LATER), (0, 0), 16)
    assert [(row.channel, row.dst_channel, row.answer, row.end) for row in tape.rows] == [("PJSIP/a-1", None, 3, 9_050)]


def test_who_picks_up_takes_the_body_of_who_was_rung(channel: Make) -> None:
    """It is dialled then, as that one was, and the dial has lasted until now; its own body was dialled by nobody."""
    tape = Tape()
    tape.at(0, "born", channel("a", app="Dial"), (0, 1))
    rung = channel("b", state="Down", app="AppDial", created="2026-11-22T08:00:01.000+0000")
    tape.at(1_000, "born", rung, (1_000, 2))
    tape.at(1_001, "dial_began", channel("a", app="Dial"), rung)
    picks = channel("p", state="Up", app="Pickup", exten="*8", created=LATER)
    tape.at(9_000, "born", picks, (9_000, 3))
    tape.at(9_100, "snapshot", rung._replace(id="p", name="PJSIP/p-1", state="Up"), (9_000, 3), True)
    tracks = tape.state.tracks
    assert (tracks["p"].dialled, tracks["p"].created, tracks["b"].created) == (True, (1_000, 2), (9_000, 3))
    tape.at(9_101, "destroyed", picks._replace(id="b", name="PJSIP/b-1", state="Ringing"), (1_000, 2), 26)
    assert [(row.channel, row.dst_channel, row.end) for row in tape.rows] == [("PJSIP/a-1", "PJSIP/b-1", 9_100)]


def test_two_new_bodies_of_one_millisecond_are_two(channel: Make) -> None:
    """Both legs of a call may be redirected at once: neither has the other's body."""
    tape = Tape()
    _originated(tape, channel("a", state="Down", exten="s", created=BORN))
    tape.at(1, "born", channel("b", created=BORN), (1, 1))
    for key in "ba":
        tape.at(9_001, "snapshot", channel(key, state="Up", app="Read", exten="9", created=LATER), (0, 0), True)
    assert {key: track.dialled for key, track in tape.state.tracks.items()} == {"a": True, "b": False}


def test_who_runs_dialplan_is_not_sent_out_of_its_bridge(channel: Make) -> None:
    """A dialled channel that runs its own dialplan, and goes on with it after a bridge, is dialled as before."""
    tape = Tape()
    leg = channel("a", state="Down", exten="s", app="AppDial")
    tape.at(0, "born", leg, (0, 0))
    tape.at(1, "dial_began", channel("z"), leg)
    dials = channel("a", state="Up", app="Dial", created=LATER)
    tape.at(9_001, "snapshot", dials, (0, 0), True)
    tape.at(9_002, "entered", dials, bridge("a"), (0, 0))
    tape.at(9_050, "left", dials, bridge(), (0, 0))
    tape.at(9_051, "snapshot", dials._replace(app="Hangup", priority=2), (0, 0), True)
    assert tape.state.tracks["a"].dialled


def test_whom_an_application_dials_counts_as_dialled(channel: Make) -> None:
    """ARI's create and dial: from one bridge of the application to the next; alone there is no segment of its own."""
    tape = Tape()
    legs = [channel(key, state="Down", exten="s", app="Stasis") for key in "ab"]
    for now, leg in enumerate(legs):
        tape.at(now, "born", leg, (now, now))
        tape.at(now, "dial_began", None, leg)
    up = [leg._replace(state="Up") for leg in legs]
    tape.at(10, "entered", up[1], bridge("b", kind="stasis"), (1, 1))
    tape.at(50, "left", up[1], bridge(kind="stasis"), (1, 1))
    tape.at(51, "entered", up[1], bridge("b", kind="stasis"), (1, 1))
    assert tape.state.tracks["b"].dialled
    tape.at(90, "left", up[1], bridge(kind="stasis"), (1, 1))
    assert not tape.rows


def test_whom_an_application_dials_is_moved_by_another(channel: Make) -> None:
    """Into a bridge that is not the application's it goes out of the one that nobody sees, and survives that."""
    tape = Tape()
    leg = channel("b", state="Down", exten="s", app="Stasis")
    tape.at(1, "born", leg, (1, 1))
    tape.at(1, "dial_began", None, leg)
    assert tape.state.tracks["b"].dialled
    up = leg._replace(state="Up")
    tape.at(10, "entered", up, bridge("b"), (1, 1))
    assert not tape.state.tracks["b"].dialled
    tape.at(50, "left", up, bridge(), (1, 1))
    assert [(row.channel, row.dst_channel, row.answer, row.end) for row in tape.rows] == [("PJSIP/b-1", None, 10, 50)]


def test_a_dial_that_goes_on_without_its_caller(channel: Make) -> None:
    """A dial that ends without a caller, though one began it: that one has another body, and was there until now."""
    tape = Tape()
    leg = channel("b", state="Ringing", app="AppDial")
    tape.at(0, "born", channel("a", app="Dial"), (0, 1))
    tape.at(2, "born", leg, (2, 2))
    tape.at(3, "dial_began", channel("a", app="Dial"), leg)
    tape.at(900, "dial_ended", None, leg, "CANCEL", True)
    tape.at(901, "destroyed", leg, (2, 2), 16)
    assert [(row.dst_channel, row.answer, row.end) for row in tape.rows] == [("PJSIP/b-1", None, 900)]


def test_what_is_over_keeps_party_a_as_it_was(channel: Make) -> None:
    """A new B in the bridge after a dial that failed as A still rang: answered when A is seen next, not at once."""
    tape = Tape()
    rings, talks = channel("a", app="Dial"), channel("a", state="Up", app="Dial")
    first, second, third = (channel(key, state="Up", app="AppDial", exten="") for key in "bcd")
    room = Bridge("x", "simple_bridge", "basic", "", "", ("a", "b"))
    tape.at(0, "born", rings, (0, 1))
    for now, leg in ((1, first), (2, second)):
        tape.at(now, "born", leg._replace(state="Down"), (now, now))
        tape.at(now, "dial_began", rings, leg)
    tape.at(5, "dial_ended", rings, second, "CANCEL", True)
    tape.at(9, "dial_ended", rings, first, "ANSWER", True)
    tape.at(9, "snapshot", talks, (0, 1))
    tape.at(10, "entered", first, room._replace(members=("b",)), (1, 1))
    tape.at(10, "entered", talks, room, (0, 1))
    tape.at(20, "left", first, room._replace(members=("a",)), (1, 1))
    tape.at(30, "born", third, (30, 30))
    tape.at(31, "entered", third._replace(app=""), room._replace(members=("a", "d")), (30, 30))
    tape.at(32, "snapshot", talks, (0, 1))
    tape.at(50, "destroyed", third, (30, 30), 16)
    assert tape.rows[-1] == Row("a", "PJSIP/a-1", "PJSIP/d-1", "a", "700", 20, 32, 32, "ANSWERED", "Dial")


def test_sent_to_the_same_application_elsewhere(channel: Make) -> None:
    """A transfer out of a bridge shows what ran before; the same application there is another segment."""
    tape = Tape()
    caller, leg = channel("a", state="Up", app="Queue", exten="220", priority=2), channel("b", state="Up")
    tape.at(0, "born", caller, (0, 1))
    tape.at(1, "born", leg, (1, 2))
    tape.at(2, "dial_began", caller, leg)
    tape.at(3, "dial_ended", caller, leg, "ANSWER", True)
    tape.at(4, "entered", leg, bridge("b"), (1, 2))
    tape.at(4, "entered", caller, bridge("a", "b"), (0, 1))
    tape.at(20, "snapshot", caller._replace(exten="221", priority=1), (0, 1), True)
    tape.at(20, "left", caller, bridge("b"), (0, 1))
    tape.at(21, "snapshot", caller._replace(exten="221", priority=2), (0, 1), True)
    tape.at(60, "destroyed", caller._replace(exten="221"), (0, 1), 16)
    assert [(row.dst_channel, row.start, row.answer, row.end) for row in tape.rows] == [
        ("PJSIP/b-1", 0, 0, 20),
        (None, 21, 21, 60),
    ]


def test_whom_its_caller_sends_into_dialplan_is_dialled_no_more(channel: Make) -> None:
    """Dial's `G` does so before any bridge; a subroutine on the called leg, which begins at the first priority, does
    not, nor does anything in a bridge."""
    for exten, priority, dialled in (("s", 2, False), ("s", 0, True), ("", 1, True)):
        tape = Tape()
        caller, leg = channel("a", app="Dial"), channel("b", state="Down", app="AppDial")
        tape.at(0, "born", caller, (0, 1))
        tape.at(1, "born", leg, (1, 2))
        tape.at(2, "dial_began", caller, leg)
        tape.at(8, "snapshot", leg._replace(state="Up"), (1, 2))
        tape.at(9, "snapshot", leg._replace(state="Up", context="both", exten=exten, priority=priority), (1, 2), True)
        assert tape.state.tracks["b"].dialled is dialled
    tape = Tape()
    dialled_leg = channel("b", state="Up", app="AppDial")
    _talking(tape, channel)
    tape.at(9, "snapshot", dialled_leg._replace(context="other", priority=2), (1, 2), True)
    assert tape.state.tracks["b"].dialled


def test_who_dials_after_a_bridge_is_dialled_no_more(channel: Make) -> None:
    """Who was called and transferred, and is next seen dialling, has been sent out of its bridge."""
    tape = Tape()
    _talking(tape, channel)
    leg = channel("b", state="Up", app="AppDial")
    tape.at(9, "left", leg, bridge("a"), (1, 2))
    tape.at(10, "born", channel("c", state="Down"), (10, 3))
    tape.at(11, "dial_began", leg._replace(app="Dial", exten="209"), channel("c", state="Down", app="AppDial"))
    assert not tape.state.tracks["b"].dialled


def test_a_body_is_that_of_who_stands_where_it_is_shown(channel: Make) -> None:
    """Who picks up takes the body of who was rung, though a Local half with the same application is as old."""
    tape = Tape()
    half = channel("l", name="Local/7@x-1;1", app="AppDial", exten="302", created=BORN)
    tape.at(0, "born", half, (0, 1))
    rung = channel("b", state="Ringing", app="AppDial", exten="1122", created=BORN)
    tape.at(0, "born", rung, (0, 2))
    tape.at(1, "dial_began", channel("x"), rung)
    tape.at(2, "born", channel("p", state="Ring", app="Pickup", exten="*8", created=LATER), (9_000, 3))
    tape.at(3, "snapshot", rung._replace(id="p", name="PJSIP/p-1", state="Up"), (9_000, 3), True)
    assert [tape.state.tracks[key].created for key in "pbl"] == [(0, 2), (9_000, 3), (0, 1)]


def test_the_elder_of_one_millisecond(channel: Make) -> None:
    """The PBX numbers channels as it makes them, and may tell of the later one first; chosen ids have no number."""
    for first, second, elder in (
        ("1795.9326", "1795.9325", "1795.9325"),
        ("pbx-1-1795.99", "pbx-1-1795.100", "pbx-1-1795.99"),
        ("mine.2", "1795.1", "mine.2"),
    ):
        tape = Tape()
        room = bridge(first, second, kind="base", technology="softmix")
        tape.at(0, "born", channel(first, state="Up", app="ConfBridge"), (0, 1))
        tape.at(0, "born", channel(second, state="Up", app="ConfBridge"), (0, 2))
        tape.at(1, "entered", channel(first, state="Up", app="ConfBridge"), room._replace(members=(first,)), (0, 1))
        tape.at(1, "entered", channel(second, state="Up", app="ConfBridge"), room, (0, 2))
        tape.at(9, "left", channel(second, state="Up", app="ConfBridge"), room._replace(members=(first,)), (0, 2))
        tape.at(9, "left", channel(first, state="Up", app="ConfBridge"), room._replace(members=()), (0, 1))
        assert [row.channel_id for row in tape.rows if row.dst_channel is not None] == [elder]


def _talking(tape: Tape, channel: Make) -> None:
    """a has called b, and both are in a bridge."""
    caller, leg = channel("a", state="Up", app="Dial"), channel("b", state="Up", app="AppDial")
    tape.at(0, "born", caller, (0, 1))
    tape.at(1, "born", leg, (1, 2))
    tape.at(2, "dial_began", caller, leg)
    tape.at(3, "dial_ended", caller, leg, "ANSWER", True)
    tape.at(4, "entered", leg, bridge("b"), (1, 2))
    tape.at(4, "entered", caller, bridge("a", "b"), (0, 1))
