"""The simulator's own HTTP API, under /sim/ on the PBX's port: look at it, and make it misbehave while it runs.

- `GET /sim/` says what it is doing, as JSON, and which faults there are
- `POST /sim/fault/NAME` with arguments in the query or as a JSON object: `curl -X POST :8088/sim/fault/drop?how=rst`
- `POST /sim/play?recording=04_busy&speed=0` plays something more; `wait=1` answers when it is over
- `POST /sim/event` sends the body, an event, to every client
- `POST /sim/flush` writes the log to disk

It asks for no password: it is meant for 127.0.0.1. It is unreachable while the PBX is down or refuses.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from wire.simulator.faults import FAULTS, FaultError, arguments
from wire.simulator.program import Program
from wire.simulator.recording import RecordingError
from wire.simulator.rest import answer, trouble

if TYPE_CHECKING:
    from wire.simulator.pbx import Pbx


class Control:
    """The handlers of one PBX."""

    def __init__(self, pbx: "Pbx") -> None:
        self._pbx = pbx
        self._tasks: set[asyncio.Task[Any]] = set()

    async def state(self, _request: web.Request) -> web.Response:
        """GET /sim/"""
        pbx = self._pbx
        body = {
            "name": pbx.name,
            "url": pbx.url,
            "up": pbx.is_up,
            "running": pbx.running,
            "clients": [{"app": link.app, "live": link.live, "stalled": link.stalled} for link in pbx.links],
            "recordings_begun": pbx.begun,
            "recordings_under_way": len(pbx.runs),
            "channels": sum(1 for _ in pbx.channels()),
            "events_happened": pbx.happened,
            "frames_sent": pbx.log.count,
            "seconds": round(pbx.clock(), 3),
            "log": str(pbx.log.path) if pbx.log.path else None,
            "faults": {name: {"arguments": list(types), "what": what} for name, (types, what) in FAULTS.items()},
        }
        return answer(body)

    async def fault(self, request: web.Request) -> web.Response:
        """POST /sim/fault/{name}"""
        name = request.match_info["name"]
        try:
            given = {**await _object(request), **request.query}
            typed = arguments(name, given)
            # A restart takes its time, and the answer must not wait for it.
            making = self._background(self._pbx.faults.make(name, request.transport, **typed))
            await asyncio.wait((making,), timeout=0.2)
            if making.done():
                making.result()
        except (FaultError, orjson.JSONDecodeError, TypeError) as error:
            return trouble(400, str(error))
        return answer({"fault": name, **typed}, 200 if making.done() else 202)

    async def play(self, request: web.Request) -> web.Response:
        """POST /sim/play"""
        query = request.query
        try:
            program = Program(
                recordings=tuple(query.getall("recording", [])),
                speed=float(query.get("speed", 1.0)),
                rate=float(query["rate"]) if "rate" in query else None,
                loops=int(query.get("loops", 1)),
                lanes=int(query.get("lanes", 1)),
                verbatim=query.get("verbatim", "0") == "1",
            )
            program.load()
        except (ValueError, RecordingError) as error:
            return trouble(400, str(error))
        playing = self._background(self._pbx.play(program))
        if query.get("wait", "0") != "1":
            return answer({"playing": True}, 202)
        played = await playing
        return answer({"recordings": played.runs, "events": played.events, "seconds": played.seconds})

    async def event(self, request: web.Request) -> web.Response:
        """POST /sim/event"""
        try:
            body = await _object(request)
        except (orjson.JSONDecodeError, TypeError) as error:
            return trouble(400, str(error))
        if not isinstance(body.get("type"), str):
            return trouble(400, "an event with a type is wanted")
        self._pbx.say(body)
        self._pbx.flush()
        return answer({"clients": len(self._pbx.clients)})

    async def flush(self, _request: web.Request) -> web.Response:
        """POST /sim/flush"""
        self._pbx.flush()
        self._pbx.log.flush()
        return answer({"frames_sent": self._pbx.log.count})

    def _background(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self, _: web.Application) -> None:
        """The simulator stops: what was begun by request ends."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _object(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    body = orjson.loads(raw) if raw else {}
    if not isinstance(body, dict):
        raise TypeError("a JSON object is wanted")
    return body


def add_routes(app: web.Application, pbx: "Pbx") -> None:
    """Put a PBX's control API under /sim/."""
    control = Control(pbx)
    app.on_shutdown.append(control.stop)
    app.add_routes(
        [
            web.get("/sim/", control.state),
            web.post("/sim/fault/{name}", control.fault),
            web.post("/sim/play", control.play),
            web.post("/sim/event", control.event),
            web.post("/sim/flush", control.flush),
        ]
    )
