"""Channels that the PBX itself calls: ARI's, AMI's and the CLI's originate.

`traces/originated_into_app.jsonl` is one call of a live Asterisk 22.10.1, shortened: `Local/7001@from-internal` is
originated into a Stasis application that never does anything with it.
"""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from actors.call import events as ari
from actors.call.correlation import correlate
from actors.call.events import Channel, Event
from actors.call.register import Correlation
from actors.call.replay import Replay
from conf.settings import Bounds, Settings

LINES = (Path(__file__).parent / "traces" / "originated_into_app.jsonl").read_bytes().splitlines()


def _said(run: Replay, lines: list[bytes]) -> list[tuple[str, str | None]]:
    return [(message.operation, message.call_id) for line in lines for message in run.feed(line)]


def test_told_while_it_lasts() -> None:
    """The call is told as soon as somebody is in an application, and finished with its last channel."""
    run = Replay("pbx1", Settings())
    ends = next(index for index, line in enumerate(LINES) if b"ChannelDestroyed" in line)
    assert _said(run, LINES[:ends]) == [("received-call", "1795348191.730")]
    assert list(run.calls) == ["1795348191.730"]
    assert _said(run, LINES[ends:]) == [("finished-call", "1795348191.730")]
    assert not run.calls
    assert not run.world.correlation.channels
    assert not run.world.correlation.groups


def test_account() -> None:
    """Both halves of the pair were alone in an application, and are legs of one answered call."""
    run = Replay("pbx1", Settings())
    last = [message for line in LINES for message in run.feed(line)][-1]
    data = orjson.loads(last.body)["data"]
    assert (data["origin"], data["disposition"], data["answered"], data["cause"]["code"]) == (
        "100",
        "ANSWERED",
        True,
        16,
    )
    assert [leg["channel"][-2:] for leg in data["legs"]] == [";1", ";2"]
    assert [(one["channel"][-2:], one["dst_channel"], one["billsec"]) for one in data["segments"]] == [
        (";1", None, 3),
        (";2", None, 3),
    ]


def test_told_at_the_end_at_the_latest() -> None:
    """Without the Dial that says that it was originated, the call is told with its last channel."""
    run = Replay("pbx1", Settings())
    lines = [line for line in LINES if b'"type":"Dial"' not in line]
    said = _said(run, lines)
    assert said == [("received-call", "1795348191.730"), ("finished-call", "1795348191.730")]
    assert not run.world.correlation.groups


def _fold(*happened: Event) -> tuple[Correlation, set[str]]:
    state, calls = Correlation.new(), set[str]()
    for n, event in enumerate(happened, 1):
        state, routed, _ = correlate(state, event, n, Bounds())
        calls |= {one.call_id for one in routed}
    return state, calls


def _originate(channel: Channel, asker: str) -> tuple[Event, ...]:
    first = channel._replace(state="Down", app="", connected="")
    shown = first._replace(app="AppDial2", connected=asker)
    # Asterisk shows who asked in the first snapshot only; then the caller id that was asked for takes its place.
    later = shown._replace(connected="999", number="999")
    return (
        ari.ChannelCreated(1, first),
        ari.ChannelDialplan(1, shown, "AppDial2", "(Outgoing Line)"),
        ari.ChannelCallerId(1, later),
        ari.Dial(1, None, later, "", "x", None),
    )


def test_on_behalf_of_another(channel: Callable[..., Channel]) -> None:
    """A channel that is originated on behalf of another belongs to that one's call, before any bridge says so."""
    caller = channel("a", number="79031112233")
    state, calls = _fold(ari.ChannelCreated(1, caller), *_originate(channel("b"), "79031112233"))
    assert state.channels["b"].call == "a"
    assert calls == {"a"}


def test_on_behalf_of_nobody(channel: Callable[..., Channel]) -> None:
    """A channel that is originated for nobody has a call of its own at once."""
    state, calls = _fold(ari.ChannelCreated(1, channel("a")), *_originate(channel("b"), ""))
    assert state.channels["b"].call == "b"
    assert calls == {"a", "b"}


