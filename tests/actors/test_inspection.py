"""actors.inspection: states of calls as plain data."""

import orjson
import pytest
from pyrsistent import pmap

from actors.call import host
from actors.call.state import Call, Phase
from actors.call.world import World, step
from actors.inspection import call_state, call_summary, plain
from conf.settings import Settings
from tests.truth import recordings


def story(name: str) -> list[Call]:
    """Every state of the calls of a recording."""
    settings = Settings()
    world, calls, seen = World.new("pbx1"), dict[str, Call](), list[Call]()
    for row in recordings.rows(name):
        done = step(world, row, settings)
        world = done.world
        for routed in done.routed:
            calls[routed.call_id] = host.fold(calls.get(routed.call_id), routed, "pbx1", settings).call
            seen.append(calls[routed.call_id])
    return seen


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("01_inbound_answered_caller_hangup", ["calling", "ringing", "answered", "talking", "ending"]),
        ("03_no_answer_timeout", ["calling", "ringing", "calling", "ending"]),
        ("08b_ivr_only_never_dials", ["calling", "answered", "ending"]),
    ],
)
def test_a_call_in_one_word(name: str, words: list[str]) -> None:
    """What its liveliest leg does, from its beginning to its end."""
    said = [call_summary(call, "pbx1", 1)["state"] for call in story(name)]
    assert [word for word, before in zip(said, [None, *said], strict=False) if word != before] == words


def test_a_call_in_one_line() -> None:
    """Parties and times are those of the call's own messages."""
    last = call_summary(story("01_inbound_answered_caller_hangup")[-3], "pbx1", 4)
    assert last == {
        "call_id": "1795337565.0",
        "pbx": "pbx1",
        "state": "talking",
        "origin": "79031112233",
        "destiny": "74957770001",
        "since_ms": 1795337565516,
        "answered_ms": last["answered_ms"],
        "legs": 2,
        "generation": 4,
        "degraded": False,
    }
    assert 1795337565516 < (last["answered_ms"] or 0) < 1795337565516 + 10_000


@pytest.mark.parametrize("name", [name for name in recordings.names() if not name.startswith("24")])
def test_every_state_of_every_recording_can_be_shown(name: str) -> None:
    """As JSON, with the names of its fields; and in one line."""
    for call in story(name):
        shown = orjson.loads(orjson.dumps(call_state(call)))
        assert shown["sequence"] == call.sequence
        assert shown["legs"].keys() == call.legs.keys()
        assert orjson.dumps(call_summary(call, "pbx1", 1))


def test_values_become_plain() -> None:
    """Enums are their values, maps have texts for keys, and what is too deep is a text."""
    assert plain({1: (Phase.UP, {2.5, None})}) in ({"1": ["up", [2.5, None]]}, {"1": ["up", [None, 2.5]]})
    assert plain(pmap({"a": frozenset([True])})) == {"a": [True]}
    deep: list[object] = []
    for _ in range(20):
        deep = [deep]
    assert plain(deep) == [[[[[[[["[[[[[[[[[[[[[]]]]]]]]]]]]]"]]]]]]]]
