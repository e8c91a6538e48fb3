"""Who hung up: seen through Local channels, which have no will of their own."""

from collections.abc import Callable

import pytest

from actors.call import events as ari
from actors.call.events import Bridge, Channel
from actors.call.inputs import ChannelEnded, ChannelJoined
from tests.actors.call.test_transition import T0, Told, finished, party

Make = Callable[..., Channel]

PAIR = ("Local/1@x-1;1", "Local/1@x-1;2")


def _call(channel: Make, *legs: tuple[str, str], bridges: tuple[str, ...], call_id: str = "a") -> Told:
    """A call of legs (key, name), in bridges of two; each named by the keys of who is in it."""
    told = Told(call_id=call_id)
    for order, (key, name) in enumerate(legs):
        origin = "originated" if order == 0 and name.startswith("Local") else "dialled" if order else "caller"
        told.tell(ChannelJoined(party(key, origin, "Up", channel=name), None, order))
    for keys in bridges:
        bridge = Bridge(keys, "simple_bridge", "basic", "", "", tuple(keys))
        for key in keys:
            told.tell(ari.ChannelEnteredBridge(T0, channel(key, dict(legs)[key]), bridge))
    return told


def _hang_up(told: Told, channel: Make, key: str, name: str, at: int) -> None:
    told.tell(ari.ChannelHangupRequest(T0, channel(key, name), 16, False), at)


def _end(told: Told, keys: str, at: int) -> str:
    for key in keys:
        told.tell(ChannelEnded(key, 16, "", None), at)
    by: str = finished(told)["hangup_by"]
    return by


def _queued(channel: Make) -> Told:
    """A caller `a` in a bridge with a Local pair `b`, `c`, and the agent `d` behind it."""
    legs = (("a", "PJSIP/a-1"), ("b", PAIR[0]), ("c", PAIR[1]), ("d", "PJSIP/d-1"))
    return _call(channel, *legs, bridges=("ab", "cd"))


def _agent_goes(told: Told, channel: Make, at: int) -> None:
    _hang_up(told, channel, "d", "PJSIP/d-1", at)
    _hang_up(told, channel, "b", PAIR[0], at)


def test_through_a_pair(channel: Make) -> None:
    """Who hung up behind a Local pair hung up the call that ends with it."""
    told = _queued(channel)
    _agent_goes(told, channel, 1000)
    assert _end(told, "dcba", 1005) == "destiny"


def test_a_pair_that_ended_before(channel: Make) -> None:
    """A Local pair that ended long before the caller did not end the caller's call."""
    told = _queued(channel)
    _agent_goes(told, channel, 1000)
    for key in "dcb":
        told.tell(ChannelEnded(key, 16, "", None), 1005)
    assert _end(told, "a", 1105) == "system"


def test_whoever_means_it_comes_before_a_pair_that_passes_on(channel: Make) -> None:
    """A caller whose Local companion went before hangs up by itself."""
    told = _queued(channel)
    _agent_goes(told, channel, 1000)
    _hang_up(told, channel, "a", "PJSIP/a-1", 1004)
    assert _end(told, "dcba", 1005) == "origin"


def test_who_came_to_a_pair_at_the_root(channel: Make) -> None:
    """A pair at the root stands for who is behind it by now, as who picked up or retrieved it."""
    told = _call(channel, ("a", PAIR[0]), ("b", PAIR[1]), ("c", "PJSIP/c-1"), bridges=("bc",))
    _hang_up(told, channel, "c", "PJSIP/c-1", 1000)
    _hang_up(told, channel, "a", PAIR[0], 1000)
    assert _end(told, "cba", 1001) == "origin"


def test_who_is_behind_the_pair_that_one_at_the_root_dialled(channel: Make) -> None:
    """What a pair at the root hears from another pair comes from who was called through that one."""
    legs = (("a", PAIR[0]), ("b", PAIR[1]), ("c", "Local/2@x-2;1"), ("d", "Local/2@x-2;2"), ("e", "PJSIP/e-1"))
    told = _call(channel, *legs, bridges=("ac", "de"))
    _hang_up(told, channel, "e", "PJSIP/e-1", 1000)
    _hang_up(told, channel, "c", "Local/2@x-2;1", 1000)
    _hang_up(told, channel, "b", PAIR[1], 1000)
    assert _end(told, "edcab", 1001) == "destiny"


@pytest.mark.parametrize(("app", "by"), [("Hangup", "system"), ("Echo", "origin")])
def test_hangup_application_that_is_not_told(channel: Make, app: str, by: str) -> None:
    """Who ends in Hangup(), though nobody asked for it, was hung up by the dialplan."""
    told = _call(channel, ("a", PAIR[0]), ("b", PAIR[1]), ("c", "PJSIP/c-1"), bridges=("bc",))
    told.tell(ari.ChannelDialplan(T0, channel("a", PAIR[0], app=app), app, ""), 900)
    _hang_up(told, channel, "c", "PJSIP/c-1", 1000)
    if app == "Echo":
        _hang_up(told, channel, "a", PAIR[0], 1000)
    assert _end(told, "acb", 1001) == by
