"""Which call a channel belongs to: by what the PBX says, else by its own rules."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from actors.call import events as ari
from actors.call.belonging import REMEMBERED
from actors.call.correlation import correlate
from actors.call.effects import Unexpected
from actors.call.events import Bridge, Channel
from actors.call.inputs import CallBody, CallInput, ChannelEnded, ChannelJoined, ChannelMoved, Routed, SegmentEnded
from actors.call.register import Correlation
from conf.settings import Bounds

Make = Callable[..., Channel]

T0 = 1_795_000_000_000


class World:
    """A correlation, given one event after the other, and all that it routed."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.state = Correlation.new()
        self.routed: list[Routed] = []
        self.reports: list[Unexpected] = []
        self.bounds = bounds or Bounds()
        self.n = 0

    def see(self, event: Any) -> list[Routed]:
        self.n += 1
        self.state, routed, reports = correlate(self.state, event, self.n, self.bounds)
        self.routed += routed
        self.reports += reports
        return routed

    def told(self, call_id: str) -> list[CallBody]:
        return [routed.input.body for routed in self.routed if routed.call_id == call_id]

    def calls_of(self, *keys: str) -> list[str | None]:
        return [self.state.channels[key].call for key in keys]


def joined(body: CallBody) -> str:
    assert isinstance(body, ChannelJoined)
    return body.party.channel_id


def test_a_channel_that_comes_ringing_in_is_a_call(channel: Make) -> None:
    """Nobody here asked for it: it is the root of a call at once."""
    world = World()
    routed = world.see(ari.ChannelCreated(T0, channel("a")))
    assert [(one.call_id, joined(one.input.body)) for one in routed] == [("a", "a")]
    assert world.calls_of("a") == ["a"]


def test_a_called_leg_waits_for_its_dial(channel: Make) -> None:
    """What happens to a leg before the Dial that names it is held back, and then told in order with its own rows."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a")))
    assert world.see(ari.ChannelCreated(T0, channel("b", state="Down"))) == []
    assert world.see(ari.ChannelDialplan(T0, channel("b", state="Down", app="AppDial"), "AppDial", "")) == []
    assert world.see(ari.ChannelStateChange(T0, channel("b", state="Ringing", app="AppDial"))) == []
    assert world.calls_of("b") == [None]
    routed = world.see(ari.Dial(T0, channel("a"), channel("b", app="AppDial"), "", "b", None))
    assert [(one.call_id, one.input.n, type(one.input.body).__name__) for one in routed] == [
        ("a", 2, "ChannelJoined"),
        ("a", 3, "ChannelDialplan"),
        ("a", 4, "ChannelStateChange"),
        ("a", 5, "Dial"),
    ]
    first = routed[0].input.body
    assert isinstance(first, ChannelJoined)
    assert (first.party.origin, first.party.dialled_by, first.party.state) == ("dialled", "a", "Down")


def test_a_dial_lasts_until_its_callers_voice_was_measured(channel: Make) -> None:
    """Who gives up while the called party hears an announcement has had its segment until then, not until the Dial was
    heard of last."""
    world = World()
    caller, leg = channel("a", app="Dial"), channel("b", state="Up", app="AppDial")
    world.see(ari.ChannelCreated(T0, caller))
    world.see(ari.ChannelCreated(T0, leg))
    world.see(ari.Dial(T0 + 1, caller, leg, "", "b", None))
    world.see(ari.ChannelVarset(T0 + 400, caller, "RTPAUDIOQOS", "ssrc=1;lp=0;rxcount=9"))
    world.see(ari.ChannelDestroyed(T0 + 500, leg, 16, "Normal Clearing"))
    world.see(ari.ChannelDestroyed(T0 + 500, caller, 19, "No Answer"))
    assert [body.end_ms for body in world.told("a") if isinstance(body, SegmentEnded)] == [T0 + 400]


def test_a_called_leg_that_no_dial_names_is_nobodys(channel: Make) -> None:
    """It belongs to a call that cannot be known: nothing is told of it, and it is reported."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("b", state="Down")))
    world.see(ari.ChannelDialplan(T0, channel("b", state="Down", app="AppDial"), "AppDial", ""))
    world.see(ari.ChannelDestroyed(T0, channel("b", app="AppDial"), 20, ""))
    assert world.routed == []
    assert [report.what for report in world.reports] == ["call-unknown"]
    assert not world.state.groups
    assert not world.state.channels


def test_the_legs_of_a_local_pair_follow_it(channel: Make) -> None:
    """`;2` dials before the Dial that names `;1`: all become known together, in the order of events."""
    world = World()
    one, two = channel("1", "Local/x@y-1;1", "Down"), channel("2", "Local/x@y-1;2", "Ring")
    world.see(ari.ChannelCreated(T0, channel("a")))
    world.see(ari.ChannelCreated(T0, one))
    world.see(ari.ChannelCreated(T0, two))
    world.see(ari.ChannelDialplan(T0, two._replace(app="Dial"), "Dial", "PJSIP/b"))
    world.see(ari.ChannelCreated(T0, channel("b", state="Down")))
    world.see(ari.Dial(T0, two, channel("b", state="Down"), "", "b", None))
    assert world.calls_of("1", "2", "b") == [None, None, None]
    routed = world.see(ari.Dial(T0, channel("a"), one, "", "x@y", None))
    assert world.calls_of("1", "2", "b") == ["a", "a", "a"]
    assert [one.input.n for one in routed] == [2, 3, 4, 5, 6, 7]


