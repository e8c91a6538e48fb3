"""Replies of the control socket as people read them: pure functions from a reply to something that rich can print.

Text from a PBX (caller names above all) is shown by `clean`: control characters would otherwise let a caller write on
the operator's terminal. Nothing here is rich markup, so brackets in a name stay brackets.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from wire.control.api import (
    CallDetail,
    CallSummary,
    Crash,
    CrashDetail,
    Gap,
    JournalStatus,
    Link,
    Node,
    OutboxStatus,
    QuarantineDetail,
    QuarantineRow,
    Reconciled,
    Status,
    down,
)

GOOD = frozenset({"connected", "running"})
"""States that need nobody's attention."""


MOST_CALLS = 40
"""Lines of calls below one node of the tree; the rest is counted."""


def clean(value: object) -> str:
    """Any value as text without control characters; None as a dash."""
    if value is None:
        return "–"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(value))


def ago(seconds: float | None) -> str:
    """A duration in the two largest units that matter."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{max(0.0, seconds):.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def clock(ms: int | None) -> str:
    """A moment in the local time of whoever looks; with its day if that is not today."""
    if ms is None:
        return "–"
    moment = datetime.fromtimestamp(ms / 1000).astimezone()
    today = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Bytes in a unit that fits."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str, *, fold: bool = True) -> RenderableType:
    """A plain table.

    Args:
        columns: their names; one that begins with `>` is a number's.
        rows: a cell for each column.
        empty: said when there are no rows.
        fold: break long cells into lines; else a row has one line, and what does not fit is cut.
    """
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        name = column.removeprefix(">")
        grid.add_column(
            name,
            justify="right" if column.startswith(">") else "left",
            overflow="fold" if fold else "ellipsis",
            no_wrap=not fold,
        )
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    return grid if grid.row_count else Text(empty, style="dim")


def state(name: str) -> Text:
    """A state, green when good."""
    return Text(clean(name), style="green" if name in GOOD else "yellow")


def link(what: Link, now_ms: int) -> Text:
    """A connection in one line: its state, for how long, and why it is not up."""
    since = "" if what["since_ms"] is None else f" for {ago((now_ms - what['since_ms']) / 1000)}"
    tries = f", attempt {what['attempt']}" if what["attempt"] and what["state"] != "connected" else ""
    detail = f" ({clean(what['detail'])})" if what["detail"] else ""
    return Text.assemble(state(what["state"]), f"{since}{tries}{detail}")


def status(reply: Status) -> RenderableType:
    """`arimon-ctl status`."""
    now = reply["now_ms"]
    head = Text.assemble(
        (clean(reply["application"]), "bold"),
        f" {clean(reply['version'])} ({clean(reply['environment'])}), process {reply['pid']}, "
        f"up for {ago((now - reply['started_ms']) / 1000)}: ",
        ("healthy", "green") if reply["healthy"] else ("NOT healthy", "bold red"),
    )
    problems = [Text(f"  ! {clean(problem)}", style="red") for problem in reply["problems"]]
    pbxs = table(
        ("pbx", "link", ">calls", ">events/s", ">lag", ">outbox", ">parked", ">quarantined"),
        (
            (
                one["name"],
                link(one["link"], now),
                one["calls"],
                f"{one['events_per_second']:.1f}",
                f"{one['lag_rows']} rows, {ago(one['lag_seconds'])}" if one["lag_rows"] else "none",
                one["outbox"],
                one["parked"],
                one["quarantined"],
            )
            for one in reply["pbx"]
        ),
        "no PBX is configured",
    )
    sink = reply["publisher"]
    publisher = Text.assemble(
        f"publisher ({sink['sink']}): ",
        link(sink["link"], now),
        f"; {sink['messages_per_second']:.1f} messages/s, {sink['in_flight']} in flight; since its start "
        f"{sink['published']} published, {sink['confirmed']} confirmed, {sink['returned']} returned, "
        f"{sink['nacked']} nacked",
    )
    return Group(head, *problems, Text(), pbxs, Text(), publisher)


def tree(root: Node, now_ms: int | None = None, *, fold: bool = True) -> RenderableType:
    """`arimon-ctl tree`; `fold` as in `table`."""
    moment = datetime.now().timestamp() * 1000 if now_ms is None else now_ms

    def grow(node: Node, branch: Tree | None) -> Tree:
        label = _node(node, moment)
        if not fold:
            label.no_wrap, label.overflow = True, "ellipsis"
        here = Tree(label, guide_style="dim") if branch is None else branch.add(label)
        idle = rest = 0
        for child in node["children"]:
            if child["kind"] == "calls" and not child["calls"]:
                idle += 1
            elif child["kind"] == "call" and len(here.children) >= MOST_CALLS:
                rest += 1
            else:
                grow(child, here)
        if rest:
            here.add(Text(f"and {rest} more calls", style="dim"))
        if idle:
            here.add(Text(f"{idle} partitions without calls", style="dim"))
        return here

    return grow(root, None)


def with_calls(root: Node, calls: Sequence[CallSummary]) -> Node:
    """The tree with each active call as a child of its Switchboard."""
    children = [with_calls(child, calls) for child in root["children"]]
    if root["role"].lower() == "switchboard":
        children += [_call_node(one) for one in calls if one["pbx"] == root["pbx"]]
    return {**root, "children": children}


def _call_node(one: CallSummary) -> Node:
    node = down(f"pbx/{one['pbx']}/call/{one['call_id']}", "call", "call", one["pbx"])
    node["state"], node["since_ms"] = one["state"], one["since_ms"]
    node["generation"], node["restarts"] = one["generation"], one["generation"] - 1
    return node


def _counted(calls: int) -> str:
    return "1 call" if calls == 1 else f"{calls} calls"


def _node(node: Node, now_ms: float) -> Text:
    name = node["path"].partition("/call/")[2] if node["kind"] == "call" else node["role"]
    label = Text.assemble((clean(name), "bold" if node["kind"] == "supervisor" else ""))
    if node["kind"] == "supervisor" and node["pbx"]:
        label.append(f" {clean(node['pbx'])}", style="bold")
    if node["kind"] == "calls":
        label.append(f" {clean(node['path'].rpartition('/')[2])}: {_counted(node['calls'] or 0)}")
        return label
    label.append("  ").append_text(state(node["state"]))
    facts = []
    if node["pid"] is not None:
        facts.append(f"pid {node['pid']}")
    if node["since_ms"] is not None:
        facts.append(f"since {clock(node['since_ms'])} ({ago((now_ms - node['since_ms']) / 1000)})")
    if node["restarts"]:
        facts.append(f"generation {node['generation']}, {node['restarts']} restarts")
    if node["last_exit"]:
        facts.append(f"last ended: {clean(node['last_exit'])}")
    if node["probe_age_seconds"] is not None:
        facts.append(f"seen {ago(node['probe_age_seconds'])} ago")
    if node["lag_seconds"] is not None:
        facts.append(f"lag {node['lag_seconds'] * 1000:.0f} ms")
    if node["calls"] is not None:
        facts.append(_counted(node["calls"]))
    if facts:
        label.append("  " + " · ".join(facts), style="dim")
    budget = node["budget"]
    if budget is not None and budget["used"]:
        reset = "" if budget["reset_seconds"] is None else f", {ago(budget['reset_seconds'])} to reset"
        label.append(f"  {budget['used']} of {budget['allowed']} restarts used{reset}", style="yellow")
    return label


def calls(reply: Sequence[CallSummary], now_ms: int | None = None, *, fold: bool = True) -> RenderableType:
    """`arimon-ctl calls`; `fold` as in `table`."""
    moment = datetime.now().timestamp() * 1000 if now_ms is None else now_ms
    return table(
        ("call", "pbx", "state", "origin", "destiny", ">for", ">legs", ">generation", ""),
        (
            (
                one["call_id"],
                one["pbx"],
                one["state"],
                one["origin"],
                one["destiny"],
                ago((moment - one["since_ms"]) / 1000),
                one["legs"],
                one["generation"],
                "degraded" if one["degraded"] else "",
            )
            for one in reply
        ),
        "no calls",
        fold=fold,
    )


def call(reply: CallDetail) -> RenderableType:
    """`arimon-ctl call ID`."""
    return Group(
        calls([reply["summary"]]),
        Text("\nstate", style="dim"),
        Text(_json(reply["state"])),
        Text("\nlast messages", style="dim"),
        *(message(one) for one in reply["messages"]),
    )


def message(one: dict[str, Any]) -> Text:
    """A published message in one line."""
    operation = one.get("operation")
    kind = operation.get("type") if isinstance(operation, dict) else None
    if isinstance(payload := one.get("payload"), dict):  # the legacy form
        one = {"data": payload} | payload
    data = one.get("data")
    facts = _facts(data) if isinstance(data, dict) else ""
    return Text.assemble(
        (clean(str(one.get("timestamp"))[11:23]), "dim"),
        " ",
        (f"{clean(kind):<19}", "cyan"),
        f" {clean(one.get('server'))} {clean(one.get('call_id'))} ",
        (facts, "dim"),
        (" recovered" if one.get("recovered") else "") + (" degraded" if one.get("degraded") else ""),
    )


TOLD = (
    ("origin", ""),
    ("destiny", "→ "),
    ("number", ""),
    ("digit", "digit "),
    ("queue", "queue "),
    ("conference", "conference "),
    ("disposition", ""),
    ("talk_seconds", "talk "),
    ("reason", ""),
)
"""What of a message's data one line has room for, and the word before it."""


