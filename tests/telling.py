"""A journal by hand: rows through the same fold as the daemon's, and what was published."""

import json
from typing import Any

import orjson

from actors.call.events import Channel
from actors.call.replay import Replay
from conf.settings import Settings
from tests import gaps
from tests.schemas import schemas
from wire.store.row import Kind, Row

SECOND = 1000


class Told:
    """Rows through the same fold as the daemon's, and what was published."""

    def __init__(self, settings: Settings) -> None:
        self.run = Replay("pbx1", settings)
        self.messages: list[dict[str, Any]] = []

    def rows(self, rows: list[Row]) -> "Told":
        for line in gaps.exported(rows):
            for message in self.run.feed(line):
                self.messages.append(json.loads(message.body))
                assert schemas().errors(self.messages[-1]) == []
        return self

    def row(self, n: int, at_ms: int, kind: str, body: dict[str, Any]) -> "Told":
        return self.rows([Row(n, at_ms, kind, orjson.dumps(body))])

    def said(self, operation: str, call: str | None = None) -> list[dict[str, Any]]:
        return [
            one
            for one in self.messages
            if one["operation"]["type"] == operation and (call is None or one["call_id"] == call)
        ]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [one["data"] for one in self.said("monitoring-gap")]

    def finished(self, call: str) -> dict[str, Any]:
        [message] = self.said("finished-call", call)
        data: dict[str, Any] = message["data"] | {"recovered": message["recovered"]}
        return data


def raw(channel: Channel, app_data: str = "") -> dict[str, Any]:
    """A channel as ARI shows it."""
    shown: dict[str, Any] = {
        "id": channel.id,
        "name": channel.name,
        "state": channel.state,
        "caller": {"number": channel.number, "name": channel.cid_name},
        "connected": {"number": channel.connected, "name": ""},
        "dialplan": {
            "context": channel.context,
            "exten": channel.exten,
            "priority": channel.priority,
            "app_name": channel.app,
            "app_data": app_data,
        },
        "creationtime": channel.creationtime,
    }
    if channel.linkedid is not None:
        shown["channelvars"] = {"CHANNEL(linkedid)": channel.linkedid}
    return shown


def stamp(at_ms: int) -> str:
    """ARI's way to write a moment of the first hour of 1970."""
    return f"1970-01-01T00:{at_ms // 60_000:02d}:{at_ms // 1000 % 60:02d}.{at_ms % 1000:03d}+0000"


def look(
    at_ms: int,
    channels: list[Channel],
    bridges: list[dict[str, Any]] | None = None,
    variables: dict[str, dict[str, str]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The body of a snapshot."""
    return {
        "id": "x",
        "purpose": "audit",
        "nth": 1,
        "asked_ms": at_ms - 10,
        "answered_ms": at_ms,
        "info": {"status": {"startup_time": stamp(0)}},
        "channels": [raw(channel) for channel in channels],
        "bridges": bridges or [],
        "variables": variables or {},
    } | more


def frame(kind: str, at_ms: int, channel: Channel, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": stamp(at_ms), "channel": raw(channel), **fields}


UP: dict[str, Any] = {"generation": 1, "app": "arimon", "last_row_ms": None}
DOWN: dict[str, Any] = {"reason": "lost", "detail": "", "last_data_ms": None, "behind_ms": 0}


def call_under_way(told: Told, caller: Channel, after: int = 0) -> Told:
    """Link up at 10 s, a call at 11 s, an agreeing pair of looks at 12 s and 15 s; the rows after some other rows."""
    first = caller._replace(state="Ring", app="")
    told.row(after + 1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(after + 2, 11 * SECOND, Kind.FRAME, frame("ChannelCreated", 11 * SECOND, first))
    told.row(after + 3, 11_100, Kind.FRAME, frame("ChannelStateChange", 11_100, first._replace(state="Up")))
    shown = frame("ChannelDialplan", 11_200, caller, dialplan_app="Echo", dialplan_app_data="")
    told.row(after + 4, 11_200, Kind.FRAME, shown)
    told.row(after + 5, 12 * SECOND, Kind.SNAPSHOT, look(12 * SECOND, [caller]))
    told.row(after + 6, 15 * SECOND, Kind.SNAPSHOT, look(15 * SECOND, [caller]))
    assert told.gaps == []
    return told
