"""Every recording, replayed: the messages agree with CEL and CDR, and are those of the golden file."""

import json
from functools import cache
from typing import Any

import pytest

from tests.schemas import schemas
from tests.truth import account, checker, golden, oracle, recordings, report, run
from tests.truth.mutation import mutations, spoils
from tests.truth.sabotage import SABOTAGE, Sabotage, judge

NAMES = recordings.names()


@cache
def published(name: str) -> tuple[bytes, ...]:
    """A recording's messages, made once."""
    return tuple(run.replayed(name))


@pytest.mark.parametrize("name", NAMES)
def test_messages_agree_with_what_asterisk_wrote(name: str) -> None:
    """Each fact of the table is right, for every call of the recording."""
    verdict = checker.check(account.read(published(name)), oracle.read(name))
    print(report.table({name: verdict}))
    assert report.faults({name: verdict}) == ""


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_those_of_the_golden_file(name: str) -> None:
    """What a reviewer has read is what is published; `python -m tests.truth.golden --update` makes it anew."""
    assert golden.difference(name, published(name)) == ""


def test_each_golden_file_has_its_recording() -> None:
    """No golden file outlives its recording."""
    assert sorted(path.stem for path in golden.FOLDER.glob("*.txt")) == NAMES


def test_every_operation_of_a_call_occurs_and_a_mutated_message_is_not_valid() -> None:
    """The recordings show each operation that a PBX alone can cause; spoilt in any one place it is refused."""
    samples: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        if not name.startswith(("19c", "23", "24")):
            for message in map(json.loads, published(name)):
                samples.setdefault(message["operation"]["type"], message)
    of_calls = {name for name in schemas().operations if schemas().documents[name]["x-stream"] == "call"}
    assert set(samples) == of_calls - {"call-amended"}
    for message in samples.values():
        assert schemas().errors(message) == []
        accepted = [what for what, spoilt in mutations(message) if spoils(what) and not schemas().errors(spoilt)]
        assert accepted == []


@pytest.mark.parametrize("name", ["07_dtmf_during_call", "11_attended_transfer"])
@pytest.mark.parametrize(("fact", "sabotage"), [case[1:] for case in SABOTAGE], ids=[case[0] for case in SABOTAGE])
def test_sabotage_of_real_messages_is_found(name: str, fact: str, sabotage: Sabotage) -> None:
    """What is published, spoilt in one place, fails in the fact that was spoilt."""
    messages = [json.loads(line) for line in published(name)]
    sabotage(messages)
    assert fact in {fault.fact for fault in judge(messages, oracle.read(name)).faults}
