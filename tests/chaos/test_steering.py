"""What an operator does to a live daemon: look, suspend, resume, restart. Nothing is lost, and no budget is touched."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, load, replayed, wait_for
from tests.processes import halt
from tests.spine import tools
from tests.spine.tools import wait_for_messages
from wire.control.api import ControlError, NotFound, Refused

TRAFFIC = load(rate=150, lanes=8)
PATHS = ["publisher", "recovery", "monitor", "pbx/pbx1/switchboard", "pbx/pbx1/connection", "pbx/pbx1"]


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx()], supervision={"probe_limit": 4.0})
    made.start()
    yield made
    made.end()


def finish(daemon: Daemon, simulator: Simulator) -> None:
    """End the traffic, let everything be published, stop: it is what a replay of the journal gives."""
    tools.finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


def suspended_call(daemon: Daemon) -> str:
    """Suspend a call that has more to come; returns its path once something is kept for it."""

    def one() -> str | None:
        for call in reversed(daemon.client.calls()):
            path = f"pbx/pbx1/call/{call['call_id']}"
            with contextlib.suppress(NotFound):
                daemon.client.suspend(path)
                return path
        return None

    path = wait_for(one, "a call")
    wait_for(lambda: daemon.client.statistics(path)["held"] > 0, f"something comes for {path}")
    return path


def test_a_live_call_is_suspended_read_and_resumed(daemon: Daemon, simulator: Simulator) -> None:
    """Its state stands still, the others' messages and the checkpoint go on, and it misses nothing."""
    wait_for_messages(daemon)
    path = suspended_call(daemon)
    state = daemon.client.get_state(path)
    [before] = daemon.client.journal()
    wait_for_messages(daemon)
    [after] = daemon.client.journal()
    assert after["folded_n"] > before["folded_n"]
    assert daemon.client.get_state(path) == state
    assert daemon.client.statistics(path)["suspended"]
    assert "had been kept" in daemon.client.resume(path)["done"]
    finish(daemon, simulator)


@pytest.mark.parametrize("victim", ["pbx/pbx1/switchboard", "arimond"])
def test_a_suspended_call_loses_nothing_when_its_host_dies(daemon: Daemon, simulator: Simulator, victim: str) -> None:
    """What was kept for it is folded by the next process, which suspends nobody."""
    wait_for_messages(daemon)
    suspended_call(daemon)
    if victim == "arimond":
        daemon.kill()
        daemon.start()
    else:
        os.kill(daemon.pid(victim), signal.SIGKILL)
        daemon.wait_whole()
    wait_for_messages(daemon)
    finish(daemon, simulator)


def test_a_suspended_call_loses_nothing_at_a_clean_stop(daemon: Daemon, simulator: Simulator) -> None:
    """The snapshot of the stop holds what is kept."""
    wait_for_messages(daemon)
    suspended_call(daemon)
    assert daemon.stop() == 0
    daemon.start()
    finish(daemon, simulator)


def test_a_call_is_killed_and_restarted(daemon: Daemon, simulator: Simulator) -> None:
    """One more generation each time, the same state, and a suspended one goes on."""

    def once() -> bool:
        calls = daemon.client.calls()
        if not calls:
            return False
        path = f"pbx/pbx1/call/{calls[-1]['call_id']}"
        with contextlib.suppress(NotFound):
            daemon.client.suspend(path)
            assert daemon.client.restart(path)["done"]
            assert not daemon.client.statistics(path)["suspended"]
            assert daemon.client.statistics(path)["generation"] == 2
            daemon.client.kill(path)
            assert daemon.client.statistics(path)["generation"] == 3
            return True
        return False

    wait_for_messages(daemon)
    wait_for(once, "a call that lives long enough")
    finish(daemon, simulator)


@pytest.mark.parametrize("path", ["publisher", "recovery", "pbx/pbx1/switchboard", "pbx/pbx1"])
def test_a_process_is_suspended_and_resumed(daemon: Daemon, simulator: Simulator, path: str) -> None:
    """For longer than a hung one may live: it is not probed, it shows as suspended, and nothing is lost."""
    wait_for_messages(daemon)
    pid = daemon.pid(path)
    daemon.client.suspend(path)
    begun = len(daemon.client.get_state(path))
    assert begun > 0

    def seen(state: str) -> bool:
        with contextlib.suppress(ControlError):
            found: str = _node(daemon.client.tree(), path)["state"]
            return found == state
        return False

    wait_for(lambda: seen("suspended"), "the tree shows it")
    assert f"{path}: suspended by an operator" in daemon.client.status()["problems"]
    # Its vitals go on, so this is ten seconds in which nobody killed it.
    since = daemon.client.statistics(path)["cpu_seconds"]
    quiet = _node(daemon.client.tree(), path)["probe_age_seconds"] or 0.0
    wait_for(lambda: (_node(daemon.client.tree(), path)["probe_age_seconds"] or 0.0) > quiet + 5.0, "it is not probed")
    assert daemon.client.statistics(path)["cpu_seconds"] >= since
    daemon.client.resume(path)
    wait_for(lambda: seen("running"), "it goes on")
    assert daemon.pid(path) == pid
    wait_for_messages(daemon)
    finish(daemon, simulator)
    assert "hung" not in (daemon.folder / "arimond.log").read_text()


def _node(node: Any, path: str) -> Any:
    if node["path"] == path:
        return node
    return next((found for child in node["children"] if (found := _node(child, path))), None)


