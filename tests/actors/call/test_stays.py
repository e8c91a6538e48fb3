"""Parking: how a call comes out of the lot."""

from collections.abc import Callable

import pytest

from actors.call import events as ari
from actors.call.effects import Publish
from actors.call.events import Bridge, Channel
from actors.call.inputs import ChannelJoined, ChannelMoved
from tests.actors.call.test_transition import T0, Told, party

Make = Callable[..., Channel]

LOT = Bridge("lot", "holding_bridge", "parking", "", "default", ("a",))
TALK = Bridge("x", "simple_bridge", "basic", "", "", ("a",))


def _taken_out(channel: Make) -> Told:
    """A call whose only leg was parked, has left the lot and is in a bridge."""
    told = Told()
    told.tell(ChannelJoined(party("a", state="Up"), None, 1))
    told.tell(ari.ChannelEnteredBridge(T0, channel("a"), LOT), 1000)
    told.tell(ari.ChannelLeftBridge(T0, channel("a"), LOT._replace(members=())), 3000)
    told.tell(ari.ChannelEnteredBridge(T0, channel("a"), TALK), 3000)
    return told


def _unparked(told: Told) -> list[tuple[str, str | None, int | None]]:
    """Outcome, who did it, and the space, of each time."""
    said = [one for one in told.effects if isinstance(one, Publish) and one.operation == "unparked-call"]
    assert {one.timestamp_ms for one in said} == {T0 + 3000}
    return [(one.data["outcome"], one.data["by"], one.data["space"]) for one in said]


@pytest.mark.parametrize(
    ("app", "said"), [("ParkedCall", ("retrieved", "701", 701)), ("Stasis", ("abandoned", None, None))]
)
@pytest.mark.parametrize("elder", [False, True])
def test_who_retrieves_runs_parkedcall(
    channel: Make, app: str, said: tuple[str, str | None, int | None], elder: bool
) -> None:
    """Who meets a call that left the lot has retrieved it only by ParkedCall, also if that one's call is the elder."""
    told = _taken_out(channel)
    by = channel("b", number="701", app=app, exten="701")
    if elder:
        told.tell(ChannelMoved("a", "b", by), 3001)
    else:
        told.tell(ChannelJoined(party("b"), "b", 2), 3001)
        told.tell(ari.ChannelEnteredBridge(T0, by, TALK._replace(members=("a", "b"))), 3001)
    assert _unparked(told) == [said]


def test_parked_again(channel: Make) -> None:
    """Who is parked out of the lot gives up the first time."""
    told = _taken_out(channel)
    told.tell(ari.ChannelEnteredBridge(T0, channel("a"), LOT), 3001)
    assert _unparked(told) == [("abandoned", None, None)]
    assert told.operations[-2:] == ["unparked-call", "parked-call"]


@pytest.mark.parametrize(("context", "outcome"), [("park-dial", "timeout"), ("from-internal", "abandoned")])
def test_what_a_parked_call_does_next(channel: Make, context: str, outcome: str) -> None:
    """Whose time is up goes on where such calls come back to; who is sent anywhere else gives up."""
    told = _taken_out(channel)
    told.tell(ari.ChannelDialplan(T0, channel("a", app="Dial", context=context), "Dial", ""), 3002)
    assert _unparked(told) == [(outcome, None, None)]
