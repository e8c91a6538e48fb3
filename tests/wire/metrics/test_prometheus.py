"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from wire.metrics import names
from wire.metrics.collector import Collector, Source
from wire.metrics.prometheus import text
from wire.metrics.registry import Registry


def scraped(registry: Registry, pbx: str | None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    collector = Collector()
    collector.accept(Source("role", pbx, 1), registry.snapshot())
    page = text(collector.totals()).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_counters_and_gauges() -> None:
    """A counter's name ends in `_total`; the PBX is a label, empty where there is none."""
    registry = Registry()
    registry.counter(names.EVENTS, "Dial").add(3)
    registry.gauge(names.CALLS_ACTIVE).set(2)
    assert scraped(registry, "pbx1") == {
        ("arimon_events_total", frozenset({("pbx", "pbx1"), ("type", "Dial")})): 3,
        ("arimon_calls_active", frozenset({("pbx", "pbx1")})): 2,
    }
    assert ("arimon_calls_active", frozenset({("pbx", "")})) in scraped(registry, None)


def test_histograms_are_cumulative_in_seconds() -> None:
    """Each bucket counts all up to its bound; count and sum are exact."""
    registry = Registry()
    for value in (0.001, 0.001, 0.5, 2.0):
        registry.histogram(names.PUBLISH_LATENCY).observe(value)
    samples = scraped(registry, None)
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "arimon_publish_latency_bucket"
    )
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert max(value for bound, value in buckets if bound < 0.0009) == 0
    assert min(value for bound, value in buckets if bound > 0.0021) == 2
    assert buckets[-1] == (float("inf"), 4)
    none = frozenset({("pbx", "")})
    assert samples["arimon_publish_latency_count", none] == 4
    assert samples["arimon_publish_latency_sum", none] == 2.502


def test_label_values_are_escaped() -> None:
    """Quotes and line breaks in an event's type cannot forge a line."""
    registry = Registry()
    registry.counter(names.EVENTS, 'a"} 1\nforged 1').add()
    assert scraped(registry, "p") == {
        ("arimon_events_total", frozenset({("pbx", "p"), ("type", 'a"} 1\nforged 1')})): 1
    }


def test_every_metric_is_exported() -> None:
    """No metric of names.py is left out of the page."""
    registry = Registry()
    for metric in names.ALL:
        labels = ["x"] * len(metric.labels)
        if metric.kind == "counter":
            registry.counter(metric, *labels).add()
        elif metric.kind == "gauge":
            registry.gauge(metric, *labels).set(1)
        else:
            registry.histogram(metric, *labels).observe(1)
    exported = {name for name, _ in scraped(registry, "p")}
    for metric in names.ALL:
        suffix = {"counter": "_total", "gauge": "", "histogram": "_count"}[metric.kind]
        assert f"arimon_{metric.name}{suffix}" in exported
