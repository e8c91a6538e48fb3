"""A real StatsD (Node.js) in front of a real Graphite (carbon-cache and whisper), as operators run them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rabbitmq import free_port

ROOT = Path(__file__).resolve().parents[3]
STATSD = ROOT / ".cache" / "statsd" / "node_modules" / "statsd"
CARBON = Path("/usr/bin/carbon-cache")
WHISPER_FETCH = Path("/usr/bin/whisper-fetch")


@dataclass(frozen=True, slots=True)
class Graphite:
    """StatsD flushes to Graphite every second, and Graphite keeps a point for each."""

    statsd_port: int
    storage: Path

    def points(self, name: str) -> list[float]:
        """The values that Graphite has for a series, in order of time."""
        path = (self.storage / "whisper").joinpath(*name.split(".")).with_suffix(".wsp")
        if not path.exists():
            return []
        run = subprocess.run([WHISPER_FETCH, "--json", path], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            return []  # carbon is writing it this moment
        return [value for value in json.loads(run.stdout)["values"] if value is not None]

    def wait(self, name: str, fact: Callable[[list[float]], bool], limit: float = 60.0) -> list[float]:
        """The points of a series, once `fact` is true of them; the test fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not fact(points := self.points(name)):
            assert time.monotonic() < deadline, f"{name} in Graphite: {points}"
            time.sleep(0.1)
        return points


@contextlib.contextmanager
def running(command: list[str | Path], folder: Path, environ: dict[str, str] | None = None) -> Iterator[None]:
    """A program in a process group of its own, which is gone afterwards."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=os.environ | (environ or {})
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int, folder: Path, limit: float = 60.0) -> None:
    """Wait until a TCP port of this host accepts."""
    deadline = time.monotonic() + limit
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
            pytest.fail(f"nothing listens on port {port}:\n{logs}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def graphite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    """StatsD and Graphite, running."""
    if not CARBON.exists() or not WHISPER_FETCH.exists():
        pytest.fail("Graphite is missing. As root: apt-get install --no-install-recommends graphite-carbon")
    if not STATSD.is_dir():
        pytest.fail("StatsD is missing. Run ./bin/test once: it installs it from tests/wire/metrics/statsd")
    folder = tmp_path_factory.mktemp("graphite")
    line_port, pickle_port, query_port, management_port, statsd_port = (free_port() for _ in range(5))
    (folder / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:10m\n")
    # Whisper's default would make a minute's file from half of its points or none.
    (folder / "storage-aggregation.conf").write_text("[all]\npattern = .*\nxFilesFactor = 0\n")
    (folder / "carbon.conf").write_text(
        f"""[cache]
STORAGE_DIR = {folder}
CONF_DIR = {folder}
LOG_DIR = {folder}
PID_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
USER =
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = 1000
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line_port}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle_port}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query_port}
CARBON_METRIC_INTERVAL = 0
ENABLE_LOGROTATION = False
"""
    )
    (folder / "statsd.js").write_text(
        json.dumps(
            {
                "address": "127.0.0.1",
                "port": statsd_port,
                "mgmt_address": "127.0.0.1",
                "mgmt_port": management_port,
                "flushInterval": 1000,
                "deleteIdleStats": True,
                "backends": ["./backends/graphite"],
                "graphiteHost": "127.0.0.1",
                "graphitePort": line_port,
                "graphite": {"legacyNamespace": False},
            }
        )
    )
    carbon: list[str | Path] = [CARBON, f"--config={folder}/carbon.conf", "--nodaemon", "start"]
    node = Path(sys.executable).parent / "node"
    with running(carbon, folder, {"GRAPHITE_ROOT": str(folder)}):
        answers(line_port, folder)
        with running([node, STATSD / "stats.js", folder / "statsd.js"], folder):
            answers(management_port, folder)
            yield Graphite(statsd_port, folder)
