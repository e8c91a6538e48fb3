"""How many events a second one simulator process can put on the wire, and what it costs.

    .venv/bin/python tests/bench/bench_simulator.py [--seconds 5]

The simulator runs as a child process, as the demo runs it; this process reads the WebSocket and throws away what it
reads. A row of the table: the rate asked for, the rate that arrived, the child's CPU share and memory, and how late
the slowest 1 % of 10 ms windows came.
"""

import argparse
import asyncio
import base64
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
WINDOW = 0.01
"""Arrivals are counted in windows of this length, seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    name: str
    options: tuple[str, ...]


CASES = (
    Case("1,000/s", ("--rate", "1000", "--lanes", "20")),
    Case("10,000/s", ("--rate", "10000", "--lanes", "200")),
    Case("40,000/s", ("--rate", "40000", "--lanes", "500")),
    Case("40,000/s, logged", ("--rate", "40000", "--lanes", "500", "--log", "LOG")),
    Case("fastest", ("--speed", "0", "--lanes", "500")),
    Case("fastest, logged", ("--speed", "0", "--lanes", "500", "--log", "LOG")),
    Case("paced, 500 calls at once", ("--speed", "1", "--lanes", "500")),
)


async def measure(case: Case, seconds: float, folder: Path) -> str:
    """Run one case; gives its row."""
    ports = folder / "ports"
    ports.unlink(missing_ok=True)
    options = [str(folder / "log") if option == "LOG" else option for option in case.options]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "wire.simulator", "--port-file", str(ports), "--quiet", "--wait-for-client", "--mix", "ordinary"),
        *("--loop", "forever", *options),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        while not ports.exists():  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.05)
        url = f"ws://127.0.0.1:{int(ports.read_text())}/ari/events?app=bench&subscribeAll=true"
        headers = {"Authorization": "Basic " + base64.b64encode(b"arimon:arimon").decode()}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(url, decode_text=False, max_msg_size=0) as ws,
        ):
            return await read(case, ws, child.pid, seconds)
    finally:
        child.send_signal(signal.SIGTERM)
        await child.wait()


async def read(case: Case, ws: aiohttp.ClientWebSocketResponse[bool], pid: int, seconds: float) -> str:
    """Count what arrives, after a second to warm up."""
    frames = size = 0
    gaps: list[float] = []
    began = measured = last = time.perf_counter()
    cpu = cpu_seconds(pid)
    while True:
        message = await ws.receive()
        now = time.perf_counter()
        if frames == 0 and now - began < 1.0:
            measured, last, cpu = now, now, cpu_seconds(pid)
            continue
        frames += 1
        size += len(message.data)
        if now - last >= WINDOW:
            gaps.append((now - last - WINDOW) * 1000)
            last = now
        if now - measured >= seconds:
            break
    took = now - measured
    used = 100 * (cpu_seconds(pid) - cpu) / took
    late = statistics.quantiles(gaps, n=100)[98] if len(gaps) > 100 else max(gaps, default=0.0)
    cost = f"{used:>7.0f} {memory_mb(pid):>8.0f} {late:>9.1f}"
    return f"{case.name:26} {frames / took:>11,.0f} {size / took / 1e6:>8.1f} {cost}"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Its resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def bench(seconds: float) -> None:
    """Print the table."""
    print(f"{'simulator':26} {'events/s':>11} {'MB/s':>8} {'CPU %':>7} {'RSS MB':>8} {'p99 ms':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            print(await measure(case, seconds, Path(folder)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each row measures (default 5)")
    asyncio.run(bench(parser.parse_args().seconds))
