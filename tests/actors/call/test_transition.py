"""What a call makes of what it is told: whole states and whole effects."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from actors.call import events as ari
from actors.call.effects import Effect, Ended, Publish, Unexpected
from actors.call.events import Bridge, Channel
from actors.call.inputs import (
    CallBody,
    CallInput,
    ChannelEnded,
    ChannelJoined,
    ChannelMoved,
    Party,
    Quality,
    SegmentEnded,
)
from actors.call.moves import MOVES
from actors.call.state import Call, Phase
from actors.call.transition import transition
from conf.settings import Bounds, Settings
from conf.settings import Call as CallSettings

Make = Callable[..., Channel]

T0 = 1_795_000_000_000


def party(key: str, origin: str = "caller", state: str = "Ring", **changes: Any) -> Party:
    made = Party(
        key, f"PJSIP/{key}-1", key, key.upper(), state, "from-trunk", "700", T0, None, state == "Up", origin,
        None, None, None, None, (),
    )  # fmt: skip
    return made._replace(**changes)


class Told:
    """A call, told one thing after the other, and everything that it said."""

    def __init__(self, settings: Settings | None = None, call_id: str = "a") -> None:
        self.call = Call.new(call_id, "pbx1", settings or Settings())
        self.effects: list[Effect] = []
        self.n = 0

    def tell(self, body: CallBody, after_ms: int = 0) -> list[Effect]:
        self.n += 1
        self.call, effects = transition(self.call, CallInput(self.n, T0 + after_ms, body))
        self.effects += effects
        return effects

    @property
    def operations(self) -> list[str]:
        return [effect.operation for effect in self.effects if isinstance(effect, Publish)]


def ringing(channel: Make, settings: Settings | None = None) -> Told:
    """A call from a to b, whose phone rings."""
    told = Told(settings)
    told.tell(ChannelJoined(party("a"), None, 1))
    told.tell(ChannelJoined(party("b", "dialled", "Down", context="from-internal", exten="s"), None, 2), 5)
    told.tell(ari.Dial(T0, channel("a"), channel("b"), "", "b", None), 10)
    told.tell(ari.ChannelStateChange(T0, channel("b", state="Ringing")), 20)
    return told


def talking(channel: Make, settings: Settings | None = None) -> Told:
    """A call from a to b, in a bridge of two."""
    told = ringing(channel, settings)
    told.tell(ari.ChannelStateChange(T0, channel("b", state="Up")), 1000)
    told.tell(ari.Dial(T0, channel("a"), channel("b", state="Up"), "ANSWER", "", None), 1000)
    told.tell(ari.ChannelStateChange(T0, channel("a", state="Up")), 1001)
    for key in ("b", "a"):
        told.tell(
            ari.ChannelEnteredBridge(T0, channel(key), Bridge("x", "simple_bridge", "basic", "", "", ("a", "b"))), 1002
        )
    return told


def test_a_ringing_call(channel: Make) -> None:
    """received-call waits for the phone that is dialled and carries the call's begin; ringing-call says who rings."""
    told = ringing(channel)
    assert told.effects == [
        Publish(
            "received-call", 1, T0,
            {"origin": "a", "origin_name": "A", "destiny": "700", "direction": "inbound", "channel_id": "a",
             "channel": "PJSIP/a-1", "endpoint": "PJSIP/a"},
            False, False,
        ),
        Publish(
            "ringing-call", 2, T0 + 20,
            {"channel_id": "b", "channel": "PJSIP/b-1", "endpoint": "PJSIP/b", "number": "b", "name": "B",
             "after_seconds": 0.02},
            False, False,
        ),
    ]  # fmt: skip
    leg = told.call.legs["b"]
    assert (leg.phase, leg.rang, leg.origin, leg.dialled_by, leg.wanted) == (Phase.RINGING, True, "dialled", "a", "b")
    assert told.call.sequence == 2


def test_a_phone_rings_once(channel: Make) -> None:
    """The Ringing state and Dial RINGING come both; ringing-call is said once per party."""
    told = ringing(channel)
    assert told.tell(ari.Dial(T0, channel("a"), channel("b"), "RINGING", "", None)) == []


