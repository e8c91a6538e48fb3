"""supervision.arimond: the command line, the signals, what systemd sees, and the end of the tree."""

import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from supervision.arimond import ATTEMPTS, EXIT_CONFIG, EXIT_GIVEN_UP, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, main
from tests.daemon import LIMIT, ROOT, Daemon, Simulator, assert_complete, load, replayed, wait_for, whole_lines
from tests.processes import halt
from wire.control.api import ControlError

TRAFFIC = load(rate=100, lanes=4)


AWAY = {"name": "pbx1", "url": "ws://127.0.0.1:1/ari"}
"""A PBX that refuses every connection."""


def arimond(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "supervision.arimond", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs command lines that start nothing, without a process of their own."""

    def run(*arguments: str) -> Said:
        return Said(main(arguments), *capsys.readouterr())

    return run


@pytest.fixture
def config(tmp_path: Path) -> Callable[[Any], str]:
    """Writes a configuration file."""

    def write(content: Any) -> str:
        path = tmp_path / "arimon.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A PBX with traffic, for whoever connects."""
    made = Simulator(tmp_path_factory.mktemp("simulator"), *TRAFFIC)
    yield made
    made.end()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """An arimond whose PBX is away, not started yet."""
    made = Daemon(tmp_path / "daemon", [AWAY])
    yield made
    made.end()


class Systemd:
    """Listens where a service's notifications go."""

    def __init__(self) -> None:
        self.path = f"/tmp/arimon-notify-{uuid.uuid4().hex[:12]}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self.heard: list[dict[str, str]] = []

    def hear(self) -> list[dict[str, str]]:
        """Everything said until now."""
        while select.select([self._socket], [], [], 0)[0]:
            lines = self._socket.recv(4096).decode().splitlines()
            self.heard.append(dict(line.split("=", 1) for line in lines))
        return self.heard

    def count(self, key: str) -> int:
        return sum(key in each for each in self.hear())

    def close(self) -> None:
        self._socket.close()
        Path(self.path).unlink()


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    made = Systemd()
    monkeypatch.setenv("NOTIFY_SOCKET", made.path)
    yield made
    made.close()


def logged(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """Log lines of this event."""
    lines = whole_lines(daemon.folder / "arimond.log")
    found = [json.loads(line) for line in lines if line.startswith(b"{") and event.encode() in line]
    return [line for line in found if line["event"] == event]


# --- the command line -------------------------------------------------------------------------------------------------


def test_help_names_every_option(refused: Callable[..., Said]) -> None:
    """--help explains itself and ends well."""
    done = refused("--help")
    assert done.code == EXIT_OK
    for option in ("--config", "--check", "--demo", "--for", "--state-dir"):
        assert option in done.out


@pytest.mark.parametrize("arguments", [["--bogus"], ["stray"], ["--for", "soon"], ["--for", "-1"], ["--config"]])
def test_a_wrong_command_line_is_told_as_such(refused: Callable[..., Said], arguments: list[str]) -> None:
    """sysexits.h's EX_USAGE, and what is wrong, without a traceback."""
    done = refused(*arguments)
    assert done.code == EXIT_USAGE == 64
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_check_says_everything_that_is_wrong_at_once(
    refused: Callable[..., Said], config: Callable[[Any], str]
) -> None:
    """A line for each problem, by key path; exit 78."""
    wrong = {"pbx": [{"name": "a b", "port": 3}], "foo": 1, "rabbitmq": {"port": "x"}, "journal": {"max_age": -1}}
    done = refused("--check", "--config", config(wrong))
    assert done.code == EXIT_CONFIG == 78
    keys = {line.split(": ")[0] for line in done.out.splitlines()}
    assert keys == {"pbx.0.name", "pbx.0.port", "foo", "rabbitmq.port", "journal.max_age"}


def test_check_of_a_right_configuration_says_so(
    refused: Callable[..., Said], config: Callable[[Any], str], tmp_path: Path
) -> None:
    """Exit 0."""
    done = refused("--check", "--config", config({"state_dir": str(tmp_path / "state")}))
    assert done == (EXIT_OK, "the configuration is right\n", "")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rabbitmq": {"port": 70000}}, "rabbitmq.port"),
        ({"foo": 1, "bar": 2}, "1 more: arimond --check says them all"),
        ({"pbx": [{"name": "pbx1", "password": "${NOT_SET_ANYWHERE}"}]}, "NOT_SET_ANYWHERE"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    refused: Callable[..., Said], config: Callable[[Any], str], wrong: Any, said: str
) -> None:
    """Nothing starts; exit 78."""
    done = refused("--config", config(wrong))
    assert (done.code, done.out) == (EXIT_CONFIG, "")
    [line] = done.err.splitlines()
    assert line.startswith("arimond: wrong configuration: ")
    assert said in line


def test_a_missing_configuration_file_is_one_clear_line(refused: Callable[..., Said], tmp_path: Path) -> None:
    """It is named."""
    done = refused("--config", str(tmp_path / "none.yaml"))
    assert done.code == EXIT_CONFIG
    [line] = done.err.splitlines()
    assert "none.yaml" in line


def test_a_state_directory_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    """It is named, and why."""
    (tmp_path / "file").touch()
    done = arimond("--state-dir", str(tmp_path / "file" / "state"))
    assert done.returncode == EXIT_CONFIG
    [line] = done.stderr.splitlines()
    assert line.startswith(f"arimond: {tmp_path}/file/state")
    assert "Not a directory" in line


def test_no_error_quotes_a_secret(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., Said], config: Callable[[Any], str]
) -> None:
    """Neither one from the file nor one from the environment."""
    wrong = {"pbx": [{"name": "pbx1", "password": ["hunter2-file"]}], "rabbitmq": {"port": "x"}}
    monkeypatch.setenv("ARIMON_RABBITMQ__PASSWORDD", "hunter2-environment")
    for arguments in (["--check"], []):
        done = refused(*arguments, "--config", config(wrong))
        assert done.code == EXIT_CONFIG
        assert "hunter2" not in done.out + done.err


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_stops_in_order(
    tmp_path: Path, simulator: Simulator, systemd: Systemd, number: signal.Signals
) -> None:
    """Everything received is published before the end; exit 0; systemd hears ready, alive and stopping."""
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx()])
    try:
        daemon.start()
        assert daemon.process is not None
        wait_for(lambda: len(daemon.messages()) > 10 and systemd.count("WATCHDOG") >= 2, "messages flow, systemd hears")
        daemon.process.send_signal(number)
        assert daemon.stop() == EXIT_OK
        assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))
        lines = daemon.messages()
        assert len(lines) == len(set(lines))
        first, *alive, last = systemd.hear()
        assert (first["READY"], first["MAINPID"]) == ("1", str(daemon.process.pid))
        assert {frozenset(each.items()) for each in alive} == {frozenset({("WATCHDOG", "1")})}
        assert last["STOPPING"] == "1"
    finally:
        daemon.end()


