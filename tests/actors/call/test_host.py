"""What every host of calls does with an input."""

import orjson

from actors.call.host import amended, degrade, fold
from actors.call.inputs import CallInput, ChannelEnded, ChannelJoined, ChannelMoved, Party, Routed
from actors.call.state import Call
from conf.settings import Pbx, Publisher, Settings

PARTY = Party(
    "1.1", "PJSIP/a-1", "1", "A", "Ring", "from-trunk", "700", 5, None, False, "caller", None, None, None, None, ()
)


def test_the_first_input_makes_the_call(settings: Settings) -> None:
    """A call without state is made by what it is told first."""
    folded = fold(None, Routed("1.1", CallInput(1, 5, ChannelJoined(PARTY, None, 1))), "pbx1", settings)
    assert folded.call.call_id == "1.1"
    assert set(folded.call.legs) == {"1.1"}
    assert (folded.messages, folded.unexpected, folded.ended) == ((), (), False)


def test_the_end_is_told(settings: Settings) -> None:
    """An ended call's last messages come with `ended`, in each configured form."""
    conf = Settings(publisher=Publisher(form="both"))
    call = fold(None, Routed("1.1", CallInput(1, 5, ChannelJoined(PARTY, None, 1))), "pbx1", conf).call
    folded = fold(call, Routed("1.1", CallInput(2, 9, ChannelEnded("1.1", 16, "bye", None))), "pbx1", conf)
    assert folded.ended
    assert [(one.form, one.sequence, one.operation, one.stream) for one in folded.messages] == [
        ("v3", 1, "received-call", "call:1.1"),
        ("legacy", 1, "received-call", "call:1.1"),
        ("v3", 2, "finished-call", "call:1.1"),
        ("legacy", 2, "finished-call", "call:1.1"),
    ]


def test_what_has_no_place_is_told(settings: Settings) -> None:
    """A surprise is an Unexpected, and the call is as it was."""
    call = Call.new("1.1", "pbx1", settings)
    folded = fold(call, Routed("1.1", CallInput(1, 5, ChannelMoved("9", "2"))), "pbx1", settings)
    assert folded.call is call
    assert [one.what for one in folded.unexpected] == ["absent-leg"]


def test_a_degraded_call_says_so(settings: Settings) -> None:
    """After a row was set aside, every message of the call says `degraded`."""
    call = fold(None, Routed("1.1", CallInput(1, 5, ChannelJoined(PARTY, None, 1))), "pbx1", settings).call
    call = degrade(degrade(call))
    folded = fold(call, Routed("1.1", CallInput(2, 9, ChannelEnded("1.1", 16, "bye", None))), "pbx1", settings)
    assert [orjson.loads(one.body)["degraded"] for one in folded.messages] == [True, True]


def test_trunks_are_those_of_the_pbx() -> None:
    """Direction follows the patterns of the PBX that the call is on."""
    told = Routed("1.1", CallInput(1, 5, ChannelJoined(PARTY, None, 1)))
    over = Routed("1.1", CallInput(2, 9, ChannelEnded("1.1", 16, "bye", None)))
    conf = Settings(pbx=(Pbx(name="one", trunks=("PJSIP/a*",)), Pbx(name="two", trunks=("SIP/*",)), Pbx(name="three")))
    said = {}
    for server in ("one", "two", "three", "unknown"):
        messages = fold(fold(None, told, server, conf).call, over, server, conf).messages
        said[server] = orjson.loads(messages[0].body)["data"]["direction"]
    assert said == {"one": "inbound", "two": "internal", "three": "inbound", "unknown": "inbound"}


def test_what_comes_too_late_amends(settings: Settings) -> None:
    """call-amended goes on with the ended call's sequence."""
    (message,) = amended(
        "1.1", 8, server="p", settings=settings, reason="redriven", row=77, amends={"type": "ChannelHold"},
        timestamp_ms=5, row_ms=5,
    )  # fmt: skip
    told = orjson.loads(message.body)
    assert (told["sequence"], told["operation"], told["data"]) == (
        8, {"type": "call-amended"}, {"reason": "redriven", "row": 77, "amends": {"type": "ChannelHold"}},
    )  # fmt: skip
