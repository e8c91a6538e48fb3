"""Each role hit by each fault: whole again, reported once, counted once, nothing lost.

One arimond per fault; it strikes one role after the other, under load.
"""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.stage import Stage
from tests.daemon import assert_complete, replayed, wait_for
from tests.processes import halt
from tests.spine.tools import CALM, wait_for_messages
from wire.control.api import ControlError, Crash

ROLES = {
    "publisher": "publisher",
    "recovery": "recovery",
    "monitor": "monitor",
    "connection": "pbx/pbx1/connection",
    "switchboard": "pbx/pbx1/switchboard",
    "pbx": "pbx/pbx1",
}
"""Role → path, of everything that has a supervisor in the tree. The branch comes last: with it go the counts below."""
WORKERS = ("publisher", "monitor", "connection")
SECRET = "hunter2hunter2"
SILENCE_MS = 5000


class Target(Stage):
    """A daemon whose roles a fault may strike."""

    def __init__(self, folder: Path, faults: Path, **supervision: float) -> None:
        # A busy machine must not be taken for a fault.
        super().__init__(folder, faults, rabbitmq={"password": SECRET}, supervision=CALM | supervision)

    def strike(self, role: str, fault: str) -> None:
        """Have a fault strike, and wait until it has."""
        file = self.faults / f"{role}.{fault}"
        file.touch()
        wait_for(lambda: not file.exists(), f"{fault} strikes {role}")

    def restarts(self, path: str) -> int:
        """As the tree counts them."""
        return self.daemon.wait_whole()[path]["restarts"]

    def crashes(self) -> list[Crash]:
        """What `arimon-ctl crashes` lists."""

        def asked() -> list[Crash] | None:
            with contextlib.suppress(ControlError):
                return self.daemon.client.crashes()
            return None

        return wait_for(asked, "an answer")

    def of(self, path: str) -> list[Crash]:
        """The same of one path."""
        return [each for each in self.crashes() if each["path"] == path]

    def whole_again(self, path: str, restarts: int, reports: int) -> list[Crash]:
        """Wait until so many restarts are counted and so many deaths reported; returns the reports."""
        wait_for(lambda: self.restarts(path) >= restarts, f"{path} was restarted {restarts} times")
        wait_for(lambda: len(self.of(path)) >= reports, f"{path}: {reports} reports")
        assert self.restarts(path) == restarts, self.crashes()
        return self.of(path)

    def finish(self, expected: dict[str, int]) -> None:
        """Let everything be published, stop, and look: nothing lost, and nothing reported but this often."""
        wait_for_messages(self.daemon)
        self.simulator.end()
        self.daemon.wait_drained()
        told = Counter(each["path"] for each in self.crashes())
        assert told == expected
        assert self.daemon.stop() == 0
        assert_complete(self.daemon.messages(), replayed(self.daemon.exported(), self.daemon.settings))


@pytest.fixture
def stage(tmp_path: Path, faults: Path) -> Iterator[Target]:
    yield from Target(tmp_path, faults).running()


@pytest.fixture
def strict(tmp_path: Path, faults: Path) -> Iterator[Target]:
    """One where nobody may be silent for long."""
    yield from Target(tmp_path, faults, probe_limit=4.0, start_silence=SILENCE_MS / 1000).running()


@pytest.mark.parametrize(
    ("fault", "reason", "error"),
    [
        ("receive", "exception", "Sabotage: on purpose"),
        ("memory", "exception", "MemoryError"),
        ("exit", "child_terminated", "killed (exit status 3)"),
    ],
)
def test_whoever_it_strikes(stage: Target, fault: str, reason: str, error: str) -> None:
    """An exception in receive, a memory limit, os._exit: one restart, one report, with what is known."""
    for role, path in ROLES.items():
        before = stage.restarts(path)
        stage.strike(role, fault)
        [report] = stage.whole_again(path, before + 1, 1)
        assert report["reason"] == reason
        assert report["error"].startswith(error)
        assert report["generation"] == 1
    stage.finish(dict.fromkeys(ROLES.values(), 1))


def test_an_exception_tells_all_that_is_needed(stage: Target) -> None:
    """What, where, which message, which state; no secret, in the answer and on disk."""
    stage.strike("connection", "receive")
    [report] = stage.whole_again("pbx/pbx1/connection", 1, 1)
    detail = stage.daemon.client.crash(report["id"])
    assert "saboteur.py" in detail["traceback"]
    assert detail["message"]
    assert "_journal" in (detail["state"] or "")
    stage.finish({"pbx/pbx1/connection": 1})
    stored = b"".join(file.read_bytes() for file in (stage.daemon.state / "crashes").iterdir())
    assert b"Sabotage" in stored
    assert SECRET.encode() not in stored
    assert SECRET not in str(detail)
    assert SECRET not in (stage.daemon.folder / "arimond.log").read_text()


