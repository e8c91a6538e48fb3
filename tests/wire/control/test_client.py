"""wire/control/client.py against the real server and against strangers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.control.fakes import CALL, CRASH, MESSAGE, QUARANTINED, STATUS, TREE, FakeBackend, ServerThread
from wire.control.api import ControlError, DaemonDown, NotFound, NotUnderstood, Refused, Unanswered, Unsupported
from wire.control.client import ControlClient


@contextmanager
def stranger(path: Path, answer: bytes) -> Iterator[None]:
    """Something else that listens on the socket, and answers one question."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(60)


def test_every_question_comes_through(daemon: ServerThread) -> None:
    """Each method asks what it says, and gives back what the backend answered."""
    client, backend = ControlClient(daemon.path), daemon.backend
    assert isinstance(backend, FakeBackend)
    assert client.status() == STATUS
    assert client.tree() == TREE
    assert client.calls() == [CALL]
    assert client.calls("pbx1") == [CALL]
    assert client.call(CALL["call_id"])["messages"] == [MESSAGE]
    assert client.messages(5) == [MESSAGE]
    assert client.kill("publisher") == {"done": "publisher was killed"}
    assert client.reconcile("pbx1", dry_run=True)[0]["dry_run"] is True
    assert client.outbox()[0]["depth"] == 2
    assert client.outbox_redrive("pbx1")["done"]
    assert client.quarantine() == [QUARANTINED]
    assert client.quarantine_show("pbx1", 77)["row"] == QUARANTINED
    assert client.quarantine_redrive("pbx1", 77)["done"] == "redriven"
    assert client.quarantine_drop("pbx1", 77)["done"] == "dropped"
    assert client.journal()[0]["last_n"] == 12350
    assert list(client.journal_export("pbx1", 1, 2)) == [b'{"n":1}', b'{"n":2}']
    assert client.gaps()[0]["reason"] == "lost"
    assert client.crashes() == [CRASH]
    assert client.crash("5")["crash"] == CRASH
    assert backend.asked == [
        ("calls", None),
        ("calls", "pbx1"),
        ("call", CALL["call_id"], None),
        ("kill", "publisher"),
        ("reconcile", "pbx1", True),
        ("outbox_redrive", "pbx1"),
        ("quarantine_show", "pbx1", 77),
        ("quarantine_redrive", "pbx1", 77),
        ("quarantine_drop", "pbx1", 77),
        ("journal_export", "pbx1", 1, 2),
    ]


def test_an_id_may_be_any_text(daemon: ServerThread) -> None:
    """Slashes, ampersands and other scripts come through."""
    with pytest.raises(NotFound, match="no call c2c/1&x=й"):
        ControlClient(daemon.path).call("c2c/1&x=й")


def test_refusals_have_their_classes(daemon: ServerThread) -> None:
    """By the HTTP status."""
    client = ControlClient(daemon.path)
    with pytest.raises(Unsupported):
        client.config()
    with pytest.raises(Refused):
        client.kill("root")
    with pytest.raises(Unanswered, match=r"within 0\.2 s"):
        client.get_state("publisher")
    with pytest.raises(NotFound):
        next(client.journal_export("pbx2"))


def test_a_stream_that_fails_in_the_middle_says_so(daemon: ServerThread) -> None:
    """What came before is given, then the error is raised."""
    backend = daemon.backend
    assert isinstance(backend, FakeBackend)
    daemon.call(backend.hang.set)
    lines = ControlClient(daemon.path).journal_export("pbx1")
    assert [next(lines), next(lines)] == [b'{"n":1}', b'{"n":2}']
    with pytest.raises(ControlError, match="torn"):
        next(lines)


def test_follow_waits_longer_than_the_timeout(daemon: ServerThread) -> None:
    """A quiet PBX is no error."""
    backend = daemon.backend
    assert isinstance(backend, FakeBackend)
    lines = ControlClient(daemon.path, timeout=1.0).follow("1.1", "finished-call")
    assert next(lines) == b'{"sequence":1}'
    threading.Timer(1.5, lambda: daemon.call(backend.hang.set)).start()
    assert list(lines) == [b'{"sequence":2}']
    assert ("follow", "1.1", "finished-call") in backend.asked


def test_down(folder: Path) -> None:
    """No socket, or one that nobody listens on."""
    with pytest.raises(DaemonDown, match="arimond is down"):
        ControlClient(folder / "none.sock").status()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead.sock"))
    with pytest.raises(DaemonDown, match="arimond is down"):
        ControlClient(folder / "dead.sock").status()
    with pytest.raises(DaemonDown, match="cannot be used"):
        ControlClient(folder / ("x" * 200)).status()


def test_gone_in_the_middle(folder: Path) -> None:
    """A daemon that dies while it is asked."""
    with stranger(folder / "s", b""), pytest.raises(DaemonDown):
        ControlClient(folder / "s").status()


def test_hung(folder: Path) -> None:
    """A stopped process still has its socket: no answer in time."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        with pytest.raises(Unanswered, match=r"within 0\.1 s"):
            ControlClient(folder / "s", timeout=0.1).status()


def test_a_stranger_on_the_socket(folder: Path) -> None:
    """Not HTTP, and HTTP without JSON."""
    for n, answer in enumerate((b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")):
        path = folder / f"s{n}"
        with stranger(path, answer), pytest.raises(NotUnderstood):
            ControlClient(path).status()
