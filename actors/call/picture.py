"""A snapshot of a PBX, read: the body of a `Kind.SNAPSHOT` row as the call model sees it."""

from typing import NamedTuple

import orjson

from actors.call import decoding
from actors.call.decoding import milliseconds
from actors.call.effects import Unexpected
from actors.call.events import Bridge, Channel
from wire.store.row import Row


class Seen(NamedTuple):
    """A channel as a snapshot shows it."""

    channel: Channel
    app_data: str
    created_ms: int
    answered_ms: int | None
    bridge: Bridge | None
    bridge_ms: int
    dialled: str
    """The number that it dialled, wherever it is in the dialplan now; empty if it dialled none, or was not asked."""


class Picture(NamedTuple):
    """A snapshot, read."""

    name: str
    purpose: str
    nth: int
    asked_ms: int
    answered_ms: int
    heard_ms: int
    """When the event link was last heard: a snapshot comes by REST."""
    rehearsal: bool
    """Only say what would be done."""
    startup: str | None
    startup_ms: int | None
    seen: dict[str, Seen]
    bridges: dict[str, Bridge]
    asked: frozenset[str]
    """Channels whose linkedid was asked for: it holds now, but nobody says when it changes."""
    reports: list[Unexpected]


def read(row: Row) -> Picture:
    """Read a snapshot; an entry that is not what ARI promises is left out and reported."""
    body = orjson.loads(row.body)
    reports: list[Unexpected] = []
    bridges: dict[str, tuple[Bridge, int]] = {}
    where: dict[str, str] = {}
    for raw in body["bridges"]:
        try:
            bridge = decoding.read_bridge(raw)
            bridges[bridge.id] = (bridge, milliseconds(raw["creationtime"]))
        except (KeyError, TypeError, ValueError) as error:
            reports.append(Unexpected("wrong-shape", "snapshot", str(raw)[:64], f"bridge: {error!r}"))
            continue
        for member in bridge.members:
            where[member] = bridge.id
    seen: dict[str, Seen] = {}
    asked: set[str] = set()
    for raw in body["channels"]:
        try:
            channel = decoding.read_channel(raw)
            created_ms = milliseconds(channel.creationtime)
            app_data = str(raw["dialplan"].get("app_data") or "")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reports.append(Unexpected("wrong-shape", "snapshot", str(raw)[:64], f"channel: {error!r}"))
            continue
        variables = body["variables"].get(channel.id) or {}
        if channel.linkedid is None and variables.get("CHANNEL(linkedid)"):
            channel = channel._replace(linkedid=variables["CHANNEL(linkedid)"])
            asked.add(channel.id)
        bridge_, bridge_ms = bridges.get(where.get(channel.id, ""), (None, 0))
        answered_ms = _moment(variables.get("CDR(answer,u)"))
        dialled = variables.get("CALLERID(dnid)") or ""
        seen[channel.id] = Seen(channel, app_data, created_ms, answered_ms, bridge_, bridge_ms, dialled)
    status = body["info"].get("status") or {}
    startup = status.get("startup_time")
    try:
        startup_ms = milliseconds(startup)
    except (TypeError, ValueError):
        startup = startup_ms = None
    return Picture(
        str(body["id"]),
        str(body["purpose"]),
        int(body["nth"]),
        int(body["asked_ms"]),
        int(body["answered_ms"]),
        min(int(body.get("heard_ms", row.at_ms)), row.at_ms),
        bool(body.get("dry_run")),
        startup,
        startup_ms,
        seen,
        {key: bridge for key, (bridge, _) in bridges.items()},
        frozenset(asked),
        reports,
    )


def _moment(text: str | None) -> int | None:
    """Asterisk's "1795339136.705892" as Unix milliseconds; None if it was never."""
    if not text:
        return None
    whole, _, part = text.partition(".")
    if not whole.isdecimal() or int(whole) == 0:
        return None
    return int(whole[:12]) * 1000 + int((part + "000")[:3] if part[:3].isdecimal() else 0)
