"""The table: a line per recording, and their total."""

from collections import Counter
from collections.abc import Mapping

from tests.truth.checker import FACTS, Verdict


def table(verdicts: Mapping[str, Verdict]) -> str:
    """How the recordings compare.

    Args:
        verdicts: By recording's name.

    Returns:
        Lines: per fact `right/judged`, `·` where nothing was to be judged; the total last.
    """
    total = Verdict(
        sum((verdict.total for verdict in verdicts.values()), Counter()),
        [fault for verdict in verdicts.values() for fault in verdict.faults],
        (
            sum(verdict.others[0] for verdict in verdicts.values()),
            sum(verdict.others[1] for verdict in verdicts.values()),
        ),
    )
    rows = [["recording", *FACTS, "(others)"]]
    rows += [_row(name, verdict) for name, verdict in verdicts.items()]
    rows.append(_row("total", total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join([lines[0], *lines[1:-1], "-" * len(lines[0]), lines[-1]])


def faults(verdicts: Mapping[str, Verdict], limit: int = 20) -> str:
    """What does not agree.

    Args:
        verdicts: By recording's name.
        limit: Most faults told of one recording.

    Returns:
        A line per fault, `recording: fact: whose: expected …, got …`.
    """
    lines = []
    for name, verdict in verdicts.items():
        lines += [f"{name}: {fault}" for fault in verdict.faults[:limit]]
        if len(verdict.faults) > limit:
            lines.append(f"{name}: and {len(verdict.faults) - limit} more")
    return "\n".join(lines)


def _row(name: str, verdict: Verdict) -> list[str]:
    right = verdict.right
    cells = [f"{right[fact]}/{verdict.total[fact]}" if verdict.total[fact] else "·" for fact in FACTS]
    return [name, *cells, f"({verdict.others[0]}/{verdict.others[1]})"]
