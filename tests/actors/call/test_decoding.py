"""Frames become typed events, or a DecodeError that says what is wrong."""

import pickle
from collections.abc import Callable

import orjson
import pytest

from actors.call.decoding import DecodeError, decode, glance, interpret, milliseconds
from actors.call.events import ChannelVarset, Dial, UnknownEvent
from wire.store.row import Kind, Row

Frame = Callable[..., bytes]

CHANNEL = {
    "id": "1.1",
    "name": "PJSIP/a-1",
    "state": "Up",
    "caller": {"name": "A", "number": "1"},
    "connected": {"name": "", "number": "2"},
    "dialplan": {"context": "c", "exten": "e", "priority": 1, "app_name": "Dial", "app_data": ""},
    "creationtime": "2026-11-22T08:00:00.000+0000",
}


def row(body: bytes) -> Row:
    return Row(7, 1_000, Kind.FRAME, body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01.002+0000", 1_002),
        ("1970-01-01T05:30:01.002+0530", 1_002),
        ("1969-12-31T23:00:00.000-0100", 0),
    ],
)
def test_times_are_read_in_any_zone(text: str, expected: int) -> None:
    """ARI's times have the zone of the PBX, without colon."""
    assert milliseconds(text) == expected


def test_a_variable_that_nobody_reads_is_dropped(frame: Frame) -> None:
    """Most ChannelVarset never become an event."""
    assert decode(row(frame("ChannelVarset", variable="SIPDOMAIN", value="x", channel=CHANNEL))) is None


def test_a_variable_that_counts_is_an_event(frame: Frame) -> None:
    """BRIDGEPEER is one of the few."""
    event = decode(row(frame("ChannelVarset", variable="BRIDGEPEER", value="x", channel=CHANNEL)))
    assert isinstance(event, ChannelVarset)
    assert (event.variable, event.value, event.channel.app) == ("BRIDGEPEER", "x", "Dial")
    assert event.at_ms == milliseconds("2026-11-22T08:00:01.250+0000")


def test_a_global_variable_is_dropped(frame: Frame) -> None:
    """A ChannelVarset without channel is of no call."""
    assert decode(row(frame("ChannelVarset", variable="BRIDGEPEER", value="x"))) is None


@pytest.mark.parametrize("variable", ["RTPAUDIOQOSRTT", "RTPAUDIOQOSMES"])
def test_a_measurement_of_nothing_is_dropped(frame: Frame, variable: str) -> None:
    """Zero round trip and zero score mean that Asterisk measured nothing."""
    assert decode(row(frame("ChannelVarset", variable=variable, value="avg=000.000;", channel=CHANNEL))) is None


def test_an_event_without_time_has_that_of_its_row(frame: Frame) -> None:
    """When the PBX says no time, or nonsense, the event happened when we had it."""
    told = orjson.loads(frame("Dial", peer=CHANNEL, dialstatus="", dialstring="1"))
    for time in (None, "yesterday", 7):
        event = decode(row(orjson.dumps({**told, "timestamp": time})))
        assert isinstance(event, Dial)
        assert event.at_ms == 1_000
        assert event.channel is None


def test_a_dial_without_anybody_is_dropped(frame: Frame) -> None:
    """Asterisk hides who was dialled and has another body since: its dial ends without a peer, and tells nothing."""
    assert decode(row(frame("Dial", dialstatus="NOANSWER", dialstring="", forward=""))) is None


def test_the_pbx_may_tell_the_linkedid(frame: Frame) -> None:
    """channelvars' CHANNEL(linkedid) is read; an empty one is none."""
    for told, expected in (({"CHANNEL(linkedid)": "1.0"}, "1.0"), ({"CHANNEL(linkedid)": ""}, None), ({}, None)):
        event = decode(row(frame("ChannelUnhold", channel={**CHANNEL, "channelvars": told})))
        assert event is not None
        assert event.channel.linkedid == expected  # type: ignore[union-attr]


def test_an_unknown_type_is_no_fault(frame: Frame) -> None:
    """What ARI did not have when this was written is named, so that it can be counted."""
    assert decode(row(frame("ChannelTeleported", where=7))) == UnknownEvent(
        milliseconds("2026-11-22T08:00:01.250+0000"), "ChannelTeleported"
    )


