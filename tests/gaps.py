"""Journals as arimon would have written them while the recordings with gaps were made: frames, link rows, snapshots."""

import json
from typing import Any

import orjson

from actors.call.decoding import milliseconds
from tests.truth import recordings
from wire.store.row import Kind, Row

DOWN = {
    "21_asterisk_restart_mid_call": "lost",
    "21b_graceful_restart": "closed",
    "21c_asterisk_crash_mid_call": "lost",
    "22_ws_drop_mid_call": "lost",
    "22b_ws_drop_graceful_close": "closed",
    "22c_second_client_replaces_app": "replaced",
}
"""Recording → why its link went down."""


def journal(name: str) -> list[Row]:
    """The rows of a recording, in order; frames, link-ups and link-downs when the recorder had them, and its snapshots.

    A first look is a snapshot within half a second of a link-up; the next one of the same link is the second.
    """
    rest: dict[str, Any] = json.loads((recordings.FOLDER / f"{name}.rest.json").read_text())
    lines = [json.loads(line) for line in recordings.frames(name)]
    zero_ms = min(milliseconds(line["event"]["timestamp"]) - int(line["t"] * 1000) for line in lines)
    made: list[tuple[float, str, bytes]] = []
    heard = 0.0
    for line in lines:
        made.append((line["t"], Kind.FRAME, orjson.dumps(line["event"])))
    link = 0
    ups: list[float] = []
    replaced = next((line["t"] for line in lines if line["event"]["type"] == "ApplicationReplaced"), None)
    for event in rest["ws"]:
        at = event["t"]
        if event["what"] == "connected":
            link += 1
            ups.append(at)
            made.append((at, Kind.LINK_UP, orjson.dumps({"generation": link, "app": "arimon"})))
        elif event["what"] == "closed" and event is not rest["ws"][-1]:
            at = at if replaced is None else replaced
            heard = max(line["t"] for line in lines if line["t"] <= at)
            body = {"reason": DOWN[name], "detail": "", "last_data_ms": zero_ms + int(heard * 1000)}
            made.append((at, Kind.LINK_DOWN, orjson.dumps(body)))
    for each in rest["snapshots"]:
        before = [up for up in ups if up <= each["t"]]
        nth = 1 if each["t"] - before[-1] < 0.5 else 2
        made.append((each["t"] + 0.001, Kind.SNAPSHOT, orjson.dumps(_snapshot(rest, each, len(before), nth, zero_ms))))
    made.sort(key=lambda one: one[0])  # stable: what came at the same time keeps its order
    return [Row(n, zero_ms + int(at * 1000), kind, body) for n, (at, kind, body) in enumerate(made, start=1)]


def _snapshot(rest: dict[str, Any], each: dict[str, Any], link: int, nth: int, zero_ms: int) -> dict[str, Any]:
    variables: dict[str, dict[str, str]] = {}
    for request in rest["requests"]:
        if request["path"].endswith("/variable") and request["status"] == 200 and 0 <= request["t"] - each["t"] < 0.1:
            channel = request["path"].split("/")[2]
            variables.setdefault(channel, {})[request["params"]["variable"]] = request["body"]["value"]
    return {
        "id": each["label"],
        "purpose": "link-up",
        "nth": nth,
        "link": link,
        "asked_ms": zero_ms + int(each["t"] * 1000),
        "answered_ms": zero_ms + int(each["t"] * 1000) + 1,
        "info": each["get"]["/asterisk/info"]["body"],
        "channels": each["get"]["/channels"]["body"],
        "bridges": each["get"]["/bridges"]["body"],
        "variables": variables,
    }


def exported(rows: list[Row]) -> list[bytes]:
    """The same as `arimon-ctl export` writes it, and `replay` reads it."""
    return [
        orjson.dumps({"n": row.n, "at_ms": row.at_ms, "kind": row.kind, "body": orjson.loads(row.body)}) for row in rows
    ]
