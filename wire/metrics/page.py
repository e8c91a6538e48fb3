"""docs/metrics.md, made from names.py. `python -m wire.metrics.page` writes it."""

from itertools import groupby
from pathlib import Path

from wire.metrics import names

PATH = Path(__file__).resolve().parent.parent.parent / "docs" / "metrics.md"

HEAD = """\
# Metrics

<!-- Made from wire/metrics/names.py by `python -m wire.metrics.page`; a test holds it to that. -->

Every process counts for itself; Monitor merges and hands on once per `statsd.interval` (a second), never a packet per
event.

**StatsD** (`statsd:`, by UDP): `<prefix>.<pbx>.<name>.<label values>`, as in `arimon.pbx1.events.StasisStart`. Without
`<pbx>` for what belongs to no PBX (Publisher, Monitor, …). Characters other than letters, digits, `_` and `-` become
`_`. A counter is sent as what came since the last flush, a gauge as it is. A histogram is sent as gauges `<name>.p50`,
`.p95` and `.p99` in **milliseconds** over the interval (off by at most 4.5 %), and a counter `<name>.count`.

**Prometheus** (`monitoring.metrics`): `arimon_<name>{pbx="…", <labels>}`, counters as `arimon_<name>_total`, histograms
with buckets, in seconds.

A metric takes up to 200 different label values; further ones are counted together as `other`. What a process has
counted when it dies is kept; its gauges go with it. `deploy/grafana.json` is a dashboard for Graphite's series.
"""

TITLES = {
    "connection": "Connection (per PBX)",
    "switchboard": "Switchboard (per PBX)",
    "publisher": "Publisher",
    "recovery": "Recovery",
    "supervisor": "Supervisors",
    "monitor": "Monitor",
    "any": "Every process",
}


def page() -> str:
    """The whole page."""
    text = HEAD
    ordered = sorted(names.ALL, key=lambda metric: list(TITLES).index(metric.role))
    for role, metrics in groupby(ordered, key=lambda metric: metric.role):
        text += f"\n## {TITLES[role]}\n\n| name | kind | labels | unit | meaning |\n|---|---|---|---|---|\n"
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            text += f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit} | {metric.meaning} |\n"
    return text


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