def test_the_elder_call_goes_on_when_two_meet(channel: Make) -> None:
    """In a bridge where calls meet, the younger hears who moved, the elder gets it with all that is known of it."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("z", created="2026-11-22T08:00:00.000+0000")))
    world.see(ari.ChannelCreated(T0, channel("a", created="2026-11-22T08:00:01.000+0000")))
    world.see(ari.ChannelStateChange(T0 + 7, channel("a", state="Up")))
    world.see(ari.ChannelHold(T0 + 8, channel("a", state="Up"), None))
    bridge = Bridge("x", "simple_bridge", "basic", "", "", ("z",))
    world.see(ari.ChannelEnteredBridge(T0 + 9, channel("z"), bridge))
    routed = world.see(ari.ChannelEnteredBridge(T0 + 10, channel("a", state="Up"), bridge._replace(members=("a", "z"))))
    assert world.calls_of("a", "z") == ["z", "z"]
    assert routed[0].call_id == "z"
    moved = routed[0].input.body
    assert isinstance(moved, ChannelJoined)
    assert (moved.moved_from, moved.party.answered_ms, moved.party.held_ms) == ("a", T0 + 7, T0 + 8)
    entered = channel("a", state="Up")
    assert routed[1] == Routed("a", CallInput(6, T0 + 10, ChannelMoved("a", "z", entered)))
    assert set(world.state.calls) == {"z"}


@pytest.mark.parametrize(
    ("technology", "kind", "calls"),
    [
        ("softmix", "base", ["a", "b"]),
        ("holding_bridge", "parking", ["a", "b"]),
        ("holding_bridge", "stasis", ["a", "b"]),
        ("softmix", "stasis", ["a", "a"]),
        ("simple_bridge", "basic", ["a", "a"]),
    ],
)
def test_calls_meet_where_they_are_connected(channel: Make, technology: str, kind: str, calls: list[str]) -> None:
    """A ConfBridge is of class base, and who is held together is not connected: each keeps the call that it has."""
    world = World()
    for key in "ab":
        world.see(ari.ChannelCreated(T0, channel(key)))
        bridge = Bridge("x", technology, kind, "", "", tuple("ab"[: "ab".index(key) + 1]))
        world.see(ari.ChannelEnteredBridge(T0, channel(key), bridge))
    assert world.calls_of("a", "b") == calls


def test_what_the_pbx_says_is_believed(channel: Make) -> None:
    """CHANNEL(linkedid) is known from the first event on, and moves a channel whenever it changes."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a", linkedid="a")))
    world.see(ari.ChannelCreated(T0, channel("b", state="Down", linkedid="a")))
    assert world.calls_of("a", "b") == ["a", "a"]
    world.see(ari.ChannelCreated(T0, channel("c", linkedid="c")))
    bridge = Bridge("x", "simple_bridge", "basic", "", "", ("a", "c"))
    world.see(ari.ChannelEnteredBridge(T0, channel("c", linkedid="c"), bridge))
    assert world.calls_of("c") == ["c"]
    routed = world.see(ari.ChannelUnhold(T0, channel("c", linkedid="a")))
    assert [type(one.input.body) for one in routed] == [ChannelJoined, ChannelMoved, ari.ChannelUnhold]
    assert world.calls_of("c") == ["a"]


def test_a_channel_met_in_mid_life_waits_for_a_bridge(channel: Make) -> None:
    """A called leg of which we missed the Dial belongs to whom it shares a bridge with."""
    world = World()
    world.see(ari.ChannelHangupRequest(T0, channel("a", state="Up", app="Dial"), 16, False))
    world.see(ari.ChannelStateChange(T0, channel("b", state="Up", app="AppDial")))
    assert world.calls_of("a", "b") == ["a", None]
    bridge = Bridge("x", "simple_bridge", "basic", "", "", ("b",))
    world.see(ari.ChannelLeftBridge(T0, channel("a", state="Up", app="Dial"), bridge))
    assert world.calls_of("b") == ["a"]


