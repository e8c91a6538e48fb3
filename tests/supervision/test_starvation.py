"""supervision.starvation, with real processes on one CPU that does not suffice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from supervision.starvation import Starved, waited
from tests.daemon import Daemon, wait_for
from tests.processes import halt

CPU = min(os.sched_getaffinity(0))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def busy(stack: ExitStack) -> int:
    """A process that wants the CPU for itself, until the end of the test."""
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
    stack.callback(process.kill)
    os.sched_setaffinity(process.pid, {CPU})
    return process.pid


def used(pid: int) -> float:
    """Seconds of CPU that a process has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def put_last(pid: int) -> None:
    """Let a process have what others leave of the CPU."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {CPU})
            os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def test_who_wants_a_cpu_and_gets_little_of_it_is_starved(stack: ExitStack) -> None:
    """Two that share one wait half of the time."""
    busy(stack)
    starved = Starved(busy(stack))
    wait_for(lambda: starved.seconds() > 0.3, "it has waited")


def test_who_is_stopped_is_not_starved(stack: ExitStack) -> None:
    """It does not want a CPU, however much others do."""
    pid, other = busy(stack), busy(stack)
    halt(pid)
    before, until = waited(pid), used(other) + 0.2
    wait_for(lambda: used(other) > until, "the other has the CPU")
    assert waited(pid) == before


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    """It has not waited."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert waited(process.pid) == 0.0


def test_a_process_may_end_between_two_looks(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks does not fall over it."""
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
    listed = os.listdir

    def ended_meanwhile(path: str) -> list[str]:
        threads = listed(path)
        process.kill()
        process.wait()
        return threads

    monkeypatch.setattr(os, "listdir", ended_meanwhile)
    assert waited(process.pid) == 0
    assert process.returncode == -signal.SIGKILL


def test_processes_that_get_no_cpu_are_not_taken_for_hung_but_a_stopped_one_is(
    tmp_path: Path, stack: ExitStack
) -> None:
    """With what another leaves of a CPU probes take longer than the limit, and nobody is killed for that."""
    daemon = Daemon(
        tmp_path, [{"name": "pbx1"}], supervision={"probe_interval": 0.1, "probe_limit": 0.2, "intensity": 20}
    )
    daemon.start()
    stack.callback(daemon.end)
    pids = {path: node["pid"] for path, node in daemon.wait_whole().items()}
    for pid in daemon.processes():
        put_last(pid)
    hog = busy(stack)
    wait_for(lambda: used(hog) > 4.0, "the CPU is taken")
    assert {path: node["pid"] for path, node in daemon.wait_whole().items()} == pids
    stopped = daemon.pid("recovery")
    halt(stopped)
    wait_for(lambda: not Path(f"/proc/{stopped}").exists(), "the stopped one is killed")
