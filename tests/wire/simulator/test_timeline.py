"""What REST says is what the recorded Asterisk said."""

import gzip
import json
from bisect import bisect_right
from typing import Any

import pytest

from wire.simulator.minting import Minter
from wire.simulator.recording import DIRECTORY, find, load
from wire.simulator.run import Run

SNAPSHOTS = sorted(path.name.removesuffix(".rest.json") for path in DIRECTORY.glob("*.rest.json"))
UNSEEN = ("21c_", "22_", "22b_", "22c_")
"""Recordings whose recorder missed what its REST snapshots show."""


@pytest.mark.parametrize("name", [name for name in SNAPSHOTS if not name.startswith((*UNSEEN, "24_"))])
def test_channels_and_bridges_are_those_of_the_real_snapshots(name: str) -> None:
    """At each moment at which the recorder asked the real PBX, the simulator gives the same answer."""
    recording = load(find(name)[0])
    path = find(name)[0]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        first = json.loads(file.readline())["t"]
    run = Run(recording, Minter(), {}, "x", 0, verbatim=True)
    for snapshot in json.loads((DIRECTORY / f"{name}.rest.json").read_text())["snapshots"]:
        for what, mine in (("channels", run.channels), ("bridges", run.bridges)):
            asked = snapshot["get"].get(f"/{what}")
            if asked is None:
                continue
            run.advance(bisect_right(recording.times, asked["t"] - first))
            assert comparable(mine(), recording) == comparable(asked["body"], recording)


def comparable(objects: list[dict[str, Any]], recording: Any) -> dict[str, dict[str, Any]]:
    """By id; without bridges that no event shows (an older parking lot), and what changes without an event."""
    seen = {one["id"]: dict(one) for one in objects if recording.slot_of(one["id"]) is not None}
    for one in seen.values():
        one.pop("technology", None)
    return seen


def test_a_missed_end_shows_in_rest() -> None:
    """A call that ended while the recorder was away is gone, as its CEL has it."""
    recording = load("22_ws_drop")
    run = Run(recording, Minter(), {}, "x", 0, verbatim=True)
    run.advance(len(recording))
    assert [channel["id"] for channel in run.channels()] == []


def test_variables_functions_and_their_absence() -> None:
    """What a variable was last set to, the linkedid, the answer; nothing before they are there."""
    recording = load("01_inbound")
    run = Run(recording, Minter(), {}, "x", 0, verbatim=True)
    run.advance(1)
    assert run.variable("1795337565.0", "CDR(answer,u)") == "0.000000"
    assert run.variable("1795337565.0", "BRIDGEPEER") is None
    assert run.variable("1795337565.0", "CALLERID(dnid)") == "74957770001"
    connected = recording.types.index("ChannelHangupRequest")
    run.advance(connected)
    assert run.variable("1795337565.1", "CHANNEL(linkedid)") == "1795337565.0"
    assert run.variable("1795337565.0", "CDR(answer,u)") == "1795337567.528160"
    assert run.variable("1795337565.0", "BRIDGEPEER") == "PJSIP/1121-00000001"
    assert run.variable("1795337565.1", "CALLERID(dnid)") == ""


def test_answers_move_with_the_run() -> None:
    """The answer of a run that began a day later is a day later."""
    recording = load("01_inbound")
    owners: dict[str, tuple[Run, str]] = {}
    run = Run(recording, Minter(), owners, "x", recording.first_ms + 86_400_000)
    run.advance(len(recording) - 10)
    assert run.variable("1795337565.0", "CDR(answer,u)") == "1795423967.528160"
    assert run.variable("1795337565.1", "CHANNEL(linkedid)") == run.now("1795337565.0")
