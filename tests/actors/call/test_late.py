"""Channels met in mid-life: who is a caller, who waits, and for what."""

from collections.abc import Callable

import pytest

from actors.call import events as ari
from actors.call.belonging import REMEMBERED
from actors.call.events import Bridge, Channel
from actors.call.inputs import ChannelJoined
from tests.actors.call.test_correlation import T0, World

Make = Callable[..., Channel]


@pytest.fixture
def caller(channel: Make) -> Channel:
    """Somebody who dials 1122 and is answered."""
    return channel("a", state="Up", number="7900", app="Dial")._replace(connected="1122")


@pytest.fixture
def called(channel: Make) -> Channel:
    """Whom it reached; younger."""
    leg = channel("b", state="Up", number="1122", app="AppDial", exten="", created="2026-11-22T08:00:01.000+0000")
    return leg._replace(connected="7900")


def bridge(*members: str) -> Bridge:
    return Bridge("x", "simple_bridge", "basic", "", "", members)


def test_who_runs_dialplan_is_a_caller(caller: Channel) -> None:
    """Its call has its id, at once."""
    world = World()
    world.see(ari.ChannelHold(T0, caller, None))
    assert world.calls_of("a") == ["a"]


def test_a_called_leg_never_lends_a_call_its_id(called: Channel) -> None:
    """Alone in a bridge, with nobody left to say whose it is, it ends unknown."""
    world = World()
    world.see(ari.ChannelEnteredBridge(T0, called, bridge("b")))
    world.see(ari.ChannelLeftBridge(T0, called, bridge()))
    world.see(ari.ChannelDestroyed(T0, called, 16, ""))
    assert world.routed == []
    assert [report.what for report in world.reports] == ["call-unknown"]
    assert not world.state.groups


def test_who_ends_finds_its_call_by_the_numbers(caller: Channel, called: Channel) -> None:
    """They show each other; until the end that is no proof, for many calls may be from one number to another."""
    world = World()
    world.see(ari.ChannelHold(T0, caller, None))
    world.see(ari.ChannelHold(T0 + 1, called, None))
    assert world.calls_of("a", "b") == ["a", None]
    world.see(ari.ChannelDestroyed(T0 + 2, called, 16, ""))
    parties = [body.party for body in world.told("a") if isinstance(body, ChannelJoined)]
    assert [(party.channel_id, party.dialled_by) for party in parties] == [("a", None), ("b", "a")]


def test_two_callers_who_fit_are_one_too_many(caller: Channel, called: Channel) -> None:
    """Two calls from one number to another: whose leg it was, nobody knows."""
    world = World()
    world.see(ari.ChannelHold(T0, caller, None))
    world.see(ari.ChannelHold(T0, caller._replace(id="c"), None))
    world.see(ari.ChannelDestroyed(T0, called, 16, ""))
    assert [report.what for report in world.reports] == ["call-unknown"]


def test_a_caller_who_shows_another_party_is_none(caller: Channel, called: Channel) -> None:
    """It has the number that the leg shows, but talks with somebody else."""
    world = World()
    world.see(ari.ChannelHold(T0, caller._replace(connected="1123", exten="701"), None))
    world.see(ari.ChannelDestroyed(T0, called, 16, ""))
    assert [report.what for report in world.reports] == ["call-unknown"]


def test_a_ringing_leg_of_a_queue_finds_the_caller_by_the_extension(caller: Channel, called: Channel) -> None:
    """The caller in a queue shows nobody yet, but the leg shows where the caller is."""
    world = World()
    world.see(ari.ChannelHold(T0, caller._replace(connected="", app="Queue"), None))
    world.see(ari.ChannelDestroyed(T0, called._replace(state="Ringing", app="AppQueue", exten="700"), 26, ""))
    assert [type(body).__name__ for body in world.told("a")] == [
        "ChannelJoined",
        "ChannelHold",
        "ChannelJoined",
        "ChannelEnded",
    ]


def test_a_leg_waits_for_those_that_its_bridge_names(caller: Channel, called: Channel) -> None:
    """The caller is unseen when the leg leaves and ends; when it comes, the leg is told to its call."""
    world = World()
    leg = called._replace(connected="")
    world.see(ari.ChannelLeftBridge(T0, leg, bridge("a")))
    world.see(ari.ChannelDestroyed(T0, leg, 16, ""))
    assert world.routed == []
    world.see(ari.ChannelLeftBridge(T0, caller, bridge()))
    assert [type(body).__name__ for body in world.told("a")][:3] == [
        "ChannelJoined",
        "ChannelJoined",
        "ChannelLeftBridge",
    ]
    assert not world.state.groups


def test_who_waits_in_vain_is_forgotten(channel: Make, called: Channel) -> None:
    """A bridge named somebody who never came: after some thousand ends nobody waits any more."""
    world = World()
    world.see(ari.ChannelLeftBridge(T0, called, bridge("never")))
    world.see(ari.ChannelDestroyed(T0, called, 16, ""))
    assert list(world.state.groups) == ["b"]
    for key in range(REMEMBERED):
        world.see(ari.ChannelCreated(T0, channel(str(key))))
        world.see(ari.ChannelDestroyed(T0, channel(str(key)), 16, ""))
    assert not world.state.groups
    assert [report.what for report in world.reports] == ["call-unknown"]