def _facts(data: dict[str, Any]) -> str:
    told = [f"{word}{clean(data[key])}" for key, word in TOLD if data.get(key) is not None]
    return " ".join(told)


def outbox(reply: Sequence[OutboxStatus], now_ms: int | None = None) -> RenderableType:
    """`arimon-ctl outbox`."""
    moment = datetime.now().timestamp() * 1000 if now_ms is None else now_ms
    return table(
        ("owner", ">unconfirmed", ">oldest", ">in flight", ">parked", ">held up", ">withheld", ">size"),
        (
            (
                one["owner"],
                one["depth"],
                ago(None if one["oldest_ms"] is None else (moment - one["oldest_ms"]) / 1000),
                one["in_flight"],
                one["parked"],
                one["held_up"],
                one["withheld"],
                size(one["bytes"]),
            )
            for one in reply
        ),
        "no outbox",
    )


def quarantine(reply: Sequence[QuarantineRow]) -> RenderableType:
    """`arimon-ctl quarantine list`."""
    return table(
        ("pbx", ">row", "at", "call", "where", ">attempts", "error"),
        (
            (one["pbx"], one["n"], clock(one["at_ms"]), one["call_id"], one["where"], one["attempts"], one["error"])
            for one in reply
        ),
        "the quarantine is empty",
    )


