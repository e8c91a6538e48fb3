"""actors.inspector: what arimon-ctl is told, by a Monitor whose processes answer as a test says."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from actors import inspector
from actors.call.envelope import Form, envelope
from actors.inspector import Inspector
from actors.messages import Vitals
from actors.reports import Reports
from conf.settings import Settings
from conf.validation import validated
from supervision.messages import Identity, Place
from wire.control import api

Answers = dict[str, Callable[..., Any]]


class Monitor:
    """Knows nothing, and whom it asks answers as the test says."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.vitals: Mapping[Place, tuple[Identity, Vitals]] = {}
        self.started_ms = 0

    @property
    def reports(self) -> Reports:
        raise AssertionError("nobody asks for reports here")

    async def ask(self, place: Place, question: str, /, *, limit: float = 1.0, **arguments: Any) -> Any:
        self.asked.append((str(place), question, arguments))
        return self._answers[question](**arguments)


@pytest.fixture
def settings() -> Settings:
    return validated(Settings, {"pbx": [{"name": "pbx1"}]})


def body(form: Form, call_id: str, sequence: int, operation: str) -> str:
    message = envelope(
        form, "pbx1", f"call:{call_id}", sequence, operation,
        call_id=call_id, timestamp_ms=sequence, row_ms=sequence, data={},
    )  # fmt: skip
    return message.body.decode()


@pytest.mark.parametrize("form", ["v3", "legacy"])
@pytest.mark.parametrize(
    ("call_id", "operation", "expected"),
    [(None, None, 4), ("1.1", None, 2), (None, "held-call", 2), ("1.2", "held-call", 1), ("1.3", None, 0)],
)
def test_whoever_follows_gets_what_he_asked_for(
    settings: Settings, form: Form, call_id: str | None, operation: str | None, expected: int
) -> None:
    """Messages of one call, of one operation, of both, or all; in either form."""
    bodies = [body(form, call, n, what) for call in ("1.1", "1.2") for n, what in enumerate(("held-call", "x"), 1)]
    first = {"generation": 1, "last": 4, "missed": 0, "bodies": bodies}
    given = iter([first, first | {"last": 9, "missed": 5, "bodies": []}])

    found: list[bytes] = []

    async def follow() -> None:
        asked = Inspector(Monitor({"given": lambda after: next(given)}), settings)
        async for line in await asked.follow(call_id, operation):
            found.append(line)

    with pytest.raises(api.Refused, match="5 messages went by unseen"):
        asyncio.run(follow())
    assert len(found) == expected
    assert set(found) <= {each.encode() for each in bodies}


def test_whoever_follows_goes_on_with_the_next_publisher(settings: Settings) -> None:
    """While there is none he waits; then he gets all that it has given, which counts anew."""
    first, second, third = (body("v3", "1.1", n, "x") for n in (1, 2, 3))
    answers: list[tuple[int | None, dict[str, Any] | api.Refused]] = [
        (None, {"generation": 1, "last": 900, "missed": 0, "bodies": [first]}),
        (900, api.Refused("publisher is not running")),
        (900, {"generation": 2, "last": 1, "missed": 0, "bodies": []}),
        (0, {"generation": 2, "last": 1, "missed": 0, "bodies": [second]}),
        (1, {"generation": 2, "last": 2, "missed": 0, "bodies": [third]}),
    ]

    def given(after: int | None) -> dict[str, Any]:
        expected, answer = answers.pop(0)
        assert after == expected
        if isinstance(answer, api.Refused):
            raise answer
        return answer

    async def follow() -> list[str]:
        lines = await Inspector(Monitor({"given": given}), settings).follow(None, None)
        return [(await anext(lines)).decode() for _ in range(3)]

    assert asyncio.run(follow()) == [first, second, third]


