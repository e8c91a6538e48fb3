"""Counting in one process."""

import pickle
import threading

import pytest

from wire.metrics import names
from wire.metrics.registry import MOST_LABEL_VALUES, Registry


def test_a_snapshot_has_all_that_was_counted() -> None:
    """Counters, gauges that were set, and histograms, by metric and label values."""
    registry = Registry()
    registry.counter(names.EVENTS, "StasisStart").add()
    registry.counter(names.EVENTS, "StasisStart").add(2)
    registry.counter(names.EVENTS, "Dial").add()
    registry.gauge(names.JOURNAL_LAG).set(4)
    registry.gauge(names.OUTBOX_DEPTH)
    registry.histogram(names.PUBLISH_LATENCY).observe(0.5)
    snapshot = registry.snapshot()
    assert snapshot.counters == {("events", "StasisStart"): 3, ("events", "Dial"): 1}
    assert snapshot.gauges == {("journal_lag",): 4}
    assert snapshot.histograms[("publish_latency",)].count == 1
    assert snapshot.histograms[("publish_latency",)].total == 0.5


def test_snapshots_are_cumulative_and_numbered() -> None:
    """Each snapshot says all since the beginning, so a lost one costs nothing."""
    registry = Registry()
    counter = registry.counter(names.CALLS_STARTED)
    counter.add()
    first = registry.snapshot()
    counter.add()
    second = registry.snapshot()
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.counters, second.counters) == ({("calls_started",): 1}, {("calls_started",): 2})


def test_a_snapshot_is_picklable_and_apart() -> None:
    """It goes to another process unchanged, and later counting does not change it."""
    registry = Registry()
    registry.histogram(names.PUBLISH_LATENCY).observe(0.1)
    snapshot = registry.snapshot()
    registry.histogram(names.PUBLISH_LATENCY).observe(0.1)
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert snapshot.histograms[("publish_latency",)].count == 1


def test_label_values_are_bounded() -> None:
    """A PBX that invents event types fills one instrument named `other`, not our memory."""
    registry = Registry()
    for number in range(3 * MOST_LABEL_VALUES):
        registry.counter(names.EVENTS, f"Type{number}").add()
    counters = registry.snapshot().counters
    assert len(counters) == MOST_LABEL_VALUES + 1
    assert counters[("events", "other")] == 2 * MOST_LABEL_VALUES


def test_a_wrong_use_is_a_bug() -> None:
    """Another kind than the metric's, or other labels, are refused when the instrument is asked for."""
    registry = Registry()
    with pytest.raises(ValueError, match="is a gauge, not a counter"):
        registry.counter(names.JOURNAL_LAG)
    with pytest.raises(ValueError, match="has the labels"):
        registry.counter(names.EVENTS)
    with pytest.raises(ValueError, match="has the labels"):
        registry.gauge(names.JOURNAL_LAG, "pbx1")


def test_two_threads_lose_nothing() -> None:
    """The actor's thread and its loop's thread may use the same instruments."""
    registry = Registry()
    counter, histogram = registry.counter(names.CALLS_STARTED), registry.histogram(names.FOLD_LATENCY)

    def work() -> None:
        for _ in range(50_000):
            counter.add()
            histogram.observe(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 200_000
    assert histogram.distribution().count == 200_000
