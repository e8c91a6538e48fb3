"""The list of metrics."""

import re
from pathlib import Path

from wire.metrics import names

SOURCE = Path(names.__file__).parents[2]

NEEDED = {
    "events",
    "calls_started",
    "calls_ended",
    "calls_active",
    "messages_published",
    "messages_confirmed",
    "messages_returned",
    "messages_parked",
    "journal_lag",
    "outbox_depth",
    "restarts",
    "ari_connected",
    "sink_connected",
    "publish_latency",
}


def test_names_are_unique_and_plain() -> None:
    """A name is lower case with underscores, which both StatsD and Prometheus take, and stands for one metric."""
    assert len(names.BY_NAME) == len(names.ALL)
    assert all(re.fullmatch(r"[a-z][a-z_]*", metric.name) for metric in names.ALL)


def test_every_metric_has_unit_and_meaning() -> None:
    """Histograms are in seconds, as their buckets are made for."""
    assert all(metric.unit and metric.meaning for metric in names.ALL)
    assert {metric.unit for metric in names.ALL if metric.kind == "histogram"} == {"seconds"}


def test_what_operators_were_promised_is_there() -> None:
    """Events, calls, messages, lag, depth, restarts, connections and publish latency each have a metric."""
    assert set(names.BY_NAME) >= NEEDED


def test_every_metric_is_fed() -> None:
    """What is listed is used somewhere in the product: a metric that nobody feeds would always say that all is well."""
    product = "".join(
        path.read_text() for folder in ("actors", "supervision", "wire") for path in (SOURCE / folder).rglob("*.py")
    )
    listed = {name for name, value in vars(names).items() if isinstance(value, names.Metric)}
    assert listed <= set(re.findall(r"\bnames\.([A-Z_]+)\b", product))
