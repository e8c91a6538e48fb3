"""Disks that are full, read-only or damaged, under load: what can be kept is kept, what cannot is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.stage import Stage
from tests.daemon import assert_complete, by_stream, replayed, wait_for
from tests.spine.tools import CALM, finish, pbx_status, problems, restarts, wait_for_messages
from wire.control.api import PbxStatus
from wire.store.row import Kind


class Site(Stage):
    """A daemon whose disks a test can choke."""

    def __init__(self, folder: Path, faults: Path, **settings: Any) -> None:
        super().__init__(folder, faults, supervision=CALM, **settings)

    def choke(self, fault: str) -> None:
        """`journal.full` or `ledger.readonly` from now on."""
        (self.faults / fault).touch()

    def relieve(self, fault: str) -> None:
        """No longer."""
        (self.faults / fault).unlink()

    def pbx(self) -> PbxStatus:
        """What arimon-ctl shows of the PBX."""
        return wait_for(lambda: pbx_status(self.daemon), "an answer")

    def journalled(self) -> int:
        """The last row of the journal."""
        return self.pbx()["journal_n"]

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        """Rows of the journal, after the daemon has ended."""
        found = [json.loads(line) for line in self.daemon.exported()]
        return [row for row in found if row["kind"] == kind]

    def told(self, operation: str) -> list[dict[str, Any]]:
        """Data of what was published of the PBX itself."""
        messages = [each for stream in by_stream(self.daemon.messages(), "pbx:").values() for each in stream]
        return [each["data"] for each in messages if each["operation"]["type"] == operation]


@pytest.fixture
def stage(tmp_path: Path, faults: Path) -> Iterator[Site]:
    yield from Site(tmp_path, faults).running()


def logged(site: Site, event: str) -> bool:
    """Whether the daemon's log has such an event."""
    return f'"event":"{event}"' in (site.daemon.folder / "arimond.log").read_text()


@pytest.fixture
def small(tmp_path: Path, faults: Path) -> Iterator[Site]:
    """With a reserve that is full within a second (and, where Connection gets no CPU, without a fault as well)."""
    yield from Site(tmp_path, faults, journal={"reserve_bytes": 65536}).running()


def test_a_journal_without_room_is_told_and_what_memory_cannot_hold_is_a_gap(small: Site) -> None:
    """Reading the socket goes on, into a bounded reserve; beyond it rows are counted, and told once there is room."""
    small.choke("journal.full")
    wait_for(lambda: "the journal's disk refuses rows" in problems(small.daemon), "it is told as a problem")
    wait_for(lambda: "rows lost since the start" in problems(small.daemon), "the reserve overflows")
    assert small.pbx()["link"]["state"] == "connected"
    small.relieve("journal.full")
    wait_for(lambda: "disk refuses" not in problems(small.daemon), "it works again")
    wait_for(lambda: logged(small, "connection.disk_works"), "the log says so")
    assert logged(small, "connection.disk_refuses")
    wait_for_messages(small.daemon)
    assert set(restarts(small.daemon).values()) == {0}
    finish(small.daemon, small.simulator)
    assert_complete(small.daemon.messages(), replayed(small.daemon.exported(), small.daemon.settings), prefix="")
    lost = [row["body"] for row in small.rows(Kind.LOST)]
    assert lost
    gaps = [gap for gap in small.told("monitoring-gap") if gap["rows_lost"]]
    assert sum(gap["rows_lost"] for gap in gaps) == sum(body["rows"] for body in lost)


def test_a_ledger_that_takes_no_writes_makes_everything_wait_and_nothing_else(stage: Site) -> None:
    """Folding and publishing stop, the journal goes on; when it takes them again all is published, the same as ever."""
    stage.choke("ledger.readonly")
    wait_for(lambda: "the disk refuses" in problems(stage.daemon), "it is told as a problem")
    journalled = stage.journalled()
    wait_for(lambda: stage.journalled() > journalled + 100, "the journal goes on")
    stage.relieve("ledger.readonly")
    wait_for(lambda: "the disk refuses" not in problems(stage.daemon), "it works again")
    wait_for_messages(stage.daemon)
    assert set(restarts(stage.daemon).values()) == {0}
    finish(stage.daemon, stage.simulator)
    assert_complete(stage.daemon.messages(), replayed(stage.daemon.exported(), stage.daemon.settings), prefix="")
    assert_complete(stage.daemon.messages(), replayed(stage.simulator.sent(), stage.daemon.settings))
    assert stage.rows(Kind.LOST) == []
    assert stage.told("monitoring-gap") == []


def test_a_torn_segment_is_set_aside_and_the_hole_is_told(stage: Site) -> None:
    """After `kill -9` and with its pages gone: kept under another name, a new journal, sequences that go on, a gap."""
    journal = stage.daemon.state / "pbx" / "pbx1" / "journal"
    stage.daemon.kill()
    segment = max(journal.glob("*.journal"))
    for each in (segment, segment.with_name(f"{segment.name}-wal")):
        if each.exists():
            torn = bytearray(each.read_bytes())
            torn[len(torn) // 3 :] = b"\xa5" * (len(torn) - len(torn) // 3)
            each.write_bytes(torn)
    before = len(stage.daemon.messages())
    stage.daemon.start()
    wait_for(lambda: len(stage.daemon.messages()) > before + 30, "messages flow")
    assert list(journal.glob("*.corrupt-*"))
    wait_for(lambda: logged(stage, "connection.journal_damaged"), "the log says so")
    finish(stage.daemon, stage.simulator)
    for stream, messages in by_stream(stage.daemon.messages(), "").items():
        assert [each["sequence"] for each in messages] == list(range(1, len(messages) + 1)), stream
    assert any(gap["reason"] for gap in stage.told("monitoring-gap"))
