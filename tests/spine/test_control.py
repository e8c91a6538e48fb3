"""arimon-ctl against a live daemon, as an operator or a program runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conf.secrets import MASK
from tests.daemon import ROOT, Daemon, Simulator, assert_complete, load, wait_for
from tests.spine.tools import CALM, fault, wait_for_messages
from wire.control.api import NotFound

TRAFFIC = load(rate=100, lanes=8)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    made = Simulator(tmp_path_factory.mktemp("simulator"), *TRAFFIC)
    yield made
    made.end()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Daemon]:
    """One for all tests here; with a bad frame in its quarantine."""
    made = Daemon(tmp_path_factory.mktemp("daemon"), [simulator.pbx()], supervision=CALM)
    try:
        made.start()
        fault(simulator, "garbage", kind="bad-json")
        wait_for_messages(made)
        yield made
        assert made.stop() == 0
    finally:
        made.end()


def arimon_ctl(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wire.control.cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def ctl(daemon: Daemon) -> Callable[..., Any]:
    """Asks this daemon; gives the JSON reply."""

    def ask(*arguments: str) -> Any:
        done = arimon_ctl(*arguments, "--json", "--socket", str(daemon.socket))
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return ask


def paths(node: dict[str, Any]) -> Iterator[str]:
    yield node["path"]
    for child in node["children"]:
        yield from paths(child)


def test_status(daemon: Daemon, ctl: Callable[..., Any]) -> None:
    """arimond's own pid, the link, figures that move, and what is wrong."""

    def counted() -> Any:
        # Each process tells its figures once a second.
        [pbx] = (found := ctl("status"))["pbx"]
        moved = pbx["quarantined"] and pbx["events"] > 100 and pbx["events_per_second"] > 0
        # While a busy machine makes it lag, that is a problem too.
        return found if moved and found["publisher"]["confirmed"] > 0 and len(found["problems"]) == 1 else None

    shown = wait_for(counted, "the figures move, and the bad frame is counted")
    assert daemon.process is not None
    assert shown["pid"] == daemon.process.pid
    assert shown["application"] == "arimon"
    [pbx] = shown["pbx"]
    assert (pbx["name"], pbx["link"]["state"], pbx["quarantined"]) == ("pbx1", "connected", 1)
    wait_for(lambda: ctl("status")["pbx"][0]["journal_n"] >= pbx["events"], "what was counted is on disk")
    assert shown["publisher"]["sink"] == "file"
    assert not shown["healthy"]
    assert shown["problems"] == ["pbx/pbx1/switchboard: 1 rows in quarantine"]


def test_tree(ctl: Callable[..., Any]) -> None:
    """Every process, partition and call, each with its path."""

    def with_a_call() -> Any:
        root = ctl("tree")
        return root if any(path.startswith("pbx/pbx1/call/") for path in paths(root)) else None

    root = wait_for(with_a_call, "a call is under way")
    found = list(paths(root))
    processes = {"root", "publisher", "recovery", "monitor", "pbx/pbx1", "pbx/pbx1/switchboard", "pbx/pbx1/connection"}
    assert processes <= set(found)
    assert {f"pbx/pbx1/calls/{index}" for index in range(8)} <= set(found)
    assert (root["state"], root["generation"], root["strategy"]) == ("running", 1, "one_for_one")
    assert root["budget"] == {"used": 0, "allowed": 20, "reset_seconds": None}


@pytest.fixture
def call(daemon: Daemon) -> Iterator[str]:
    """A call that has published something, and is suspended: it is still there when a program has started to ask."""

    def one() -> str | None:
        for call_id in (each["call_id"] for each in daemon.client.calls()):
            path = f"pbx/pbx1/call/{call_id}"
            with suppress(NotFound):
                daemon.client.suspend(path)
                if daemon.client.call(call_id)["messages"]:
                    return call_id
                daemon.client.resume(path)
        return None

    call_id = wait_for(one, "a call that has said something")
    yield call_id
    daemon.client.resume(f"pbx/pbx1/call/{call_id}")


def test_calls_and_one_of_them(ctl: Callable[..., Any], call: str) -> None:
    """A call that is listed is shown in full: summary, state, and its messages from the first on."""
    [summary] = [each for each in ctl("calls") if each["call_id"] == call]
    shown = ctl("call", call)
    assert summary["pbx"] == "pbx1"
    assert summary["generation"] == 1
    assert shown["summary"]["call_id"] == summary["call_id"]
    assert shown["state"]
    assert {message["call_id"] for message in shown["messages"]} == {summary["call_id"]}
    assert [message["sequence"] for message in shown["messages"]] == list(range(1, len(shown["messages"]) + 1))


