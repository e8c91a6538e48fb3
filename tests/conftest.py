"""What all tests share: a real RabbitMQ and free ports."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.daemon import Daemon, Simulator, load
from tests.rabbitmq import RabbitMQ, Vhost
from tests.rabbitmq import free_port as _free_port
from tests.spine.tools import CALM, Start

TRAFFIC = load(rate=200, lanes=8)

# A deadline per example, and a limit to how long ten may take to be made, are timed assertions: on a busy machine they
# fail for no fault of ours.
settings.register_profile("arimon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arimon")

# The pure core makes no cycles, and its tests millions of objects: looking for garbage as often as Python does by
# default takes a third of their time.
gc.set_threshold(100_000, 10, 10)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a TCP port on 127.0.0.1 that nobody listens on, at each call."""
    return _free_port


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """The one broker of this test process, started when the first test asks for it. Tests take `rabbitmq`."""
    broker = RabbitMQ()
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def rabbitmq(rabbitmq_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """The broker, running and without alarm before and after the test, whatever the test does to it."""
    rabbitmq_server.start()
    yield rabbitmq_server
    if rabbitmq_server.running:
        rabbitmq_server.resume()
        rabbitmq_server.alarm(False)
    else:
        rabbitmq_server.start()


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    """A virtual host of this test's own."""
    vhost = rabbitmq.vhost()
    yield vhost
    if not rabbitmq.running:
        rabbitmq.start()
    rabbitmq.resume()
    rabbitmq.delete_vhost(vhost)


@pytest.fixture
def simulator(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A PBX that sends the `TRAFFIC` of the test's module."""
    made = Simulator(tmp_path / "simulator", *request.module.TRAFFIC)
    yield made
    made.end()


@pytest.fixture
def start(tmp_path: Path, vhost: Vhost) -> Iterator[Start]:
    """Starts a simulator, and a daemon that publishes to this test's vhost; other keywords are RabbitMQ's settings."""
    made: list[Daemon | Simulator] = []

    def run(
        form: str = "v3", confirm_timeout: float = 30.0, publisher: dict[str, Any] | None = None, **rabbitmq: Any
    ) -> tuple[Daemon, Simulator]:
        simulator = Simulator(tmp_path / "simulator", *TRAFFIC)
        made.append(simulator)
        daemon = Daemon(
            tmp_path / "daemon",
            [simulator.pbx()],
            supervision=CALM,
            publisher={"sink": "amqp", "form": form, "confirm_timeout": confirm_timeout} | (publisher or {}),
            rabbitmq={
                "port": vhost.broker.port,
                "vhost": vhost.name,
                "retry": {"minimum": 0.1, "maximum": 0.5},
                **rabbitmq,
            },
        )
        made.append(daemon)
        daemon.start()
        return daemon, simulator

    yield run
    for each in reversed(made):
        each.end()
