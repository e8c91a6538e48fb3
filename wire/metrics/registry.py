"""What one process counts. Counting costs a fraction of a microsecond, and sending costs nothing per event.

Each process owns one `Registry`, keeps the instruments it uses, and sends `snapshot()` to Monitor once a second:

    registry = Registry()
    confirmed = registry.counter(names.MESSAGES_CONFIRMED)
    confirmed.add()
    registry.counter(names.EVENTS, event_type).add()
    registry.histogram(names.PUBLISH_LATENCY).observe(0.004)

A snapshot is cumulative, so one that is lost or comes twice does no harm: the next one says it all again.

Instruments may be used from the actor's thread and from its loop's thread: `+=` on an attribute or a list item has no
point between its read and its write at which CPython switches threads (switches happen at calls and backward jumps).
"""

from dataclasses import dataclass, field

from wire.metrics.distribution import BUCKETS, Distribution, bucket
from wire.metrics.names import Kind, Metric

Key = tuple[str, ...]
"""The metric's name, then its label values."""

MOST_LABEL_VALUES = 200
"""Instruments per metric; further label values share one named `other`, so that a PBX cannot fill our memory."""


class Counter:
    """Only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count `amount` more (not negative)."""
        self.value += amount


class Gauge:
    """The last value told; None before the first."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def set(self, value: float) -> None:
        """Tell the value that holds from now on."""
        self.value = value


class Histogram:
    """A distribution of values in seconds."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        index = bucket(value)
        self._counts[index] += 1
        self._total += value

    def distribution(self) -> Distribution:
        """What was observed so far."""
        return Distribution({index: count for index, count in enumerate(self._counts) if count}, self._total)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a process has counted since it began. Picklable."""

    sequence: int = 0
    """1, 2, 3 … per registry: an older one that comes late is recognised."""
    counters: dict[Key, float] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, Distribution] = field(default_factory=dict)


class Registry:
    """The instruments of one process."""

    def __init__(self) -> None:
        self._counters: dict[Key, Counter] = {}
        self._gauges: dict[Key, Gauge] = {}
        self._histograms: dict[Key, Histogram] = {}
        self._sizes: dict[str, int] = {}
        self._sequence = 0

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """The counter of `metric` with these label values (as many as `metric.labels`); the same one at every call."""
        key = (metric.name, *labels)
        found = self._counters.get(key)
        if found is None:
            found = self._counters.setdefault(self._admit(metric, "counter", key), Counter())
        return found

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        """The gauge of `metric` with these label values; the same one at every call."""
        key = (metric.name, *labels)
        found = self._gauges.get(key)
        if found is None:
            found = self._gauges.setdefault(self._admit(metric, "gauge", key), Gauge())
        return found

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The histogram of `metric` with these label values; the same one at every call."""
        key = (metric.name, *labels)
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms.setdefault(self._admit(metric, "histogram", key), Histogram())
        return found

    def snapshot(self) -> Snapshot:
        """All that was counted since the process began."""
        self._sequence += 1
        return Snapshot(
            self._sequence,
            {key: counter.value for key, counter in list(self._counters.items())},
            {key: gauge.value for key, gauge in list(self._gauges.items()) if gauge.value is not None},
            {key: histogram.distribution() for key, histogram in list(self._histograms.items())},
        )

    def _admit(self, metric: Metric, kind: Kind, key: Key) -> Key:
        """The key under which a new instrument is kept: its own, or `other` when the metric has too many.

        Raises:
            ValueError: the metric is of another kind, or has other labels; a bug of the caller.
        """
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
        if len(key) - 1 != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {len(key) - 1} of them")
        size = self._sizes.get(metric.name, 0)
        if size >= MOST_LABEL_VALUES:
            return (metric.name, *("other" for _ in metric.labels))
        self._sizes[metric.name] = size + 1
        return key
