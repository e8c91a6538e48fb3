"""What arimon-ctl and /health show, made of the vitals of all processes. Pure."""

import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.messages import Vitals
from actors.reports import Kept
from conf.settings import Settings
from supervision.messages import Identity, Place
from wire.control import api

AllVitals = Mapping[Place, tuple[Identity, Vitals]]

LAG_LIMIT = 10.0
"""Seconds of lag of a journal above which it is a problem."""


def status(settings: Settings, vitals: AllVitals, started_ms: int) -> api.Status:
    """How everything is."""
    problems = health(settings, vitals)
    return {
        "application": settings.application.name,
        "environment": settings.application.environment,
        "version": arimon_version(),
        "pid": _details(vitals, Place("root", None)).get("arimond", 0),
        "started_ms": started_ms,
        "now_ms": int(time.time() * 1000),
        "healthy": not problems,
        "problems": problems,
        "pbx": [_pbx(pbx.name, vitals) for pbx in settings.pbx],
        "publisher": _publisher(settings, vitals),
    }


def health(settings: Settings, vitals: AllVitals) -> list[str]:
    """What is wrong, one plain sentence each. Who has said nothing, at the start or as a successor, is not well yet."""
    workers = [Place("publisher", None)]
    workers += [Place(role, pbx.name) for pbx in settings.pbx for role in ("connection", "switchboard")]
    return [f"{place}: has not reported yet" for place in workers if place not in vitals] + _told(vitals)


def _told(vitals: AllVitals) -> list[str]:
    problems: list[str] = []
    for place, (_identity, vital) in sorted(vitals.items(), key=lambda item: str(item[0])):
        details = vital.details
        problems.extend(_tree_problems(place, details))
        if place.role == "connection":
            problems.extend(_connection_problems(place, details))
        elif place.role == "switchboard":
            problems.extend(_switchboard_problems(place, details))
        elif place.role == "publisher" and details["state"]["phase"] != "connected":
            state = details["state"]
            problems.append(f"publisher: {state['phase']}: {state['reason'] or 'not connected yet'}")
    return problems


def _tree_problems(place: Place, details: dict[str, Any]) -> list[str]:
    problems = [f"{place}: suspended by an operator"] if details.get("suspended") else []
    for child in details.get("node", {}).get("children", ()):
        if child["state"] in ("down", "waiting"):
            why = f"; it ended last with: {child['last_exit']}" if child["last_exit"] else ""
            problems.append(f"{child['id']}: {child['state']}{why}")
    return problems


def _connection_problems(place: Place, details: dict[str, Any]) -> list[str]:
    problems: list[str] = []
    link, journal = details["link"], details["journal"]
    if link is None or link["name"] != "connected":
        state = "not connected yet" if link is None else f"{link['name']}: {link['detail'] or 'no link'}"
        problems.append(f"{place}: {state}")
    if journal["state"] == "refused":
        problems.append(f"{place}: the journal's disk refuses rows: {journal['reason']}")
    if journal["lost_rows"]:
        problems.append(f"{place}: {journal['lost_rows']} rows lost since the start of Connection")
    return problems


def _switchboard_problems(place: Place, details: dict[str, Any]) -> list[str]:
    problems: list[str] = []
    if details["disk"]:
        problems.append(f"{place}: the disk refuses, rows wait in the journal: {details['disk']}")
    if details["restoring"]:
        problems.append(f"{place}: comes back to its checkpoint; rows are folded again, new ones wait in the journal")
    if details["made_good_in_part"]:
        problems.append(
            f"{place}: its database was lost, and made good from a part of the journal only: what was not confirmed of"
            " earlier rows is gone"
        )
    if details["lag_seconds"] > LAG_LIMIT:
        problems.append(f"{place}: {details['lag_rows']} rows behind, for {details['lag_seconds']:.0f} s")
    if details["quarantined"]:
        problems.append(f"{place}: {details['quarantined']} rows in quarantine")
    if details["outbox"] and details["outbox"]["parked"]:  # None: the disk refuses to open it
        problems.append(f"{place}: {details['outbox']['parked']} messages parked as unroutable")
    if details["held_up"]:
        problems.append(f"{place}: {details['held_up']} streams wait at an unroutable message: publisher.parked_max")
    return problems


