"""Whatever single process is killed: the tree is whole again, nothing is lost, nothing is published under a new id."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, load, replayed, wait_for
from tests.processes import halt
from tests.spine.tools import finish, wait_for_messages
from wire.control.api import NotFound

TRAFFIC = load(rate=400, lanes=12)


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx()])
    made.start()
    yield made
    made.end()


@pytest.mark.parametrize(
    "path", ["publisher", "recovery", "monitor", "pbx/pbx1", "pbx/pbx1/switchboard", "pbx/pbx1/connection", "root"]
)
def test_a_killed_process_costs_nothing(daemon: Daemon, simulator: Simulator, path: str) -> None:
    """SIGKILL to a role under load: whole again, and what is published is what a replay of the journal gives."""
    wait_for_messages(daemon)
    os.kill(daemon.pid(path), signal.SIGKILL)
    daemon.wait_whole()
    wait_for_messages(daemon)
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


def test_thespians_admin_may_be_killed_too(daemon: Daemon, simulator: Simulator) -> None:
    """arimond starts everything over, on the same state."""
    wait_for_messages(daemon)
    os.kill(daemon.admin(), signal.SIGKILL)
    daemon.wait_whole()
    wait_for_messages(daemon)
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


@pytest.mark.parametrize("path", ["publisher", "pbx/pbx1/switchboard", "pbx/pbx1/connection", "monitor"])
def test_a_hung_process_is_killed_and_replaced(daemon: Daemon, simulator: Simulator, path: str) -> None:
    """SIGSTOP: no exit ever comes, but no answer to a probe either."""
    wait_for_messages(daemon)
    pid = daemon.pid(path)
    halt(pid)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), f"the hung {path} is killed")
    daemon.wait_whole()
    wait_for_messages(daemon)
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


def test_with_arimond_everything_ends_and_a_new_start_goes_on(daemon: Daemon, simulator: Simulator) -> None:
    """SIGKILL to arimond: nothing is left of it; the next one continues each stream where it stopped."""
    wait_for_messages(daemon)
    daemon.kill()
    daemon.start()
    wait_for_messages(daemon)
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))


def test_one_killed_call_changes_its_generation_and_nothing_else(daemon: Daemon, simulator: Simulator) -> None:
    """Its siblings keep theirs; the census counts one live actor per active call before and after."""

    def some() -> dict[str, int] | None:
        found = {call["call_id"]: call["generation"] for call in daemon.client.calls()}
        return found if len(found) >= 3 else None

    for _round in range(5):
        before = wait_for(some, "several calls at once")
        victim = next(iter(before))
        try:
            daemon.client.kill(f"pbx/pbx1/call/{victim}")
        except NotFound:
            continue  # it ended between the two questions
        after = {call["call_id"]: call["generation"] for call in daemon.client.calls()}
        for call_id in before.keys() & after.keys() - {victim}:
            assert after[call_id] == before[call_id]
        if victim in after:
            assert after[victim] != before[victim]
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))
    assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))


def test_a_clean_stop_and_start_repeats_nothing(daemon: Daemon, simulator: Simulator) -> None:
    """What was confirmed before a clean stop is not published again; the streams go on."""
    wait_for_messages(daemon)
    assert daemon.stop() == 0
    lines = daemon.messages()
    assert len(lines) == len(set(lines))
    daemon.start()
    wait_for_messages(daemon)
    finish(daemon, simulator)
    lines = daemon.messages()
    assert len(lines) == len(set(lines))
    assert_complete(lines, replayed(daemon.exported(), daemon.settings))
