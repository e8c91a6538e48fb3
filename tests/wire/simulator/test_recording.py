"""Loading recordings."""

import gzip
from pathlib import Path

import orjson
import pytest

from wire.simulator.minting import Minter
from wire.simulator.recording import DIRECTORY, Recording, RecordingError, find, load
from wire.simulator.run import Run
from wire.simulator.tokens import ChannelName

NAMES = [path.name.removesuffix(".gz").removesuffix(".jsonl") for path in find(DIRECTORY) if "24_" not in path.name]
"""All but the recording of 84,606 events, which takes seconds."""


def lines(name: str) -> list[bytes]:
    path = find(name)[0]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return list(file)


@pytest.mark.parametrize("name", NAMES)
def test_verbatim_is_byte_for_byte_what_asterisk_sent(name: str) -> None:
    """Every recording, played without new ids, is the recording."""
    recording = load(find(name)[0])
    run = Run(recording, Minter(), {}, "02:fc:00:00:00:01", 0, verbatim=True)
    recorded = [line[line.index(b'"event": ') + 9 : -2] for line in lines(name)]
    assert run.frames(len(recording), b"arimon") == recorded


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_run_differs_in_ids_and_times_only(name: str) -> None:
    """The new frames are JSON of the same shape, and no id or time of the recording is left in them."""
    recording = load(find(name)[0])
    owners: dict[str, tuple[Run, str]] = {}
    minter = Minter()
    for technology in {slot.technology for slot in recording.slots if isinstance(slot, ChannelName)}:
        for _ in range(0x1000):  # past the counters that the recordings have
            minter.mint(ChannelName("", technology, ("",)), [], 0)
    run = Run(recording, minter, owners, "02:fc:00:00:00:02", recording.first_ms + 86_400_000)
    for line, frame in zip(lines(name), run.frames(len(recording), b"other"), strict=True):
        recorded, played = orjson.loads(line)["event"], orjson.loads(frame)
        assert shape(recorded) == shape(played)
        assert recorded["type"] == played["type"]
        assert recorded["timestamp"] != played["timestamp"]
        assert played["application"] == "other"
        if "channel" in recorded:
            assert recorded["channel"]["id"] != played["channel"]["id"]
            assert recorded["channel"]["name"] != played["channel"]["name"]
            assert owners[played["channel"]["id"]] == (run, recorded["channel"]["id"])
            assert recorded["channel"]["caller"] == played["channel"]["caller"]


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value)


def test_plain_events_and_wrapped_ones_play_alike(tmp_path: Path) -> None:
    """A file of plain events has its times from the timestamps; gzip makes no difference."""
    wrapped = lines("04_busy")
    plain = tmp_path / "plain.jsonl.gz"
    with gzip.open(plain, "wb") as file:
        file.writelines(orjson.dumps(orjson.loads(line)["event"]) + b"\n" for line in wrapped)
    one, other = load("04_busy"), load(plain)
    assert one.types == other.types
    assert other.seconds == pytest.approx(one.seconds, abs=0.01)


def test_lines_of_a_log_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    """What the simulator logged can be played again, garbage included."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"t": 0.1, "kind": "frame", "text": "junk"}\n' + b"".join(lines("04_busy")) + b"\n")
    assert len(load(path)) == 28


def test_a_wrapped_line_may_have_more_keys(tmp_path: Path) -> None:
    """Keys after the event do no harm."""
    path = tmp_path / "more.jsonl"
    path.write_bytes(b'{"t": 0.1, "event": {"type": "X"}, "note": {"a": 1}}\n')
    assert load(path).types == ("X",)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"event": {"no": "type"}}', b'{"a": 1}'])
def test_a_bad_line_is_named(tmp_path: Path, line: bytes) -> None:
    """The error says which line of which recording."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"type": "X"}\n' + line)
    with pytest.raises(RecordingError, match="bad, line 2"):
        load(path)


def test_an_empty_recording_is_an_error(tmp_path: Path) -> None:
    """There is nothing to play in it."""
    path = tmp_path / "none.jsonl"
    path.write_bytes(b"\n")
    with pytest.raises(RecordingError, match="no events"):
        load(path)


def test_recordings_are_found_by_name_and_number() -> None:
    """A whole name, its number, or its beginning."""
    assert find("04_busy") == find("04")
    assert find("01_inb")[0].name == "01_inbound_answered_caller_hangup.jsonl"
    assert len(find(DIRECTORY)) > 60


@pytest.mark.parametrize(("name", "why"), [("nothing", "no such file"), ("1", "which of"), ("/nowhere/x", "no such")])
def test_a_name_that_means_nothing_or_much_is_an_error(name: str, why: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(RecordingError, match=why):
        find(name)


def test_channelvars_are_put_into_every_channel_object() -> None:
    """As with channelvars = CHANNEL(linkedid) in ari.conf: both legs of a call show the caller's id."""
    recording: Recording = load("01_inbound", channelvars=True)
    run = Run(recording, Minter(), {}, "x", recording.first_ms)
    events = [orjson.loads(frame) for frame in run.frames(len(recording), b"arimon")]
    first = events[0]["channel"]["id"]
    shown = [event["channel"]["channelvars"] for event in events if "channel" in event]
    assert shown
    assert all(variables == {"CHANNEL(linkedid)": first} for variables in shown)
