"""wire/control/replay.py: files in every shape."""

import gc
import gzip
import io
from pathlib import Path

import pytest

from actors.call.replay import replay
from conf.settings import Settings
from wire.control.api import ControlError
from wire.control.replay import replayed

TRACES = Path(__file__).resolve().parents[2] / "traces"
TRACE = TRACES / "01_inbound_answered_caller_hangup.jsonl"


def run(file: str) -> tuple[list[bytes], list[str]]:
    problems: list[str] = []
    return list(replayed(file, "pbx1", Settings(), problems.append)), problems


def test_a_recording_is_what_the_core_makes_of_it() -> None:
    """Nothing is added, nothing is missing, nothing is complained about."""
    expected = list(replay(TRACE.read_bytes().splitlines(), "pbx1", Settings()))
    assert run(str(TRACE)) == (expected, [])
    assert len(expected) >= 4


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no name, and on standard input too."""
    packed = tmp_path / "recording"
    packed.write_bytes(gzip.compress(TRACE.read_bytes()))
    expected = run(str(TRACE))
    assert run(str(packed)) == expected
    for content in (packed.read_bytes(), TRACE.read_bytes()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        assert run("-") == expected


def test_no_line_feed_at_the_end(tmp_path: Path) -> None:
    """The last line counts."""
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(TRACE.read_bytes().rstrip(b"\n"))
    assert run(str(cut)) == run(str(TRACE))


def test_lines_of_no_use_are_told(tmp_path: Path) -> None:
    """How many of each kind, and where the first is; the rest is replayed."""
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes(b"garbage\n\xff\xfe\n\n" + TRACE.read_bytes())
    messages, problems = run(str(mixed))
    assert messages == run(str(TRACE))[0]
    assert len(problems) == 1
    assert problems[0].startswith(f"{mixed}: 2 lines of no use: not-json; the first is line 1 (")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, a gzip file that was cut off or damaged: named, in words."""
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(TRACE.read_bytes())[:500])
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(TRACE.read_bytes())[:300] + b"\x00" * 300)
    for file in (tmp_path / "none", tmp_path, cut, bad):
        with pytest.raises(ControlError, match=file.name):
            run(str(file))


def test_a_file_that_is_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One endless line does not fill the memory."""
    monkeypatch.setattr("wire.control.replay.MAX_LINE_BYTES", 1000)
    endless = tmp_path / "endless"
    endless.write_bytes(b"x" * 5000)
    with pytest.raises(ControlError, match="line 1 is longer than 1000 bytes"):
        run(str(endless))


def test_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    """Neither good nor bad lines leave cycles of objects of ours, so a replay needs no collector; it is as before."""
    lines = TRACE.read_bytes().splitlines()
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(
        b"\n".join([*lines, *(line[:-5] for line in lines), *(line.replace(b"id", b"x") for line in lines)])
    )
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        assert run(str(bad))[1] != []
        gc.collect()
        kinds = {type(one) for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert [kind for kind in kinds if kind.__module__.startswith(("actors.", "wire."))] == []
    assert gc.isenabled()