def test_in_the_event_loop(stage: Target) -> None:
    """An exception that nobody caught in a worker's loop is the worker's."""
    for role in WORKERS:
        path = ROLES[role]
        before = stage.restarts(path)
        stage.strike(role, "loop")
        [report] = stage.whole_again(path, before + 1, 1)
        assert report["error"].startswith("LoopFailed")
    stage.finish({ROLES[role]: 1 for role in WORKERS})


def test_in_start(stage: Target) -> None:
    """A start that raises is tried again: a death and a failed start, each counted, each reported."""
    for role, path in ROLES.items():
        before = stage.restarts(path)
        pid = stage.daemon.pid(path)
        (stage.faults / f"{role}.start").touch()
        os.kill(pid, signal.SIGKILL)
        killed, failed = stage.whole_again(path, before + 2, 2)
        assert killed["error"] == "killed (signal 9)"
        assert failed["error"].startswith("Sabotage")
        assert not list(stage.faults.iterdir())
    stage.finish(dict.fromkeys(ROLES.values(), 2))


def test_a_start_that_hangs(strict: Target) -> None:
    """Its supervisor is not blocked for ever: silent for too long, it is killed, and has failed to start."""
    path = ROLES["recovery"]
    (strict.faults / "recovery.hang").touch()
    os.kill(strict.daemon.pid(path), signal.SIGKILL)
    killed, failed = strict.whole_again(path, 2, 2)
    assert killed["error"] == "killed (signal 9)"
    assert failed["error"] == f"not started within {SILENCE_MS} ms"
    assert failed["reason"] == "start_error"
    strict.finish({path: 2})


def test_a_start_that_takes_long(strict: Target) -> None:
    """As long as it looks at its mailbox it may take as long as it likes: several times the limit here."""
    path = ROLES["recovery"]
    (strict.faults / "recovery.slow").touch()
    log = strict.daemon.folder / "arimond.log"
    os.kill(strict.daemon.pid(path), signal.SIGKILL)
    wait_for(lambda: not (strict.faults / "recovery.slow").exists(), "it begins")
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 3 * SILENCE_MS / 1000, "three times the limit")
    assert log.read_text().count("start_error") == 0
    (strict.faults / "recovery.done").touch()
    strict.whole_again(path, 1, 1)
    strict.finish({path: 1})


def test_killed(stage: Target) -> None:
    """SIGKILL: one restart and one report, that says so."""
    for path in ROLES.values():
        before = stage.restarts(path)
        os.kill(stage.daemon.pid(path), signal.SIGKILL)
        [report] = stage.whole_again(path, before + 1, 1)
        assert report["error"] == "killed (signal 9)"
    stage.finish(dict.fromkeys(ROLES.values(), 1))


def test_hung(strict: Target) -> None:
    """SIGSTOP: no exit ever comes, but no answer to a probe either; the report says that it was hung."""
    for path in ROLES.values():
        before = strict.restarts(path)
        halt(strict.daemon.pid(path))
        [report] = strict.whole_again(path, before + 1, 1)
        assert report["error"] == "killed (hung, signal 9)"
    strict.finish(dict.fromkeys(ROLES.values(), 1))


def test_told_to_end_by_somebody_else(stage: Target) -> None:
    """SIGTERM, SIGINT and SIGHUP from outside the tree change nothing: only the tree stops its processes."""
    nodes = stage.daemon.wait_whole()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for node in nodes.values():
            assert node["pid"] is not None
            os.kill(node["pid"], number)
    for path in nodes:
        # Whoever answers has had its signals: the kernel delivers them before it lets a process run on.
        stage.daemon.client.statistics(path)
    after = stage.daemon.wait_whole()
    assert {path: node["pid"] for path, node in after.items()} == {path: node["pid"] for path, node in nodes.items()}
    stage.finish({})


def test_root(stage: Target) -> None:
    """Whatever ends Root, arimond starts everything over, once for each."""
    log = stage.daemon.folder / "arimond.log"
    for count, fault in enumerate(("receive", "exit", "memory"), start=1):
        stage.strike("root", fault)
        wait_for(lambda count=count: log.read_text().count("arimond.tree_lost") == count, f"{fault} ends the tree")  # type: ignore[misc]
        wait_for_messages(stage.daemon)
    assert stage.daemon.wait_whole()["root"]["generation"] == 4
    assert log.read_text().count("arimond.tree_lost") == 3
    stage.finish({})


def test_nobody_waits_for_a_switchboard_that_folds_hours_of_rows_again(stage: Target) -> None:
    """As after an upgrade that takes no old snapshot: the link is up, frames are journalled, and health says so."""
    stage.daemon.stop()
    (stage.faults / "long way").touch()
    stage.daemon.start()

    def received() -> bool:
        with contextlib.suppress(ControlError):
            status = stage.daemon.client.status()
            waits = any("comes back to its checkpoint" in each for each in status["problems"])
            return waits and status["pbx"][0]["events"] > 0
        return False

    wait_for(received, "frames are journalled meanwhile")
    (stage.faults / "long way").unlink()
    stage.finish({})
