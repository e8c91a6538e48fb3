"""The demonstration: everything as in production, on recorded traffic, with nothing to set up.

The simulator is a process of its own that plays recordings as a PBX; messages go to a file; the live view is a client
of the control socket as anybody could write one. State lives in the given folder, else in a temporary one that is
removed at the end.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from supervision import links
from supervision.signals import Signals

SIMULATOR_LIMIT = 20.0
"""Seconds until the simulator must listen, and within which it must end when told to."""


class DemoFailed(Exception):
    """The simulator does not play."""


class Demo:
    """The simulator and the live view around one tree."""

    def __init__(self, state_dir: Path | None, told: Signals) -> None:
        self._given = state_dir
        self._told = told
        self.directory = state_dir.absolute() if state_dir else Path(tempfile.mkdtemp(prefix="arimon-demo-"))
        self.overrides: dict[str, Any] = {}
        """Settings of the demonstration, over all others."""
        self._simulator: subprocess.Popen[bytes] | None = None
        self._view: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Demo":
        """Start the simulator.

        Raises:
            DemoFailed: it does not play.
            ToldToStop: meanwhile.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            port = self._start_simulator()
        except BaseException:
            # Without `__enter__` there is no `__exit__`.
            self._clear()
            raise
        self.overrides = {
            "application": {"environment": "development"},
            "state_dir": str(self.directory),
            "control": {"socket": str(self.directory / "control.sock"), "group": None},
            "pbx": [{"name": "pbx1", "url": f"ws://127.0.0.1:{port}/ari", "username": "arimon", "password": "arimon"}],
            "publisher": {"sink": "file", "file": {"path": str(self.directory / "messages.jsonl")}},
            "statsd": {"enabled": False},
            "monitoring": {"health_check": {"port": 0}, "metrics": {"port": 0}},
            "logging": {"file": str(self.directory / "arimond.log"), "format": "json"},
        }
        return self

    def __exit__(self, *_exception: object) -> None:
        self._clear()
        if self._given is not None and (self.directory / "messages.jsonl").exists():
            click.echo(f"messages: {self.directory}/messages.jsonl · log: {self.directory}/arimond.log")
            click.echo(f"compare: ./bin/arimon-ctl replay --server pbx1 {self._sent}")

    def show(self) -> None:
        """Start the live view."""
        if self._view is None:
            command = [sys.executable, "-m", "wire.control.live", "--socket", str(self.directory / "control.sock")]
            # It ends with us by itself, and leaves the terminal as it was; told whom to watch, since we may end first.
            command += ["--parent", str(os.getpid())]
            self._view = subprocess.Popen(  # noqa: S603  # our own program
                command,
                stdin=subprocess.DEVNULL,
                # A Ctrl-C while it loads would be a traceback on the screen; once loaded it ends with one.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # safe: arimond has one thread
            )

    def check(self) -> None:
        """Notice that the simulator has ended by itself.

        Raises:
            DemoFailed: it has.
        """
        if self._simulator is not None and self._simulator.poll() is not None:
            raise DemoFailed(f"the simulator ended with exit code {self._simulator.returncode}: {self._said()}")

    def stop_traffic(self) -> None:
        """End the view, then the simulator: nothing more comes, its log is complete."""
        self._end(self._view)
        self._end(self._simulator)
        self._simulator = None

    def _clear(self) -> None:
        self.stop_traffic()
        if self._given is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _sent(self) -> Path:
        return self.directory / "simulator" / "sent.jsonl"

    def _start_simulator(self) -> int:
        folder = self._sent.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wire.simulator", "--mix", "demo", "--port", "0", "--wait-for-client"]
        command += ["--port-file", str(port_file), "--log", str(self._sent)]
        with (folder / "output.log").open("wb") as output:
            self._simulator = subprocess.Popen(  # noqa: S603  # our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # It ends after arimond was told to, or with it: a terminal's Ctrl-C goes to its foreground group.
                process_group=0,
                preexec_fn=links.die_with_parent,  # safe: arimond has one thread
            )
        until = time.monotonic() + SIMULATOR_LIMIT
        while not port_file.exists():
            self._told.check()
            self.check()
            if time.monotonic() > until:
                raise DemoFailed(f"the simulator does not listen after {SIMULATOR_LIMIT:.0f} s: {self._said()}")
            self._told.wait(0.02, [])
        return int(port_file.read_text().split()[0])

    def _said(self) -> str:
        return (self._sent.parent / "output.log").read_text(errors="replace")[-500:].strip()

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None) -> None:
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SIMULATOR_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