def quarantined(reply: QuarantineDetail) -> RenderableType:
    """`arimon-ctl quarantine show`."""
    return Group(quarantine([reply["row"]]), Text(), Text(clean(reply["body"])), Text(), _block(reply["traceback"]))


def journal(reply: Sequence[JournalStatus]) -> RenderableType:
    """`arimon-ctl journal`."""
    return table(
        ("pbx", ">rows", "range", "from", "to", ">size", ">segments", ">lag", ">lost", "uuid"),
        (
            (
                one["pbx"],
                one["rows"],
                f"{one['first_n']}–{one['last_n']}",
                clock(one["first_ms"]),
                clock(one["last_ms"]),
                size(one["bytes"]),
                one["segments"],
                one["last_n"] - one["folded_n"],
                one["lost"],
                one["uuid"],
            )
            for one in reply
        ),
        "no journal",
    )


def gaps(reply: Sequence[Gap]) -> RenderableType:
    """`arimon-ctl gaps`."""
    return table(
        ("pbx", "from", "to", ">for", "reason", ">adopted", ">corrected", ">ended", ">inferred", ">rows lost"),
        (
            (
                one["pbx"],
                clock(one["from_ms"]),
                clock(one["to_ms"]),
                ago(None if one["to_ms"] is None else (one["to_ms"] - one["from_ms"]) / 1000),
                one["reason"],
                len(one["adopted"]),
                len(one["corrected"]),
                len(one["ended"]),
                one["inferred"],
                one["rows_lost"],
            )
            for one in reply
        ),
        "no gaps",
    )


def reconciled(reply: Sequence[Reconciled]) -> RenderableType:
    """`arimon-ctl reconcile`."""
    return table(
        ("pbx", ">channels", "adopted", "corrected", "ended", ""),
        (
            (
                one["pbx"],
                one["channels"],
                " ".join(one["adopted"]) or "none",
                " ".join(one["corrected"]) or "none",
                " ".join(one["ended"]) or "none",
                "(nothing was changed)" if one["dry_run"] else "",
            )
            for one in reply
        ),
        "no PBX",
    )


def crashes(reply: Sequence[Crash]) -> RenderableType:
    """`arimon-ctl crashes`."""
    return table(
        ("id", "at", "who", ">generation", "reason", "error"),
        (
            (one["id"], clock(one["at_ms"]), one["path"], one["generation"], one["reason"], one["error"])
            for one in reply
        ),
        "no crashes",
    )


def crash(reply: CrashDetail) -> RenderableType:
    """`arimon-ctl crash ID`."""
    return Group(
        crashes([reply["crash"]]),
        Text(f"\nwhile handling: {clean(reply['message'])}"),
        Text(f"in state: {clean(reply['state'])}\n"),
        _block(reply["traceback"]),
    )


def children(reply: Sequence[dict[str, Any]]) -> RenderableType:
    """`arimon-ctl which-children`."""
    names = [
        name for name in ("id", "state", "generation", "pid", "type", "restart", "calls") if name in _all_of(reply)
    ]
    rows = ([one.get(name) for name in names] + [_used(one.get("budget"))] for one in reply)
    return table([*names, ""], rows, "no children")


def _all_of(reply: Sequence[dict[str, Any]]) -> set[str]:
    return {name for one in reply for name in one}


def _used(gauge: dict[str, Any] | None) -> str:
    return f"{gauge['used']} of {gauge['allowed']} restarts used" if gauge and gauge["used"] else ""


def plain(reply: dict[str, Any]) -> RenderableType:
    """`arimon-ctl get-state` and `statistics`."""
    return Text(_json(reply))


def traced(one: dict[str, Any]) -> Text:
    """A line of `arimon-ctl trace`."""
    arrow = "←" if one["way"] == "in" else "→"
    return Text.assemble(
        (clock(one["at_ms"]), "dim"), f" {arrow} ", (clean(one["other"]), "bold"), f"  {clean(one['message'])}"
    )


def _block(text: str) -> Text:
    return Text("\n".join(clean(line) for line in text.splitlines()))


def _json(value: object) -> str:
    return "\n".join(clean(line) for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines())
