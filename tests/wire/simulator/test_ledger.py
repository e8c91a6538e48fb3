"""What the events do not carry: linkedids and answers."""

from typing import Any

import orjson
import pytest

from wire.simulator import ledger
from wire.simulator.recording import find
from wire.simulator.tokens import channels_of


def recorded(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line)["event"] for line in find(name)[0].read_bytes().splitlines()]


def at(changes: list[tuple[int, str]], index: int) -> str:
    return [value for start, value in changes if start <= index][-1]


@pytest.mark.parametrize("name", ["31_channelvars_linkedid", "31b_channelvars_transfer_pickup_park"])
@pytest.mark.parametrize("with_cel", [True, False])
def test_linkedids_are_those_that_asterisk_showed(name: str, with_cel: bool) -> None:
    """Where Asterisk put the linkedid into its events, the CEL and the derivation agree with it: one miss in 757."""
    events = recorded(name)
    shown = [
        (index, channel["id"], channel.pop("channelvars")["CHANNEL(linkedid)"])
        for index, event in enumerate(events)
        for _, channel in channels_of(event)
    ]
    found = ledger.linkedids(events, find(name)[0].with_name(name) if with_cel else None)
    wrong = [one for one in shown if at(found[one[1]], one[0]) != one[2]]
    assert len(wrong) <= 1


def test_channelvars_in_the_recording_are_believed() -> None:
    """A recording without a CEL that shows linkedids needs no derivation."""
    events = recorded("31_channelvars_linkedid")
    found = ledger.linkedids(events, None)
    for index, event in enumerate(events):
        for _, channel in channels_of(event):
            assert at(found[channel["id"]], index) == channel["channelvars"]["CHANNEL(linkedid)"]


def test_the_answer_is_the_cdrs_to_the_microsecond() -> None:
    """The first party's answer comes from its CDR, the second's from its going Up."""
    name = "01_inbound_answered_caller_hangup"
    found = ledger.answers(recorded(name), find(name)[0].with_name(name))
    assert [value for _, value in found["1795337565.0"]] == ["1795337567.528160"]
    assert [value[:14] for _, value in found["1795337565.1"]] == ["1795337567.527"]