def test_an_answer_is_said_once_with_its_delay(channel: Make) -> None:
    """answered-call says who answered and after how many seconds."""
    told = talking(channel)
    assert told.operations == ["received-call", "ringing-call", "answered-call"]
    said = told.effects[-1]
    assert isinstance(said, Publish)
    assert (said.data["number"], said.data["after_seconds"], said.timestamp_ms) == ("b", 1.0, T0 + 1000)
    assert told.tell(ari.Dial(T0, channel("a"), channel("b"), "ANSWER", "", None)) == []


def test_a_call_that_has_heard_of_no_channel_says_nothing(channel: Make) -> None:
    """It could say neither its begin nor its end; what it was told counts all the same, once it hears of one."""
    told = Told()
    assert told.tell(ari.Dial(T0, channel("a"), channel("b"), "ANSWER", "", None)) == [
        Unexpected("no-leg", "answered-call", "a", "what told the call of its channels was set aside")
    ]
    told.tell(ChannelJoined(party("a"), None, 1), 5)
    *_, finished, _ended = told.tell(ChannelEnded("a", 16, "Normal Clearing", None), 10)
    assert told.operations == ["received-call", "finished-call"]
    assert isinstance(finished, Publish)
    assert finished.data["disposition"] == "ANSWERED"


def test_an_ended_call_says_everything(channel: Make) -> None:
    """finished-call has every field, is the last message, and Ended the last effect."""
    told = talking(channel)
    told.tell(ari.ChannelHangupRequest(T0, channel("b"), 16, False), 5000)
    for key in ("b", "a"):
        told.tell(ari.ChannelLeftBridge(T0, channel(key), Bridge("x", "simple_bridge", "basic", "", "", ())), 5001)
    told.tell(ChannelEnded("b", 16, "Normal Clearing", Quality(88.0, 0.4, 0.0, None)), 5002)
    told.tell(SegmentEnded("PJSIP/a-1", "PJSIP/b-1", "a", "700", T0, T0 + 1001, T0 + 5001, "ANSWERED", "Dial"), 5003)
    effects = told.tell(ChannelEnded("a", 16, "Normal Clearing", None), 5004)
    begin = "2026-11-18T11:06:40"
    leg = {"endpoint": "PJSIP/a", "cause": {"code": 16, "text": "Normal Clearing"}, "moved_to": None}
    assert effects == [
        Publish(
            "finished-call", 4, T0 + 5004,
            {
                "origin": "a", "origin_name": "A", "destiny": "700", "direction": "inbound", "disposition": "ANSWERED",
                "answered": True, "started_at": f"{begin}.000Z", "answered_at": f"{begin[:-2]}41.001Z",
                "ended_at": f"{begin[:-2]}45.004Z", "duration_seconds": 5.004, "talk_seconds": 4.0,
                "cause": {"code": 16, "text": "Normal Clearing"}, "hangup_by": "destiny", "merged_into": None,
                "legs": [
                    {**leg, "channel_id": "a", "channel": "PJSIP/a-1", "number": "a", "name": "A",
                     "started_at": f"{begin}.000Z", "answered_at": f"{begin[:-2]}41.001Z",
                     "ended_at": f"{begin[:-2]}45.004Z"},
                    {**leg, "channel_id": "b", "channel": "PJSIP/b-1", "endpoint": "PJSIP/b", "number": "b",
                     "name": "B", "started_at": f"{begin}.000Z", "answered_at": f"{begin[:-2]}41.000Z",
                     "ended_at": f"{begin[:-2]}45.002Z"},
                ],
                "segments": [
                    {"channel": "PJSIP/a-1", "dst_channel": "PJSIP/b-1", "src": "a", "dst": "700",
                     "start": f"{begin}.000Z", "answer": f"{begin[:-2]}41.001Z", "end": f"{begin[:-2]}45.001Z",
                     "billsec": 4, "disposition": "ANSWERED"},
                ],
                "transfers": [], "holds": [], "dtmf": "",
                "quality": {"PJSIP/b-1": {"mes": 88.0, "jitter_ms": 0.4, "loss_percent": 0.0, "rtt_ms": None}},
                "recordings": [],
            },
            False, False,
        ),
        Ended(),
    ]  # fmt: skip


