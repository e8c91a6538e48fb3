"""arimond and the simulator as real processes, for tests that kill them.

Every process carries a mark in its environment, so that what is left behind is found whatever it calls itself.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from actors.call.replay import replay
from conf.settings import Settings
from conf.validation import validated
from wire.control.api import ControlError, Node
from wire.control.client import ControlClient
from wire.store.journal import JournalReader

ROOT = Path(__file__).parent.parent
LIMIT = 100.0
"""Seconds after which a fact that a test waits for is taken for never."""

T = TypeVar("T")


def wait_for(fact: Callable[[], T | None], what: str, seconds: float = LIMIT) -> T:
    """Ask until there is an answer that is neither None nor False."""
    until = time.monotonic() + seconds
    while True:
        found = fact()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {what}"
        select.select([], [], [], 0.01)


def load(*, rate: int, lanes: int) -> tuple[str, ...]:
    """Arguments for a Simulator that plays ordinary calls for ever: events per second, and most calls at once."""
    return ("--rate", str(rate), "--lanes", str(lanes), "--loop", "forever", "--mix", "ordinary")


class Simulator:
    """The PBX simulator, playing until it is through or told to end."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.arguments = arguments
        self._port_file = folder / "port"
        self._mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "wire.simulator", "--port-file", str(self._port_file)]
        command += ["--log", str(folder / "sent"), "--wait-for-client", "--stay", *arguments]
        with (folder / "simulator.log").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment(self._mark))
        self.ports: list[int] = wait_for(self._ports, "the simulator listens")

    def _ports(self) -> list[int] | None:
        assert self.process.poll() is None, (self.folder / "simulator.log").read_text()
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in self._port_file.read_text().split()]
        return None

    def pbx(self, index: int = 0) -> dict[str, Any]:
        """Settings for arimond of one of its PBXs."""
        return {"name": f"pbx{index + 1}", "url": f"ws://127.0.0.1:{self.ports[index]}/ari", "retry": {"maximum": 0.5}}

    def sent(self, index: int = 0) -> list[bytes]:
        """What it has put on the wire, as `replay` reads it. Complete once it has ended."""
        return (self.folder / "sent" / f"pbx{index + 1}.jsonl").read_bytes().splitlines()

    def end(self) -> None:
        """Stop playing and write the log to its end."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT)
        assert not marked(self._mark)


class Daemon:
    """One arimond with a state directory of its own; started, killed and started again on the same state."""

    def __init__(self, folder: Path, pbx: Sequence[dict[str, Any]], **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        # A Unix socket's path must be short, which a test's folder need not be.
        self.socket = Path(f"/tmp/arimon-{uuid.uuid4().hex[:12]}.sock")
        self._mark = uuid.uuid4().hex
        content = {
            "state_dir": str(self.state),
            "control": {"socket": str(self.socket)},
            "pbx": list(pbx),
            "publisher": {"sink": "file"},
            "statsd": {"enabled": False},
            "monitoring": {"health_check": {"port": 0}, "metrics": {"port": 0}},
            "supervision": {"intensity": 20, "probe_interval": 0.5, "probe_limit": 2.0},
            "logging": {"format": "json"},
        }
        for key, value in settings.items():
            known = content.get(key)
            content[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
        self.config = folder / "arimon.yaml"
        self.config.write_text(yaml.safe_dump(content))
        self.settings = validated(Settings, content)
        self.client = ControlClient(self.socket)
        self.process: subprocess.Popen[bytes] | None = None
        self.module = "supervision.arimond"
        """What is run."""

    def start(self, *arguments: str) -> None:
        """Start, and wait until the whole tree is up; if it is not, leave nothing."""
        self.launch(*arguments)
        try:
            self.wait_whole()
        except BaseException:
            self.end()
            raise

    def launch(self, *arguments: str) -> None:
        """Start, and wait for nothing."""
        command = [sys.executable, "-m", self.module, "--config", str(self.config), *arguments]
        with (self.folder / "arimond.log").open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(self._mark)
            )

    def wait_whole(self, seconds: float = LIMIT) -> dict[str, Node]:
        """Wait until every process of the tree runs; returns the nodes by path."""
        expected = 4 + 3 * len(self.settings.pbx)

        def whole() -> dict[str, Node] | None:
            assert self.process is not None
            assert self.process.poll() is None, f"arimond ended: {self.log_tail()}"
            with contextlib.suppress(ControlError):
                nodes = {node["path"]: node for node in _flat(self.client.tree()) if node["kind"] != "calls"}
                if len(nodes) == expected and all(
                    node["state"] == "running" and node["pid"] and Path(f"/proc/{node['pid']}").exists()
                    for node in nodes.values()
                ):
                    return nodes
            return None

        return wait_for(whole, "the tree is whole", seconds)

    def pid(self, path: str) -> int:
        """Process of a node of the tree."""
        pid = self.wait_whole()[path]["pid"]
        assert pid is not None
        return pid

    def admin(self) -> int:
        """Thespian's Admin: the parent of Root."""
        return int(Path(f"/proc/{self.pid('root')}/stat").read_text().rsplit(")", 1)[1].split()[1])

    def wait_drained(self) -> None:
        """Wait until everything journalled is folded, and everything folded is confirmed.

        Each Switchboard is asked for what it has at this moment: the status is as each process told it last.
        """

        def drained() -> bool:
            with contextlib.suppress(ControlError):
                linked = all(pbx["link"]["state"] != "connecting" for pbx in self.client.status()["pbx"])
                folded = all(each["folded_n"] == each["last_n"] for each in self.client.journal())
                # After the journal: what was folded then is in the outbox now, or was confirmed.
                return linked and folded and all(each["depth"] == each["parked"] for each in self.client.outbox())
            return False

        wait_for(drained, "all is folded and confirmed")

    def stop(self) -> int:
        """Stop in order; returns the exit code, and finds no process left."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(LIMIT)
        assert marked(self._mark) == [], f"left behind: {marked(self._mark)}"
        self.socket.unlink(missing_ok=True)
        return code

    def kill(self) -> None:
        """SIGKILL to arimond itself; waits until nothing of it is left."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT)
        wait_for(lambda: not marked(self._mark), "every process has ended with arimond")

    def end(self) -> None:
        """Whatever the test did: leave nothing."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        # Again and again: one that was just being forked is seen at the second look only.
        while left := marked(self._mark):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.socket.unlink(missing_ok=True)

    def processes(self) -> list[int]:
        """Every process that came of it, arimond included."""
        return marked(self._mark)

    def messages(self) -> list[bytes]:
        """What the file sink has."""
        return whole_lines(self.state / "messages.jsonl")

    def exported(self, pbx: str = "pbx1") -> list[bytes]:
        """The whole journal, as `replay` reads it. After the daemon has ended."""
        reader = JournalReader(self.state / "pbx" / pbx / "journal")
        try:
            return list(reader.export())
        finally:
            reader.close()

    def log_tail(self) -> str:
        """The last lines of the log, for failures."""
        return (self.folder / "arimond.log").read_text(errors="replace")[-3000:]


def whole_lines(path: Path) -> list[bytes]:
    """Lines of a file that somebody may be writing to: what follows the last newline is not a line yet."""
    return path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []


def replayed(lines: Sequence[bytes], settings: Settings, server: str = "pbx1") -> list[bytes]:
    """What ought to be published for these lines."""
    return [line.rstrip(b"\n") for line in replay(lines, server, settings)]


def by_stream(messages: Sequence[bytes], prefix: str = "call:") -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Messages by (server, stream), in order of arrival, second copies of a message_id dropped as a consumer would."""
    seen: dict[str, bytes] = {}
    streams: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in messages:
        message = json.loads(line)
        known = seen.setdefault(message["message_id"], line)
        assert known == line, "two messages with one message_id differ"
        if known is line and message["stream"].startswith(prefix):
            streams.setdefault((message["server"], message["stream"]), []).append(message)
    return streams


