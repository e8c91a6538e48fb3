"""Figures as Prometheus reads them: `arimon_<name>{pbx="…", <labels>}`, counters with `_total`, times in seconds."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from wire.metrics import names
from wire.metrics.collector import Figures
from wire.metrics.distribution import SMALLEST, Distribution, upper_bound

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BOUNDS = tuple(range(0, 37 * 8 + 1, 8))
"""Buckets shown: every eighth of ours, which are the powers of two from 1 µs on."""


def text(figures: Figures) -> bytes:
    """The page for /metrics.

    Args:
        figures: totals (`Collector.totals()`), not what came since a flush.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(figures))
    return generate_latest(registry)


class _Figures(Collector):
    """Hands figures to the library, which knows how to write and to escape them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> list[Metric]:
        """Nothing: a registry of one collector has no names to compare."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family for each metric that has a value."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily] = {}
        for (pbx, (name, *labels)), value in sorted(self._figures.counters.items(), key=_order):
            family = families.get(name) or families.setdefault(name, CounterMetricFamily(*_head(name)))
            family.add_metric([pbx or "", *labels], value)
        for (pbx, (name, *labels)), value in sorted(self._figures.gauges.items(), key=_order):
            family = families.get(name) or families.setdefault(name, GaugeMetricFamily(*_head(name)))
            family.add_metric([pbx or "", *labels], value)
        for (pbx, (name, *labels)), distribution in sorted(self._figures.histograms.items(), key=_order):
            family = families.get(name) or families.setdefault(name, HistogramMetricFamily(*_head(name)))
            family.add_metric([pbx or "", *labels], *_buckets(distribution))
        return iter(families.values())


def _order(item: tuple[tuple[str | None, tuple[str, ...]], object]) -> tuple[tuple[str, ...], str]:
    (pbx, key), _ = item
    return key, pbx or ""