def test_a_hold_and_its_end(channel: Make) -> None:
    """held-call and resumed-call, and a hold that never ends has no `to`."""
    told = talking(channel)
    assert [e.data for e in told.tell(ari.ChannelHold(T0, channel("b"), "jazz"), 2000) if isinstance(e, Publish)] == [
        {"channel_id": "b", "channel": "PJSIP/b-1", "music_class": "jazz"}
    ]
    assert told.tell(ari.ChannelHold(T0, channel("b"), None), 2001) == []
    told.tell(ari.ChannelUnhold(T0, channel("b")), 3500)
    assert told.effects[-1].data["held_seconds"] == 1.5  # type: ignore[union-attr]
    assert told.tell(ari.ChannelUnhold(T0, channel("b")), 3600) == []
    told.tell(ari.ChannelHold(T0, channel("a"), None), 4000)
    told.tell(ChannelEnded("a", 16, "", None), 4500)
    held = [(one.channel, one.from_ms - T0, one.to_ms and one.to_ms - T0) for one in told.call.life.holds]
    assert held == [("PJSIP/b-1", 2000, 3500), ("PJSIP/a-1", 4000, None)]


def test_the_younger_call_ends_when_its_last_channel_moves(channel: Make) -> None:
    """A channel that moves has no end here, and finished-call says where it went on."""
    told = talking(channel)
    told.tell(ChannelMoved("a", "elder"), 2000)
    assert told.operations[-1] != "finished-call"
    effects = told.tell(ChannelEnded("b", 16, "", None), 3000)
    data = effects[0].data  # type: ignore[union-attr]
    assert effects[-1] == Ended()
    assert data["merged_into"] == "elder"
    assert [(leg["moved_to"], leg["ended_at"] is None) for leg in data["legs"]] == [("elder", True), (None, False)]
    assert data["cause"] == {"code": None, "text": None}


@pytest.mark.parametrize(
    ("conf", "shown"),
    [
        (CallSettings(), "1234"),
        (CallSettings(mask_dtmf=True), "****"),
        (CallSettings(mask_dtmf_pattern="23"), "1**4"),
    ],
)
def test_digits_are_masked_as_configured(channel: Make, conf: CallSettings, shown: str) -> None:
    """Wholly, or where a pattern says so; a digit that only the next one makes match has been said by then."""
    told = talking(channel, Settings(call=conf))
    for digit in "1234":
        told.tell(ari.ChannelDtmfReceived(T0, channel("a"), digit, 100), 2000)
    told.tell(ChannelEnded("a", 16, "", None), 3000)
    effects = told.tell(ChannelEnded("b", 16, "", None), 3000)
    digits = [effect.data["digit"] for effect in told.effects if isinstance(effect, Publish) and "digit" in effect.data]
    assert digits == list("12*4" if conf.mask_dtmf_pattern else shown)
    assert isinstance(effects[0], Publish)
    assert effects[0].data["dtmf"] == shown


def test_more_legs_than_the_bound(channel: Make) -> None:
    """Legs beyond the bound are counted and said as `degraded`; the call still ends with the last of them."""
    told = Told(Settings(call=CallSettings(bounds=Bounds(legs=2))))
    for order, key in enumerate("abcd"):
        told.tell(ChannelJoined(party(key), None, order))
    assert set(told.call.legs) == {"a", "b"}
    assert told.tell(ari.ChannelHold(T0, channel("c"), None)) == []
    for key in "abc":
        told.tell(ChannelEnded(key, 16, "", None), 10)
    assert "finished-call" not in told.operations
    effects = told.tell(ChannelEnded("d", 16, "", None), 20)
    assert isinstance(effects[-2], Publish)
    assert (effects[-2].operation, effects[-2].degraded, len(effects[-2].data["legs"])) == ("finished-call", True, 2)


