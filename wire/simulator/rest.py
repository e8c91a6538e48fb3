"""What a simulated PBX answers to ARI's REST requests, and its door: passwords, and the faults of its HTTP server.

Answers have the form that the recorded Asterisk gave (`NAME.rest.json` beside the recordings).
"""

import asyncio
import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

from wire.simulator.moment import stamp

if TYPE_CHECKING:
    from wire.simulator.pbx import Application, Pbx

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EVENTS = "/ari/events"

VERSION = "22.10.1"
"""The Asterisk that the recordings were made with."""


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def trouble(status: int, text: str) -> web.Response:
    """An error, in ARI's form."""
    return answer({"message": text}, status)


def guard(pbx: "Pbx") -> Any:
    """The middleware before every ARI request: faults first (a broken server asks no password), then the password."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/ari/"):
            return await handler(request)
        if not pbx.is_up:
            # A connection that outlived the process, as far as its client can tell.
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable
        gate = pbx.faults.gates["ws" if request.path == EVENTS else "rest"]
        if gate.delay:
            await asyncio.sleep(gate.delay)
        if gate.stalled:
            await gate.wait_for_end()
        if gate.status is not None:
            return trouble(gate.status, f"Simulated {gate.status}")
        if not _may_enter(pbx, request):
            refusal = trouble(401, "Authentication required")
            refusal.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="Asterisk REST Interface"'
            return refusal
        if pbx.read_only and request.method not in (hdrs.METH_GET, hdrs.METH_OPTIONS):
            return trouble(403, "Write access denied")
        return await handler(request)

    return middleware


def _may_enter(pbx: "Pbx", request: web.Request) -> bool:
    given = request.query.get("api_key")
    if given is None:
        scheme, _, encoded = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except ValueError:  # not base64, or not UTF-8
            return False
    username, _, password = given.partition(":")
    right = hmac.compare_digest(username.encode(), pbx.username.encode())
    return hmac.compare_digest(password.encode(), pbx.password.encode()) and right


class Rest:
    """The handlers of one PBX."""

    def __init__(self, pbx: "Pbx") -> None:
        self._pbx = pbx

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events: the WebSocket."""
        app = request.query.get("app", "")
        if not app or "," in app:
            return trouble(400, "HTTP request is missing param: [app]" if not app else "One application, please")
        if not web.WebSocketResponse().can_prepare(request).ok:
            return trouble(426, "This is a WebSocket")
        ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)  # prepare() has just written to it
        subscribe_all = request.query.get("subscribeAll", "false").lower() in ("true", "yes", "1", "on")
        link = self._pbx.attach(ws, request.transport, app, subscribe_all)
        try:
            async for _message in ws:
                pass  # what a client says is nothing to us; pings and closes are answered on the way
        finally:
            self._pbx.detach(link)
        return ws

    async def info(self, request: web.Request) -> web.Response:
        """GET /asterisk/info"""
        started = stamp(self._pbx.started_ms)
        everything = {
            "build": {
                "os": "Linux",
                "kernel": "simulated",
                "machine": "x86_64",
                "options": "OPTIONAL_API",
                "date": "2026-11-22 07:58:46 UTC",
                "user": "root",
            },
            "system": {"version": VERSION, "entity_id": self._pbx.entity_id},
            "config": {"name": "", "default_language": "en", "setid": {"user": "", "group": ""}},
            "status": {"startup_time": started, "last_reload_time": started},
        }
        only = [part for value in request.query.getall("only", []) for part in value.split(",")]
        return answer({part: everything[part] for part in everything if not only or part in only})

    async def ping(self, _request: web.Request) -> web.Response:
        """GET /asterisk/ping"""
        return answer({"ping": "pong", "timestamp": stamp(), "asterisk_id": self._pbx.entity_id})

    async def channels(self, _request: web.Request) -> web.Response:
        """GET /channels"""
        return answer(list(self._pbx.channels()))

    async def channel(self, request: web.Request) -> web.Response:
        """GET /channels/{id}"""
        channel = self._pbx.channel(request.match_info["id"])
        return trouble(404, "Channel not found") if channel is None else answer(channel)

    async def variable(self, request: web.Request) -> web.Response:
        """GET /channels/{id}/variable"""
        identity, name = request.match_info["id"], request.query.get("variable")
        if not name:
            return trouble(400, "Variable name is required")
        if self._pbx.channel(identity) is None:
            return trouble(404, "Channel not found")
        value = self._pbx.variable(identity, name)
        return trouble(404, "Provided variable was not found") if value is None else answer({"value": value})

    async def bridges(self, _request: web.Request) -> web.Response:
        """GET /bridges"""
        return answer(list(self._pbx.bridges()))

    async def bridge(self, request: web.Request) -> web.Response:
        """GET /bridges/{id}"""
        bridge = self._pbx.bridge(request.match_info["id"])
        return trouble(404, "Bridge not found") if bridge is None else answer(bridge)

    async def endpoints(self, _request: web.Request) -> web.Response:
        """GET /endpoints: those of the recordings begun so far, each with its channels."""
        used: dict[str, list[str]] = {endpoint: [] for endpoint in self._pbx.endpoints}
        for channel in self._pbx.channels():
            endpoint = channel["name"].rpartition("-")[0]
            if endpoint in used:
                used[endpoint].append(channel["id"])
        rows = []
        for endpoint, ids in used.items():
            technology, _, resource = endpoint.partition("/")
            rows.append({"technology": technology, "resource": resource, "state": "online", "channel_ids": ids})
        return answer(rows)

    async def applications(self, _request: web.Request) -> web.Response:
        """GET /applications"""
        return answer([_shown(application) for application in self._pbx.applications.values()])

    async def application(self, request: web.Request) -> web.Response:
        """GET /applications/{name}"""
        application = self._pbx.applications.get(request.match_info["name"])
        return trouble(404, "Application not found") if application is None else answer(_shown(application))

    async def event_filter(self, request: web.Request) -> web.Response:
        """PUT /applications/{name}/eventFilter"""
        application = self._pbx.applications.get(request.match_info["name"])
        if application is None:
            return trouble(404, "Application not found")
        try:
            body = orjson.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise TypeError
            wanted = {key: _types(body[key]) for key in ("allowed", "disallowed") if key in body}
        except (orjson.JSONDecodeError, TypeError):
            return trouble(400, "Invalid filter: an object with lists of {type} is wanted")
        self._pbx.flush()
        if not body:
            wanted = {"allowed": [], "disallowed": []}
        application.allowed = wanted.get("allowed", application.allowed)
        application.disallowed = wanted.get("disallowed", application.disallowed)
        self._pbx.act("event-filter", app=application.name, **wanted)
        return answer(_shown(application))


