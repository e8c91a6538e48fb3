"""How fast, and at what cost, messages get to RabbitMQ and are confirmed.

    python -m tests.bench.bench_publish [--messages 20000] [--body 900] [--windows 1,10,100,500]

For each window (messages in flight at once, each the only one of its stream) three publishers send the same persistent,
mandatory messages into a durable queue of a real broker: our `AmqpSink`, aio-pika, and aiormq under it. Printed are
messages per second, the time from publish to confirm, and the CPU time of this process per message, which is what is
taken from the PBX. The broker shares the machine's cores, so the rates are the pair's, not the publisher's alone.

The file sink runs the same way, without a broker.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aio_pika
import aiormq

from conf.settings import Settings
from conf.validation import validated
from tests.rabbitmq import RabbitMQ, Vhost
from wire.amqp.link import AmqpSink
from wire.file_sink import FileSink
from wire.message import OutboundMessage
from wire.sink import Outcome, SinkState, Verdict


class Result(NamedTuple):
    """One run."""

    seconds: float
    cpu: float
    latencies: list[float]


def make(number: int, body: bytes) -> OutboundMessage:
    """Message `number`."""
    return OutboundMessage(
        f"019aabcd-0000-7000-8000-{number:012x}",
        "v3",
        "pbx1",
        f"call:1795337565.{number}",
        1,
        "answered-call",
        f"1795337565.{number}",
        1_795_337_565_516,
        "call.pbx1.answered-call",
        body,
    )


async def sink_run(
    build: Callable[..., AmqpSink | FileSink], settings: Settings, count: int, window: int, body: bytes
) -> Result:
    """One of our sinks: the window is refilled with as many as were confirmed, in one publish."""
    up, done = asyncio.Event(), asyncio.Event()
    latencies: list[float] = []
    offered = 0

    def on_state(state: SinkState) -> None:
        if state.takes_messages:
            up.set()

    def offer(room: int) -> None:
        nonlocal offered
        room = min(room, count - offered)
        if room:
            sink.publish([make(number, body) for number in range(offered, offered + room)])
            offered += room

    def on_outcomes(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            assert outcome.verdict is Verdict.CONFIRMED, outcome
            latencies.append(outcome.seconds)
        offer(len(outcomes))
        if len(latencies) == count:
            done.set()

    sink = build(settings, on_outcomes=on_outcomes, on_state=on_state)
    task = asyncio.create_task(sink.run())
    await up.wait()
    began, cpu = time.perf_counter(), time.process_time()
    offer(window)
    await done.wait()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await sink.close(5.0)
    await task
    return Result(seconds, cpu, latencies)


async def library_run(
    publish: Callable[[OutboundMessage], Awaitable[object]], count: int, window: int, body: bytes
) -> Result:
    """A library whose publish returns at the confirm: as many tasks as the window is wide."""
    latencies: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            message = make(number, body)
            began = time.monotonic()
            await publish(message)
            latencies.append(time.monotonic() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(window)))
    return Result(time.perf_counter() - began, time.process_time() - cpu, latencies)


async def aio_pika_run(vhost: Vhost, count: int, window: int, body: bytes) -> Result:
    """aio-pika, as its documentation shows it."""
    connection = await aio_pika.connect(vhost.url)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    exchange = await channel.get_exchange("arimon.calls")

    async def publish(message: OutboundMessage) -> object:
        return await exchange.publish(
            aio_pika.Message(
                message.body,
                message_id=message.message_id,
                content_type="application/json",
                type=message.operation,
                app_id="arimon",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                headers={"call_id": message.call_id, "server": message.server, "operation": message.operation},
            ),
            message.routing_key,
            mandatory=True,
        )

    result = await library_run(publish, count, window, body)
    await connection.close()
    return result


async def aiormq_run(vhost: Vhost, count: int, window: int, body: bytes) -> Result:
    """aiormq, without waiting for the socket to drain after each message."""
    connection = await aiormq.connect(vhost.url)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    assert isinstance(channel, aiormq.Channel)

    async def publish(message: OutboundMessage) -> object:
        return await channel.basic_publish(
            message.body,
            exchange="arimon.calls",
            routing_key=message.routing_key,
            mandatory=True,
            wait=False,
            properties=aiormq.spec.Basic.Properties(
                message_id=message.message_id,
                content_type="application/json",
                message_type=message.operation,
                app_id="arimon",
                delivery_mode=2,
                headers={"call_id": message.call_id, "server": message.server, "operation": message.operation},
            ),
        )

    result = await library_run(publish, count, window, body)
    await connection.close()
    return result


async def bind(vhost: Vhost) -> None:
    """The exchange and a durable queue that takes everything; empty."""
    connection = await aio_pika.connect(vhost.url)
    channel = await connection.channel()
    exchange = await channel.declare_exchange("arimon.calls", "topic", durable=True)
    queue = await channel.declare_queue("bench", durable=True)
    await queue.bind(exchange, "#")
    await queue.purge()
    await connection.close()


def show(name: str, window: int, result: Result) -> None:
    """One line of the table."""
    count = len(result.latencies)
    cuts = statistics.quantiles(result.latencies, n=1000, method="inclusive")
    p50, p95, p99 = (cuts[at] * 1000 for at in (499, 949, 989))
    print(
        f"{name:<10}{window:>7}{count / result.seconds:>10.0f}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}"
        f"{max(result.latencies) * 1000:>9.2f}{result.cpu / count * 1e6:>9.0f}",
        flush=True,
    )


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="messages per run (a tenth of it at window 1)")
    parser.add_argument("--body", type=int, default=900, help="bytes of a body")
    parser.add_argument("--windows", default="1,10,100,500", help="messages in flight, comma separated")
    options = parser.parse_args()
    body = b'{"x":"' + b"x" * (options.body - 8) + b'"}'
    windows = [int(window) for window in options.windows.split(",")]
    print(f"{'':<10}{'window':>7}{'msg/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}{'cpu µs':>9}")
    broker = RabbitMQ()
    try:
        broker.start()
        vhost = broker.vhost()
        settings = validated(Settings, {"rabbitmq": {"port": broker.port, "vhost": vhost.name}})
        for window in windows:
            count = options.messages // 10 if window == 1 else options.messages
            runs: dict[str, Callable[[], Coroutine[None, None, Result]]] = {
                "AmqpSink": partial(sink_run, AmqpSink, settings, count, window, body),
                "aio-pika": partial(aio_pika_run, vhost, count, window, body),
                "aiormq": partial(aiormq_run, vhost, count, window, body),
            }
            for name, run in runs.items():
                asyncio.run(bind(vhost))
                show(name, window, asyncio.run(run()))
    finally:
        broker.close()
    for window in windows:
        with tempfile.TemporaryDirectory(prefix="arimon-bench-") as folder:
            for fsync in (False, True):
                file = {"path": Path(folder) / f"messages{fsync}.jsonl", "fsync": fsync}
                settings = validated(Settings, {"publisher": {"sink": "file", "file": file}})
                count = options.messages // 10 if window == 1 else options.messages
                result = asyncio.run(sink_run(FileSink, settings, count, window, body))
                show("file+fsync" if fsync else "file", window, result)


if __name__ == "__main__":
    main()
