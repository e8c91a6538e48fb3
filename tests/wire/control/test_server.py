"""wire/control/server.py: the socket's file, the arguments, the errors."""

import grp
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from conf.settings import Control
from tests.wire.control.fakes import FakeBackend, ServerThread
from wire.control.api import Backend, BadRequest
from wire.control.client import ControlClient
from wire.control.server import MAX_REQUEST_BYTES, ROUTES, ControlServer, ControlSocketError, Kind, parsed


def raw(path: Path, request: bytes) -> tuple[int, Any]:
    """One raw HTTP request, answered and closed."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(str(path))
        s.sendall(request)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def get(path: Path, what: str) -> tuple[int, Any]:
    return raw(path, f"GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def post(path: Path, what: str, body: bytes) -> tuple[int, Any]:
    head = f"POST {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return raw(path, head.encode() + body)


def test_the_socket_is_for_owner_and_group(daemon: ServerThread) -> None:
    """Mode 0660, and nothing else is left in the folder."""
    assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o660
    assert os.listdir(daemon.path.parent) == ["control.sock"]


async def test_the_group_comes_from_conf(folder: Path) -> None:
    """A group that the daemon may give away is given; one that does not exist is said by name."""
    own = grp.getgrgid(os.getegid()).gr_name
    server = ControlServer(Control(socket=folder / "c.sock", group=own), Backend())
    await server.start()
    assert (folder / "c.sock").stat().st_gid == os.getegid()
    await server.stop()
    with pytest.raises(ControlSocketError, match=r"control\.group nobody-has-this"):
        await ControlServer(Control(socket=folder / "d.sock", group="nobody-has-this"), Backend()).start()
    assert os.listdir(folder) == []


async def test_stop_removes_the_file(folder: Path) -> None:
    """But not one that a successor has put there meanwhile."""
    first, second = (ControlServer(Control(socket=folder / "c.sock"), Backend()) for _ in range(2))
    await first.start()
    (folder / "c.sock").rename(folder / "old.sock")
    await second.start()
    await first.stop()
    assert (folder / "c.sock").exists()
    await second.stop()
    assert not (folder / "c.sock").exists()
    await second.stop()


async def test_a_live_socket_is_not_taken_over(folder: Path) -> None:
    """A second daemon is told that another answers, and the first goes on answering."""
    first, second = (ControlServer(Control(socket=folder / "c.sock"), Backend()) for _ in range(2))
    await first.start()
    with pytest.raises(ControlSocketError, match="another arimond answers"):
        await second.start()
    assert (folder / "c.sock").is_socket()
    await first.stop()


async def test_a_stale_socket_is_replaced(folder: Path) -> None:
    """Left over from a process that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "c.sock"))
        dead.listen()
    server = ControlServer(Control(socket=folder / "c.sock"), Backend())
    await server.start()
    await server.stop()


async def test_a_file_of_another_kind_is_left_alone(folder: Path) -> None:
    """A mistyped path must not cost anybody a file."""
    (folder / "c.sock").write_text("precious")
    with pytest.raises(ControlSocketError, match="another kind"):
        await ControlServer(Control(socket=folder / "c.sock"), Backend()).start()
    assert (folder / "c.sock").read_text() == "precious"


async def test_a_path_that_is_too_long_is_said_so(folder: Path) -> None:
    """In words, not as EINVAL."""
    with pytest.raises(ControlSocketError, match="107 bytes"):
        await ControlServer(Control(socket=folder / ("x" * 120)), Backend()).start()


async def test_a_folder_that_cannot_be_made_is_said_so(folder: Path) -> None:
    """With the path and the reason."""
    (folder / "file").write_text("")
    with pytest.raises(ControlSocketError, match="cannot be opened"):
        await ControlServer(Control(socket=folder / "file" / "c.sock"), Backend()).start()


def test_json_comes_back(daemon: ServerThread) -> None:
    """GET with arguments in the query."""
    status, reply = get(daemon.path, "/call?id=1795336915.0")
    assert (status, reply["summary"]["destiny"]) == (200, "74957770001")