def _pbx(name: str, vitals: AllVitals) -> api.PbxStatus:
    connection = _details(vitals, Place("connection", name))
    switchboard = _details(vitals, Place("switchboard", name))
    outbox = switchboard.get("outbox") or {"waiting": 0, "parked": 0}
    return {
        "name": name,
        "link": _link(connection.get("link")),
        "calls": switchboard.get("calls", 0),
        "events": connection.get("events", 0),
        "events_per_second": connection.get("events_per_second", 0.0),
        "journal_n": connection.get("journal", {}).get("last_n", 0),
        "lag_rows": switchboard.get("lag_rows", 0),
        "lag_seconds": switchboard.get("lag_seconds", 0.0),
        "outbox": outbox["waiting"] + outbox["parked"],
        "parked": outbox["parked"],
        "quarantined": switchboard.get("quarantined", 0),
    }


def _link(link: Mapping[str, Any] | None) -> api.Link:
    if link is None:
        return {"state": "disconnected", "since_ms": None, "attempt": 0, "detail": "not started"}
    return {
        "state": link["name"],
        "since_ms": link["since_ms"],
        "attempt": link["attempt"],
        "detail": link["detail"],
    }


def _publisher(settings: Settings, vitals: AllVitals) -> api.PublisherStatus:
    details = _details(vitals, Place("publisher", None))
    state = details.get("state", {"phase": "disconnected", "reason": "not started", "attempt": 0})
    return {
        "link": {
            "state": str(state["phase"]),
            "since_ms": details.get("state_since_ms"),
            "attempt": state["attempt"],
            "detail": state["reason"],
        },
        "sink": settings.publisher.sink,
        "in_flight": details.get("in_flight", 0),
        "published": details.get("published", 0),
        "confirmed": details.get("confirmed", 0),
        "returned": details.get("returned", 0),
        "nacked": details.get("failed", 0),
        "messages_per_second": details.get("messages_per_second", 0.0),
    }


def _details(vitals: AllVitals, place: Place) -> dict[str, Any]:
    found = vitals.get(place)
    return {} if found is None else found[1].details


def tree_node(vitals: AllVitals) -> api.Node:
    """The tree from Root down, as the supervisors see their children and the Switchboards their calls."""
    root = Place("root", None)
    if root not in vitals:
        raise api.Unanswered("Root has not reported yet; ask again in a second")
    identity, vital = vitals[root]
    node = api.down(str(root), "supervisor", "root", None)
    node["pid"], node["state"], node["generation"] = vital.pid, "running", identity.generation
    _supervisor(node, vital.details["node"], vitals)
    return node


def _supervisor(node: api.Node, seen: dict[str, Any], vitals: AllVitals) -> None:
    node["strategy"], node["budget"] = seen["strategy"], seen["budget"]
    for child in seen["children"]:
        place = Place(child["role"], child["pbx"])
        below = api.down(str(place), child["kind"], child["role"], child["pbx"])
        for key in ("pid", "state", "generation", "restarts", "since_ms", "last_exit", "probe_age_seconds"):
            below[key] = child[key]
        below["lag_seconds"] = child["lag_seconds"]
        details = _details(vitals, place)
        if "node" in details:
            _supervisor(below, details["node"], vitals)
        if details.get("suspended") and below["state"] == "running":
            below["state"] = "suspended"
        if "partitions" in details:
            below["calls"] = details["calls"]
            below["children"] = [_partition(place, index, calls) for index, calls in enumerate(details["partitions"])]
        node["children"].append(below)
    counts = [child["calls"] for child in node["children"] if child["calls"] is not None]
    node["calls"] = sum(counts) if counts else None


def _partition(place: Place, index: int, calls: int) -> api.Node:
    node = api.down(f"pbx/{place.pbx}/calls/{index}", "calls", "calls", place.pbx)
    node["state"], node["generation"], node["calls"] = "running", 1, calls
    return node


def crash_summary(report: Kept) -> api.Crash:
    """A report of a death, as a line."""
    return {
        "id": report["id"],
        "at_ms": report["at_ms"],
        "path": report["path"],
        "generation": report.get("generation") or 0,
        "reason": report["reason_kind"],
        "error": report.get("reason", ""),
    }


def crash_detail(report: Kept) -> api.CrashDetail:
    """A report of a death in full."""
    return {
        "crash": crash_summary(report),
        "message": report.get("message"),
        "state": report.get("state"),
        "traceback": report.get("traceback", ""),
    }


def arimon_version() -> str:
    """The version of this code; pyproject.toml is the one place that knows, since it is run from its folder."""
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])
