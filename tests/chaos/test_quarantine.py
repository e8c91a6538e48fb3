"""A bug sets rows aside, is mended, and they are redriven, as an operator does it, under load."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.call import host
from actors.call.events import ChannelDtmfReceived
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.replay import Replay
from actors.call.state import Call
from conf.settings import Settings
from tests.daemon import Daemon, Simulator, assert_complete, load, wait_for
from tests.spine.tools import fault
from wire.control.api import ControlError, NotFound, QuarantineRow, Refused

TRAFFIC = load(rate=200, lanes=8)


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, no call can take a digit."""
    monkeypatch.setenv("ARIMON_TEST_FAULTS", str(tmp_path))
    (tmp_path / "poison").touch()
    return tmp_path / "poison"


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator, poison: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx()], supervision={"probe_limit": 4.0, "call_intensity": 1000})
    made.module = "tests.chaos.saboteur"
    made.start()
    yield made
    made.end()


def kill_switchboard(daemon: Daemon) -> None:
    """SIGKILL, and wait until its successor answers: that it runs is told to Supervisor before Monitor knows it."""
    before = daemon.wait_whole()["pbx/pbx1/switchboard"]
    assert before["pid"] is not None
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: daemon.wait_whole()["pbx/pbx1/switchboard"]["restarts"] > before["restarts"], "its successor")

    def answers() -> bool:
        with contextlib.suppress(ControlError):
            return bool(daemon.client.statistics("pbx/pbx1/switchboard"))
        return False

    wait_for(answers, "its successor answers")


def replayed(daemon: Daemon, failed: set[int], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a program with the same bug says to the same journal: it has it at these rows, until they are redriven."""
    fold = host.fold

    def failing(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
        if routed.input.n in failed and isinstance(routed.input.body, ChannelDtmfReceived):
            raise ZeroDivisionError
        return fold(call, routed, server, settings)

    monkeypatch.setattr(host, "fold", failing)
    run, bodies = Replay("pbx1", daemon.settings), list[bytes]()
    for line in daemon.exported():
        row: dict[str, Any] = json.loads(line)
        if row["kind"] == "operator":
            failed.discard(row["body"]["n"])
        bodies.extend(message.body for message in run.feed(line))
    return bodies


def test_what_a_bug_set_aside_is_redriven_once_it_is_mended(
    daemon: Daemon, simulator: Simulator, poison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is applied, to calls that live or as `call-amended`, also when Switchboard is killed in between. What is
    published is what a replay of the journal with the same bug gives."""

    def of_an_ended_call() -> QuarantineRow | None:
        rows = daemon.client.quarantine()
        active = {call["call_id"] for call in daemon.client.calls()}
        return next((row for row in rows if row["call_id"] not in active), None)

    early = wait_for(of_an_ended_call, "a call ends of which a digit was set aside")
    poison.unlink()
    daemon.client.quarantine_redrive("pbx1", early["n"])
    # Somebody typed until the bug was mended: nothing is added any more once a digit was told.
    wait_for(lambda: any(b'"type":"dtmf-received"' in body for body in daemon.messages()), "a digit is told")
    rows = daemon.client.quarantine()
    assert rows
    kill_switchboard(daemon)
    for n in {row["n"] for row in rows}:
        assert daemon.client.quarantine_redrive("pbx1", n)["done"] == f"row {n} of pbx1 was applied"
    assert daemon.client.quarantine() == []
    with pytest.raises(NotFound):
        daemon.client.quarantine_redrive("pbx1", early["n"])
    kill_switchboard(daemon)
    simulator.end()
    daemon.wait_drained()
    assert daemon.stop() == 0
    failed = {row["n"] for row in rows} | {early["n"]}
    messages = daemon.messages()
    assert_complete(messages, replayed(daemon, failed, monkeypatch))
    amended = [json.loads(body) for body in messages if b'"type":"call-amended"' in body]
    assert early["n"] in {each["data"]["row"] for each in amended}


def test_what_nothing_can_mend_stays(daemon: Daemon, simulator: Simulator, poison: Path) -> None:
    """A redrive that fails again says why and how often; only `drop` ends it."""
    poison.unlink()
    fault(simulator, "garbage", kind="bad-json")
    [row] = wait_for(lambda: daemon.client.quarantine() or None, "the bad frame is set aside")
    for times in ("once", "2 times"):
        with pytest.raises(Refused, match=f"redriven {times} and stays in quarantine: not-json"):
            daemon.client.quarantine_redrive("pbx1", row["n"])
    assert [each["attempts"] for each in daemon.client.quarantine()] == [2]
    daemon.client.quarantine_drop("pbx1", row["n"])
    assert daemon.client.quarantine() == []
    simulator.end()
    daemon.wait_drained()
    assert daemon.stop() == 0