def test_on_behalf_of_one_of_many(channel: Callable[..., Channel]) -> None:
    """Where two calls have the number on whose behalf it is, nothing is guessed: a bridge will tell."""
    both = (ari.ChannelCreated(1, channel(key, number="100")) for key in "ac")
    state, calls = _fold(*both, *_originate(channel("b"), "100"))
    assert state.channels["b"].call is None
    assert calls == {"a", "c"}


def test_perhaps_on_behalf_of_who_has_no_number(channel: Callable[..., Channel]) -> None:
    """A channel without a number in an application may be who asked: nothing is guessed."""
    held = channel("a", app="Stasis", state="Up")._replace(number="")
    state, _ = _fold(ari.ChannelCreated(1, held), *_originate(channel("b"), ""))
    assert state.channels["b"].call is None


def test_one_of_many_that_an_application_controls(channel: Callable[..., Channel]) -> None:
    """Only an application asks on behalf of a channel: of those with its number it is the one in Stasis."""
    both = (ari.ChannelCreated(1, channel(key, number="100", app=app)) for key, app in (("a", "Dial"), ("c", "Stasis")))
    state, _ = _fold(*both, *_originate(channel("b"), "100"))
    assert state.channels["b"].call == "c"


def test_one_of_many_by_name(channel: Callable[..., Channel]) -> None:
    """Of several with the number on whose behalf it is, it is the one whose name is shown, too."""
    both = (ari.ChannelCreated(1, channel(key, number="100")) for key in "ac")
    first, shown, *rest = _originate(channel("b"), "100")
    assert isinstance(shown, ari.ChannelDialplan)
    state, _ = _fold(*both, first, shown._replace(connected_name="C"), *rest)
    assert state.channels["b"].call == "c"


@pytest.mark.parametrize("technology", ["simple_bridge", "holding_bridge"])
def test_whom_an_application_dials_for_a_caller(channel: Callable[..., Channel], technology: str) -> None:
    """Who was created, and dialled for a caller whose number it shows, waits for that one, though it is in a bridge."""
    caller = channel("a", number="100", app="Stasis", state="Up")
    leg = channel("b", app="Stasis", state="Down", exten="s")
    dialled = leg._replace(connected="100")
    bridge = ari.Bridge("r", technology, "stasis", "Stasis", "", ("b",))
    begun = (
        ari.ChannelCreated(1, caller._replace(app="")),
        ari.ChannelCreated(1, leg._replace(app="")),
        ari.ChannelDialplan(1, leg, "Stasis", "dialer", ""),
        ari.Dial(2, None, dialled, "", "b", None),
        ari.ChannelStateChange(3, dialled._replace(state="Up")),
        ari.ChannelEnteredBridge(4, dialled._replace(state="Up"), bridge),
    )
    state, calls = _fold(*begun)
    assert state.channels["b"].call is None
    meeting = ari.ChannelEnteredBridge(5, caller, bridge._replace(technology="simple_bridge", members=("a", "b")))
    state, calls = _fold(*begun, meeting)
    assert state.channels["b"].call == "a"
    assert calls == {"a"}


def test_never_a_call_of_its_own_on_behalf_of_another(channel: Callable[..., Channel]) -> None:
    """Who was called on behalf of a channel that nobody can name is no call of its own, not even at its end."""
    both = (ari.ChannelCreated(1, channel(key, number="100")) for key in "ac")
    room = ari.Bridge("r", "softmix", "base", "ConfBridge", "r", ("b",))
    last = channel("b", app="AppDial2", state="Up")
    _, calls = _fold(
        *both,
        *_originate(channel("b"), "100"),
        ari.ChannelEnteredBridge(2, last, room),
        ari.ChannelDestroyed(3, last, 16, ""),
    )
    assert calls == {"a", "c"}


