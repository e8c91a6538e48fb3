"""actors.debug: what OTP's sys knows of every process."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import orjson
import pytest
from pyrsistent import PClass, field, pmap

from actors import debug
from actors.debug import Debug, brief, brief_state, shown
from conf.settings import Settings
from wire import log


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: str


@dataclass
class Box:
    inside: Any


class State(PClass):
    legs: Any = field(initial=pmap())


class Broken:
    """Half-changed: its text cannot be made."""

    def __repr__(self) -> str:
        raise AttributeError("not yet")


def test_a_state_is_plain_data() -> None:
    """Names of fields are kept, and JSON can hold it."""
    state = {
        "_pair": Pair(1, "r"),
        "_box": Box([Colour.RED, b"x", {1, 2}]),
        "_call": State(legs=pmap({"a": deque([None])})),
        "_settings": Settings(),
        "_log": log.get("actors.publisher").bind(pbx="pbx1"),
    }
    assert orjson.loads(orjson.dumps(shown(state))) == {
        "_pair": {"left": 1, "right": "r"},
        "_box": {"inside": ["red", "(1 bytes)", [1, 2]]},
        "_call": {"legs": {"a": [None]}},
        "_settings": "(as configured)",
        "_log": "(a logger)",
    }


def test_a_state_is_bounded() -> None:
    """However wide, deep or circular it is."""
    circle: list[Any] = []
    circle.append(circle)
    wide = dict.fromkeys(range(10_000), "x" * 10_000)
    found = orjson.dumps(shown({"circle": circle, "wide": wide, "list": list(range(10_000))}))
    assert len(found) < 200_000
    assert b"and 9800 more" in found


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of their key, and wherever they occur."""
    monkeypatch.setattr(log._state, "secrets", ("hunter2",))
    assert b"hunter2" not in orjson.dumps(
        shown({"url": "amqp://x:hunter2@y", "password": "other", "box": Box("hunter2")})
    )
    assert "other" not in str(shown({"password": "other"}))
    assert "hunter2" not in brief(Box("hunter2"))
    assert "hunt" not in str(shown({"long": "x" * 496 + "hunter2"}))


def test_a_half_changed_actor_can_be_shown() -> None:
    """Its last words must not fail."""
    assert "AttributeError" in brief(Broken())
    assert "AttributeError" in brief_state({"broken": Broken()}, 1000)


def test_messages_are_counted_by_class() -> None:
    """In and out."""
    counted = Debug()
    counted.came(Pair(1, ""), "publisher#1")
    counted.came(Pair(2, ""), "publisher#1")
    counted.went(Box(1), "root#1")
    found = counted.answer("statistics", {})
    assert (found["received"], found["sent"]) == ({"Pair": 2}, {"Box": 1})


def test_a_trace_stops_by_itself() -> None:
    """After its maximum; what was traced is given once."""
    traced = Debug()
    traced.start_trace(3)
    traced.came(Pair(1, ""), "a")
    traced.went(Pair(2, ""), "b")
    found = traced.traced()
    assert [(each["way"], each["other"]) for each in found["records"]] == [("in", "a"), ("out", "b")]
    assert not found["over"]
    for number in range(3, 10):
        traced.came(Pair(number, ""), "a")
    found = traced.traced()
    assert [each["message"] for each in found["records"]] == ["Pair(left=3, right='')"]
    assert found["over"]
    assert traced.trace is None
    assert traced.traced() == {"records": [], "over": True}


def test_a_trace_that_nobody_fetches_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps nothing more."""
    traced = Debug()
    traced.start_trace(1000)
    monkeypatch.setattr(debug, "_UNREAD", -1.0)
    traced.came(Pair(1, ""), "a")
    assert traced.traced()["records"] == []


def test_an_ended_actor_s_trace_can_still_be_fetched() -> None:
    """Its last message is the most telling."""
    traced = Debug()
    traced.start_trace(1000)
    traced.went(Pair(1, ""), "outbox")
    traced.end()
    traced.went(Pair(2, ""), "outbox")
    found = traced.traced()
    assert len(found["records"]) == 1
    assert found["over"]


def test_an_unknown_question_has_no_answer() -> None:
    """Whoever asked is told so by others."""
    assert Debug().answer("code_change", {}) is None