@pytest.mark.parametrize(
    ("what", "status", "word"),
    [
        ("/nothing", 404, "Not Found"),
        ("/kill", 405, "Method Not Allowed"),
        ("/call", 400, "id must be text"),
        ("/call?id=", 400, "id must be text"),
        ("/call?id=1&colour=red", 400, "unknown argument 'colour'"),
        ("/call?id=" + "x" * 1025, 400, "id must be text"),
        ("/call?id=9.9", 404, "no call 9.9"),
        ("/messages?limit=-1", 400, "whole number"),
        ("/messages?limit=1e3", 400, "whole number"),
        ("/messages?limit=9999999999999999999", 400, "whole number"),
        ("/config", 501, "shows no configuration"),
    ],
)
def test_errors_are_json_with_a_plain_word(daemon: ServerThread, what: str, status: int, word: str) -> None:
    """Whatever goes wrong, the body is {"error": "…"}."""
    answered, reply = get(daemon.path, what)
    assert answered == status
    assert list(reply) == ["error"]
    assert word in reply["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"path":5}', 400), (b'{"path":"root"}', 409), (b"x" * (MAX_REQUEST_BYTES + 1), 413)],
)
def test_bodies_are_checked(daemon: ServerThread, body: bytes, status: int) -> None:
    """No JSON, no object, another type, refused by the backend, too large."""
    assert post(daemon.path, "/kill", body)[0] == status


def test_who_does_not_answer_in_time(daemon: ServerThread) -> None:
    """504 and a plain word, and the server serves on."""
    status, reply = get(daemon.path, "/state?path=publisher")
    assert (status, reply) == (504, {"error": "the daemon did not answer within 0.2 s"})
    assert get(daemon.path, "/status")[0] == 200


def test_a_restart_may_take_longer_than_an_answer(daemon: ServerThread) -> None:
    """A process stops in order first, which takes its time."""
    status, reply = post(daemon.path, "/restart", b'{"path":"publisher"}')
    assert (status, reply) == (200, {"done": "publisher was stopped and is started again"})


def test_a_bug_behind_a_question_is_a_500(folder: Path) -> None:
    """It names the exception's type only, and the server serves on."""

    class Buggy(FakeBackend):
        async def outbox(self) -> Any:
            return {"secret": 1}["public"]

    with ServerThread(folder / "c.sock", Buggy) as server:
        status, reply = get(server.path, "/outbox")
        assert (status, "KeyError" in reply["error"], "public" in reply["error"]) == (500, True, False)
        assert get(server.path, "/status")[0] == 200


def test_everything_of_the_backend_can_be_asked() -> None:
    """Each public method of Backend has its route, and one that is not overridden answers 501."""
    methods = [name for name in vars(Backend) if not name.startswith("_")]
    assert len(ROUTES) == len(methods)


def test_unsupported_is_the_answer_of_a_bare_backend(folder: Path) -> None:
    """To every question, streams too."""
    good = {Kind.TEXT: "1", Kind.NUMBER: "1"}
    with ServerThread(folder / "c.sock", Backend) as server:
        for route in ROUTES:
            given = {name: good[kind] for name, kind in route.takes.items() if kind in good}
            if route.method == "GET":
                query = "&".join(f"{name}={value}" for name, value in given.items())
                assert get(server.path, f"{route.path}?{query}")[0] == 501
            else:
                assert post(server.path, route.path, json.dumps(given).encode())[0] == 501


def test_a_stream_whose_reader_goes_is_ended(daemon: ServerThread) -> None:
    """The backend's iterator is closed at once, without waiting for the next message."""
    lines = ControlClient(daemon.path).follow()
    assert next(lines) == b'{"sequence":1}'
    lines.close()  # type: ignore[attr-defined]
    backend = daemon.backend
    assert isinstance(backend, FakeBackend)
    assert backend.closed.wait(60)


def test_parsed() -> None:
    """Absent optional arguments are None or False; numbers may be text; a flag is true or false."""
    takes = {"a": Kind.MAYBE_TEXT, "b": Kind.MAYBE_NUMBER, "c": Kind.FLAG, "d": Kind.NUMBER}
    assert parsed(takes, {"d": "7"}) == {"a": None, "b": None, "c": False, "d": 7}
    assert parsed(takes, {"d": 7, "c": True, "b": 0}) == {"a": None, "b": 0, "c": True, "d": 7}
    for wrong in ({"d": True}, {"d": 1.5}, {"d": -1}, {"d": 1, "c": "yes"}, {"d": "٣"}, {"d": None}):
        with pytest.raises(BadRequest):
            parsed(takes, wrong)


def test_commands_are_logged_with_who_gave_them(daemon: ServerThread, logs: list[Any]) -> None:
    """What changes something, and whose user id the kernel says it was."""
    post(daemon.path, "/kill", b'{"path":"publisher"}')
    get(daemon.path, "/status")
    said = [entry for entry in logs if entry["event"] == "control.command"]
    assert [(entry["command"], entry["arguments"], entry["uid"]) for entry in said] == [
        ("/kill", {"path": "publisher"}, os.getuid())
    ]
