"""actors.reports: what is known of deaths survives whoever knew it."""

import stat
from pathlib import Path

import orjson
import pytest

from actors.reports import KEPT, Reports, path_of
from supervision.reasons import Crash, Killed, Reason
from supervision.reports import Context, Report, ReportKind
from wire import log

CRASH = Crash("KeyError", "1", traceback="Traceback …\nKeyError: 1", message="JournalReaches(…)", state="{…}")


def death(id: str = "publisher", reason: Reason | None = None, supervisor: str = "root") -> Report:
    """A supervisor's report of a child that ended."""
    return Report(
        ReportKind.SUPERVISOR, Context.CHILD_TERMINATED, supervisor, id, 1, reason or Killed("signal 9"), 1, "permanent"
    )


def crash(id: str = "publisher", supervisor: str = "root") -> Report:
    """What was known of a child whose exception ended it."""
    return Report(ReportKind.CRASH, Context.CHILD_TERMINATED, supervisor, id, 1, CRASH, 1, "permanent")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "crashes"


def test_reports_survive(folder: Path) -> None:
    """The next one that reads the folder knows them all, under the same ids, and goes on with the next."""
    first = Reports(folder)
    assert first.add(5, crash())
    assert first.add(6, death("recovery"))
    second = Reports(folder)
    assert second.deaths() == first.deaths()
    second.add(7, death("monitor"))
    assert [each["id"] for each in second.deaths()] == ["1", "2", "3"]


def test_a_report_that_comes_twice_is_kept_once(folder: Path) -> None:
    """A line repeats what was not answered, even to a new process."""
    assert Reports(folder).add(5, crash())
    again = Reports(folder)
    assert not again.add(5, crash())
    assert again.add(6, crash())
    assert len(again.deaths()) == 2


def test_a_death_is_told_once(folder: Path) -> None:
    """An exception has a crash report, which says more than the supervisor's; progress is no death."""
    reports = Reports(folder)
    reports.add(1, crash())
    reports.add(1, death(reason=CRASH))
    reports.add(2, Report(ReportKind.PROGRESS, Context.STARTED, "root", "publisher", 2))
    reports.add(3, Report(ReportKind.SUPERVISOR, Context.HUNG, "root", "publisher", 2))
    reports.add(4, death(reason=Killed("hung, signal 9")))
    assert [(each["report"], each["reason"]) for each in reports.deaths()] == [
        ("crash", "KeyError: 1"),
        ("supervisor", "killed (hung, signal 9)"),
    ]
    assert len(reports.of("publisher")) == 5
    found = reports.get("1")
    assert found is not None
    assert (found["message"], found["state"]) == ("JournalReaches(…)", "{…}")
    assert reports.get("99") is None


def test_a_call_is_told_by_its_path(folder: Path) -> None:
    """As arimon-ctl uses it; the calls of a PBX have one file together."""
    reports = Reports(folder)
    report = crash("x/1795336915.0", "pbx/pbx1/calls/3")
    assert path_of(report) == "pbx/pbx1/call/x/1795336915.0"
    reports.add(1, report)
    reports.add(2, crash("2.0", "pbx/pbx1/calls/0"))
    assert [file.name for file in folder.iterdir()] == ["pbx%2Fpbx1%2Fcall.jsonl"]
    assert len(Reports(folder).of("pbx/pbx1/call/2.0")) == 1


def test_only_the_owner_reads_them(folder: Path) -> None:
    """States hold callers' numbers."""
    Reports(folder).add(1, crash())
    [file] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_more_are_kept_than_said(folder: Path) -> None:
    """The last of each kind of each actor, in memory and on disk; a flood of one says nothing about another."""
    reports = Reports(folder)
    reports.add(0, crash("recovery"))
    for at_ms in range(1, 10 * KEPT):
        reports.add(at_ms, death())
    for found in (reports, Reports(folder)):
        assert [each["at_ms"] for each in found.of("publisher")] == list(range(9 * KEPT, 10 * KEPT))
        assert len(found.of("recovery")) == 1
    assert len((folder / "publisher.jsonl").read_bytes().splitlines()) <= 2 * KEPT


def test_a_torn_line_spoils_no_other(folder: Path) -> None:
    """The writer died in the middle of it."""
    Reports(folder).add(1, crash())
    file = folder / "publisher.jsonl"
    with file.open("ab") as torn:
        torn.write(orjson.dumps({"id": "2"})[:-1])
    Reports(folder).add(3, death())
    assert [each["at_ms"] for each in Reports(folder).deaths()] == [1, 3]


def test_secrets_do_not_reach_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever carries them."""
    monkeypatch.setattr(log._state, "secrets", ("hunter2",))
    reason = Crash("X", "hunter2", traceback="hunter2", message="hunter2", state="hunter2")
    Reports(folder).add(1, Report(ReportKind.CRASH, Context.CHILD_TERMINATED, "root", "publisher", 1, reason))
    assert b"hunter2" not in (folder / "publisher.jsonl").read_bytes()


def test_a_disk_that_refuses_costs_the_copy_only(tmp_path: Path) -> None:
    """The report is still told."""
    (tmp_path / "crashes").write_text("a file where the folder should be")
    reports = Reports(tmp_path / "crashes")
    assert reports.add(1, crash())
    assert len(reports.deaths()) == 1