def test_a_suspended_process_stops_in_order(daemon: Daemon, simulator: Simulator) -> None:
    """The order to stop resumes it first, so what was kept for it is done."""
    wait_for_messages(daemon)
    daemon.client.suspend("pbx/pbx1/switchboard")
    simulator.end()
    wait_for(lambda: daemon.client.status()["pbx"][0]["link"]["state"] != "connected", "the link is down")
    assert daemon.stop() == 0
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


@pytest.mark.parametrize("path", ["root", "monitor", "pbx/pbx1/connection"])
def test_some_are_not_to_be_suspended(daemon: Daemon, path: str) -> None:
    """They say why, and go on."""
    with pytest.raises(Refused, match="is not to be suspended: "):
        daemon.client.suspend(path)
    assert not daemon.client.statistics(path)["suspended"]


def test_a_restart_costs_nothing(daemon: Daemon, simulator: Simulator) -> None:
    """Every role, one after the other: a new process each, no crash, no budget used, nothing lost."""
    wait_for_messages(daemon)
    for path in PATHS:
        pid = daemon.pid(path)
        assert path.rpartition("/")[2] in daemon.client.restart(path)["done"]
        wait_for(lambda path=path, pid=pid: daemon.pid(path) != pid, f"{path} is a new process")  # type: ignore[misc]
    wait_for_messages(daemon)
    nodes = daemon.wait_whole()
    assert [each["error"] for each in daemon.client.crashes()] == []
    for path in ("root", "pbx/pbx1"):
        budget = nodes[path]["budget"]
        assert budget is not None
        assert budget["used"] == 0
    assert {path for path, node in nodes.items() if node["last_exit"] == "shutdown"} == {
        "publisher", "recovery", "monitor", "pbx/pbx1"
    }  # fmt: skip
    finish(daemon, simulator)


def test_root_is_restarted_with_arimond_only(daemon: Daemon) -> None:
    """It says so; and what is not there cannot be restarted."""
    with pytest.raises(Refused, match="systemctl restart arimond"):
        daemon.client.restart("root")
    for path in ("pbx/pbx9/connection", "nobody", "pbx/pbx1/call/1.1"):
        with pytest.raises(NotFound):
            daemon.client.restart(path)


def test_a_trace_stops_by_itself(daemon: Daemon) -> None:
    """After as many messages as were asked for; of a process and of a call."""
    wait_for_messages(daemon)
    assert len(list(daemon.client.trace("pbx/pbx1/switchboard", 20))) == 20
    records = list(daemon.client.trace("publisher", 30))
    assert len(records) == 30
    assert any(b"Offer" in record for record in records)


def test_a_trace_of_a_call_goes_to_its_end(daemon: Daemon) -> None:
    """Its last message is the last of the trace, which ends with it."""

    def of_a_call() -> bool:
        for call in reversed(daemon.client.calls()):
            with contextlib.suppress(NotFound):
                records = list(daemon.client.trace(f"pbx/pbx1/call/{call['call_id']}", 5000))
                return b"finished-call" in records[-1]
        return False

    wait_for_messages(daemon)
    wait_for(of_a_call, "a call")


def test_a_hung_process_is_called_hung(daemon: Daemon) -> None:
    """Whoever asks gets a plain word in time."""
    pid = daemon.pid("publisher")
    daemon.client.suspend("publisher")  # so that nobody kills it meanwhile
    halt(pid)
    try:
        with pytest.raises(ControlError, match="publisher did not answer within 4 s: it is hung"):
            daemon.client.get_state("publisher")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_which_children_are_there(daemon: Daemon) -> None:
    """Of supervisors and partitions, as OTP lists them: the one started last first."""
    assert [each["id"] for each in daemon.client.which_children("root")] == [
        "pbx/pbx1", "monitor", "recovery", "publisher"
    ]  # fmt: skip
    assert [each["id"] for each in daemon.client.which_children("pbx/pbx1")] == [
        "pbx/pbx1/connection", "pbx/pbx1/switchboard"
    ]  # fmt: skip
    partitions = daemon.client.which_children("pbx/pbx1/switchboard")
    assert len(partitions) == daemon.settings.switchboard.partitions

    def calls() -> bool:
        found = [daemon.client.which_children(f"pbx/pbx1/{each['id']}") for each in partitions]
        return any(child["restart"] == "transient" for children in found for child in children)

    wait_for(calls, "a call")
    with pytest.raises(Refused, match="supervises nobody"):
        daemon.client.which_children("publisher")


def test_reports_survive(daemon: Daemon) -> None:
    """A death is still told after Monitor was killed and after arimond was; by files that only their owner reads."""
    os.kill(daemon.pid("recovery"), signal.SIGKILL)

    def told() -> list[str] | None:
        with contextlib.suppress(ControlError):
            return [f"{each['id']} {each['path']} {each['error']}" for each in daemon.client.crashes()]
        return None

    [first] = wait_for(lambda: told() or None, "the report")
    assert first.endswith("recovery killed (signal 9)")
    os.kill(daemon.pid("monitor"), signal.SIGKILL)
    wait_for(lambda: len(told() or []) == 2, "another")
    daemon.kill()
    daemon.start()
    again = told()
    assert again is not None
    assert again[0] == first
    assert len(again) == 2
    folder = daemon.state / "crashes"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
