"""deploy/grafana.json."""

import json
import re
from pathlib import Path

from wire.metrics import names

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy" / "grafana.json"


def test_the_dashboard_shows_metrics_that_exist() -> None:
    """Each series is of a metric in names.py, under the branch that StatsD puts its kind into."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    targets = [target["target"] for panel in dashboard["panels"] for target in panel["targets"]]
    series = re.findall(r"stats\.(counters|gauges)\.arimon\.(?:\$pbx\.)?([a-z_]+)", "\n".join(targets))
    assert len(series) == sum(target.count("stats.") for target in targets)
    for branch, name in series:
        kind = names.BY_NAME[name].kind
        assert (branch, kind) in {("counters", "counter"), ("gauges", "gauge"), ("gauges", "histogram")}, name
