"""Ten PBXs in one daemon: ten branches, none of which notices another."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, by_stream, replayed, wait_for
from tests.spine.tools import CALM, fault, finish, pbx_status, status

COUNT = 10


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """Ten PBXs that give out the same unique ids, as real ones may."""
    made = Simulator(tmp_path / "simulator", "--pbx", str(COUNT), "--rate", "20", "--lanes", "3", "--loop", "forever")
    yield made
    made.end()


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx(index) for index in range(COUNT)], supervision=CALM)
    try:
        made.launch()
        made.wait_whole()
        yield made
    finally:
        made.end()


def finished(daemon: Daemon) -> set[str]:
    """PBXs of which a complete call was published."""
    streams = by_stream(daemon.messages())
    return {server for (server, _), told in streams.items() if told[-1]["operation"]["type"] == "finished-call"}


def test_ten_pbxs_are_watched_at_once(daemon: Daemon, simulator: Simulator) -> None:
    """Each gives complete calls under its own name; one that is away and one whose process is killed cost no other."""
    names = {f"pbx{index + 1}" for index in range(COUNT)}
    wait_for(lambda: finished(daemon) == names, "each PBX has a complete call")
    before = daemon.wait_whole()
    fault(simulator, "http", index=3, answer=503)
    fault(simulator, "drop", index=3)
    wait_for(lambda: (found := pbx_status(daemon, 3)) and found["link"]["state"] != "connected", "the fourth is away")
    os.kill(daemon.pid("pbx/pbx6/switchboard"), signal.SIGKILL)
    wait_for(lambda: daemon.wait_whole()["pbx/pbx6/switchboard"]["restarts"] == 1, "the sixth has a new Switchboard")
    others = names - {"pbx4"}
    streams = len(by_stream(daemon.messages()))
    wait_for(lambda: len(by_stream(daemon.messages())) > streams + 20, "calls go on")
    found = status(daemon)
    assert found is not None
    assert {each["name"] for each in found["pbx"] if each["link"]["state"] == "connected"} == others
    after = daemon.wait_whole()
    assert {path for path in after if after[path]["pid"] != before[path]["pid"]} == {"pbx/pbx6/switchboard"}
    finish(daemon, simulator)
    for name in sorted(names):
        messages = [line for line in daemon.messages() if f'"server":"{name}"'.encode() in line]
        assert_complete(messages, replayed(daemon.exported(name), daemon.settings, name), prefix="")
        if name in others:
            index = int(name.removeprefix("pbx")) - 1
            assert_complete(messages, replayed(simulator.sent(index), daemon.settings, name))