def test_one_of_many_that_was_originated_into_an_application(channel: Callable[..., Channel]) -> None:
    """ARI need not show an application that a channel was originated into: it may be who asks, too."""
    apps = (("a", "Park"), ("c", "AppDial2"))
    both = (ari.ChannelCreated(1, channel(key, number="100", app=app, state="Up")) for key, app in apps)
    state, _ = _fold(*both, *_originate(channel("b"), "100"))
    assert state.channels["b"].call == state.channels["c"].call is None
    assert state.channels["b"].group == "c"


def _paged(pager: Channel, *called: Channel) -> tuple[Event, ...]:
    page = pager._replace(app="Page")
    events: list[Event] = [
        ari.ChannelCreated(1, pager),
        ari.ChannelDialplan(1, page, "Page", "PJSIP/1121&PJSIP/7903@trunk&Local/5@phones/n,d,3"),
    ]
    for one in called:
        shown = one._replace(app="AppDial2", connected=pager.number)
        events += [
            ari.ChannelCreated(1, one._replace(connected="")),
            ari.ChannelDialplan(1, shown, "AppDial2", "(Outgoing Line)"),
            ari.ChannelStateChange(1, shown),
            ari.Dial(1, None, shown, "", "x", None),
        ]
    return tuple(events)


def test_whom_page_calls(channel: Callable[..., Channel]) -> None:
    """Page names whom it calls: they belong to its channel's call, whatever numbers others show, or without any."""
    names = {"b": "PJSIP/1121-00000001", "c": "PJSIP/trunk-00000002", "d": "Local/5@phones-00000003;1"}
    called = [channel(key, state="Down", app="")._replace(name=name) for key, name in names.items()]
    for number in ("", "100"):
        pager = channel("a", number=number, state="Ring")
        likeness = ari.ChannelCreated(1, channel("z", number=number))
        state, _ = _fold(likeness, *_paged(pager, *called))
        assert [state.channels[key].call for key in "bcd"] == ["a", "a", "a"]
        assert all(state.segments.tracks[key].dialled for key in "bcd")
        assert not state.pages["a"]


def test_whom_page_does_not_call(channel: Callable[..., Channel]) -> None:
    """Each is paged once: who is originated to the same endpoint afterwards has a call of its own."""
    first, second = (channel(key, state="Down", app="")._replace(name=f"PJSIP/1121-0{key}") for key in "bc")
    state, _ = _fold(*_paged(channel("a", number="100"), first), *_originate(second, ""))
    assert (state.channels["b"].call, state.channels["c"].call) == ("a", "c")


def test_whom_page_calls_is_dialled_also_if_the_pbx_tells_its_call(channel: Callable[..., Channel]) -> None:
    """Where the PBX itself says which call a channel belongs to, Page is found out all the same."""
    leg = channel("b", state="Down", app="", linkedid="a")._replace(name="PJSIP/1121-00000001")
    state, _ = _fold(*_paged(channel("a", number="100", linkedid="a"), leg))
    assert state.segments.tracks["b"].dialled


def test_page_that_did_not_show(channel: Callable[..., Channel]) -> None:
    """Who was called on behalf of a channel, and is in a conference without dialplan, was called by Page: dialled."""
    leg, room = channel("b", exten="s"), ari.Bridge("r", "softmix", "base", "ConfBridge", "r", ("b",))
    up = leg._replace(state="Up", app="AppDial2", number="999", connected="999")
    for number, dialled in (("100", True), ("", False)):
        state, _ = _fold(
            ari.ChannelCreated(1, channel("a", number="100")),
            *_originate(leg, number),
            ari.ChannelStateChange(2, up),
            ari.ChannelEnteredBridge(2, up._replace(app="ConfBridge"), room),
        )
        assert state.segments.tracks["b"].dialled is dialled


