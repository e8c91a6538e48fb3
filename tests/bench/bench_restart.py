"""Time from death to serving, for each role, on a live daemon under load.

    python -m tests.bench.bench_restart [--rounds 10] [--rate 300]

A process is killed with SIGKILL; the moments are those of the log. *Started*: its successor is initialised (of a
Switchboard, its journal is folded again). *Serving*: it does its work: Connection has its link, Switchboard and
Publisher have put out a message, Monitor answers. A call's actor is measured in a process of its own, through its
supervisor, without a refold: its state is simply there.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from actors.call.inputs import Routed
from actors.call_system import CallSystem
from conf.settings import Settings
from tests.daemon import Daemon, Simulator, assert_complete, replayed, wait_for
from tests.truth import run
from wire.control.api import ControlError

PATHS = {
    "publisher": "publisher",
    "recovery": "recovery",
    "monitor": "monitor",
    "connection": "pbx/pbx1/connection",
    "switchboard": "pbx/pbx1/switchboard",
    "pbx": "pbx/pbx1",
    "root": "root",
}


class Log:
    """What arimond has logged since the last look."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._lines: list[bytes] = []
        self._rest = b""

    def moment(self, is_it: Callable[[dict[str, Any]], bool], what: str) -> float:
        """Wait for a line; returns its time, Unix seconds."""

        def look() -> float | None:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
            self._lines += lines
            for line in self._lines:
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if is_it(found):
                        return datetime.fromisoformat(found["timestamp"]).timestamp()
            return None

        return wait_for(look, what)

    def skip(self) -> None:
        """What is there by now is of no interest."""
        self._file.read()
        self._lines, self._rest = [], b""


def serves(daemon: Daemon, role: str, log: Log) -> float:
    """When a role does its work again, Unix seconds."""
    if role in ("connection", "pbx", "root"):
        return log.moment(lambda line: line["event"] == "ari.link.up", "the link is up")
    if role in ("switchboard", "publisher"):
        size = len(daemon.messages())
        wait_for(lambda: len(daemon.messages()) > size, "a message")
    if role == "monitor":

        def answers() -> bool:
            with contextlib.suppress(ControlError):
                return bool(daemon.client.status())
            return False

        wait_for(answers, "an answer")
    return time.time()


def processes(daemon: Daemon, rounds: int) -> None:
    """Kill each role so often; print."""
    log = Log(daemon.folder / "arimond.log")
    print(f"{'role':12} {'started: median':>16} {'worst':>8} {'serving: median':>17} {'worst':>8} ms")
    for role, path in PATHS.items():
        started, serving = [], []
        for _ in range(rounds if role != "root" else min(rounds, 5)):
            pid = daemon.pid(path)
            log.skip()
            begin = time.time()
            os.kill(pid, signal.SIGKILL)
            up = log.moment(lambda line, role=role: line["event"] == "actor.started" and line["role"] == role, role)  # type: ignore[misc]
            started.append(1000 * (up - begin))
            log_or_now = serves(daemon, role, log) if role != "recovery" else up
            serving.append(1000 * (log_or_now - begin))
            # Within the budget of its supervisor, and settled: its vitals are in the tree.
            daemon.wait_whole()
        print(
            f"{role:12} {statistics.median(started):16.0f} {max(started):8.0f}"
            f" {statistics.median(serving):17.0f} {max(serving):8.0f}"
        )


def call_actors(count: int, rounds: int) -> None:
    """Kill call actors among many; print."""
    settings = Settings()
    system = CallSystem("pbx1", settings)
    story = inputs(settings)
    for number in range(count):
        for each in story:
            system.deliver(each._replace(call_id=f"{number}.0"))
    times = []
    for number in range(rounds):
        victim = f"{number % count}.0"
        begin = time.perf_counter()
        system.kill(victim)
        system.enquire(f"call/{victim}", "get_state", {})  # its successor has answered
        times.append(1000 * (time.perf_counter() - begin))
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    print(f"call actor, one of {count}, {rounds} kills: median {statistics.median(times):.3f} ms, p99 {p99:.3f} ms")


def inputs(settings: Settings) -> list[Routed]:
    """The first inputs of an ordinary call: it is being talked."""
    found = run.routed("01_inbound_answered_caller_hangup", settings)
    return found[: len(found) // 2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rate", type=float, default=300, help="events per second")
    options = parser.parse_args()
    call_actors(1000, 2000)
    with tempfile.TemporaryDirectory(prefix="arimon-bench-") as folder:
        traffic = ("--rate", str(options.rate), "--lanes", "12", "--loop", "forever", "--mix", "ordinary")
        simulator = Simulator(Path(folder, "simulator"), *traffic)
        daemon = Daemon(Path(folder, "daemon"), [simulator.pbx()], supervision={"intensity": 100, "probe_limit": 10.0})
        try:
            daemon.start()
            processes(daemon, options.rounds)
            simulator.end()
            daemon.wait_drained()
            assert daemon.stop() == 0
            assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))
            print("nothing lost: the messages are what a replay of the journal gives")
        finally:
            daemon.end()
            simulator.end()


if __name__ == "__main__":
    main()
