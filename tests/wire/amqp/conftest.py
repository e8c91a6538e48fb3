"""For the tests against RabbitMQ: a sink that runs, what it said, and a consumer that is not ours (aio-pika)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import pytest

from conf.settings import Settings
from conf.validation import validated
from tests.rabbitmq import Vhost
from wire.amqp.link import AmqpSink
from wire.message import OutboundMessage
from wire.sink import Outcome, Phase, SinkState, Verdict

EXCHANGE = "arimon.calls"

LIMIT = 60.0
"""Seconds after which a fact that a test waits for is taken for never; the broker may get no CPU for a while."""


def message(number: int, *, stream: str = "call:1.1", body: bytes = b'{"a": 1}', **changes: Any) -> OutboundMessage:
    """A message of a stream, with an id made of both."""
    made = OutboundMessage(
        message_id=f"{stream}/{number}",
        form="v3",
        server="pbx1",
        stream=stream,
        sequence=number,
        operation="dtmf-received",
        call_id="1.1",
        timestamp_ms=1_795_337_565_516,
        routing_key="call.pbx1.dtmf-received",
        body=body,
    )
    return made._replace(**changes)


class Running:
    """A sink that runs, and everything that it said."""

    def __init__(self, settings: Settings) -> None:
        self.states: list[SinkState] = []
        self.outcomes: list[Outcome] = []
        self.calls = 0
        self.on_outcome: Callable[[Outcome], None] = lambda outcome: None
        self._changed = asyncio.Event()
        self.sink = AmqpSink(settings, on_outcomes=self._took_outcomes, on_state=self._took_state)

    def _took_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self.calls += 1
        self.outcomes += outcomes
        for outcome in outcomes:
            self.on_outcome(outcome)
        self._changed.set()

    def _took_state(self, state: SinkState) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, fact: Callable[[], bool], seconds: float = LIMIT) -> None:
        """Wait for a fact that a state or an outcome brings about."""
        async with asyncio.timeout(seconds):
            while not fact():
                self._changed.clear()
                await self._changed.wait()

    async def phase(self, phase: Phase, seconds: float = LIMIT) -> SinkState:
        """Wait for the sink to be in this phase."""
        await self.until(lambda: self.sink.state.phase is phase, seconds)
        return self.sink.state

    async def verdicts(self, count: int, seconds: float = LIMIT) -> dict[str, Verdict]:
        """Wait until there are this many outcomes; the last verdict of each message."""
        await self.until(lambda: len(self.outcomes) >= count, seconds)
        return {outcome.message_id: outcome.verdict for outcome in self.outcomes}


class Consumer:
    """A queue bound to the exchange, as another program would have it."""

    def __init__(self, vhost: Vhost) -> None:
        self._vhost = vhost

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        connection = await aio_pika.connect(self._vhost.url)
        try:
            yield await connection.channel()
        finally:
            await connection.close()

    async def bind(self, name: str = "q", key: str = "call.#", arguments: dict[str, Any] | None = None) -> None:
        """Declare a durable queue and bind it."""
        async with self._channel() as channel:
            exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
            queue = await channel.declare_queue(name, durable=True, arguments=arguments)
            await queue.bind(exchange, key)

    async def declare_exchange(self, kind: str) -> None:
        """Declare our exchange with any type."""
        async with self._channel() as channel:
            await channel.declare_exchange(EXCHANGE, kind, durable=True)

    async def delete_exchange(self) -> None:
        """Delete our exchange under the publisher's feet."""
        async with self._channel() as channel:
            await channel.exchange_delete(EXCHANGE)

    async def purge(self, name: str = "q") -> None:
        """Empty the queue."""
        async with self._channel() as channel:
            await (await channel.get_queue(name)).purge()

    async def all(self, name: str = "q") -> list[aio_pika.abc.AbstractIncomingMessage]:
        """Take everything that is in the queue now."""
        messages = []
        async with self._channel() as channel:
            queue = await channel.get_queue(name)
            with suppress(aio_pika.exceptions.QueueEmpty):
                while True:
                    messages.append(await queue.get(no_ack=True))
        return messages


@pytest.fixture
def consumer(vhost: Vhost) -> Consumer:
    """A consumer in this test's vhost."""
    return Consumer(vhost)


@pytest.fixture
def settings(vhost: Vhost) -> Callable[..., Settings]:
    """Settings for this test's vhost, with short delays and long limits; keywords change options of `rabbitmq`."""

    def make(confirm_timeout: float = LIMIT, form: str = "v3", **changes: Any) -> Settings:
        rabbitmq = {
            "port": vhost.broker.port,
            "vhost": vhost.name,
            "retry": {"minimum": 0.2, "maximum": 0.5},
            "connect_timeout": LIMIT,
            **changes,
        }
        return validated(
            Settings, {"rabbitmq": rabbitmq, "publisher": {"confirm_timeout": confirm_timeout, "form": form}}
        )

    return make


@pytest.fixture
async def run() -> AsyncIterator[Callable[[Settings], Awaitable[Running]]]:
    """Runs a sink; every sink that it ran is closed at the end, and its `run` must have returned."""
    tasks: list[tuple[Running, asyncio.Task[None]]] = []

    async def start(settings: Settings) -> Running:
        running = Running(settings)
        tasks.append((running, asyncio.create_task(running.sink.run())))
        return running

    yield start
    for running, task in tasks:
        await running.sink.close(0.0)
        await task