def test_a_signal_during_the_start_is_heeded(daemon: Daemon) -> None:
    """SIGTERM while the tree is half up: exit 0, and nothing is left."""
    daemon.launch()
    wait_for(lambda: logged(daemon, "actor.started") or None, "the first process of the tree is up")
    assert daemon.stop() == EXIT_OK
    assert logged(daemon, "arimond.started") == []


def hold_a_ctrl_c_back() -> None:
    """In a new process: SIGINT has come, and is blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)


def test_a_ctrl_c_while_python_starts_is_heeded_if_it_is_held_back(daemon: Daemon) -> None:
    """As bin/arimond does: exit 130, and nothing is begun or said."""
    done = subprocess.run(
        [sys.executable, "-m", "supervision.arimond", "--config", str(daemon.config)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=hold_a_ctrl_c_back,
        capture_output=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, b"", b"")
    assert not daemon.state.exists()


LOADING = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "conf":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
runpy.run_module("supervision.arimond", run_name="__main__", alter_sys=True)
"""
"""arimond, to which a signal comes while it loads its code."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_OK)])
def test_a_signal_while_it_loads_is_heeded(daemon: Daemon, number: int, code: int) -> None:
    """It ends before it begins anything, and says nothing."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING.format(number=int(number)), "--config", str(daemon.config)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert not daemon.state.exists()


def test_a_configuration_that_does_not_come_can_be_interrupted(tmp_path: Path) -> None:
    """A file that is a pipe nobody writes into: SIGINT, exit 130, no traceback."""
    pipe = tmp_path / "arimon.yaml"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "supervision.arimond", "--check", "--config", str(pipe)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        # Opened as soon as arimond has, which then reads.
        with pipe.open("wb"):
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=LIMIT)[0] == b""
        assert process.returncode == EXIT_INTERRUPTED
    finally:
        process.kill()
        process.communicate()


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """What does not stop in time is waited for only as long as nobody is impatient; exit 0, and nothing is left."""
    daemon = Daemon(tmp_path / "daemon", [AWAY], supervision={"stop_timeout": 1000.0})
    try:
        daemon.start()
        assert daemon.process is not None
        halt(daemon.pid("root"))
        daemon.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(1.0)
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.stop() == EXIT_OK
        [line] = logged(daemon, "arimond.stop_cut_short")
        assert line["told"] is True
    finally:
        daemon.end()


def test_it_stops_by_itself_after_a_time(daemon: Daemon) -> None:
    """--for SECONDS: exit 0."""
    daemon.launch("--for", "0.5")
    assert daemon.process is not None
    assert daemon.process.wait(LIMIT) == EXIT_OK
    assert len(logged(daemon, "arimond.started")) == 1
    assert daemon.stop() == EXIT_OK


# --- two of them ------------------------------------------------------------------------------------------------------


