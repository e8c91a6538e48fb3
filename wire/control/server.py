"""The control socket: HTTP and JSON on a Unix socket, in front of a `Backend`.

    server = ControlServer(settings.control, backend)
    await server.start()
    …
    await server.stop()

`ROUTES` is the whole of what can be asked. GET takes its arguments from the query, POST from a JSON object; both are
checked before the backend sees them. A reply is JSON, a stream is JSON lines; an error is `{"error": "…"}` with the
status of its class in api.py, in a stream as its last line.

Who may ask is decided by the file: mode 0660 and the configured group. The socket is bound under another name, given
mode and group, and only then put in its place, so there is no moment in which somebody else could connect. A socket
that nobody answers on is left over from a process that died, and is replaced; one that somebody answers on is not ours
to take.
"""

import asyncio
import contextlib
import grp
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from conf.settings import Control
from wire import log
from wire.control.api import Backend, BadRequest, ControlError, ErrorReply, Unanswered

ANSWER_SECONDS = 5.0
"""Time that the backend has for one answer; for a stream, until it begins."""

RESTART_SECONDS = 60.0
"""Time that a restart has to be complete: a process stops in order, and a Switchboard folds its journal again."""

RECONCILE_SECONDS = 40.0
"""Time that a reconciliation has: two looks at the PBX, `recovery.second_look` apart, and folding them."""

REDRIVE_SECONDS = 20.0
"""Time that a redrive, or a drop, has: its order is journalled, and folded behind what waits there."""

READER_SECONDS = 30.0
"""A stream's reader that takes no line for this long is cut off."""

MAX_REQUEST_BYTES = 64 * 1024
MAX_TEXT = 1024
"""Characters of one argument."""

BACKLOG = 64

logger = log.get(__name__)


class ControlSocketError(Exception):
    """The control socket cannot be opened; says what, where and how to mend it."""


