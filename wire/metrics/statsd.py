"""Figures to StatsD: once per interval, aggregated, packed into as few datagrams as they need.

Counters go as what came since the last flush (`|c`), gauges as they are (`|g`). A distribution goes as its quantiles in
milliseconds (`name.p50`, `.p95`, `.p99`, gauges) and its number of values (`name.count`, counter): StatsD's own timers
would need a packet's line per event.

UDP asks nobody whether the host is there. What can fail is the lookup of its name: counted, and tried again at the next
flush.
"""

import math
import re
import socket
import time
from collections.abc import Iterator

import statsd

from conf.settings import Statsd
from wire.metrics.collector import Figures, Place

DATAGRAM = 1432
"""Bytes per datagram: fits an Ethernet frame with room for tunnels, as StatsD's documentation advises."""

LOOKUP_EVERY = 60.0
"""The host's name is looked up again after this time, as it may have moved; seconds."""

QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))

UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
"""Whatever has a meaning to StatsD (`:|@#`) or Graphite (`.` and `/` are levels) in a PBX's or an event's name."""


class StatsdSender:
    """Sends figures to one StatsD."""

    def __init__(self, options: Statsd) -> None:
        self._options = options
        self._prefix = ".".join(UNSAFE.sub("_", part) for part in options.prefix.split(".")) or None
        self._client: statsd.StatsClient | None = None
        self._looked_up = 0.0
        self.failures = 0
        """Flushes that could not be sent, in all."""
        self.error: str | None = None
        """Why the last flush could not be sent; None when it was."""

    def send(self, figures: Figures) -> bool:
        """Send what was counted since the last flush. Never raises.

        The lookup of a host name can block for seconds while name servers are away: call it from a thread of its own,
        or give an address.

        Returns:
            Whether the datagrams left this host.
        """
        now = time.monotonic()
        if self._client is None or now - self._looked_up > LOOKUP_EVERY:
            try:
                client = self._open()
            except OSError as error:
                self.error = f"{self._options.host}:{self._options.port}: {error}"
                if self._client is None:
                    self.failures += 1
                    return False
            else:
                self.close()
                self._client, self._looked_up, self.error = client, now, None
        assert self._client is not None
        with self._client.pipeline() as pipe:  # what its socket refuses is lost and not told; so is UDP
            for name, value, kind in lines(figures):
                if kind == "counter":
                    pipe.incr(name, value)
                else:
                    pipe.gauge(name, value)
        return True

    def close(self) -> None:
        """Close the socket. Another `send` opens it again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> statsd.StatsClient:
        host, port = self._options.host, self._options.port
        family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
        return statsd.StatsClient(host, port, prefix=self._prefix, maxudpsize=DATAGRAM, ipv6=family == socket.AF_INET6)


def lines(figures: Figures) -> Iterator[tuple[str, float, str]]:
    """What is sent for these figures: (name without prefix, value, counter or gauge), in order of the names."""
    found: list[tuple[str, float, str]] = []
    for place, value in figures.counters.items():
        found.append((path(place), _short(value), "counter"))
    for place, value in figures.gauges.items():
        if math.isfinite(value):
            found.append((path(place), _short(value), "gauge"))
    for place, distribution in figures.histograms.items():
        name = path(place)
        found.append((f"{name}.count", distribution.count, "counter"))
        for fraction, word in QUANTILES:
            quantile = distribution.quantile(fraction)
            if quantile is not None:
                found.append((f"{name}.{word}", round(quantile * 1000, 3), "gauge"))
    return iter(sorted(found))


def path(place: Place) -> str:
    """`pbx1.events.ChannelCreated`: the PBX if there is one, the metric, its label values."""
    pbx, (name, *labels) = place
    parts = [name, *labels] if pbx is None else [pbx, name, *labels]
    return ".".join(UNSAFE.sub("_", part) or "_" for part in parts)


def _short(value: float) -> float:
    """Without the noise of binary fractions, and whole numbers without a point."""
    return int(value) if value == int(value) else round(value, 6)
