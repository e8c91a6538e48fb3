"""The whole way, with real parts: simulator → arimond → RabbitMQ, at a given rate of events.

    python -m tests.bench.bench_spine [--rate 1000] [--seconds 60] [--sink amqp|file]

Printed: time from a frame's arrival to the confirm of the message that it caused (p50, p95, p99 of what was confirmed
while it was measured, within a fifth: /metrics shows a bound every half doubling, and between two bounds it is
interpolated), lag and outbox as sampled twice a second (they must not grow), CPU and memory (PSS) of each process, the
machine's load, and whether what lies in the queue is what a replay of the simulator's log gives.
"""

import argparse
import asyncio
import os
import tempfile
import time
import urllib.request
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import aio_pika

from tests.daemon import Daemon, Simulator, assert_complete, replayed
from tests.rabbitmq import RabbitMQ, Vhost


async def declare(vhost: Vhost) -> None:
    """A durable queue that gets everything."""
    connection = await aio_pika.connect(vhost.url)
    channel = await connection.channel()
    exchange = await channel.declare_exchange("arimon.calls", aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue("all", durable=True)
    await queue.bind(exchange, "#")
    await connection.close()


async def fetch(vhost: Vhost) -> list[bytes]:
    """What lies in the queue, in order."""
    connection = await aio_pika.connect(vhost.url)
    channel = await connection.channel()
    await channel.set_qos(1000)
    queue = await channel.declare_queue("all", durable=True, passive=True)
    found: list[bytes] = []
    total = queue.declaration_result.message_count or 0
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            found.append(message.body)
            if len(found) >= total:
                break
    await connection.close()
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def pss_mb(pid: int) -> float:
    """Proportional share of memory of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def title(pid: int) -> str:
    """What `ps` shows."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[:48]


def run(options: argparse.Namespace, broker: RabbitMQ | None) -> None:
    """One measurement."""
    with tempfile.TemporaryDirectory(prefix="arimon-bench-") as folder:
        simulator = Simulator(
            Path(folder, "simulator"),
            *("--rate", str(options.rate), "--lanes", str(options.lanes), "--loop", "forever", "--mix", "ordinary"),
        )
        settings: dict[str, Any] = {}
        vhost = None
        if broker is not None:
            vhost = broker.vhost()
            asyncio.run(declare(vhost))
            settings["publisher"] = {"sink": "amqp"}
            settings["rabbitmq"] = {"port": broker.port, "vhost": vhost.name}
        daemon = Daemon(Path(folder, "daemon"), [simulator.pbx()], **settings)
        try:
            begin = time.monotonic()
            daemon.start()
            print(f"whole after {time.monotonic() - begin:.2f} s")
            measure(daemon, options.seconds)
            simulator.end()
            daemon.wait_drained()
            assert daemon.stop() == 0
            messages = daemon.messages() if vhost is None else asyncio.run(fetch(vhost))
            assert_complete(messages, replayed(simulator.sent(), daemon.settings))
            print(f"{len(messages)} messages, complete, in order, as a replay of {len(simulator.sent())} frames gives")
        finally:
            daemon.end()
            simulator.end()


def measure(daemon: Daemon, seconds: float) -> None:
    """Sample a running daemon, then print."""
    lags, depths, rates = [], [], []
    pids = daemon.processes()
    cpu = {pid: cpu_seconds(pid) for pid in pids}
    before = {name: histogram(daemon, name) for name in LATENCIES}
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        time.sleep(0.5)
        status = daemon.client.status()
        lags.append(status["pbx"][0]["lag_rows"])
        depths.append(status["pbx"][0]["outbox"])
        rates.append(status["pbx"][0]["events_per_second"])
    elapsed = time.monotonic() - begin
    print(f"events/s: {sorted(rates)[len(rates) // 2]:.0f} (median); load {os.getloadavg()[0]:.1f}")
    half = len(lags) // 2
    print(f"lag, rows: first half up to {max(lags[:half])}, second half up to {max(lags[half:])}")
    print(f"outbox:    first half up to {max(depths[:half])}, second half up to {max(depths[half:])}")
    for name, meaning in LATENCIES.items():
        counts = histogram(daemon, name)
        counts.subtract(before[name])  # keeps buckets in which nothing came
        found = quantiles(counts)
        values = " · ".join(f"p{percent} {1000 * value:.1f} ms" for percent, value in found.items())
        print(f"{meaning + ':':34}{values}")
    total = 0.0
    for pid in pids:
        share, used = pss_mb(pid), 100 * (cpu_seconds(pid) - cpu[pid]) / elapsed
        total += share
        print(f"  {title(pid):48} {share:7.1f} MB PSS  {used:5.1f} % CPU")
    print(f"  {'all':48} {total:7.1f} MB PSS")


LATENCIES = {
    "fold_latency": "frame arrived to outbox committed",
    "publish_latency": "given to the sink to confirmed",
    "total_latency": "frame arrived to confirm known",
}


def histogram(daemon: Daemon, name: str) -> Counter[float]:
    """Upper bound of a bucket, seconds → values in it since the start, read from /metrics."""
    log = (daemon.folder / "arimond.log").read_text()
    url = next(
        word
        for line in log.splitlines()
        if "monitoring" in line
        for word in line.split('"')
        if word.endswith("/metrics")
    )
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    upto = []
    for line in text.splitlines():
        if line.startswith(f"arimon_{name}") and "_bucket" in line:
            bound = line.split('le="')[1].split('"')[0]
            upto.append((float(bound), float(line.rsplit(" ", 1)[1])))
    upto.sort()
    return Counter({bound: int(count - below) for (_, below), (bound, count) in pairwise([(0.0, 0.0), *upto])})


def quantiles(counts: Counter[float]) -> dict[int, float]:
    """p50, p95 and p99 in seconds; within a bucket, values are taken to be spread evenly on a logarithmic scale."""
    found: dict[int, float] = {}
    bounds = sorted(counts)
    for percent in (50, 95, 99):
        rank = counts.total() * percent / 100
        below = 0.0
        for lower, upper in pairwise([bounds[0] / 2, *bounds]):
            if rank <= below + counts[upper]:
                found[percent] = lower * (upper / lower) ** ((rank - below) / counts[upper])
                break
            below += counts[upper]
    return found


def main() -> None:
    """Run with and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="events per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--lanes", type=int, default=40, help="calls at once")
    parser.add_argument("--sink", choices=["amqp", "file"], default="amqp")
    options = parser.parse_args()
    broker = None
    if options.sink == "amqp":
        broker = RabbitMQ()
        broker.start()
    try:
        run(options, broker)
    finally:
        if broker is not None:
            broker.close()


if __name__ == "__main__":
    main()