@pytest.mark.parametrize("kind", ["DeviceStateChanged", "StasisStart", "BridgeCreated", "ApplicationReplaced"])
def test_what_says_nothing_of_a_call_is_dropped(frame: Frame, kind: str) -> None:
    """A known type without use is no event, whatever it holds."""
    assert decode(row(frame(kind, nonsense=True))) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b'{"type":"\xff"}', "not-json"),
        (b"7", "not-an-event"),
        (b"null", "not-an-event"),
        (b"[1]", "not-an-event"),
        (b"{}", "not-an-event"),
        (b'{"type":[]}', "not-an-event"),
        (b'{"type":"ChannelCreated"}', "wrong-shape"),
        (b'{"type":"ChannelCreated","channel":7}', "wrong-shape"),
        (b'{"type":"Dial","peer":null}', "wrong-shape"),
        (b'{"type":"ChannelVarset","variable":"BRIDGEPEER","channel":{}}', "wrong-shape"),
    ],
)
def test_a_bad_frame_says_what_is_wrong(body: bytes, reason: str) -> None:
    """Bad JSON, no event and a wrong shape are told apart, and the error goes through a pickle."""
    with pytest.raises(DecodeError) as caught:
        decode(row(body))
    assert caught.value.reason == reason
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, again.detail) == (reason, caught.value.detail)


def test_every_recorded_frame_is_understood(recording: Callable[[str], list[bytes]]) -> None:
    """No frame of a recording is rejected or unknown."""
    for name in ("10_", "11e", "16b", "23_", "25_", "31b", "33_"):
        for line in recording(name):
            event = decode(row(orjson.dumps(orjson.loads(line)["event"])))
            assert not isinstance(event, UnknownEvent)


def test_what_is_read_at_a_glance_would_be_the_same_when_decoded(recording: Callable[[str], list[bytes]]) -> None:
    """The form of a recorded frame tells no other than its decoding, and of most ChannelVarset it does tell."""
    dropped = told = varsets = 0
    for name in ("10_", "11e", "16b", "23_", "25_", "31b", "33_"):
        for line in recording(name):
            event = orjson.loads(line)["event"]
            varsets += event["type"] == "ChannelVarset"
            found = glance(line)
            assert found == glance(orjson.dumps(event))
            if found is not False:
                assert event["type"] == "ChannelVarset"
                assert found == interpret(event, 0)
                dropped += found is None
                told += 1
    assert dropped > 300
    assert told > 0.8 * varsets


TAIL = b',"timestamp":"2026-11-22T08:00:00.000+0000","channel":{"id":"1.1"},"application":"a"}'


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b'{"variable":"X","value":"1","type":"ChannelVarset"' + TAIL, True),
        (b'{"variable":"X","value":"","type":"ChannelVarset"' + TAIL, True),
        (b'{"variable":"BRIDGEPEER","value":"1","type":"ChannelVarset"' + TAIL, False),
        (b'{"variable":"BRIDGEPEER', False),
        (b'{"variable":"X","value":"1","type":"Dial"' + TAIL, False),
        (b'{"variable":"X","value":"1","type":"ChannelVarset"' + TAIL[:-1], False),
        (b'{"variable":"X","value":"1","type":"ChannelVarset"' + TAIL[:66], False),
        (b'{"variable":"X","value":"a\\",\\"type\\":\\"ChannelVarset\\"","type":"Dial"' + TAIL, False),
        (b'{"variable":"X\\"","value":"1","type":"ChannelVarset"' + TAIL, False),
        (b'{"variable":"X","value":"\xff","type":"ChannelVarset"' + TAIL, False),
        (b"", False),
    ],
)
def test_only_a_whole_varset_in_asterisks_form_is_dropped_unread(frame: bytes, told: bool) -> None:
    """What is cut off, escaped, beyond ASCII or of another type is decoded, so that it is told if it is wrong."""
    assert (glance(frame) is None) is told


def test_what_is_not_quite_in_asterisks_form_is_decoded() -> None:
    """A variable of interest is not read by its form if anything in it may mean something else than it looks like."""
    told = {
        "variable": "BRIDGEPEER",
        "value": "1",
        "type": "ChannelVarset",
        "timestamp": "2026-11-22T08:00:00.000+0000",
    }
    whole = orjson.dumps({**told, "channel": CHANNEL, "asterisk_id": "1", "application": "a"})
    assert glance(whole) == decode(row(whole + b" "))
    for part, instead in (
        (b'"value":"1"', rb'"value":"\u0031"'),
        (b'"value":"1"', b'"value":"\t"'),
        (b"2026-11-22T08:00:00.000+0000", b"yesterday-the-22nd-of-the-11"),
        (b'"asterisk_id"', b'"asterisk"'),
        (b'"state"', b'"stat"'),
        (b'"channel":{', b'"channel":{{'),
        (b'"channel":{', b'"channel":7,"other":{'),
    ):
        assert part in whole
        assert glance(whole.replace(part, instead)) is False


def test_a_dial_without_its_peer(frame: Frame) -> None:
    """Asterisk leaves out a peer that has just gone: the event says nothing then, and is no fault."""
    assert decode(row(frame("Dial", dialstatus="NOANSWER", dialstring="", forward=""))) is None
