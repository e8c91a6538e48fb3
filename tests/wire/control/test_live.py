"""wire/control/live.py: pictures, plain lines, and the program."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.wire.control.fakes import CALL, MESSAGE, STATUS, TREE, FakeBackend, ServerThread
from wire.control.api import Backend, Unanswered
from wire.control.client import ControlClient
from wire.control.live import FIGURES_SECONDS, Plain, Seen, figures, view, watch

SEEN = Seen(STATUS, TREE, [CALL], [MESSAGE])
ROOT = Path(__file__).resolve().parents[3]


def drawn(seen: Seen, height: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=120, height=height).print(view(seen, height))
    return out.getvalue().splitlines()


def test_the_picture_has_everything() -> None:
    """Figures, processes, calls and last messages."""
    text = "\n".join(drawn(SEEN, 50))
    for fact in ("calls: 1", "42 events/s", "3.2 messages/s", "Switchboard", "79031112233", "received-call"):
        assert fact in text


def test_a_crowd_fits_the_screen() -> None:
    """What has no room is counted: the picture never grows beyond the terminal."""
    calls: Any = [{**CALL, "call_id": f"1.{n}"} for n in range(500)]
    messages = [{**MESSAGE, "message_id": str(n), "call_id": "x" * 300} for n in range(50)]
    lines = drawn(Seen(STATUS, TREE, calls, messages), 40)
    assert len(lines) <= 40
    assert any("more" in line for line in lines)


def test_figures_name_what_is_wrong() -> None:
    """A PBX that is away, and every problem."""
    pbx: Any = {**STATUS["pbx"][0], "link": {"state": "replaced", "since_ms": 1, "attempt": 1, "detail": ""}}
    line = figures({**STATUS, "pbx": [pbx], "problems": ["pbx1 is replaced"]}).plain
    assert "0 of 1 PBXs" in line
    assert "! pbx1 is replaced" in line


def test_plain_lines_tell_each_message_once() -> None:
    """And figures every few seconds."""
    plain = Plain()
    first = plain.lines(SEEN, 0.0)
    assert [line.plain.split()[1] for line in first[:1]] == ["received-call"]
    assert len(first) == 2
    assert plain.lines(SEEN, 0.5) == []
    more = replace(SEEN, messages=[MESSAGE, {**MESSAGE, "message_id": "another"}])
    assert len(plain.lines(more, 1.0)) == 1
    assert len(plain.lines(more, FIGURES_SECONDS)) == 1


def test_plain_lines_remember_a_bounded_number() -> None:
    """A demonstration may run for days."""
    plain = Plain()
    for n in range(2000):
        plain.lines(replace(SEEN, messages=[{**MESSAGE, "message_id": str(n)}]), 0.0)
    assert len(plain.known) <= 500


def test_a_daemon_that_is_away_is_one_line() -> None:
    """Not one at each poll; and again after it was back."""
    plain = Plain()
    gone = Unanswered("gone")
    assert [line.plain for line in plain.failed(gone)] == ["gone"]
    assert plain.failed(gone) == []
    plain.lines(SEEN, 0.0)
    assert len(plain.failed(gone)) == 1


def ended_after(times: int) -> Callable[[float], bool]:
    left: Iterator[bool] = iter([False] * (times - 1) + [True])
    return lambda seconds: next(left)


def test_watch_on_no_terminal(daemon: ServerThread) -> None:
    """Plain lines, no control sequences."""
    out = io.StringIO()
    watch(ControlClient(daemon.path), Console(file=out, width=200), ended_after(2))
    assert out.getvalue().count("received-call") == 1
    assert "\x1b" not in out.getvalue()


def test_watch_on_a_terminal(daemon: ServerThread, folder: Path) -> None:
    """Draws in place; a daemon that is away is drawn too."""
    for path, word in ((daemon.path, "Switchboard"), (folder / "none", "is down")):
        out = io.StringIO()
        watch(ControlClient(path), Console(file=out, force_terminal=True, width=100, height=40), ended_after(2))
        assert word in out.getvalue()


def test_a_daemon_without_messages_is_shown_all_the_same(folder: Path) -> None:
    """The rest of the picture does not need them."""

    class Forgetful(FakeBackend):
        messages = Backend.messages

    with ServerThread(folder / "c.sock", Forgetful) as server:
        out = io.StringIO()
        watch(ControlClient(server.path), Console(file=out, width=200), ended_after(1))
        assert "events/s" in out.getvalue()


def program(path: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "wire.control.live", "--socket", str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_program_ends_when_told(daemon: ServerThread) -> None:
    """SIGTERM and Ctrl-C: exit 0, nothing on standard error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = program(daemon.path)
        assert process.stdout is not None
        assert b"received-call" in process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")


def test_the_program_ends_with_its_parent(daemon: ServerThread) -> None:
    """However arimond died, no view is left behind."""
    script = (
        "import subprocess, sys, os, signal\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'wire.control.live', '--socket', {str(daemon.path)!r}])\n"
        "print(p.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdout is not None
    pidfd = os.pidfd_open(int(parent.stdout.readline()))
    assert b"received-call" in parent.stdout.readline()
    parent.kill()
    # The view holds the pipe: it is at its end when the view is gone.
    rest, _ = parent.communicate(timeout=60)
    os.close(pidfd)
    assert b"Traceback" not in rest
