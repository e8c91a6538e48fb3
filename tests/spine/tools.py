"""What the end-to-end tests share: the simulator's controls, and a queue as a consumer would have it."""

import asyncio
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aio_pika

from tests.daemon import Daemon, Simulator, wait_for
from tests.rabbitmq import Vhost
from wire.control.api import ControlError, PbxStatus, Status

CALM = {"probe_limit": 30.0, "shutdown": 20.0, "stop_timeout": 60.0}
"""Supervision that takes no process of a busy machine for hung: for tests in which nothing may be restarted."""

Start = Callable[..., tuple[Daemon, Simulator]]
"""Starts a daemon that publishes to the test's vhost (tests/conftest.py)."""


def fault(simulator: Simulator, name: str, index: int = 0, **arguments: object) -> None:
    """Have a PBX misbehave."""
    query = urllib.parse.urlencode(arguments)
    address = f"http://127.0.0.1:{simulator.ports[index]}/sim/fault/{name}?{query}"
    with urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=20) as answer:
        assert answer.status in (200, 202)


def status(daemon: Daemon) -> Status | None:
    """What arimon-ctl would show; None while nobody answers."""
    with suppress(ControlError):
        return daemon.client.status()
    return None


def pbx_status(daemon: Daemon, index: int = 0) -> PbxStatus | None:
    """The same of one PBX."""
    found = status(daemon)
    return None if found is None else found["pbx"][index]


def problems(daemon: Daemon) -> str:
    """What is wrong, in words."""
    found = status(daemon)
    return "" if found is None else "\n".join(found["problems"])


def wait_for_messages(daemon: Daemon, more: int = 30) -> None:
    """Wait until so many more are in the file."""
    before = len(daemon.messages())
    wait_for(lambda: len(daemon.messages()) > before + more, f"{more} messages")


def finish(daemon: Daemon, simulator: Simulator) -> None:
    """End the traffic, let everything be published, stop in order."""
    simulator.end()
    daemon.wait_drained()
    assert daemon.stop() == 0


def confirmed(daemon: Daemon) -> int:
    found = status(daemon)
    return 0 if found is None else found["publisher"]["confirmed"]


def wait_for_confirmed(daemon: Daemon, more: int) -> None:
    """Wait until so many more are confirmed."""
    before = confirmed(daemon)
    wait_for(lambda: confirmed(daemon) > before + more, f"{more} messages are confirmed")


def restarts(daemon: Daemon) -> dict[str, int]:
    """Restarts by path of the tree."""
    return {path: node["restarts"] for path, node in daemon.wait_whole().items()}


class Queue:
    """A durable queue bound to our exchange, used from outside of any event loop."""

    def __init__(self, vhost: Vhost, name: str = "calls", exchange: str = "arimon.calls") -> None:
        self._vhost = vhost
        self._name = name
        self._exchange = exchange
        self.taken: list[aio_pika.abc.AbstractIncomingMessage] = []

    def bind(self, key: str = "#") -> None:
        """Declare it and bind it."""
        asyncio.run(self._with_channel(self._bind, key))

    def take(self) -> list[bytes]:
        """Take what has come; returns the bodies of all taken until now."""
        asyncio.run(self._with_channel(self._take))
        return [message.body for message in self.taken]

    async def _with_channel(self, work: Any, *arguments: Any) -> None:
        connection = await aio_pika.connect(self._vhost.url)
        async with connection:
            await work(await connection.channel(), *arguments)

    async def _bind(self, channel: aio_pika.abc.AbstractChannel, key: str) -> None:
        exchange = await channel.declare_exchange(self._exchange, "topic", durable=True)
        queue = await channel.declare_queue(self._name, durable=True)
        await queue.bind(exchange, key)

    async def _take(self, channel: aio_pika.abc.AbstractChannel) -> None:
        queue = await channel.get_queue(self._name)
        with suppress(aio_pika.exceptions.QueueEmpty):
            while True:
                message = await queue.get()
                # Acknowledged only once it is ours: a broker that is killed gives it again.
                await message.ack()
                self.taken.append(message)