def test_of_those_that_an_application_put_together_the_eldest_leads(channel: Make) -> None:
    """Both are in Stasis without an extension: who they are is known when both have been seen."""
    younger = channel("b", state="Up", app="Stasis", exten="s", created="2026-11-22T08:00:01.000+0000")
    elder = channel("a", state="Up", app="Stasis", exten="s")
    stasis = Bridge("x", "simple_bridge", "stasis", "", "", ("a", "b"))
    world = World()
    world.see(ari.ChannelEnteredBridge(T0, younger, stasis))
    assert world.calls_of("b") == [None]
    world.see(ari.ChannelHold(T0, elder, None))
    assert world.calls_of("a", "b") == ["a", "a"]


def test_the_eldest_leads_though_it_has_gone(channel: Make) -> None:
    """The first to leave ends before the other is seen: the call has its id all the same."""
    younger = channel("b", state="Up", app="Stasis", exten="s", created="2026-11-22T08:00:01.000+0000")
    elder = channel("a", state="Up", app="Stasis", exten="s")
    world = World()
    world.see(ari.ChannelLeftBridge(T0, elder, Bridge("x", "simple_bridge", "stasis", "", "", ("b",))))
    world.see(ari.ChannelDestroyed(T0, elder, 16, ""))
    assert world.routed == []
    world.see(ari.ChannelLeftBridge(T0, younger, Bridge("x", "simple_bridge", "stasis", "", "", ())))
    assert world.calls_of("b") == ["a"]
    assert {routed.call_id for routed in world.routed} == {"a"}


def test_half_of_a_local_channel_waits_for_the_other(channel: Make) -> None:
    """`;2` runs dialplan, but was called by its `;1`."""
    world = World()
    world.see(ari.ChannelHold(T0, channel("b", "Local/1@x-1;2", "Up", app="Dial"), None))
    assert world.calls_of("b") == [None]
    world.see(ari.ChannelHold(T0, channel("a", "Local/1@x-1;1", "Up", app="ConfBridge"), None))
    assert world.calls_of("a", "b") == ["a", "a"]


def test_an_unclear_channel_alone_is_a_call_when_it_ends(channel: Make) -> None:
    """An application controls it, no extension led there, and nobody else was ever with it."""
    robot = channel("a", state="Up", app="Stasis", exten="s")
    world = World()
    world.see(ari.ChannelHold(T0, robot, None))
    assert world.calls_of("a") == [None]
    world.see(ari.ChannelDestroyed(T0, robot, 16, ""))
    assert {routed.call_id for routed in world.routed} == {"a"}


def test_an_end_alone_tells_no_caller_from_a_called_leg(channel: Make) -> None:
    """A channel of which nothing but the end is seen is a call only if it ran dialplan until then."""
    world = World()
    world.see(ari.ChannelDestroyed(T0, channel("a", state="Up", exten="h"), 16, ""))
    world.see(ari.ChannelDestroyed(T0, channel("b", state="Up", exten="s"), 16, ""))
    world.see(ari.ChannelDestroyed(T0, channel("c", state="Ringing", exten="h"), 16, ""))
    assert {routed.call_id for routed in world.routed} == {"a"}


def test_an_event_that_shows_an_answer_tells_it(channel: Make) -> None:
    """Its ChannelStateChange was lost: the answer is inferred at the event that shows it, before the event itself."""
    world = World()
    leg = channel("b", state="Down", app="AppDial")
    world.see(ari.ChannelCreated(T0, channel("a")))
    world.see(ari.ChannelCreated(T0 + 1, leg))
    world.see(ari.Dial(T0 + 2, channel("a"), leg, "", "1122", None))
    routed = world.see(ari.ChannelHold(T0 + 9, leg._replace(state="Up"), None))
    assert [(type(one.input.body).__name__, one.input.at_ms, one.input.recovered) for one in routed] == [
        ("ChannelStateChange", T0 + 9, True),
        ("Dial", T0 + 9, True),
        ("ChannelHold", T0 + 9, False),
    ]


def test_a_called_leg_that_is_met_up_was_answered(caller: Channel, called: Channel) -> None:
    """Nobody saw by whom and when: its call is told when it is known whose leg it is."""
    world = World()
    world.see(ari.ChannelHold(T0, caller, None))
    routed = world.see(ari.ChannelLeftBridge(T0 + 5, called, bridge("a")))
    assert [(type(one.input.body).__name__, one.input.recovered) for one in routed] == [
        ("ChannelJoined", True),
        ("Dial", True),
        ("ChannelLeftBridge", False),
    ]
    parties = [body.party for body in world.told("a") if isinstance(body, ChannelJoined)]
    assert [party.answered_ms for party in parties] == [T0, T0 + 5]


def test_a_call_does_not_end_before_who_lives_has_joined(channel: Make) -> None:
    """A leg that waited has gone; the elder, for whom it waited, joins first, and the call goes on."""
    younger = channel("b", state="Down", created="2026-11-22T08:00:01.000+0000")
    world = World()
    world.see(ari.ChannelEnteredBridge(T0, younger, bridge("a", "b")))
    world.see(ari.ChannelDestroyed(T0, younger, 16, ""))
    world.see(ari.ChannelStateChange(T0, channel("a", state="Up")))
    assert [type(body).__name__ for body in world.told("a")][:2] == ["ChannelJoined", "ChannelJoined"]
    assert list(world.state.calls) == ["a"]