def bodies(channel: Make) -> dict[type, CallBody]:
    """One input of each kind, about channel z."""
    z, bridge = channel("z", state="Up"), Bridge("x", "simple_bridge", "basic", "", "", ("z",))
    return {
        ChannelJoined: ChannelJoined(party("z"), None, 9),
        ChannelMoved: ChannelMoved("z", "elder"),
        ChannelEnded: ChannelEnded("z", 16, "", None),
        SegmentEnded: SegmentEnded("PJSIP/z-1", None, "z", "1", T0, None, T0, "FAILED", ""),
        ari.ChannelStateChange: ari.ChannelStateChange(T0, z),
        ari.ChannelDialplan: ari.ChannelDialplan(T0, z, "NoOp", ""),
        ari.ChannelCallerId: ari.ChannelCallerId(T0, z),
        ari.ChannelVarset: ari.ChannelVarset(T0, z, "MIXMONITOR_FILENAME", "f"),
        ari.ChannelDtmfReceived: ari.ChannelDtmfReceived(T0, z, "1", 1),
        ari.ChannelHold: ari.ChannelHold(T0, z, None),
        ari.ChannelUnhold: ari.ChannelUnhold(T0, z),
        ari.ChannelHangupRequest: ari.ChannelHangupRequest(T0, z, 16, False),
        ari.ChannelEnteredBridge: ari.ChannelEnteredBridge(T0, z, bridge),
        ari.ChannelLeftBridge: ari.ChannelLeftBridge(T0, z, bridge),
        ari.Dial: ari.Dial(T0, channel("a"), z, "ANSWER", "", None),
        ari.BridgeBlindTransfer: ari.BridgeBlindTransfer(T0, z, None, "1", "c", "Success"),
        ari.BridgeAttendedTransfer: ari.BridgeAttendedTransfer(T0, z, z, None, None, (), (), "Fail"),
        ari.Recording: ari.Recording(T0, "RecordingStarted", "r", "channel", "z", "recording", None, None),
    }


def in_phase(channel: Make, phase: Phase) -> Told:
    """A call with another leg, where z is in this phase."""
    told = Told()
    told.tell(ChannelJoined(party("a"), None, 1))
    if phase is not Phase.ABSENT:
        told.tell(ChannelJoined(party("z", "dialled", "Down"), None, 2))
    if phase in (Phase.RINGING, Phase.UP):
        told.tell(ari.ChannelStateChange(T0, channel("z", state="Up" if phase is Phase.UP else "Ringing")))
    if phase is Phase.ENDED:
        told.tell(ChannelEnded("z", 16, "", None))
    if phase is Phase.MOVED:
        told.tell(ChannelMoved("z", "elder"))
    return told


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("phase", Phase)
def test_the_table_is_what_happens(channel: Make, kind: type, phase: Phase) -> None:
    """Each input in each phase does what its row says; where it has none, the state stays and that is told."""
    told = in_phase(channel, phase)
    before, body = told.call, bodies(channel)[kind]
    effects = told.tell(body, 1000)
    move = MOVES[kind]
    if phase not in move.phases:
        assert told.call is before
        assert effects == [Unexpected(f"{phase}-leg", kind.__name__, "z", "no such move")]
        return
    after = told.call.legs["z"].phase if "z" in told.call.legs else Phase.ABSENT
    assert after in move.then or after is phase
    said = {effect.operation for effect in effects if isinstance(effect, Publish)}
    assert said <= {"received-call", *move.says}
    assert not [effect for effect in effects if isinstance(effect, Unexpected)]


def test_an_input_without_a_row_is_told(channel: Make) -> None:
    """What the table does not know changes nothing."""
    told = in_phase(channel, Phase.UP)
    before = told.call
    effects = told.tell(ari.UnknownEvent(T0, "Novelty"))
    assert told.call is before
    assert effects == [Unexpected("no-move", "UnknownEvent", "a", "the table has no row for it")]


def test_a_call_goes_through_a_pickle(channel: Make) -> None:
    """A snapshot of a call is the call."""
    told = talking(channel)
    again = pickle.loads(pickle.dumps(told.call))
    assert again == told.call
    assert again.legs == told.call.legs
    assert transition(again, CallInput(9, T0, ChannelEnded("a", 16, "", None))) == transition(
        told.call, CallInput(9, T0, ChannelEnded("a", 16, "", None))
    )


def test_a_call_lived_is_a_call_set(channel: Make) -> None:
    """The quick way to change a call makes what PClass's own makes."""
    call = talking(channel).call
    life = call.life._replace(digits="1")
    assert call.lived(7, {}, life) == call.set(sequence=7, legs={}, life=life)
    with pytest.raises(AttributeError):
        call.lived(7, {}, life).sequence = 8


def finished(told: Told) -> dict[str, Any]:
    """What the call said when it was finished."""
    return next(one.data for one in told.effects if isinstance(one, Publish) and one.operation == "finished-call")