def test_a_second_arimond_on_the_same_state_is_refused(daemon: Daemon) -> None:
    """It says who has it, and the first goes on untouched."""
    daemon.start()
    before = daemon.wait_whole()
    assert daemon.process is not None
    done = arimond("--config", str(daemon.config))
    assert done.returncode == EXIT_CONFIG
    [line] = done.stderr.splitlines()
    assert line.startswith(f"arimond: {daemon.state}/arimond.lock")
    assert str(daemon.process.pid) in line
    after = daemon.wait_whole()
    assert {path: node["pid"] for path, node in after.items()} == {path: node["pid"] for path, node in before.items()}
    assert daemon.stop() == EXIT_OK


# --- when the tree falls ----------------------------------------------------------------------------------------------


def test_a_tree_that_falls_again_and_again_is_given_up(daemon: Daemon) -> None:
    """Six times within a minute: exit 70, one line that says so, and nothing is left."""
    daemon.launch()
    assert daemon.process is not None
    for fall in range(1, ATTEMPTS + 2):
        started = wait_for(
            lambda fall=fall: found if len(found := logged(daemon, "arimond.started")) == fall else None,  # type: ignore[misc]
            f"it has started {fall} times",
        )
        os.kill(started[-1]["root"], signal.SIGKILL)
    assert daemon.process.wait(LIMIT) == EXIT_GIVEN_UP == 70
    assert daemon.stop() == EXIT_GIVEN_UP
    assert len(logged(daemon, "arimond.tree_lost")) == ATTEMPTS + 1
    assert daemon.log_tail().splitlines()[-1] == "arimond: the tree fell 6 times in a minute; the log says why"


def test_a_hung_root_is_started_over_and_systemd_hears_nothing_meanwhile(daemon: Daemon, systemd: Systemd) -> None:
    """No ping while Root does not answer; when its time is up everything starts anew, ready once more."""
    daemon.start()
    wait_for(lambda: systemd.count("WATCHDOG") >= 1, "the watchdog is pinged")
    before = daemon.wait_whole()
    halt(before["root"]["pid"] or 0)
    hung = len(systemd.hear())
    wait_for(lambda: systemd.count("READY") == 2, "it is ready again")
    heard = systemd.hear()[hung:]
    # A question may have been answered just before.
    pings = next(index for index, each in enumerate(heard) if "READY" in each)
    assert pings <= 1
    after = daemon.wait_whole()
    assert {node["pid"] for node in after.values()}.isdisjoint({node["pid"] for node in before.values()})
    assert daemon.stop() == EXIT_OK


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_stands_nowhere_but_where_it_was_given(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords from the environment: in no log, crash report, answer, file of the state, or process title."""
    secrets = {"ARIMON_PBX__0__PASSWORD": "arimon", "ARIMON_PBX__1__PASSWORD": "hunter2-pbx"}
    secrets["ARIMON_RABBITMQ__PASSWORD"] = "hunter2-broker"
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    # The second PBX is the first once more, with a wrong password: refused, which is said, but not with what.
    refused = simulator.pbx() | {"name": "pbx2"}
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx(), refused], logging={"level": "DEBUG"})
    try:
        daemon.start()
        wait_for(lambda: daemon.client.status()["pbx"][1]["link"]["detail"] or None, "the wrong password is refused")
        wait_for(lambda: len(daemon.messages()) > 10, "messages flow")
        with bomb(daemon):
            crashes = wait_for(
                lambda: [each for each in daemon.client.crashes() if each["reason"] == "exception"] or None,
                "a crash is reported",
            )
        daemon.wait_whole()
        answers = wait_for(lambda: everything(daemon, [each["id"] for each in crashes]), "every question is answered")
        assert "on purpose" in answers
        for process in daemon.processes():
            assert b"hunter2" not in Path(f"/proc/{process}/cmdline").read_bytes()
            assert b"hunter2" not in Path(f"/proc/{process}/comm").read_bytes()
        assert daemon.stop() == EXIT_OK
        assert "hunter2" not in answers
        for path in [daemon.folder / "arimond.log", *filter(Path.is_file, daemon.state.rglob("*"))]:
            assert b"hunter2" not in path.read_bytes(), path
    finally:
        daemon.end()


def everything(daemon: Daemon, crashes: list[str]) -> str | None:
    """All that it tells; None while one of its processes is away."""
    client = daemon.client
    try:
        shown = [client.status(), client.tree(), client.calls(), client.config(), client.journal(), client.outbox()]
        return json.dumps([*shown, client.crashes(), *map(client.crash, crashes), client.messages(100)])
    except ControlError:
        return None


@contextmanager
def bomb(daemon: Daemon) -> Iterator[None]:
    """While it lasts, a Switchboard that passes a row crashes: its own database refuses the checkpoint."""
    path = daemon.state / "pbx" / "pbx1" / "ledger.db"
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        database.execute(
            "CREATE TRIGGER bomb BEFORE UPDATE OF moved_ms ON checkpoint BEGIN SELECT RAISE(ABORT, 'on purpose'); END"
        )
        try:
            yield
        finally:
            database.execute("DROP TRIGGER bomb")
