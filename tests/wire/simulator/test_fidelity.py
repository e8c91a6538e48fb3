"""A played call is the recorded call: it makes the same messages, but for its ids and its time."""

import re
from datetime import datetime

import orjson
import pytest

from actors.call.replay import replay
from conf.settings import Pbx, Settings
from wire.simulator.minting import Minter
from wire.simulator.recording import load
from wire.simulator.run import Run
from wire.simulator.tokens import Time

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")

CALLS = (
    *("01_", "04_", "07_", "09_", "10_", "10d", "11_", "11b", "12_", "12b", "13_", "14_", "15b", "15d", "16_", "17_"),
    *("18_", "19_", "20b", "23_", "31b", "32_"),
)


@pytest.mark.parametrize("name", CALLS)
def test_the_messages_are_the_same(name: str) -> None:
    """Played with fresh ids three days later, the call model says what it says of the recording."""
    recording = load(name)
    as_recorded = Run(recording, Minter(), {}, "x", 0, verbatim=True)
    fresh = Run(recording, Minter(), {}, "x", recording.first_ms + 3 * 86_400_000)
    told = messages(fresh)
    assert told
    assert told == messages(as_recorded)


def messages(run: Run) -> list[str]:
    """The run's messages, with the recording's ids and times put back."""
    settings = Settings(pbx=(Pbx(name="pbx1"),))
    told = []
    for body in replay(run.frames(len(run.recording), b"arimon"), "pbx1", settings):
        message = orjson.loads(body)
        del message["message_id"]
        told.append(orjson.dumps(message).decode())
    recorded = {
        run.now(slot.text): slot.text for slot in run.recording.slots if slot is not None and not isinstance(slot, Time)
    }
    ids = re.compile("|".join(re.escape(text) for text in sorted(recorded, key=len, reverse=True)))

    def moved_back(found: re.Match[str]) -> str:
        return str(round(datetime.fromisoformat(found.group()).timestamp() * 1000) - run.shift_ms)

    return [RFC3339.sub(moved_back, ids.sub(lambda found: recorded[found.group()], text)) for text in told]