def _through_pairs() -> Told:
    """A call that began with a Local pair `a`, `b`, which dialled `c`, `d`, which dialled `a` and two phones."""
    told = Told()
    named = {"a": "Local/1@x-1;1", "b": "Local/1@x-1;2", "c": "Local/2@x-2;1", "d": "Local/2@x-2;2"}
    by = {"a": "d", "c": "b", "e": "d", "f": "d"}
    for order, key in enumerate("abcdef"):
        origin = "originated" if key == "a" else "dialled" if key in by else "caller"
        one = party(key, origin, "Down", channel=named.get(key, f"PJSIP/{key}-1"), dialled_by=by.get(key))
        told.tell(ChannelJoined(one, None, order))
    return told


def test_whom_a_chain_of_local_pairs_stands_for(channel: Make) -> None:
    """The origin of a call that began with a Local pair is who answers behind it, also where pairs dial in a ring."""
    told = _through_pairs()
    told.tell(ari.ChannelStateChange(T0, channel("f", state="Up")), 5)
    for key in "fedcba":
        told.tell(ChannelEnded(key, 16, "", None), 9)
    assert finished(told)["origin"] == "f"


def test_digits_are_told_once(channel: Make) -> None:
    """A digit that passes through a Local half was pressed by somebody else, of whom it is told."""
    told = _through_pairs()
    for key, name in (("f", None), ("c", "Local/2@x-2;1")):
        told.tell(ari.ChannelDtmfReceived(T0, channel(key, name, state="Up"), "5", 100), 5)
    said = [one.data for one in told.effects if isinstance(one, Publish) and one.operation == "dtmf-received"]
    assert [one["channel_id"] for one in said] == ["f"]


def test_digits_that_a_snoop_received(channel: Make) -> None:
    """A snoop has a call of its own, and that has the digits sent to it."""
    told = Told()
    told.tell(ChannelJoined(party("a", "snoop", "Up", channel="Snoop/1.1-1"), None, 1))
    told.tell(ari.ChannelDtmfReceived(T0, channel("a", "Snoop/1.1-1"), "5", 100), 5)
    told.tell(ChannelEnded("a", 16, "", None), 9)
    assert finished(told)["dtmf"] == "5"


@pytest.mark.parametrize(("source", "asked"), [("origin", (False, True)), ("system", (True,))])
def test_hangup_application_and_a_party_that_hangs_up_just_then(
    channel: Make, source: str, asked: tuple[bool, ...]
) -> None:
    """Hangup() ends a call for the dialplan, unless the party hung up before it did, though after it was shown."""
    told = Told()
    told.tell(ChannelJoined(party("a"), None, 1))
    running = channel("a", app="Hangup")
    told.tell(ari.ChannelDialplan(T0, running, "Hangup", ""))
    for soft in asked:
        told.tell(ari.ChannelHangupRequest(T0, running, 16, soft))
    told.tell(ChannelEnded("a", 16, "", None), 9)
    assert finished(told)["hangup_by"] == source


def test_a_hang_up_of_who_took_a_place_in_a_bridge(channel: Make) -> None:
    """Who picked up when the call had just been answered never enters the bridge, but is among its members when the
    other next does."""
    told = Told()
    told.tell(ChannelJoined(party("a"), None, 1))
    told.tell(ChannelJoined(party("b", state="Up"), None, 2))
    talks = Bridge("x", "simple_bridge", "basic", "", "", ("a", "b"))
    told.tell(ari.ChannelEnteredBridge(T0, channel("a", state="Up"), talks))
    told.tell(ari.ChannelHangupRequest(T0, channel("b", state="Up"), 16, False))
    for key in "ab":
        told.tell(ChannelEnded(key, 16, "", None), 9)
    assert finished(told)["hangup_by"] == "destiny"


@pytest.mark.parametrize(("cause", "disposition"), [(34, "CONGESTION"), (17, "BUSY"), (19, "CANCELLED")])
def test_a_caller_who_is_told_that_nothing_can_be_done(channel: Make, cause: int, disposition: str) -> None:
    """Busy() and Congestion() after a Dial in vain make the caller hang up: it has not given up."""
    told = Told()
    told.tell(ChannelJoined(party("a"), None, 1))
    told.tell(ChannelJoined(party("b", "dialled", "Down"), None, 2))
    told.tell(ChannelEnded("b", 0, "", None), 5)
    told.tell(ari.ChannelHangupRequest(T0, channel("a"), cause, False))
    told.tell(ChannelEnded("a", cause, "", None), 9)
    assert finished(told)["disposition"] == disposition
