"""supervision.frames: Thespian's frames are ours alone, and stay on this machine.

The system runs in a process of its own, because what `install` replaces in Thespian's modules is for good.
"""

import os
import pickle
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from supervision.frames import FrameRefused, SignedFrames

ROOT = Path(__file__).parents[2]

ECHO = textwrap.dedent(
    """
    import os, sys
    from thespian.actors import Actor, ActorExitRequest
    from supervision import frames
    from supervision.system import ActorHost

    class Echo(Actor):
        def receiveMessage(self, message, sender):
            if message == "port":
                self.send(sender, (os.getpid(), self.myAddress.addressDetails.sockname[1]))
            elif message == "refused":
                self.send(sender, frames.signed_frames().refused)

    if __name__ == "__main__":
        sys.modules["echo"] = sys.modules["__main__"]
        host = ActorHost()
        echo = host.create("echo.Echo")
        pid, port = host.ask(echo, "port", 60)
        print(pid, port, flush=True)
        for line in sys.stdin:
            if line.strip() == "end":
                break
            print(host.ask(echo, line.strip(), 60), flush=True)
        host.shutdown()
        host.kill()
    """
)


class Echoed:
    """A system with one actor, in another process."""

    def __init__(self, folder: Path) -> None:
        (folder / "echo.py").write_text(ECHO)
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "echo.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{folder}"},
            text=True,
        )
        assert self.process.stdout is not None
        self.pid, self.port = map(int, self.process.stdout.readline().split())

    def ask(self, question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate("end\n", timeout=60)


@pytest.fixture
def echoed(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Echoed(tmp_path)
    yield made
    made.end()


class Mischief:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.mkdir, (str(self.path),))


def send(port: int, frame: bytes) -> bytes:
    """Give a frame to an actor as Thespian's transport would; return what comes back until the actor hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
        stranger.sendall(b"%d>" % len(frame) + frame)
        answer = b""
        while piece := stranger.recv(4096):
            answer += piece
        return answer


def test_a_stranger_can_neither_run_code_nor_stop_an_actor(echoed: Echoed, tmp_path: Path) -> None:
    """Unsigned pickles, one that runs a command and one that is an exit request, are refused, counted, hung up on."""
    from thespian.actors import ActorExitRequest

    send(echoed.port, pickle.dumps((None, Mischief(tmp_path / "owned"))))
    send(echoed.port, pickle.dumps((None, ActorExitRequest())))
    assert not (tmp_path / "owned").exists()
    assert echoed.ask("refused") == "2"
    assert echoed.ask("port") == f"({echoed.pid}, {echoed.port})"


def test_a_frame_signed_with_another_key_is_refused(echoed: Echoed, tmp_path: Path) -> None:
    """Knowing the form is not enough."""
    send(echoed.port, SignedFrames(b"x" * 32).dumps((None, Mischief(tmp_path / "owned"))))
    assert not (tmp_path / "owned").exists()
    assert echoed.ask("refused") == "1"


def test_a_length_that_no_frame_of_ours_has_is_refused_before_it_is_read(echoed: Echoed) -> None:
    """Nobody fills an actor's memory with one frame."""
    with socket.create_connection(("127.0.0.1", echoed.port), timeout=60) as stranger:
        stranger.sendall(b"99999999999>" + b"x" * 1000)
        assert stranger.recv(10) in (b"", b"ACK")
    assert echoed.ask("refused") == "1"


def test_only_loopback_is_listened_on(echoed: Echoed) -> None:
    """No process of the system has a socket that another machine could reach."""
    inodes = set()
    for pid in _descendants(echoed.process.pid):
        with suppress(FileNotFoundError):  # who starts the Admin ends when the Admin already answers
            for link in Path(f"/proc/{pid}/fd").iterdir():
                inodes.add(os.readlink(link))
    listening = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state, inode = line.split()[1], line.split()[3], line.split()[9]
        if state == "0A" and f"socket:[{inode}]" in inodes:
            listening.append(local.split(":")[0])
    assert len(listening) >= 3
    assert set(listening) == {"0100007F"}
    for table in ("tcp6", "udp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        assert not [line for line in lines if f"socket:[{line.split()[9]}]" in inodes]


def _descendants(pid: int) -> set[int]:
    found = {pid}
    with suppress(OSError):  # it has ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found |= _descendants(int(child))
    return found


def test_what_was_signed_is_read_again() -> None:
    """Our own frames pass."""
    frames = SignedFrames(b"k" * 32)
    assert frames.loads(frames.dumps({"a": [1, 2]})) == {"a": [1, 2]}
    assert frames.refused == 0


@pytest.mark.parametrize("frame", [b"", b"short", b"x" * 32, b"x" * 100])
def test_anything_else_is_refused(frame: bytes) -> None:
    """Whatever its length."""
    frames = SignedFrames(b"k" * 32)
    with pytest.raises(FrameRefused):
        frames.loads(frame)
    assert frames.refused == 1
