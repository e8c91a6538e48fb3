"""Figures to StatsD: what a real StatsD and Graphite make of them, and what is on the wire."""

import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from conf.settings import Statsd
from wire.metrics import names
from wire.metrics.collector import Collector, Figures, Source
from wire.metrics.registry import Registry
from wire.metrics.statsd import DATAGRAM, StatsdSender, lines, path


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A UDP socket in StatsD's place."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(60)
        yield udp


def sender(port: int, **options: Any) -> StatsdSender:
    return StatsdSender(Statsd(host="127.0.0.1", port=port, **options))


def test_graphite_has_what_was_counted(graphite: Any) -> None:
    """Counters, gauges and quantiles of two PBXs arrive in Graphite through StatsD, and none is lost."""
    statsd = sender(graphite.statsd_port, prefix="arimon")
    collector = Collector()
    registries = {name: Registry() for name in ("north", "south")}
    publisher = Registry()
    for flush in range(1, 4):
        for name, registry in registries.items():
            registry.counter(names.EVENTS, "ChannelCreated").add(100 * flush)
            registry.gauge(names.CALLS_ACTIVE).set(7 if name == "north" else 9)
            collector.accept(Source("switchboard", name, 1), registry.snapshot())
        for _ in range(100):
            publisher.histogram(names.PUBLISH_LATENCY).observe(0.020)
        collector.accept(Source("publisher", None, 1), publisher.snapshot())
        assert statsd.send(collector.flush())
    for name in ("north", "south"):
        graphite.wait(
            f"stats.counters.arimon.{name}.events.ChannelCreated.count", lambda points: sum(points) == 100 + 200 + 300
        )
    assert graphite.wait("stats.gauges.arimon.north.calls_active", bool)[-1] == 7
    assert graphite.wait("stats.gauges.arimon.south.calls_active", bool)[-1] == 9
    assert graphite.wait("stats.gauges.arimon.publish_latency.p99", bool)[-1] == pytest.approx(20, rel=0.05)
    graphite.wait("stats.counters.arimon.publish_latency.count.count", lambda points: sum(points) == 300)
    statsd.close()


def test_a_flush_is_packed(receiver: socket.socket) -> None:
    """500 figures go out in as few datagrams as their bytes need, none larger than fits a frame."""
    figures = Figures(counters={("pbx1", ("events", f"Type{number}")): 1000 + number for number in range(500)})
    statsd = sender(receiver.getsockname()[1])
    assert statsd.send(figures)
    received: list[bytes] = []
    while sum(len(data.splitlines()) for data in received) < 500:
        received.append(receiver.recv(65536))
    size = sum(len(data) + 1 for data in received)
    assert all(len(data) <= DATAGRAM for data in received)
    assert len(received) <= size // (DATAGRAM - 60) + 1
    assert b"arimon.pbx1.events.Type0:1000|c" in received[0].splitlines()
    statsd.close()


def test_nothing_counted_sends_nothing(receiver: socket.socket) -> None:
    """A flush without figures sends no datagram."""
    statsd = sender(receiver.getsockname()[1])
    assert statsd.send(Figures())
    assert statsd.send(Figures(gauges={(None, ("heartbeat",)): 1}))
    assert receiver.recv(65536) == b"arimon.heartbeat:1|g"
    statsd.close()


def test_a_host_that_is_away_costs_nothing() -> None:
    """Nobody listens: each flush is sent all the same, and nothing is raised."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    statsd = sender(port)
    assert all(statsd.send(Figures(counters={(None, ("gaps",)): 1})) for _ in range(5))
    statsd.close()


def test_a_name_that_cannot_be_found_is_counted_and_tried_again(
    receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lookup fails, flushes are lost and counted; when it works again, they go out."""
    lookup, away = socket.getaddrinfo, True

    def getaddrinfo(*args: Any, **options: Any) -> Any:
        if away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return lookup("127.0.0.1", *args[1:], **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    statsd = StatsdSender(Statsd(host="statsd.example", port=receiver.getsockname()[1]))
    figures = Figures(counters={(None, ("gaps",)): 1})
    assert not statsd.send(figures)
    assert not statsd.send(figures)
    assert statsd.failures == 2
    assert statsd.error is not None
    assert "statsd.example" in statsd.error
    away = False
    assert statsd.send(figures)
    assert receiver.recv(65536) == b"arimon.gaps:1|c"
    assert statsd.error is None
    statsd.close()


def test_ipv6() -> None:
    """An IPv6 address works as host."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        udp.settimeout(60)
        statsd = StatsdSender(Statsd(host="::1", port=udp.getsockname()[1]))
        statsd.send(Figures(gauges={(None, ("heartbeat",)): 1}))
        assert udp.recv(65536) == b"arimon.heartbeat:1|g"
        statsd.close()


def test_names_are_safe() -> None:
    """What has a meaning to StatsD or Graphite in a label cannot forge a metric."""
    assert path(("pbx 1", ("events", "a.b:1|c\nx"))) == "pbx_1.events.a_b_1_c_x"
    assert path((None, ("events", ""))) == "events._"


def test_values_are_plain_numbers() -> None:
    """Whole numbers have no point, fractions no noise, and what is no number is left out."""
    gauges: dict[tuple[str | None, tuple[str, ...]], float] = {
        (None, ("a",)): 3.0,
        (None, ("b",)): 0.1 + 0.2,
        (None, ("c",)): math.nan,
        (None, ("d",)): math.inf,
        (None, ("e",)): -2.5,
    }
    assert list(lines(Figures(gauges=gauges))) == [("a", 3, "gauge"), ("b", 0.3, "gauge"), ("e", -2.5, "gauge")]