def test_whom_page_called_meets_who_paged(channel: Callable[..., Channel]) -> None:
    """Of several channels with the number of who paged, it is the one in the conference."""
    leg, room = channel("b", exten="s"), ari.Bridge("r", "softmix", "base", "ConfBridge", "r", ("a", "b"))
    up = leg._replace(state="Up", app="AppDial2", number="999", connected="999")
    state, calls = _fold(
        ari.ChannelCreated(1, channel("a", number="100")),
        ari.ChannelCreated(1, channel("z", number="100")),
        *_originate(leg, "100"),
        ari.ChannelStateChange(2, up),
        ari.ChannelEnteredBridge(2, up._replace(app="ConfBridge"), room),
    )
    assert state.channels["b"].call == "a"
    assert calls == {"a", "z"}


def test_who_is_called_back_is_dialled(channel: Callable[..., Channel]) -> None:
    """The PBX calls who gave a consultation away back, and shows it the other party: that is no originate."""
    leg = channel("b", number="1121", exten="s", state="Down")
    begun = leg._replace(app="AppDial2")
    for connected, dialled in (("7903", True), ("1121", False), ("", False)):
        state, _ = _fold(
            ari.ChannelCreated(1, leg),
            ari.ChannelDialplan(1, begun, "AppDial2", ""),
            ari.Dial(1, None, begun._replace(connected=connected), "", "x", None),
        )
        assert state.segments.tracks["b"].dialled is dialled


def test_whom_an_originated_phone_forwards_to_is_dialled(channel: Callable[..., Channel]) -> None:
    """Only whom an originate names is originated, not to whom that one sends it on."""
    phone, first = channel("b", exten="s", state="Down"), channel("c", name="Local/9@x-1;1", state="Down")
    called = first._replace(app="AppDial2")
    state, _ = _fold(
        *_originate(phone, ""),
        ari.ChannelCreated(2, first),
        ari.ChannelDialplan(2, called, "AppDial2", ""),
        ari.Dial(2, None, called, "", "9", None),
        ari.Dial(2, None, phone._replace(app="AppDial2"), "CANCEL", "", called),
    )
    assert [state.segments.tracks[key].dialled for key in "bc"] == [False, True]


def test_who_waits_and_is_older(channel: Callable[..., Channel]) -> None:
    """Of two that an application created and bridges, the elder's call goes on, though the younger enters first."""
    made = [channel(key, app="Stasis", state="Down", created=f"2026-11-22T08:00:0{key}.000+0000") for key in "12"]
    dials = [ari.Dial(1, None, one, "", "x", None) for one in made]
    first, second = (one._replace(state="Up") for one in made)
    bridge = ari.Bridge("r", "simple_bridge", "stasis", "Stasis", "", ("2",))
    state, calls = _fold(
        *(ari.ChannelCreated(1, one) for one in made),
        *dials,
        ari.ChannelStateChange(2, first),
        ari.ChannelStateChange(2, second),
        ari.ChannelEnteredBridge(3, second, bridge),
        ari.ChannelEnteredBridge(3, first, bridge._replace(members=("1", "2"))),
    )
    assert [state.channels[key].call for key in "12"] == ["1", "1"]
    assert calls == {"1", "2"}


@pytest.mark.parametrize("number", ["200", "700"])
def test_forwarded_to_nowhere(channel: Callable[..., Channel], number: str) -> None:
    """A phone sends the caller to an extension that there is not: the pair made for it belongs to the caller's call.

    It shows the number of the phone, or the extension that the caller dialled."""
    caller, phone = channel("a", number="100"), channel("b", number="200", app="AppDial", state="Down")
    first = channel("c", name="Local/9@x-1;1", number="200", app="AppDial", state="Down")._replace(connected="100")
    first = first._replace(number=number)
    second = channel("d", name="Local/9@x-1;2", number="100")
    state, calls = _fold(
        ari.ChannelCreated(1, caller),
        ari.ChannelCreated(1, phone),
        ari.Dial(1, caller, phone, "", "200", None),
        ari.ChannelCreated(1, first._replace(app="", number="", connected="")),
        ari.ChannelCreated(1, second),
        ari.ChannelDialplan(1, first, "AppDial", ""),
        ari.Dial(1, caller, phone, "CONGESTION", "", None),
        ari.ChannelDestroyed(1, second, 0, ""),
        ari.ChannelDestroyed(1, first, 0, ""),
    )
    assert calls == {"a"}
    assert not state.groups


