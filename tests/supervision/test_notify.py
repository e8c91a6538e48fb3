"""supervision.notify: what systemd is told."""

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervision.notify import notify


@pytest.fixture
def systemd() -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and its path; short, as a Unix socket's must be."""
    path = f"/tmp/arimon-notify-{uuid.uuid4().hex[:12]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(60)
        yield listening, path
    Path(path).unlink()


def test_lines_go_in_one_datagram(systemd: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One notification is one datagram, its lines separated by line feeds."""
    listening, path = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1", "STATUS=all is started")
    assert listening.recv(4096) == b"READY=1\nSTATUS=all is started"


def test_a_name_that_begins_with_at_is_abstract(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd may give a socket that is no file."""
    name = f"arimon-notify-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("WATCHDOG=1")
        assert listening.recv(4096) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is named: it is not run by systemd."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_a_listener_that_has_gone_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked to be told and does not listen any more does not stop the daemon."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
