"""/health and /metrics over HTTP."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from conf.settings import HealthCheck, MetricsEndpoint, Monitoring
from wire.metrics import names
from wire.metrics.collector import Collector, Source
from wire.metrics.http import Health, MonitoringServer
from wire.metrics.registry import Registry

ANY = Monitoring(health_check=HealthCheck(port=0), metrics=MetricsEndpoint(port=0))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_health_says_200_or_503(http: aiohttp.ClientSession) -> None:
    """200 while healthy and 503 while not, each with the detail as JSON; asked anew at every request."""
    health = Health(True, {"pbx": {"pbx1": "connected"}})
    server = MonitoringServer(ANY, health=lambda: health, figures=Collector().totals)
    await server.start()
    try:
        async with http.get(server.addresses["health"]) as answer:
            assert answer.status == 200
            assert await answer.json() == {"status": "ok", "pbx": {"pbx1": "connected"}}
        health = Health(False, {"pbx": {"pbx1": "backing_off"}})
        async with http.get(server.addresses["health"]) as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "failing", "pbx": {"pbx1": "backing_off"}}
    finally:
        await server.stop()


async def test_metrics_are_the_totals_of_now(http: aiohttp.ClientSession) -> None:
    """/metrics is Prometheus's text with what the collector has at that moment."""
    collector, registry = Collector(), Registry()
    server = MonitoringServer(ANY, health=lambda: Health(True), figures=collector.totals)
    await server.start()
    try:
        registry.counter(names.GAPS).add(2)
        collector.accept(Source("recovery", None, 1), registry.snapshot())
        async with http.get(server.addresses["metrics"]) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert 'arimon_gaps_total{pbx=""} 2.0' in (await answer.text()).splitlines()
    finally:
        await server.stop()


async def test_only_what_is_enabled_is_served() -> None:
    """A disabled endpoint has no address, and nothing listens for it."""
    options = Monitoring(health_check=HealthCheck(enabled=False), metrics=MetricsEndpoint(port=0))
    server = MonitoringServer(options, health=lambda: Health(True), figures=Collector().totals)
    await server.start()
    assert list(server.addresses) == ["metrics"]
    await server.stop()
    assert server.addresses == {}


async def test_a_taken_port_is_an_error_that_leaves_nothing_behind() -> None:
    """When one address is taken, start raises, and the other one is free again."""
    with socket.socket() as taken, socket.socket() as probe:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        options = Monitoring(health_check=HealthCheck(port=free), metrics=MetricsEndpoint(port=taken.getsockname()[1]))
        server = MonitoringServer(options, health=lambda: Health(True), figures=Collector().totals)
        with pytest.raises(OSError, match="address already in use"):
            await server.start()
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", free))


async def test_one_address_serves_both(http: aiohttp.ClientSession) -> None:
    """The same host and port for both paths is one server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = Monitoring(health_check=HealthCheck(port=port), metrics=MetricsEndpoint(port=port))
    server = MonitoringServer(options, health=lambda: Health(True), figures=Collector().totals)
    await server.start()
    try:
        for url in server.addresses.values():
            async with http.get(url) as answer:
                assert answer.status == 200
    finally:
        await server.stop()