def test_whom_a_transferer_consults(channel: Callable[..., Channel]) -> None:
    """A transfer by feature code calls whom to consult for who holds, also if that one goes before they meet."""
    caller, held = channel("a", number="100", state="Up"), ari.Bridge("r", "simple_bridge", "basic", "", "", ())
    agent, busy = (channel(key, number="200", app="AppDial", state="Up") for key in "bz")
    first = channel("c", name="Local/9@x-1;1", number="", state="Down")._replace(number="", connected="200")
    second = channel("d", name="Local/9@x-1;2", number="200")
    alone = held._replace(id="s", members=("c",))
    state, calls = _fold(
        ari.ChannelCreated(1, caller),
        ari.ChannelCreated(1, busy._replace(app="")),
        ari.ChannelEnteredBridge(1, busy, held._replace(id="t", members=("z",))),
        ari.ChannelCreated(1, agent),
        ari.Dial(1, caller, agent, "", "200", None),
        ari.ChannelEnteredBridge(2, agent, held._replace(members=("b",))),
        ari.ChannelEnteredBridge(2, caller, held._replace(members=("a", "b"))),
        ari.ChannelHold(3, agent, "N/A"),
        ari.ChannelCreated(4, first),
        ari.ChannelCreated(4, second),
        ari.ChannelEnteredBridge(4, first, alone),
        ari.ChannelDestroyed(5, agent, 16, ""),
        ari.ChannelLeftBridge(5, first, alone._replace(members=())),
    )
    assert [state.channels[key].call for key in "cd"] == ["a", "a"]
    assert calls == {"a", "z"}


def test_who_takes_a_place_in_a_bridge(channel: Callable[..., Channel]) -> None:
    """Who picks up a call at its answer takes a place in the bridge without entering it: the calls do not meet."""
    caller, leg = channel("a", state="Up"), channel("b", app="AppDial", state="Up")
    picks = channel("p", app="Pickup", state="Up")
    bridge = ari.Bridge("r", "simple_bridge", "basic", "", "", ("a", "b"))
    state, calls = _fold(
        ari.ChannelCreated(1, caller),
        ari.ChannelCreated(1, leg),
        ari.Dial(1, caller, leg, "", "b", None),
        ari.ChannelCreated(2, picks._replace(app="", state="Ring")),
        ari.ChannelEnteredBridge(2, leg, bridge._replace(members=("b",))),
        ari.ChannelEnteredBridge(2, caller, bridge),
        ari.ChannelDialplan(3, picks._replace(app="AppDial"), "AppDial", ""),
        ari.ChannelDestroyed(3, leg, 16, ""),
        ari.ChannelLeftBridge(4, picks._replace(app="AppDial"), bridge._replace(members=("a",))),
    )
    assert (state.channels["a"].call, state.channels["p"].call) == ("a", "p")
    assert calls == {"a", "p"}


@pytest.mark.parametrize("variable", ["ATTENDEDTRANSFER", "BLINDTRANSFER"])
def test_whom_a_transferer_calls_names_it(channel: Callable[..., Channel], variable: str) -> None:
    """A Local channel called for a transfer names who transfers: it belongs to that one's call at once."""
    caller, agent = channel("a", number="100"), channel("b", number="200", app="AppDial", state="Up")
    twin = channel("z", number="200")
    first, second = (channel(key, name=f"Local/9@x-1;{half}") for key, half in (("c", 1), ("d", 2)))
    state, calls = _fold(
        *(ari.ChannelCreated(1, one) for one in (caller, twin, agent._replace(app=""))),
        ari.Dial(1, caller, agent, "", "200", None),
        ari.ChannelCreated(2, first),
        ari.ChannelCreated(2, second),
        ari.ChannelVarset(2, first, variable, agent.name),
    )
    assert [state.channels[key].call for key in "cd"] == ["a", "a"]
    assert calls == {"a", "z"}