def _types(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) and "type" in one for one in value):
        raise TypeError
    return value


def _shown(application: "Application") -> dict[str, Any]:
    everything = application.link.subscribe_all
    return {
        "name": application.name,
        "channel_ids": ["__AST_CHANNEL_ALL_TOPIC"] if everything else [],
        "bridge_ids": ["__AST_BRIDGE_ALL_TOPIC"] if everything else [],
        "endpoint_ids": ["__AST_ENDPOINT_ALL_TOPIC"] if everything else [],
        "device_names": ["__AST_DEVICE_STATE_ALL_TOPIC"] if everything else [],
        "events_allowed": application.allowed,
        "events_disallowed": application.disallowed,
    }


def add_routes(app: web.Application, pbx: "Pbx") -> None:
    """Put a PBX's ARI under /ari/. Ids may have slashes in them, so their patterns take everything."""
    rest = Rest(pbx)
    app.add_routes(
        [
            web.get(EVENTS, rest.events),
            web.get("/ari/asterisk/info", rest.info),
            web.get("/ari/asterisk/ping", rest.ping),
            web.get("/ari/channels", rest.channels),
            web.get("/ari/channels/{id:.+}/variable", rest.variable),
            web.get("/ari/channels/{id:.+}", rest.channel),
            web.get("/ari/bridges", rest.bridges),
            web.get("/ari/bridges/{id:.+}", rest.bridge),
            web.get("/ari/endpoints", rest.endpoints),
            web.get("/ari/applications", rest.applications),
            web.get("/ari/applications/{name}", rest.application),
            web.put("/ari/applications/{name}/eventFilter", rest.event_filter),
        ]
    )
