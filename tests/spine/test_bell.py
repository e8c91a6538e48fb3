"""The doorbell of a running daemon: rows are folded whatever becomes of the pipe, and of other PBXs' pipes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, load, replayed, wait_for
from tests.spine.tools import CALM, finish, pbx_status, restarts, wait_for_messages

TRAFFIC = load(rate=200, lanes=8)


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx()], supervision=CALM)
    yield made
    made.end()


def bell(daemon: Daemon, pbx: str = "pbx1") -> Path:
    """Where the pipe of a PBX is."""
    return daemon.state / "pbx" / pbx / "bell"


def holds(daemon: Daemon, role: str, pbx: str = "pbx1") -> bool:
    """Whether a process has the pipe that lies at the path open."""
    there = bell(daemon, pbx)
    folder = Path(f"/proc/{daemon.pid(f'pbx/{pbx}/{role}')}/fd")
    return there.is_fifo() and any(os.path.realpath(link) == str(there.resolve()) for link in folder.iterdir())


def both_hold(daemon: Daemon, pbx: str = "pbx1") -> bool:
    """Whether Connection and Switchboard meet."""
    return holds(daemon, "connection", pbx) and holds(daemon, "switchboard", pbx)


def test_a_pipe_that_was_deleted_is_made_anew(daemon: Daemon, simulator: Simulator) -> None:
    """Nothing is lost, no process is restarted, both ends meet again; it is nobody else's."""
    daemon.start()
    wait_for(lambda: both_hold(daemon), "both hold a pipe")
    wait_for_messages(daemon)
    bell(daemon).unlink()
    wait_for(lambda: both_hold(daemon), "both hold a new pipe")
    assert stat.S_IMODE(bell(daemon).stat().st_mode) == 0o600
    wait_for_messages(daemon)
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))


def test_without_a_pipe_the_journal_is_folded_all_the_same(daemon: Daemon, simulator: Simulator) -> None:
    """What cannot be made is told in the log, and taken once it can be."""
    (bell(daemon) / "in-the-way").mkdir(parents=True)
    daemon.start()
    wait_for_messages(daemon)
    assert "bell.missing" in (daemon.folder / "arimond.log").read_text()
    (bell(daemon) / "in-the-way").rmdir()
    bell(daemon).rmdir()
    wait_for(lambda: both_hold(daemon), "both hold a pipe")
    wait_for_messages(daemon)
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))


def test_what_piles_up_before_a_suspended_switchboard_is_shown(daemon: Daemon, simulator: Simulator) -> None:
    """Its lag grows while it is suspended, and is gone soon after it goes on."""
    daemon.start()
    wait_for_messages(daemon)
    daemon.client.suspend("pbx/pbx1/switchboard")

    def lag() -> int:
        found = pbx_status(daemon)
        return 0 if found is None else found["lag_rows"]

    wait_for(lambda: lag() > 300, "more than a second's rows wait")
    before = len(daemon.messages())
    daemon.client.resume("pbx/pbx1/switchboard")
    wait_for(lambda: len(daemon.messages()) > before and lag() < 100, "they are folded")
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))


def test_each_pbx_has_a_pipe_of_its_own(tmp_path: Path) -> None:
    """One PBX's pipe can be taken away without the other's noticing."""
    simulator = Simulator(tmp_path / "simulator", *TRAFFIC, "--pbx", "2")
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx(0), simulator.pbx(1)], supervision=CALM)
    try:
        daemon.start()
        wait_for(lambda: both_hold(daemon, "pbx1") and both_hold(daemon, "pbx2"), "two pipes")
        other = bell(daemon, "pbx2").stat().st_ino
        assert bell(daemon, "pbx1").stat().st_ino != other
        bell(daemon, "pbx1").unlink()
        wait_for(lambda: both_hold(daemon, "pbx1"), "a new pipe")
        assert both_hold(daemon, "pbx2")
        assert bell(daemon, "pbx2").stat().st_ino == other
        finish(daemon, simulator)
    finally:
        daemon.end()
        simulator.end()