class Kind(Enum):
    """What an argument may be."""

    TEXT = "text"
    MAYBE_TEXT = "text or nothing"
    NUMBER = "a whole number of at least 0"
    MAYBE_NUMBER = "a whole number of at least 0, or nothing"
    FLAG = "true or false"


Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One question: how it is asked, and which method of the backend answers."""

    method: str
    path: str
    takes: Mapping[str, Kind]
    answer: Callable[[Backend, Arguments], Awaitable[Any]]
    streams: bool = False
    seconds: float | None = None
    """Time that the backend has, where it is not the usual one."""


_PATH = {"path": Kind.TEXT}
_PBX = {"pbx": Kind.MAYBE_TEXT}
_ROW = {"pbx": Kind.TEXT, "n": Kind.NUMBER}
_RANGE = {"pbx": Kind.TEXT, "first": Kind.MAYBE_NUMBER, "last": Kind.MAYBE_NUMBER}
_FOLLOW = {"call": Kind.MAYBE_TEXT, "type": Kind.MAYBE_TEXT}

ROUTES = (
    Route("GET", "/status", {}, lambda b, a: b.status()),
    Route("GET", "/tree", {}, lambda b, a: b.tree()),
    Route("GET", "/calls", _PBX, lambda b, a: b.calls(a["pbx"])),
    Route("GET", "/call", {"id": Kind.TEXT, **_PBX}, lambda b, a: b.call(a["id"], a["pbx"])),
    Route("GET", "/messages", {"limit": Kind.NUMBER}, lambda b, a: b.messages(a["limit"])),
    Route("GET", "/which-children", _PATH, lambda b, a: b.which_children(a["path"])),
    Route("GET", "/state", _PATH, lambda b, a: b.get_state(a["path"])),
    Route("GET", "/statistics", _PATH, lambda b, a: b.statistics(a["path"])),
    Route("GET", "/trace", {**_PATH, "max": Kind.NUMBER}, lambda b, a: b.trace(a["path"], a["max"]), True),
    Route("POST", "/suspend", _PATH, lambda b, a: b.suspend(a["path"])),
    Route("POST", "/resume", _PATH, lambda b, a: b.resume(a["path"])),
    Route("POST", "/kill", _PATH, lambda b, a: b.kill(a["path"])),
    Route("POST", "/restart", _PATH, lambda b, a: b.restart(a["path"]), seconds=RESTART_SECONDS),
    Route(
        "POST",
        "/reconcile",
        {**_PBX, "dry_run": Kind.FLAG},
        lambda b, a: b.reconcile(a["pbx"], a["dry_run"]),
        seconds=RECONCILE_SECONDS,
    ),
    Route("GET", "/outbox", {}, lambda b, a: b.outbox()),
    Route("POST", "/outbox/redrive", _PBX, lambda b, a: b.outbox_redrive(a["pbx"])),
    Route("GET", "/quarantine", _PBX, lambda b, a: b.quarantine(a["pbx"])),
    Route("GET", "/quarantine/row", _ROW, lambda b, a: b.quarantine_show(a["pbx"], a["n"])),
    Route(
        "POST",
        "/quarantine/redrive",
        _ROW,
        lambda b, a: b.quarantine_redrive(a["pbx"], a["n"]),
        seconds=REDRIVE_SECONDS,
    ),
    Route(
        "POST",
        "/quarantine/drop",
        _ROW,
        lambda b, a: b.quarantine_drop(a["pbx"], a["n"]),
        seconds=REDRIVE_SECONDS,
    ),
    Route("GET", "/journal", _PBX, lambda b, a: b.journal(a["pbx"])),
    Route("GET", "/journal/export", _RANGE, lambda b, a: b.journal_export(a["pbx"], a["first"], a["last"]), True),
    Route("GET", "/gaps", _PBX, lambda b, a: b.gaps(a["pbx"])),
    Route("GET", "/crashes", {}, lambda b, a: b.crashes()),
    Route("GET", "/crash", {"id": Kind.TEXT}, lambda b, a: b.crash(a["id"])),
    Route("GET", "/config", {}, lambda b, a: b.config()),
    Route("GET", "/events", _FOLLOW, lambda b, a: b.follow(a["call"], a["type"]), True),
)


class ControlServer:
    """Serves a backend on the control socket; lives in one event loop.

    Args:
        settings: where the socket is and who may use it.
        backend: who answers.
        answer_seconds: time that the backend has for one answer.
    """

    def __init__(self, settings: Control, backend: Backend, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._path = settings.socket
        self._group = settings.group
        self._backend = backend
        self._limit = answer_seconds
        self._runner: web.AppRunner | None = None
        self._inode: tuple[int, int] | None = None

    async def start(self) -> None:
        """Open the socket and answer.

        Raises:
            ControlSocketError: it cannot be opened, or another arimond answers on it.
        """
        listener = _bound(self._path, self._group)
        found = self._path.stat()
        self._inode = found.st_dev, found.st_ino
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_errors_are_json])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        # A stream whose reader has gone is cancelled at once, not at its next line.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self._runner = runner
        logger.info("control.open", socket=str(self._path))

    async def stop(self) -> None:
        """Close the socket and remove its file, if it is still ours."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        await runner.cleanup()
        # Where somebody removed it before, it is gone, which is what was wanted.
        with contextlib.suppress(OSError):
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._path.unlink()

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            given = dict(request.query) if route.method == "GET" else await _body(request)
            arguments = parsed(route.takes, given)
            if route.method == "POST":
                logger.warning("control.command", command=route.path, arguments=arguments, uid=_uid(request))
            limit = self._limit if route.seconds is None else route.seconds
            try:
                async with asyncio.timeout(limit):
                    reply = await route.answer(self._backend, arguments)
            except TimeoutError:
                raise Unanswered(f"the daemon did not answer within {limit:g} s") from None
            if route.streams:
                return await _stream(request, reply)
            return web.Response(body=orjson.dumps(reply), content_type="application/json")

        return handle


def parsed(takes: Mapping[str, Kind], given: Mapping[str, Any]) -> Arguments:
    """The arguments of a question, checked.

    Args:
        takes: name → what it may be.
        given: as it came, values of JSON or text.

    Raises:
        BadRequest: one is missing, unknown or of another kind.
    """
    unknown = sorted(set(given) - set(takes))
    if unknown:
        raise BadRequest(f"unknown argument {unknown[0][:MAX_TEXT]!r}; known are: {', '.join(takes) or 'none'}")
    return {name: _argument(name, kind, given.get(name)) for name, kind in takes.items()}


