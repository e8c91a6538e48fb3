"""How far each stream is published."""

from pathlib import Path

import pytest

from wire.store.ledger import Ledger
from wire.store.marks import Mark, Phase


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "ledger.db")
    made.open()
    return made


def test_a_mark_is_the_last_sequence(ledger: Ledger) -> None:
    """It moves with each transaction, and ends with its stream."""
    with ledger.transaction():
        ledger.marks.move({"call:1": 2, "call:2": 1}, [])
    with ledger.transaction():
        ledger.marks.move({"call:1": 5}, ["call:2"])
    assert ledger.marks.all() == {"call:1": Mark(5, Phase.OPEN), "call:2": Mark(1, Phase.ENDED)}
    assert ledger.marks.ended() == ["call:2"]
    ledger.close()


def test_what_is_closed_stays_so(ledger: Ledger) -> None:
    """Also if its call ends once more: from inputs that were kept while it was suspended."""
    with ledger.transaction():
        ledger.marks.move({"call:1": 3}, ["call:1"])
        ledger.marks.close(["call:1"])
        ledger.marks.move({}, ["call:1"])
    assert ledger.marks.all() == {"call:1": Mark(3, Phase.CLOSED)}
    ledger.close()


def test_only_what_is_still_ended_is_forgotten(ledger: Ledger) -> None:
    """An open stream's mark stays, and so does a closed one's."""
    with ledger.transaction():
        ledger.marks.move({"call:1": 1, "call:2": 1, "call:3": 1}, ["call:2", "call:3"])
        ledger.marks.close(["call:3"])
        ledger.marks.forget(["call:1", "call:2", "call:3"])
    assert ledger.marks.all() == {"call:1": Mark(1, Phase.OPEN), "call:3": Mark(1, Phase.CLOSED)}
    ledger.close()
