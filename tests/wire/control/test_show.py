"""wire/control/show.py: replies as people read them."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tests.wire.control.fakes import CALL, CRASH, MESSAGE, QUARANTINED, STATUS, TREE, FakeBackend
from wire.control import show

NOW = STATUS["now_ms"]


def drawn(what: RenderableType, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


def test_status_says_what_is_wrong() -> None:
    """Healthy in a word, else every problem in a line; a link that is down says why and since when."""
    good = drawn(show.status(STATUS))
    assert "healthy" in good
    assert "NOT" not in good
    link: Any = {"state": "backing_off", "since_ms": NOW - 90_000, "attempt": 4, "detail": "no route"}
    bad = drawn(
        show.status(
            {**STATUS, "healthy": False, "problems": ["disk full"], "pbx": [{**STATUS["pbx"][0], "link": link}]}
        )
    )
    assert "NOT healthy" in bad
    assert "! disk full" in bad
    assert "backing_off for 1 min 30 s, attempt 4 (no route)" in bad


def test_tree_shows_restarts_budget_and_last_exit() -> None:
    """All that an operator looks for after a crash."""
    text = drawn(show.tree(TREE, NOW))
    publisher = next(line for line in text.splitlines() if "Publisher" in line)
    assert "generation 3, 2 restarts" in publisher
    assert "last ended: killed" in publisher
    assert "3 of 5 restarts used, 41 s to reset" in text.splitlines()[0]


def test_tree_holds_the_calls() -> None:
    """Each below its Switchboard, by its id; too many are counted."""
    text = drawn(show.tree(show.with_calls(TREE, [CALL]), NOW))
    assert "1795336915.0" in text
    many = [{**CALL, "call_id": f"1.{n}"} for n in range(100)]
    crowd = drawn(show.tree(show.with_calls(TREE, many), NOW))  # type: ignore[arg-type]
    assert "1.0" in crowd
    assert f"and {100 - show.MOST_CALLS} more calls" in crowd or f"and {101 - show.MOST_CALLS} more calls" in crowd
    other = show.with_calls(TREE, [{**CALL, "pbx": "pbx2"}])
    assert other == TREE


def test_calls() -> None:
    """A line each; a word where there are none."""
    text = drawn(show.calls([CALL], NOW))
    assert "79031112233" in text
    assert "4.5 s" in text
    assert drawn(show.calls([])).strip() == "no calls"


def test_a_caller_cannot_write_on_the_terminal() -> None:
    """Escape sequences and line feeds in names become replacement characters; brackets are no markup."""
    evil = {**CALL, "origin": "\x1b[2J[red]x[/red]\n\x9b"}
    text = drawn(show.calls([evil]))  # type: ignore[list-item]
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "�[2J[red]x[/red]��" in text
    assert "\x1b" not in drawn(show.message({**MESSAGE, "data": {"origin": "\x1b]0;x\x07"}}))
    assert "\x1b" not in drawn(show.call({"summary": CALL, "state": {"a": "\x1b[0m"}, "messages": []}))


def test_message_in_a_line() -> None:
    """Time, operation, PBX, call, and what matters of its data."""
    assert drawn(show.message(MESSAGE)).split() == [
        "08:41:55.516",
        "received-call",
        "pbx1",
        "1795336915.0",
        "79031112233",
        "→",
        "74957770001",
    ]
    assert drawn(show.message({}))


async def test_every_other_reply_can_be_drawn() -> None:
    """With what an operator needs of it."""
    backend = FakeBackend()
    assert "40.0 KB" in drawn(show.outbox(await backend.outbox(), NOW)) or "41.0 KB" in drawn(
        show.outbox(await backend.outbox(), NOW)
    )
    assert "ZeroDivisionError" in drawn(show.quarantine([QUARANTINED]))
    assert '{"type":"X"}' in drawn(show.quarantined(await backend.quarantine_show("pbx1", 77)))
    assert "1–12350" in drawn(show.journal(await backend.journal(None)))
    assert "5.0 s" in drawn(show.gaps(await backend.gaps(None)))
    assert "nothing was changed" in drawn(show.reconciled(await backend.reconcile(None, True)))
    assert "KeyError: 1" in drawn(show.crash(await backend.crash("5")))
    assert "Up" in drawn(show.call(await backend.call(CALL["call_id"], None)))
    empty: list[tuple[Callable[[Any], RenderableType], str]] = [
        (show.outbox, "no outbox"),
        (show.quarantine, "empty"),
        (show.journal, "no journal"),
        (show.gaps, "no gaps"),
        (show.reconciled, "no PBX"),
        (show.crashes, "no crashes"),
    ]
    for picture, word in empty:
        assert word in drawn(picture([]))
    assert CRASH["path"] in drawn(show.crashes([CRASH]))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (-5, "0.0 s"),
        (0.44, "0.4 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3600, "1 h 00 min"),
        (90061, "1 d 01 h"),
    ],
)
def test_ago(seconds: float | None, words: str) -> None:
    """The two largest units that matter."""
    assert show.ago(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (7.2e12, "7200.0 GB")])
def test_size(count: int, words: str) -> None:
    """In a unit that fits."""
    assert show.size(count) == words