def _argument(name: str, kind: Kind, value: Any) -> Any:
    match kind, value:
        case ((Kind.MAYBE_TEXT | Kind.MAYBE_NUMBER), None):
            return None
        case Kind.FLAG, None:
            return False
        case ((Kind.TEXT | Kind.MAYBE_TEXT), str()) if 0 < len(value) <= MAX_TEXT:
            return value
        case ((Kind.NUMBER | Kind.MAYBE_NUMBER), (int() | str())) if not isinstance(value, bool):
            # SQLite's and msgpack's integers end at 2**63; 18 digits are below it.
            if (text := str(value)).isascii() and text.isdigit() and len(text) <= 18:
                return int(text)
        case Kind.FLAG, bool():
            return value
        case Kind.FLAG, ("true" | "false"):
            return value == "true"
    raise BadRequest(f"{name} must be {kind.value}")


async def _body(request: web.Request) -> dict[str, Any]:
    content = await request.read()
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError:
        raise BadRequest("the request's body is no JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the request's body is no JSON object")
    return body


@web.middleware
async def _errors_are_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ControlError as error:
        return _failed(error.status, str(error))
    except web.HTTPException as error:
        return _failed(error.status, f"{request.method} {request.path[:100]}: {error.reason}")
    except Exception as error:
        logger.error("control.failed", path=request.path, exc_info=error)
        return _failed(500, f"the daemon failed to answer ({type(error).__name__}); its log says more")


def _failed(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(ErrorReply(error=text)), content_type="application/json")


async def _stream(request: web.Request, lines: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for line in lines:
            async with asyncio.timeout(READER_SECONDS):
                await response.write(line + b"\n")
    except (ConnectionError, TimeoutError):
        # The reader has gone, or takes nothing.
        if request.transport is not None:
            request.transport.abort()
    except Exception as error:
        if not isinstance(error, ControlError):
            logger.error("control.failed", path=request.path, exc_info=error)
        text = str(error) if isinstance(error, ControlError) else f"the daemon failed ({type(error).__name__})"
        await response.write(orjson.dumps(ErrorReply(error=text)) + b"\n")
    finally:
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()
    return response


def _uid(request: web.Request) -> int | None:
    """Who asks, as the kernel says."""
    peer = None if request.transport is None else request.transport.get_extra_info("socket")
    if peer is None:
        return None
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


# --- the socket's file ------------------------------------------------------------------------------------------------


def _bound(path: Path, group: str | None) -> socket.socket:
    # Short, because a Unix socket's path has 107 bytes at most.
    scratch = path.with_name(f".{os.getpid()}")
    if len(os.fsencode(path)) > 107 or len(os.fsencode(scratch)) > 107:
        raise ControlSocketError(f"control.socket {path} is too long: a Unix socket's path has 107 bytes at most")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_nobody_answers(path)
        scratch.unlink(missing_ok=True)
        listener.bind(str(scratch))
        # Nobody can connect before listen(), so mode and group are right from the first moment.
        scratch.chmod(0o660)
        if group is not None:
            os.chown(scratch, -1, _gid(group))
        listener.listen(BACKLOG)
        scratch.rename(path)
    except OSError as error:
        listener.close()
        _remove(scratch)
        mend = "the daemon's user must own its directory"
        if group is not None:
            mend += f" and be a member of control.group {group}"
        raise ControlSocketError(f"control.socket {path} cannot be opened: {error.strerror or error}; {mend}") from None
    except BaseException:
        listener.close()
        _remove(scratch)
        raise
    return listener


def _check_nobody_answers(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise ControlSocketError(f"control.socket {path} is a file of another kind; move it away or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left over from a process that died
        except TimeoutError:
            pass  # somebody listens, though slowly
    raise ControlSocketError(f"another arimond answers on {path}; stop it, or give this one another control.socket")


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ControlSocketError(f"control.group {group} does not exist; create it or leave the key out") from None


def _remove(path: Path) -> None:
    # Where it cannot be removed it could not be made either, and the error that is on its way says why.
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
