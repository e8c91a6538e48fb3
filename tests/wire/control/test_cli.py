"""wire/control/cli.py: commands, exit codes, and that it never shows a traceback."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.control.fakes import CALL, MESSAGE, STATUS, TREE, FakeBackend, ServerThread
from wire.control import cli, show

ROOT = Path(__file__).resolve().parents[3]
TRACE = ROOT / "tests/traces/01_inbound_answered_caller_hangup.jsonl"


class Ctl:
    """Runs arimon-ctl in this process and keeps what it said."""

    def __init__(self, capfdbinary: pytest.CaptureFixture[bytes], socket: Path) -> None:
        self._capture = capfdbinary
        self.socket = socket

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--socket", str(self.socket)])
        out, err = self._capture.readouterr()
        return code, out.decode(), err.decode()

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def ctl(capfdbinary: pytest.CaptureFixture[bytes], daemon: ServerThread) -> Ctl:
    return Ctl(capfdbinary, daemon.path)


def backend(daemon: ServerThread) -> FakeBackend:
    assert isinstance(daemon.backend, FakeBackend)
    return daemon.backend


def test_json_is_the_reply_itself(ctl: Ctl) -> None:
    """For programs, one document each."""
    assert ctl.json("status") == STATUS
    assert ctl.json("tree") == show.with_calls(TREE, [CALL])
    assert ctl.json("calls") == [CALL]
    assert ctl.json("call", CALL["call_id"])["summary"] == CALL
    assert ctl.json("outbox")[0]["depth"] == 2
    assert ctl.json("quarantine", "list")[0]["n"] == 77
    assert ctl.json("quarantine", "show", "pbx1", "77")["row"]["n"] == 77
    assert ctl.json("journal")[0]["segments"] == 1
    assert ctl.json("gaps")[0]["reason"] == "lost"
    assert ctl.json("crashes")[0]["id"] == "5"
    assert ctl.json("crash", "5")["crash"]["id"] == "5"
    assert ctl.json("reconcile", "--dry-run")[0]["dry_run"] is True
    assert ctl.json("kill", "publisher", "--yes") == {"done": "publisher was killed"}
    assert ctl.json("events", "--limit", "1") == MESSAGE


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("status", "healthy"),
        ("tree", "Switchboard"),
        ("calls", "79031112233"),
        ("call 1795336915.0", "last messages"),
        ("outbox", "unconfirmed"),
        ("outbox redrive", "3 messages are offered again"),
        ("quarantine list", "ZeroDivisionError"),
        ("quarantine show pbx1 77", "Traceback"),
        ("quarantine redrive pbx1 77", "redriven"),
        ("quarantine drop pbx1 77 --yes", "dropped"),
        ("journal", "12350"),
        ("journal export --pbx pbx1", '{"n":2}'),
        ("gaps", "lost"),
        ("crashes", "KeyError"),
        ("crash 5", "while handling"),
        ("reconcile", "1.1"),
        ("kill publisher --yes", "publisher was killed"),
        ("events", "received-call"),
        ("which-children root", "recovery"),
        ("get-state recovery", "connected"),
        ("statistics recovery", "Offer"),
        ("trace publisher --max 2", "Offer(1)"),
        ("suspend publisher", "is suspended"),
        ("resume publisher", "goes on"),
        ("--help", "Exit codes"),
        ("events --help", "--follow"),
    ],
)
def test_every_command_speaks_to_people(ctl: Ctl, command: str, word: str) -> None:
    """On standard output, with nothing on standard error."""
    code, out, err = ctl(*command.split())
    assert (code, err) == (0, "")
    assert word in out


def test_common_options_may_stand_before_the_command(daemon: ServerThread, capfdbinary: Any) -> None:
    """As after it."""
    assert cli.main(["--json", "--socket", str(daemon.path), "calls"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == [CALL]
    assert cli.main(["--socket", str(daemon.path), "outbox", "--json", "redrive"]) == 0


def test_the_socket_comes_from_config_or_environment(
    daemon: ServerThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    """The file that arimond was given, or ARIMON_CONTROL__SOCKET."""
    path = tmp_path / "arimon.yaml"
    path.write_text(f"control: {{socket: {daemon.path}}}\n")
    assert cli.main(["calls", "--config", str(path)]) == 0
    monkeypatch.setenv("ARIMON_CONTROL__SOCKET", str(daemon.path))
    assert cli.main(["calls"]) == 0
    path.write_text("contrl: {}\n")
    assert cli.main(["calls", "--config", str(path)]) == 2
    assert b"contrl" in capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        ("call 9.9", 1, "there is no call 9.9"),
        ("kill root --yes", 1, "root is not killed this way"),
        ("get-state publisher", 4, "did not answer within"),
        ("suspend pbx/pbx1/connection", 1, "cuts off"),
        ("config show", 5, "shows no configuration"),
        ("journal export --pbx pbx2", 1, "no PBX pbx2"),
        ("nonsense", 2, "nonsense"),
        ("quarantine show pbx1 x", 2, "x"),
        ("events --type finished-call", 2, "--follow"),
        ("replay /no/such/file", 1, "No such file"),
    ],
)
def test_failures_have_a_code_and_a_plain_word(ctl: Ctl, command: str, code: int, word: str) -> None:
    """On standard error, with nothing on standard output."""
    got, out, err = ctl(*command.split())
    assert (got, out) == (code, "")
    assert word in err
    assert "Traceback" not in err


def test_down_is_3(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whatever is asked."""
    down = Ctl(capfdbinary, folder / "none.sock")
    for command in ("status", "tree", "calls", "call 1", "kill x --yes", "events --follow", "journal export --pbx p"):
        code, out, err = down(*command.split())
        assert (code, out) == (3, "")
        assert "arimond is down" in err


