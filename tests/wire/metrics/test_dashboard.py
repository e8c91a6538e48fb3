"""deploy/grafana.json."""

import json
import re
from pathlib import Path

from tests.wire.metrics.test_names import NEEDED
from wire.metrics import names

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy" / "grafana.json"


SHOWN = {"gaps", "rows_quarantined", "journal_rows_lost", "outbox_age", "sink_blocked", "total_latency", *NEEDED}

BRANCHES = {"connection": {True}, "switchboard": {True}, "supervisor": {True, False}, "any": {True, False}}
"""Whether a PBX stands before the name of what a role counts; whoever is not named here belongs to none."""


def series() -> list[tuple[str, bool, str]]:
    """All that are shown: StatsD's branch, whether a PBX's, and the metric."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    targets = [target["target"] for panel in dashboard["panels"] for target in panel["targets"]]
    found = re.findall(r"stats\.(counters|gauges)\.arimon\.(\$pbx\.)?([a-z_]+)", "\n".join(targets))
    assert len(found) == sum(target.count("stats.") for target in targets)
    return [(branch, bool(pbx), name) for branch, pbx, name in found]


def test_the_dashboard_shows_metrics_that_exist() -> None:
    """Each series is of a metric in names.py, under the branch that StatsD puts its kind into."""
    for branch, _, name in series():
        kind = names.BY_NAME[name].kind
        assert (branch, kind) in {("counters", "counter"), ("gauges", "gauge"), ("gauges", "histogram")}, name


def test_each_series_stands_where_its_process_counts() -> None:
    """Of a PBX's processes under its name, of the others without; where there are both, both are shown."""
    for name in {name for _, _, name in series()}:
        pbxs = {pbx for _, pbx, shown in series() if shown == name}
        assert pbxs == BRANCHES.get(names.BY_NAME[name].role, {False}), name


def test_the_dashboard_shows_what_operators_were_promised() -> None:
    """And what should never happen."""
    assert {name for _, _, name in series()} >= SHOWN
