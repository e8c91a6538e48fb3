"""supervision.demo: `arimond --demo`, as somebody runs it who has nothing but this folder."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from conf.settings import Settings
from supervision import links
from supervision.demo import Demo, DemoFailed
from supervision.signals import Signals, ToldToStop
from tests.daemon import LIMIT, ROOT, assert_complete, marked, replayed, wait_for, whole_lines
from wire.control.api import ControlError
from wire.control.client import ControlClient


class Run:
    """One demonstration, in a process of its own."""

    def __init__(self, state: Path, *arguments: str, program: tuple[str, str] = ("-m", "supervision.arimond")) -> None:
        self.state = state
        self.mark = uuid.uuid4().hex
        environ = {"ARIMON_TEST_MARK": self.mark, "PYTHONPATH": str(ROOT), "SPT_NOENV": "1"}
        # A file and not a pipe: what was shown can be read while it runs.
        self._shown = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self.process = subprocess.Popen(
            [sys.executable, *program, "--demo", "--state-dir", str(state), *arguments],
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=self._shown,
            stderr=subprocess.STDOUT,
            # Who runs the tests in the background may have it ignored, and a child inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.client = ControlClient(state / "control.sock")

    @property
    def output(self) -> str:
        """What it, its simulator and its live view have shown until now."""
        return os.pread(self._shown.fileno(), 1 << 20, 0).decode(errors="replace")

    def messages(self) -> list[bytes]:
        return whole_lines(self.state / "messages.jsonl")

    def finished(self) -> bool:
        """A complete call has been published."""
        return any(json.loads(line)["operation"]["type"] == "finished-call" for line in self.messages())

    def end(self) -> int:
        """Wait for its end; returns the exit code, and finds no process left."""
        self.process.wait(LIMIT)
        if self.process.returncode != 0:
            # Interrupted while it started something: the kernel kills that with it, which takes a moment.
            wait_for(lambda: not marked(self.mark), "whoever dies with arimond has ended")
        assert marked(self.mark) == []
        return self.process.returncode

    def close(self) -> None:
        """Whatever the test did: leave nothing."""
        self.process.kill()
        for pid in marked(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._shown.close()


@pytest.fixture
def told() -> Iterator[Signals]:
    """Whoever runs the tests has the signals back afterwards."""
    with closing(Signals()) as signals:
        yield signals


@pytest.fixture
def state(told: Signals) -> Iterator[Path]:
    """A folder with a short path: a Unix socket goes into it."""
    demo = Demo(None, told)
    yield demo.directory
    demo.__exit__()
    assert not demo.directory.exists()


def test_it_runs_and_ends_by_itself(state: Path) -> None:
    """Exit 0, nothing left; what is published is what a replay of the simulator's own log gives."""
    run = Run(state, "--for", "3")
    try:
        assert run.end() == 0
        sent = (state / "simulator" / "sent.jsonl").read_bytes().splitlines()
        assert_complete(run.messages(), replayed(sent, Settings()))
        assert f"messages: {state}/messages.jsonl" in run.output
        assert "Traceback" not in run.output
    finally:
        run.close()


def shown(run: Run) -> dict[int, str]:
    """Its processes, with their command lines."""
    found = {}
    for pid in marked(run.mark):
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return found


def calls(run: Run) -> list[object]:
    try:
        return list(run.client.calls())
    except ControlError:
        return []


def test_with_arimond_the_demonstration_ends_whole(state: Path) -> None:
    """kill -9 of arimond takes the simulator and the live view with it."""
    run = Run(state)
    try:
        wait_for(run.finished, "a call is complete")
        assert len(marked(run.mark)) >= 9
        run.process.kill()
        wait_for(lambda: not marked(run.mark), f"nothing is left of {shown(run)}")
        assert run.end() == -signal.SIGKILL
    finally:
        run.close()


def test_ctrl_c_in_a_terminal_ends_it_in_order(state: Path) -> None:
    """It shows calls; SIGINT goes to the terminal's foreground group, what was received is still published; exit 0."""
    run = Run(state)
    try:
        wait_for(run.finished, "a call is complete")
        wait_for(lambda: len(calls(run)) > 0, "arimon-ctl sees a call")
        wait_for(lambda: "received-call" in run.output and "finished-call" in run.output, "calls are shown")
        foreground = {pid for pid in marked(run.mark) if os.getpgid(pid) == os.getpgid(run.process.pid)}
        assert run.process.pid in foreground
        for pid in foreground:
            os.kill(pid, signal.SIGINT)
        assert run.end() == 0
        assert "Traceback" not in run.output
        sent = (state / "simulator" / "sent.jsonl").read_bytes().splitlines()
        assert_complete(run.messages(), replayed(sent, Settings()))
    finally:
        run.close()


def test_a_simulator_that_ends_is_told(state: Path) -> None:
    """One clear line and exit 70, no traceback; nothing is left."""
    run = Run(state)
    try:
        wait_for(run.finished, "a call is complete")
        [simulator] = [pid for pid, command in shown(run).items() if "wire.simulator" in command]
        os.kill(simulator, signal.SIGKILL)
        assert run.end() == 70
        assert "arimond: the simulator ended with exit code -9" in run.output
        assert "Traceback" not in run.output
    finally:
        run.close()


def test_a_folder_of_its_own_is_removed(told: Signals) -> None:
    """Without --state-dir nothing is left on the disk."""
    demo = Demo(None, told)
    with demo:
        assert demo.directory.is_dir()
        assert demo.overrides["state_dir"] == str(demo.directory)
    assert not demo.directory.exists()


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, told: Signals) -> None:
    """A simulator that cannot listen is told, and its folder removed."""
    demo = Demo(None, told)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DemoFailed, match="the simulator ended with exit code 1"), demo:
        pass
    assert not demo.directory.exists()


def test_a_start_that_is_not_to_be_leaves_nothing(told: Signals) -> None:
    """Told to stop before the simulator listens, it waits for nothing: no process and no folder is left."""
    demo = Demo(None, told)
    before = links.children_of(os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(ToldToStop), demo:
        pass
    assert links.children_of(os.getpid()) == before
    assert not demo.directory.exists()


def test_an_impatient_ctrl_c_is_no_traceback(state: Path) -> None:
    """Before there is anything to stop it just ends, and leaves nothing."""
    run = Run(state)
    try:
        wait_for(lambda: len(marked(run.mark)) >= 2, "the simulator is being started")
        run.process.send_signal(signal.SIGINT)
        assert run.end() in (0, 130)
        assert "Traceback" not in run.output
    finally:
        run.close()


SIGNALLED = """
import os, signal, sys
from supervision.arimond import main

os.register_at_fork({hook}=lambda: os.kill(os.getpid(), {number}))
sys.exit(main())
"""
"""arimond, to which a signal comes within a hook of the fork that starts the simulator."""


@pytest.mark.parametrize(
    ("hook", "number", "code"),
    [
        ("before", signal.SIGINT, 130),
        ("after_in_parent", signal.SIGINT, 130),
        ("after_in_parent", signal.SIGTERM, 0),
    ],
)
def test_a_signal_within_a_fork_is_not_lost(state: Path, hook: str, number: int, code: int) -> None:
    """What a hook of a fork raises Python forgets; the order to stop is kept, and said by nothing but the exit code."""
    run = Run(state, program=("-c", SIGNALLED.format(hook=hook, number=int(number))))
    try:
        assert run.end() == code
        assert run.output == ""
        assert not (state / "arimond.log").exists()
    finally:
        run.close()