@pytest.mark.parametrize("form", ["v3", "legacy"])
def test_a_call_with_its_messages(settings: Settings, form: Form) -> None:
    """Those published lately and those that wait, each once, in order, in either form."""
    first, second, third = (body(form, "1.1", n, "x") for n in (1, 2, 3))
    answers: Answers = {
        "recent": lambda count: [second, first, body(form, "1.2", 1, "x")],
        "call": lambda call_id: {"summary": {}, "state": {}, "waiting": [third, second]},
    }
    detail = asyncio.run(Inspector(Monitor(answers), settings).call("1.1", None))
    assert detail["messages"] == [orjson.loads(each) for each in (first, second, third)]


# --- redrive ----------------------------------------------------------------------------------------------------------


FOUND = {"journals": ["i", "j"], "entries": 3, "kinds": ["frame"]}


def redrive(settings: Settings, answers: Answers) -> tuple[api.Done, Monitor]:
    monitor = Monitor({"redrivable": lambda n: FOUND, "operate": lambda command: "journalled"} | answers)
    return asyncio.run(Inspector(monitor, settings).quarantine_redrive("pbx1", 7)), monitor


def drop(settings: Settings, entries: list[int]) -> tuple[api.Done, Monitor]:
    left = iter(entries)
    answers = {"redrivable": lambda n: FOUND | {"entries": next(left)}, "operate": lambda command: "journalled"}
    monitor = Monitor(answers)
    return asyncio.run(Inspector(monitor, settings).quarantine_drop("pbx1", 7)), monitor


def test_a_drop_is_journalled_and_waited_for(settings: Settings) -> None:
    """An order for each journal that has such a row; it is done when nothing of it waits any more."""
    done, monitor = drop(settings, [3, 3, 2, 0])
    assert done["done"].startswith("row 7 of pbx1 is forgotten")
    commands = [arguments["command"] for _place, question, arguments in monitor.asked if question == "operate"]
    assert [(each["command"], each["uuid"], each["n"]) for each in commands] == [("drop", "i", 7), ("drop", "j", 7)]


def test_a_drop_that_came_to_nothing_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such row, or it takes longer than anybody waits."""
    monkeypatch.setattr(inspector, "REDRIVE_SECONDS", 1.2)
    with pytest.raises(api.NotFound, match="not in quarantine"):
        drop(settings, [0])
    with pytest.raises(api.Unanswered, match="is journalled, and not folded yet"):
        drop(settings, [3] * 100)


def test_a_redrive_is_journalled_and_waited_for(settings: Settings) -> None:
    """An order for each journal that has such a row; it is done when every entry was tried."""
    tried = iter([0, 2, 3])
    done, monitor = redrive(settings, {"redriven": lambda order: {"tried": next(tried), "error": None, "attempts": 1}})
    assert done["done"] == "row 7 of pbx1 was applied"
    commands = [arguments["command"] for _place, question, arguments in monitor.asked if question == "operate"]
    assert [(each["command"], each["uuid"], each["n"]) for each in commands] == [
        ("redrive", "i", 7),
        ("redrive", "j", 7),
    ]
    assert len({each["id"] for each in commands}) == 1


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ({"redrivable": lambda n: {"journals": [], "entries": 0, "kinds": []}}, api.NotFound, "not in quarantine"),
        ({"redrivable": lambda n: FOUND | {"kinds": ["link-up"]}}, api.Refused, "a row of kind link-up"),
        (
            {"redriven": lambda order: {"tried": 3, "error": "KeyError: 1", "attempts": 2}},
            api.Refused,
            "row 7 of pbx1 was redriven 2 times and stays in quarantine: KeyError: 1",
        ),
        (
            {"redriven": lambda order: {"tried": 1, "error": None, "attempts": 1}},
            api.Unanswered,
            "is journalled, and not folded yet",
        ),
    ],
)
def test_a_redrive_that_came_to_nothing_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: Answers, error: type[api.ControlError], said: str
) -> None:
    """There is no such row, it can never be applied, it failed again, or it takes longer than anybody waits."""
    monkeypatch.setattr(inspector, "REDRIVE_SECONDS", 1.2)
    with pytest.raises(error, match=said):
        redrive(settings, answers)