def test_what_destroys_asks_first(ctl: Ctl, daemon: ServerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer (standard input is closed) is a no."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for command in ("kill publisher", "restart publisher", "quarantine drop pbx1 77"):
        code, _, err = ctl(*command.split())
        assert code == 1
        assert "[y/N]" in err
    assert backend(daemon).asked == []


def test_follow_gives_lines_as_they_come(ctl: Ctl, daemon: ServerThread) -> None:
    """Until the daemon ends the stream."""
    daemon.call(backend(daemon).hang.set)
    code, out, err = ctl("events", "--follow", "--call", "1.1", "--type", "held-call", "--json")
    assert (code, out, err) == (0, '{"sequence":1}\n{"sequence":2}\n', "")
    assert ("follow", "1.1", "held-call") in backend(daemon).asked


def test_a_daemon_of_another_version(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A reply of another shape is a sentence and exit 70."""

    class Other(FakeBackend):
        async def status(self) -> Any:
            return {"version": "9"}

    with ServerThread(folder / "c.sock", Other) as server:
        code, _, err = Ctl(capfdbinary, server.path)("status")
    assert code == 70
    assert "another version" in err
    assert "Traceback" not in err


def test_replay_needs_no_daemon(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Byte for byte the same each time; each file is a world of its own; --server names the PBX."""
    off = Ctl(capfdbinary, folder / "none.sock")
    code, once, err = off("replay", str(TRACE))
    assert (code, err) == (0, "")
    assert off("replay", str(TRACE), str(TRACE))[1] == once + once
    named = off("replay", "--server", "moscow", str(TRACE))[1]
    assert {json.loads(line)["server"] for line in named.splitlines()} == {"moscow"}


def ctl_program(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "wire.control.cli", *arguments], cwd=ROOT, **options)


@pytest.mark.parametrize("what", ["replay", "follow"])
def test_nobody_reads_any_more(daemon: ServerThread, what: str) -> None:
    """A closed pipe ends it quietly with 141, in a stream and in a replay."""
    arguments = {
        "replay": ["replay", *[str(TRACE)] * 100],  # far more than a pipe holds
        "follow": ["events", "--follow", "--json", "--socket", str(daemon.path)],
    }[what]
    process = ctl_program(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    daemon.call(backend(daemon).hang.set)  # the stream's next line
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (141, b"")


def test_it_never_imports_thespian_and_little_else() -> None:
    """A question loads no configuration and no call model; an unconfigured replay nothing to check it with."""
    script = (
        "import sys\n"
        "from wire.control import cli\n"
        "heavy = {'thespian', 'pydantic', 'pydantic_settings', 'asyncio', 'rich', 'aiohttp', 'structlog', 'sqlite3'}\n"
        "assert not (heavy | {'pyrsistent', 'yaml', 'orjson'}) & set(sys.modules), 'too much for a question'\n"
        f"assert cli.main(['replay', {str(TRACE)!r}]) == 0\n"
        "assert not heavy & set(sys.modules), 'too much for a replay'\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ARI", "RABBITMQ_"))}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=plain, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