def test_outbox(ctl: Callable[..., Any]) -> None:
    """One for the PBX's Switchboard."""
    [outbox] = ctl("outbox")
    assert outbox["owner"] == "pbx/pbx1/switchboard"
    assert outbox["parked"] == 0
    assert outbox["bytes"] > 0
    assert ctl("outbox", "redrive") == {"done": "0 parked messages are offered again"}


def test_journal(ctl: Callable[..., Any]) -> None:
    """Its range, and how far it is folded."""
    [journal] = ctl("journal")
    assert (journal["pbx"], journal["first_n"], journal["segments"]) == ("pbx1", 1, 1)
    assert journal["last_n"] == journal["rows"]
    assert 0 < journal["folded_n"] <= ctl("journal")[0]["last_n"]


def test_rows_are_exported(daemon: Daemon) -> None:
    """Those of one PBX, from one to another; JSON lines, without --json too."""
    asked = ("journal", "export", "--pbx", "pbx1", "--from", "3", "--to", "5", "--socket", str(daemon.socket))
    done = arimon_ctl(*asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == [3, 4, 5]
    assert done.stdout.encode() == b"".join(daemon.exported()[2:5])


def test_messages_are_followed(daemon: Daemon) -> None:
    """As they are published: of one operation, and of one call."""
    finished = daemon.client.follow(None, "finished-call")
    lines = [next(finished) for _ in range(3)]
    assert {json.loads(line)["operation"]["type"] for line in lines} == {"finished-call"}
    wait_for(lambda: set(lines) <= set(daemon.messages()), "they are in the file")


def test_quarantine(ctl: Callable[..., Any]) -> None:
    """The bad frame: where it failed and why, and the frame itself."""
    [row] = ctl("quarantine", "list")
    assert (row["pbx"], row["where"], row["call_id"]) == ("pbx1", "decode", None)
    assert row["error"].startswith("not-json")
    shown = ctl("quarantine", "show", "pbx1", str(row["n"]))
    assert shown["row"] == row
    assert shown["body"]


def test_crashes(ctl: Callable[..., Any]) -> None:
    """None, while nothing has crashed."""
    assert ctl("crashes") == []


def test_config(ctl: Callable[..., Any]) -> None:
    """All settings in force; a password is a mask."""
    shown = ctl("config", "show")
    assert shown["pbx"][0]["name"] == "pbx1"
    assert shown["pbx"][0]["password"] == shown["rabbitmq"]["password"] == MASK
    assert shown["publisher"]["sink"] == "file"


def test_replay_of_the_daemons_own_journal(daemon: Daemon, tmp_path: Path) -> None:
    """What the file sink has is what arimon-ctl makes of the exported rows, with no daemon at all."""
    file = tmp_path / "journal.jsonl"
    wait_for_messages(daemon)
    messages = daemon.messages()
    rows = daemon.exported()
    file.write_bytes(b"\n".join(rows))
    done = arimon_ctl("replay", "--server", "pbx1", str(file))
    assert done.returncode == 0
    replayed = done.stdout.encode().splitlines()
    assert len(replayed) >= len(messages)
    published = set(messages)
    assert_complete(messages, [line for line in replayed if line in published], prefix="")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["call", "1.1"], "'1.1'"),
        (["calls", "--pbx", "pbx9"], "there is no PBX 'pbx9'; there are: pbx1"),
        (["quarantine", "show", "pbx1", "1"], "row 1 of pbx1 is not in quarantine"),
        (["kill", "nothing", "--yes"], "'nothing'"),
        (["crash", "77"], "'77'"),
    ],
)
def test_what_is_not_there_is_said_so(daemon: Daemon, arguments: list[str], said: str) -> None:
    """Exit 1 and one plain sentence."""
    done = arimon_ctl(*arguments, "--socket", str(daemon.socket))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["status"], ["tree"], ["calls"], ["outbox"], ["journal"], ["quarantine", "list"]])
def test_people_get_a_page(daemon: Daemon, command: list[str]) -> None:
    """Without --json the same commands print something to read."""
    done = arimon_ctl(*command, "--socket", str(daemon.socket))
    assert (done.returncode, done.stderr) == (0, "")
    assert "pbx1" in done.stdout


def test_a_daemon_that_is_down_is_said_in_a_plain_word(tmp_path: Path) -> None:
    """Exit 3, for every question."""
    for command in (["status"], ["calls", "--json"], ["outbox", "redrive"]):
        done = arimon_ctl(*command, "--socket", str(tmp_path / "none.sock"))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == f"arimon-ctl: arimond is down: nobody answers on {tmp_path}/none.sock\n"
