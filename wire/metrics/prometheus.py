"""Figures as Prometheus reads them: `arimon_<name>{pbx="…", <labels>}`, counters with `_total`, times in seconds."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from wire.metrics import names
from wire.metrics.collector import Figures, Place
from wire.metrics.distribution import BUCKETS, PER_DOUBLING, Distribution, bucket, upper_bound

Value = TypeVar("Value")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FINE = range(bucket(0.0005), bucket(2.0))
SHOWN = tuple(index for index in range(0, BUCKETS, PER_DOUBLING // 2) if index % PER_DOUBLING == 0 or index in _FINE)
"""Bounds shown are the powers of two from 1 µs to 38 hours, and, where latencies lie (0.5 ms to 2 s), the middles
between them: 50 series per distribution."""


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
        """One family for each metric that has a value, in the order of `names.ALL`."""
        for metric in names.ALL:
            name, meaning = f"arimon_{metric.name}", f"{metric.meaning} ({metric.unit})"
            labels = ("pbx", *metric.labels)
            family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
            if metric.kind == "counter":
                family = CounterMetricFamily(name, meaning, labels=labels)
                for values, value in _values(self._figures.counters, metric.name):
                    family.add_metric(values, value)
            elif metric.kind == "gauge":
                family = GaugeMetricFamily(name, meaning, labels=labels)
                for values, value in _values(self._figures.gauges, metric.name):
                    family.add_metric(values, value)
            else:
                family = HistogramMetricFamily(name, meaning, labels=labels)
                for values, distribution in _values(self._figures.histograms, metric.name):
                    family.add_metric(values, _buckets(distribution), distribution.total)
            if family.samples:
                yield family


def _values(places: Mapping[Place, Value], name: str) -> Iterator[tuple[list[str], Value]]:
    """The label values (PBX first) and the value of each instrument of a metric, in a steady order."""
    found = [([pbx or "", *labels], value) for (pbx, (metric, *labels)), value in places.items() if metric == name]
    return iter(sorted(found, key=lambda item: item[0]))


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Cumulative counts up to each bound that is shown, as Prometheus wants them."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    indices = iter(sorted(distribution.counts))
    index = next(indices, None)
    for shown in SHOWN:
        while index is not None and index <= shown:
            seen += distribution.counts[index]
            index = next(indices, None)
        buckets.append((repr(upper_bound(shown)), seen))
    buckets.append(("+Inf", distribution.count))
    return buckets
