"""The log of what was sent."""

from pathlib import Path

import orjson

from wire.simulator.sent_log import SentLog


def test_events_and_garbage_are_lines_that_replay_can_read(tmp_path: Path) -> None:
    """An event keeps its bytes; text that is no event, and bytes that are no text, say so."""
    path = tmp_path / "deep" / "pbx1.jsonl"
    log = SentLog(path)
    log.frames(0.5, "arimon", [b'{"type":"A", "n":1}', b'{"type":"B"}'])
    log.garbage(1.0, "arimon", b'{"type":"C"}', True)
    log.garbage(1.0, "arimon", b"{oops", True)
    log.garbage(1.0, "arimon", b'"\xff"', True)
    log.garbage(1.0, "arimon", b"text", False)
    log.close()
    lines = path.read_bytes().splitlines()
    assert lines[0] == b'{"t": 0.500000, "event": {"type":"A", "n":1}}'
    assert [orjson.loads(line) for line in lines[1:]] == [
        {"t": 0.5, "event": {"type": "B"}},
        {"t": 1.0, "event": {"type": "C"}},
        {"t": 1.0, "kind": "frame", "text": "{oops"},
        {"t": 1.0, "kind": "frame", "base64": "Iv8i"},
        {"t": 1.0, "kind": "frame", "base64": "dGV4dA=="},
    ]


def test_another_application_has_a_file_of_its_own(tmp_path: Path) -> None:
    """One file is one client's view, so that a replay sees every event once."""
    log = SentLog(tmp_path / "pbx1.jsonl")
    log.frames(0.0, "arimon", [b"{}"])
    log.frames(0.0, "a/b", [b"{}", b"{}"])
    log.close()
    assert len((tmp_path / "pbx1.jsonl").read_bytes().splitlines()) == 1
    assert len((tmp_path / "pbx1.a_b.jsonl").read_bytes().splitlines()) == 2


def test_acts_are_beside_the_frames(tmp_path: Path) -> None:
    """Links and faults have a file of their own, and are remembered."""
    log = SentLog(tmp_path / "pbx1.jsonl")
    log.act(0.25, "fault", fault="drop")
    log.close()
    assert orjson.loads((tmp_path / "pbx1.acts.jsonl").read_bytes()) == {"t": 0.25, "act": "fault", "fault": "drop"}
    assert [act["act"] for act in log.acts] == ["fault"]


def test_memory_keeps_the_newest() -> None:
    """What is remembered is bounded; what is counted is not."""
    log = SentLog(remember=2)
    log.frames(0.0, "arimon", [b"1", b"2", b"3"])
    assert [sent.payload for sent in log.sent] == [b"2", b"3"]
    assert (log.count, log.bytes) == (3, 3)