def assert_complete(messages: Sequence[bytes], expected: Sequence[bytes], prefix: str = "call:") -> None:
    """Every stream is there, complete, in order, with the content that replay gives, and nothing besides.

    What was withheld because of its age is accounted for by a `messages-withheld`, once, in its place.
    """
    got, want = by_stream(messages, prefix), by_stream(expected, prefix)
    for stream, published in got.items():
        accounted = [sequence for each in published for sequence in accounted_for(each)]
        assert accounted == list(range(1, len(accounted) + 1)), stream
    assert got.keys() == want.keys()
    for stream, wanted in want.items():
        assert sum(len(accounted_for(each)) for each in got[stream]) == len(wanted), stream
        for each in got[stream]:
            if each["operation"]["type"] == WITHHELD:
                told = {wanted[sequence - 1]["operation"]["type"] for sequence in accounted_for(each)}
                assert told == {each["data"]["operation"]}, stream
            else:
                assert each == wanted[each["sequence"] - 1], stream


WITHHELD = "messages-withheld"


def accounted_for(message: dict[str, Any]) -> list[int]:
    """The sequences of its stream that a consumer need not wait for any more once it has this message."""
    if message["operation"]["type"] != WITHHELD:
        return [message["sequence"]]
    found = [sequence for first, last in message["data"]["sequences"] for sequence in range(first, last + 1)]
    assert found[-1] == message["sequence"]
    return found


def marked(mark: str) -> list[int]:
    """Live processes with this mark in their environment."""
    needle = f"ARIMON_TEST_MARK={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if needle in (folder / "environ").read_bytes() and b") Z " not in (folder / "stat").read_bytes():
                    found.append(int(folder.name))
    return found


def _environment(mark: str) -> dict[str, str]:
    # SPT_NOENV: setproctitle would write process titles over the environment that the mark is found in.
    return os.environ | {"ARIMON_TEST_MARK": mark, "PYTHONPATH": str(ROOT), "SPT_NOENV": "1"}


def _flat(node: Node) -> Iterator[Node]:
    yield node
    for child in node["children"]:
        yield from _flat(child)
