"""What is replaced in a frame, and what is left alone."""

import json
from typing import Any

import pytest

from wire.simulator.tokens import ChannelName, Text, Time, Uniqueid, Uuid, Vocabulary, parse_time


def channel(identity: str, name: str = "PJSIP/1121-00000001", **more: Any) -> dict[str, Any]:
    return {"id": identity, "name": name, "dialplan": {"exten": "s"}, **more}


def play(vocabulary: Vocabulary, event: dict[str, Any]) -> Any:
    """The event with every slot filled by its number in angle brackets."""
    template, slots = vocabulary.template(json.dumps(event).encode())
    return json.loads(template % tuple(b"<%d>" % slot for slot in slots))


def learnt(*events: dict[str, Any]) -> Vocabulary:
    vocabulary = Vocabulary()
    for event in events:
        vocabulary.learn(event)
    return vocabulary


def test_an_id_is_not_found_in_a_longer_one() -> None:
    """1795337565.1 is another channel than 1795337565.10."""
    one, ten = channel("1795337565.1"), channel("1795337565.10", "PJSIP/1122-00000002")
    vocabulary = learnt({"type": "Dial", "caller": one, "peer": ten})
    played = play(
        vocabulary,
        {"a": "1795337565.1", "b": "1795337565.10", "c": "x,1795337565.10,1795337565.1", "d": "1795337565.100"},
    )
    assert played["a"] != played["b"]
    assert played["c"] == f"x,{played['b']},{played['a']}"
    assert played["d"] == "1795337565.100"


def test_ids_inside_strings_are_replaced() -> None:
    """A file name, a URI and a path that hold an id get the new one."""
    vocabulary = learnt({"type": "x", "channel": channel("1795337928.110")})
    played = play(
        vocabulary,
        {"id": "1795337928.110", "f": "/monitor/rec-1795337928.110.wav", "u": "channel:1795337928.110", "n": "no"},
    )
    assert played == {"id": "<2>", "f": "/monitor/rec-<2>.wav", "u": "channel:<2>", "n": "no"}


def test_both_halves_of_a_local_pair_keep_one_name() -> None:
    """`;1` and `;2` stay, the name before them is one slot, in variables too."""
    base = "Local/1121@from-queue-00000004"
    vocabulary = learnt({"type": "x", "a": channel("1.0", f"{base};1"), "b": channel("2.0", f"{base};2")})
    played = play(vocabulary, {"variable": "BRIDGEPEER", "value": f"{base};1,{base};2"})
    assert played["value"] == "<2>;1,<2>;2"


def test_keys_and_numbers_are_never_touched() -> None:
    """A channel whose id is an ordinary word does not break other things that look the same."""
    vocabulary = learnt({"type": "x", "channel": channel("1121")})
    event = {"1121": 1121, "number": "1121", "id": "1121", "channels": ["1121", "2"], "text": "call 1121"}
    assert play(vocabulary, event) == event | {"id": "<2>", "channels": ["<2>", "2"]}


def test_text_with_escapes_and_percent_signs_survives() -> None:
    """Quotes, backslashes, percent signs and other scripts come out as they went in."""
    vocabulary = learnt({"type": "x", "channel": channel("agent-fhw7fa")})
    event = {"a": 'q"\\%d%b\n', "b": 'agent-fhw7fa "ж" \\', "c": "100%"}
    assert play(vocabulary, event) == event | {"b": '<2> "ж" \\'}


def test_application_and_asterisk_are_slots() -> None:
    """Every frame takes its client's application and its PBX's id."""
    assert play(learnt(), {"application": "arimon", "asterisk_id": "02:fc"}) == {
        "application": "<0>",
        "asterisk_id": "<1>",
    }


def test_each_token_is_known_for_what_it_is() -> None:
    """Unique ids, UUIDs, names and free text are made anew in different ways."""
    uuid = "f55fb26c-9077-402e-9ec2-8c64cc65f40e"
    snoop = channel("customer-kzac9s", "Snoop/customer-kzac9s-00000000")
    vocabulary = learnt(
        {"type": "x", "channel": channel("pbx-msk-1-1795336915.7"), "bridge": {"id": uuid, "bridge_class": "basic"}},
        {"type": "x", "channel": snoop},
    )
    play(
        vocabulary, {"a": "pbx-msk-1-1795336915.7", "b": uuid, "c": snoop["name"], "d": "2026-11-22T08:53:31.646+0530"}
    )
    slots = vocabulary.slots[2:]
    assert slots[0] == Uniqueid("pbx-msk-1-1795336915.7", "channel", "pbx-msk-1-", 1795336915)
    assert slots[1] == Uuid(uuid, "bridge")
    assert slots[2] == Text("customer-kzac9s", "channel")
    assert slots[3] == ChannelName(snoop["name"], "Snoop", (4,))
    assert isinstance(slots[4], Time)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T08:52:45.516+0000", 1795337565516),
        ("2026-11-22T14:22:45.516+0530", 1795337565516),
        ("2026-11-22T08:52:45Z", 1795337565000),
        ("2026-11-22T03:52:45.516123-05:00", 1795337565516),
    ],
)
def test_times_are_read_in_every_form(text: str, ms: int) -> None:
    """An offset may have a colon or none, a fraction any number of digits."""
    time = parse_time(text)
    assert time is not None
    assert time.ms == ms


@pytest.mark.parametrize("text", ["2026-13-22T08:52:45Z", "at 2026-11-22T08:52:45Z", "2026-11-22"])
def test_what_is_no_time_is_left_alone(text: str) -> None:
    """Only a string that is a valid timestamp as a whole is one."""
    assert parse_time(text) is None
