"""What the stores cost: `python -m tests.bench.bench_store [--rows N] [--dir DIR]`, from the root of the repository.

Prints a table. Commit latency is from append() to on_committed(), so it holds the wait for the batch before it. `busy`
has a thread that never gives up the GIL by itself beside the writer, as a loop thread under full load would be.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf.settings import Journal
from conf.validation import validated
from wire.message import OutboundMessage
from wire.store.journal import JournalReader, JournalWriter
from wire.store.ledger import Ledger
from wire.store.offer import (
    Accepted,
    Added,
    Confirmed,
    Delete,
    Limits,
    Load,
    Loaded,
    Offer,
    PublisherUp,
)
from wire.store.offers import Offers
from wire.store.outbox import Entry
from wire.store.row import Kind, Position

BODY = b'{"type":"ChannelDialplan","filler":"' + b"x" * 862 + b'"}'  # 900 bytes, as a usual ARI event


def show(what: str, count: int, seconds: float, latencies: list[float] | None = None, note: str = "") -> None:
    line = f"{what:<44}{count / seconds:>12,.0f}/s"
    if latencies:
        cuts = statistics.quantiles(latencies, n=1000)
        line += f"   p50 {cuts[499] * 1e3:7.2f}   p99 {cuts[989] * 1e3:7.2f}   max {max(latencies) * 1e3:7.2f} ms"
    print(line, note, flush=True)


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    stop = False

    def spin() -> None:
        while not stop:
            sum(range(1000))

    thread = threading.Thread(target=spin)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        stop = True
        if wanted:
            thread.join()


def journal(where: Path, rows: int, rate: float | None, synchronous: str, beside: bool) -> None:
    """Append rows, as fast as they are taken or at a rate, and measure each row's way to the disk."""
    waiting: deque[float] = deque()
    latencies: list[float] = []
    done = [0]

    def committed(uuid: str, n: int) -> None:
        now = time.perf_counter()
        for _ in range(n - done[0]):
            latencies.append(now - waiting.popleft())
        done[0] = n

    directory = Path(tempfile.mkdtemp(dir=where))
    settings = validated(Journal, {"synchronous": synchronous})
    writer = JournalWriter(directory, settings, committed)
    writer.start()
    with busy(beside):
        begun = time.perf_counter()
        for number in range(rows):
            if rate is not None:
                while time.perf_counter() < begun + number / rate:
                    time.sleep(0.0005)
            elif len(waiting) > 5000:
                writer.flush(10)
            waiting.append(time.perf_counter())
            writer.append(Kind.FRAME, number, BODY)
        assert writer.flush(60)
        seconds = time.perf_counter() - begun
    name = f"journal {synchronous}, {f'{rate:,.0f}/s' if rate else 'unthrottled'}{', busy' if beside else ''}"
    show(name, rows, seconds, latencies)
    if rate is None and synchronous == "normal" and not beside:
        reader, after, count = JournalReader(directory), None, 0
        begun = time.perf_counter()
        while (batch := reader.read(after, 2000, 4 << 20)) is not None:
            count += len(batch.rows)
            after = Position(batch.uuid, batch.rows[-1].n)
        show("journal read, batches of 2,000", count, time.perf_counter() - begun)
        begun = time.perf_counter()
        count = sum(1 for _ in reader.export())
        show("journal export", count, time.perf_counter() - begun)
        size = reader.range().bytes
        reader.close()
        print(f"{'journal on disk':<44}{size / rows:>12,.0f} bytes a row of {len(BODY)}")
    writer.close()
    shutil.rmtree(directory)


def message(number: int, lanes: int) -> OutboundMessage:
    stream = f"call:1795337565.{number % lanes}"
    return OutboundMessage(
        f"0192f5c2-7b6c-7000-8000-{number:012x}",
        "v3",
        "pbx1",
        stream,
        number // lanes + 1,
        "ringing-call",
        stream[5:],
        1_795_337_565_516,
        "call.pbx1.ringing-call",
        BODY,
    )