def test_the_dead_stay_dead(channel: Make) -> None:
    """Events follow ChannelDestroyed for the same channel; nothing begins anew, neither channel nor call."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a", linkedid="a")))
    routed = world.see(ari.ChannelDestroyed(T0, channel("a", linkedid="a"), 16, "bye"))
    assert routed[-1].input.body == ChannelEnded("a", 16, "bye", None)
    assert world.see(ari.ChannelCallerId(T0, channel("a"))) == []
    assert world.see(ari.ChannelCreated(T0, channel("a"))) == []


def test_a_call_that_the_pbx_goes_on_with_after_its_end(channel: Make) -> None:
    """A channel that is told to be of a call that has ended is never given one that the PBX does not name."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a", linkedid="a")))
    world.see(ari.ChannelDestroyed(T0, channel("a", linkedid="a"), 16, "bye"))
    late = channel("b", app="Dial", linkedid="a")
    assert world.see(ari.ChannelCreated(T0, late)) == []
    assert world.see(ari.ChannelDialplan(T0, late, "Dial", "")) == []
    assert world.see(ari.ChannelDestroyed(T0, late, 16, "bye")) == []
    assert not world.state.groups
    assert [report.what for report in world.reports] == ["call-has-ended", "call-unknown"]


def test_a_call_lives_on_without_the_channel_that_it_is_named_after(channel: Make) -> None:
    """A channel is born into a call whose first channel has gone, while others of it live."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a", linkedid="a")))
    world.see(ari.ChannelCreated(T0, channel("b", linkedid="a")))
    world.see(ari.ChannelDestroyed(T0, channel("a", linkedid="a"), 16, "bye"))
    world.see(ari.ChannelCreated(T0, channel("c", linkedid="a")))
    assert world.calls_of("c") == ["a"]


def test_memory_is_bounded(channel: Make) -> None:
    """Of many calls that came and went, only a bounded number is remembered."""
    world = World()
    for key in range(2 * REMEMBERED):
        world.see(ari.ChannelCreated(T0, channel(str(key))))
        world.see(ari.ChannelDestroyed(T0, channel(str(key)), 16, ""))
    state = world.state
    assert len(state.gone) + len(state.gone_before) <= 2 * REMEMBERED + 2
    assert not any((state.channels, state.locals, state.groups, state.calls, state.bridges, state.recordings))
    assert not state.segments.tracks


def test_what_is_held_is_bounded(channel: Make) -> None:
    """A pending channel holds no more than the bound; what is dropped is reported, its end never is."""
    world = World(Bounds(pending=5))
    world.see(ari.ChannelCreated(T0, channel("b", state="Down")))
    for number in range(20):
        world.see(ari.ChannelDtmfReceived(T0 + number, channel("b", state="Down"), "1", 1))
    assert len(world.state.groups["b"].held) == 5
    assert {report.what for report in world.reports} == {"too-much-held"}


def test_a_snoop_keeps_its_own_call_but_not_its_recordings(channel: Make) -> None:
    """What is recorded through a snoop belongs to the call of the channel that it listens to."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a")))
    world.see(ari.ChannelCreated(T0, channel("s", "Snoop/a-00000000", "Up")))
    assert world.calls_of("s") == ["s"]
    routed = world.see(ari.Recording(T0, "RecordingStarted", "r", "channel", "s", "recording", None, None))
    assert [one.call_id for one in routed] == ["a"]


def test_the_state_goes_through_a_pickle(channel: Make) -> None:
    """A snapshot of the correlation is the correlation."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a")))
    world.see(ari.ChannelCreated(T0, channel("b", state="Down")))
    again = pickle.loads(pickle.dumps(world.state))
    assert again == world.state
    event = ari.Dial(T0, channel("a"), channel("b", state="Down"), "", "b", None)
    assert correlate(again, event, 3, Bounds()) == correlate(world.state, event, 3, Bounds())


def test_a_transfer_of_who_waits(channel: Make) -> None:
    """A transfer among channels whose call is not known yet is told to it once it is."""
    world = World()
    first, second = (channel(key, f"Local/1@x-1;{half}") for key, half in (("b", 1), ("c", 2)))
    for one in (channel("a"), first, second):
        world.see(ari.ChannelCreated(T0, one))
    transfer = ari.BridgeBlindTransfer(T0 + 1, second, None, "1", "c", "Success")
    assert world.see(transfer) == []
    world.see(ari.Dial(T0 + 2, channel("a"), first, "", "1", None))
    assert transfer in world.told("a")
    assert not world.reports


def test_a_pickup_before_the_dial_was_told(channel: Make) -> None:
    """Who takes a called leg's place before its Dial is told is named as its peer, keeping its call."""
    world = World()
    world.see(ari.ChannelCreated(T0, channel("a")))
    world.see(ari.ChannelCreated(T0 + 1, channel("b", created="2026-11-22T08:00:00.500+0000")))
    picker, caller = channel("a", app="AppDial", state="Up"), channel("b", app="Dial")
    world.see(ari.Dial(T0 + 2, caller, picker, "", "200", None))
    assert world.calls_of("a", "b") == ["a", "b"]
    bridge = Bridge("x", "simple_bridge", "basic", "", "", ("a",))
    world.see(ari.ChannelEnteredBridge(T0 + 3, picker, bridge))
    world.see(ari.ChannelEnteredBridge(T0 + 3, caller, bridge._replace(members=("a", "b"))))
    assert world.calls_of("a", "b") == ["a", "a"]
