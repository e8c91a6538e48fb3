"""After a fault: how long until work goes on, how fast what waited is published, and what it all takes on disk.

    python -m tests.bench.bench_faults [--rate 1000] [--rounds 5] [--away 60]

*Back to work*, on a live daemon under load, counted from the end of the fault: of a link, until it is up again, by
the log; of a broker, until another message is confirmed, by figures that are told once a second. A killed broker counts
from its listening again.
*Drain*: the broker is away for some seconds; then messages confirmed per second until the outbox holds no more than
live traffic puts there, while that goes on. *Disk*: journal and ledger with their WALs, at the end, per 1,000 finished
calls; the journal keeps its rows until they are too old or too many (`journal.max_age`, `journal.max_bytes`).
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tests.bench.bench_spine import declare, fetch
from tests.daemon import Daemon, Simulator, assert_complete, replayed, wait_for
from tests.rabbitmq import RabbitMQ
from tests.spine.tools import confirmed, fault

LIVE = 50
"""Messages in the outbox that are traffic, not backlog."""


def back(daemon: Daemon, begin: float) -> float:
    """Seconds until another message is confirmed; Publisher tells its figures once a second."""
    before = confirmed(daemon)
    wait_for(lambda: confirmed(daemon) > before, "work goes on")
    return time.monotonic() - begin


def link_faults(daemon: Daemon, simulator: Simulator, rounds: int) -> None:
    """Cut the link in each way."""
    log = daemon.folder / "arimond.log"
    for how in ("fin", "rst", "close"):
        times = []
        for _ in range(rounds):
            size = log.stat().st_size
            begin = time.time()
            fault(simulator, "drop", how=how)
            times.append(up_after(log, size) - begin)
            daemon.wait_drained()
        tell(f"link cut ({how})", times)


def up_after(log: Path, size: int) -> float:
    """When the link is up again, by the log, Unix seconds."""

    def look() -> float | None:
        with log.open("rb") as file:
            file.seek(size)
            for line in file:
                with suppress(ValueError):
                    found = json.loads(line)
                    if found["event"] == "ari.link.up":
                        return datetime.fromisoformat(found["timestamp"]).timestamp()
        return None

    return wait_for(look, "the link is up")


def broker_faults(daemon: Daemon, broker: RabbitMQ, rounds: int) -> None:
    """Kill, halt and block the broker."""

    def killed() -> None:
        broker.kill()
        broker.start()

    def halted() -> None:
        broker.pause()
        time.sleep(3)  # the length of the fault
        broker.resume()

    def blocked() -> None:
        broker.alarm(True)
        time.sleep(3)  # the length of the fault
        broker.alarm(False)

    for name, strike in {"killed": killed, "halted 3 s": halted, "blocked 3 s": blocked}.items():
        times = []
        for _ in range(rounds):
            strike()
            times.append(back(daemon, time.monotonic()))
            daemon.wait_drained()
        tell(f"broker {name}", times)


def tell(name: str, times: list[float]) -> None:
    """Print a line."""
    print(f"{name:22} back after: median {statistics.median(times):6.3f} s, worst {max(times):6.3f} s", flush=True)


def drain(daemon: Daemon, broker: RabbitMQ, away: float) -> None:
    """Let the outbox fill, then empty."""
    broker.kill()
    time.sleep(away)  # the length of the fault
    before = confirmed(daemon)
    broker.start()
    begin = time.monotonic()
    depth = daemon.client.outbox()[0]["depth"]
    wait_for(lambda: confirmed(daemon) > before, "the first are confirmed")
    print(f"broker away: the first of {depth} messages confirmed after {time.monotonic() - begin:.1f} s")
    begin = time.monotonic()
    depth = daemon.client.outbox()[0]["depth"]
    before = confirmed(daemon)
    wait_for(lambda: daemon.client.outbox()[0]["depth"] <= LIVE, "the outbox is drained", 600)
    seconds = time.monotonic() - begin
    wait_for(lambda: confirmed(daemon) >= before + depth, "the figures are told")
    print(f"drain: {depth} messages waited, gone after {seconds:.1f} s with live traffic: {depth / seconds:.0f}/s")


def disk(daemon: Daemon) -> None:
    """What lies there now."""
    folder = daemon.state / "pbx" / "pbx1"
    calls = sum(b'"finished-call"' in line for line in replayed(daemon.exported(), daemon.settings))
    journal = sum(file.stat().st_size for file in (folder / "journal").iterdir())
    ledger = sum(file.stat().st_size for file in folder.glob("ledger.db*"))
    per = 1000 / calls / 1e6
    print(
        f"disk per 1,000 calls: journal {journal * per:.1f} MB, ledger {ledger * per:.1f} MB ({calls} finished calls)"
    )


def main() -> None:
    """Run with and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="events per second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--away", type=float, default=60, help="seconds without a broker, for the backlog")
    options = parser.parse_args()
    broker = RabbitMQ()
    broker.start()
    with tempfile.TemporaryDirectory(prefix="arimon-bench-") as folder:
        load = ("--rate", str(options.rate), "--lanes", "40", "--loop", "forever", "--mix", "ordinary")
        simulator = Simulator(Path(folder, "simulator"), *load)
        vhost = broker.vhost()
        asyncio.run(declare(vhost))
        rabbitmq = {"port": broker.port, "vhost": vhost.name}
        daemon = Daemon(
            Path(folder, "daemon"),
            [simulator.pbx()],
            publisher={"sink": "amqp", "confirm_timeout": 1.0},
            rabbitmq=rabbitmq,
        )
        try:
            daemon.start()
            wait_for(lambda: confirmed(daemon) > 100, "messages flow")
            drain(daemon, broker, options.away)
            broker_faults(daemon, broker, options.rounds)
            link_faults(daemon, simulator, options.rounds)
            simulator.end()
            daemon.wait_drained()
            assert daemon.stop() == 0
            disk(daemon)
            messages = asyncio.run(fetch(vhost))
            assert_complete(messages, replayed(daemon.exported(), daemon.settings), prefix="")
            print(f"nothing lost: {len(messages)} messages, complete, in order, as a replay of the journal gives")
        finally:
            daemon.end()
            simulator.end()
            broker.close()


if __name__ == "__main__":
    main()