def ledger(where: Path, messages: int, batch: int) -> None:
    """Transactions as a Switchboard makes them: move the checkpoint, add messages, delete those confirmed."""
    directory = Path(tempfile.mkdtemp(dir=where))
    book = Ledger(directory / "ledger.db")
    book.open()
    previous: list[int] = []
    latencies = []
    made = [message(number, 100) for number in range(batch)]
    begun = time.perf_counter()
    for start in range(0, messages, batch):
        at = time.perf_counter()
        with book.transaction():
            book.outbox.confirm(previous)
            previous = [entry.id for entry in book.outbox.add(made, start)]
            book.move(Position("journal", start), start)
        latencies.append(time.perf_counter() - at)
    show(f"ledger: add, confirm, move; {batch} a transaction", messages, time.perf_counter() - begun, latencies)
    book.close()
    shutil.rmtree(directory)


def backlog(where: Path, messages: int) -> None:
    """A large outbox: counting, loading, draining."""
    directory = Path(tempfile.mkdtemp(dir=where))
    book = Ledger(directory / "ledger.db")
    book.open()
    with book.transaction():
        book.outbox.add((message(number, 5000) for number in range(messages)), 0)
    begun = time.perf_counter()
    counts = book.outbox.counts()
    print(f"{f'outbox counts() over {counts.waiting:,}':<44}{(time.perf_counter() - begun) * 1e3:>12,.1f} ms")
    offers = Offers(Limits())
    begun, now = time.perf_counter(), 0
    todo: list[object] = list(offers.handle(PublisherUp(1), now))
    confirmed = 0
    while todo:
        match todo.pop(0):
            case Load(after_id, rows, size):
                todo += offers.handle(Loaded(after_id, tuple(book.outbox.load(after_id, rows, size))), now)
            case Offer(generation, offer, entries):
                todo += offers.handle(Accepted(generation, offer), now)
                todo += offers.handle(Confirmed(tuple(entry.id for entry in entries)), now)
                confirmed += len(entries)
            case Delete(ids):
                with book.transaction():
                    book.outbox.confirm(ids)
    assert book.outbox.counts().waiting == 0
    show("backlog drained: load, offer, confirm, delete", confirmed, time.perf_counter() - begun)
    book.close()
    shutil.rmtree(directory)


def offers_alone(messages: int, batch: int) -> None:
    """The pure machine's own cost: messages come, are offered, accepted and confirmed."""
    offers = Offers(Limits(window=100))
    offers.handle(PublisherUp(1), 0)
    offers.handle(Loaded(0, ()), 0)
    groups = [
        tuple(Entry(id + 1, message(id, 1000)) for id in range(start, start + batch))
        for start in range(0, messages, batch)
    ]
    begun = time.process_time()
    for group in groups:
        commands = offers.handle(Added(group), 0)
        while commands:
            following = []
            for command in commands:
                if isinstance(command, Offer):
                    following += offers.handle(Accepted(1, command.offer), 0)
                    following += offers.handle(Confirmed(tuple(entry.id for entry in command.entries)), 0)
            commands = following
    seconds = time.process_time() - begun
    assert offers.held == 0
    show(f"offers alone; {batch} at once", messages, seconds, note=f"  {seconds / messages * 1e6:.2f} µs each")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows and messages for each unthrottled measurement")
    parser.add_argument("--dir", type=Path, default=None, help="folder to measure in; decides which disk is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        where = Path(name)
        journal(where, options.rows, None, "normal", False)
        journal(where, options.rows, None, "normal", True)
        journal(where, options.rows, None, "full", False)
        for rate in (1000, 10_000):
            for synchronous in ("normal", "full"):
                journal(where, rate * 3, rate, synchronous, False)
        journal(where, 3000, 1000, "normal", True)
        for batch in (1, 10, 200):
            ledger(where, min(options.rows, batch * 2000), batch)
        backlog(where, options.rows)
    for batch in (1, 50):
        offers_alone(options.rows, batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
