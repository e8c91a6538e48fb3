"""A backend with fixed answers, and the server in front of it in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from conf.settings import Control
from wire.control import api
from wire.control.server import ControlServer

CALL: api.CallSummary = {
    "call_id": "1795336915.0",
    "pbx": "pbx1",
    "state": "answered",
    "origin": "79031112233",
    "destiny": "74957770001",
    "since_ms": 1_795_336_915_516,
    "answered_ms": 1_795_336_917_520,
    "legs": 2,
    "generation": 1,
    "degraded": False,
}

MESSAGE: dict[str, Any] = {
    "message_id": "019a-1",
    "schema": "arimon/3",
    "operation": {"type": "received-call"},
    "server": "pbx1",
    "stream": "call:1795336915.0",
    "sequence": 1,
    "call_id": "1795336915.0",
    "timestamp": "2026-11-22T08:41:55.516Z",
    "recovered": False,
    "degraded": False,
    "data": {"origin": "79031112233", "origin_name": None, "destiny": "74957770001"},
}

STATUS: api.Status = {
    "application": "arimon",
    "environment": "production",
    "version": "3.0.0",
    "pid": 4711,
    "started_ms": 1_795_336_000_000,
    "now_ms": 1_795_336_920_000,
    "healthy": True,
    "problems": [],
    "pbx": [
        {
            "name": "pbx1",
            "link": {"state": "connected", "since_ms": 1_795_336_001_000, "attempt": 0, "detail": ""},
            "calls": 1,
            "events": 12345,
            "events_per_second": 41.5,
            "journal_n": 12350,
            "lag_rows": 0,
            "lag_seconds": 0.0,
            "outbox": 2,
            "parked": 0,
            "quarantined": 0,
        }
    ],
    "publisher": {
        "link": {"state": "connected", "since_ms": 1_795_336_001_000, "attempt": 0, "detail": ""},
        "sink": "amqp",
        "in_flight": 1,
        "published": 900,
        "confirmed": 899,
        "returned": 0,
        "nacked": 0,
        "messages_per_second": 3.2,
    },
}


def node(path: str, role: str, kind: Any, *children: api.Node, **more: Any) -> api.Node:
    base: api.Node = {
        "path": path,
        "kind": kind,
        "role": role,
        "pbx": None,
        "pid": 100,
        "state": "running",
        "generation": 1,
        "restarts": 0,
        "since_ms": 1_795_336_000_000,
        "last_exit": None,
        "probe_age_seconds": 0.4,
        "lag_seconds": 0.001,
        "strategy": None,
        "budget": None,
        "calls": None,
        "children": list(children),
    }
    base.update(more)  # type: ignore[typeddict-item]
    return base


TREE = node(
    "root",
    "Root",
    "supervisor",
    node("publisher", "Publisher", "worker", generation=3, restarts=2, last_exit="killed"),
    node(
        "pbx/pbx1",
        "Pbx",
        "supervisor",
        node("pbx/pbx1/connection", "Connection", "worker", pbx="pbx1"),
        node(
            "pbx/pbx1/switchboard",
            "Switchboard",
            "worker",
            node("pbx/pbx1/calls/0", "Calls", "calls", pbx="pbx1", pid=None, calls=1),
            pbx="pbx1",
            calls=1,
        ),
        pbx="pbx1",
        strategy="one_for_one",
        budget={"used": 0, "allowed": 5, "reset_seconds": None},
    ),
    strategy="one_for_one",
    budget={"used": 3, "allowed": 5, "reset_seconds": 41.2},
)


class FakeBackend(api.Backend):
    """Answers everything, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.hang = asyncio.Event()
        self.closed = threading.Event()
        self.status_now: api.Status = STATUS
        self.messages_now: list[dict[str, Any]] = [MESSAGE]

    async def status(self) -> api.Status:
        return self.status_now

    async def tree(self) -> api.Node:
        return TREE

    async def calls(self, pbx: str | None) -> list[api.CallSummary]:
        self.asked.append(("calls", pbx))
        return [CALL]

    async def call(self, call_id: str, pbx: str | None) -> api.CallDetail:
        self.asked.append(("call", call_id, pbx))
        if call_id != CALL["call_id"]:
            raise api.NotFound(f"there is no call {call_id}")
        return {"summary": CALL, "state": {"legs": {"1795336915.0": {"state": "Up"}}}, "messages": [MESSAGE]}

    async def messages(self, limit: int) -> list[dict[str, Any]]:
        return self.messages_now[-limit:]

    async def kill(self, path: str) -> api.Done:
        self.asked.append(("kill", path))
        if path == "root":
            raise api.Refused("root is not killed this way")
        return {"done": f"{path} was killed"}

    async def restart(self, path: str) -> api.Done:
        self.asked.append(("restart", path))
        # Longer than the usual limit: a restart has one of its own.
        await asyncio.sleep(0.5)
        return {"done": f"{path} was stopped and is started again"}

    async def which_children(self, path: str) -> list[dict[str, Any]]:
        return [
            {"id": "recovery", "state": "down", "generation": 1, "pid": None, "type": "worker", "restart": "permanent"},
            {
                "id": "publisher",
                "state": "running",
                "generation": 3,
                "pid": 7,
                "type": "worker",
                "restart": "permanent",
            },
        ]

    async def get_state(self, path: str) -> dict[str, Any]:
        if path == "publisher":
            await self.hang.wait()
        return {"_sink": {"phase": "connected"}, "_name": "a\x1bb"}

    async def statistics(self, path: str) -> dict[str, Any]:
        return {"received": {"Offer": 12}, "sent": {}, "held": 0}

    async def trace(self, path: str, most: int) -> AsyncIterator[bytes]:
        self.asked.append(("trace", path, most))
        return self._trace(most)

    async def _trace(self, most: int) -> AsyncIterator[bytes]:
        for number in range(most):
            yield b'{"at_ms":1795336100000,"way":"in","other":"publisher#1","message":"Offer(%d)"}' % number

    async def suspend(self, path: str) -> api.Done:
        if path.endswith("connection"):
            raise api.Refused("Asterisk cuts off a client that does not read")
        return {"done": f"{path} is suspended"}

    async def resume(self, path: str) -> api.Done:
        return {"done": f"{path} goes on"}

    async def reconcile(self, pbx: str | None, dry_run: bool) -> list[api.Reconciled]:
        self.asked.append(("reconcile", pbx, dry_run))
        return [
            {"pbx": "pbx1", "dry_run": dry_run, "channels": 2, "adopted": ["1.1"], "corrected": [], "ended": ["1.2"]}
        ]

    async def outbox(self) -> list[api.OutboxStatus]:
        return [
            {
                "owner": "pbx/pbx1/switchboard",
                "depth": 2,
                "oldest_ms": 1_795_336_910_000,
                "in_flight": 1,
                "parked": 0,
                "held_up": 0,
                "withheld": 0,
                "bytes": 40960,
            }
        ]

    async def outbox_redrive(self, pbx: str | None) -> api.Done:
        self.asked.append(("outbox_redrive", pbx))
        return {"done": "3 messages are offered again"}

    async def quarantine(self, pbx: str | None) -> list[api.QuarantineRow]:
        return [QUARANTINED]

    async def quarantine_show(self, pbx: str, n: int) -> api.QuarantineDetail:
        self.asked.append(("quarantine_show", pbx, n))
        return {"row": QUARANTINED, "body": '{"type":"X"}', "traceback": "Traceback …\nZeroDivisionError"}

    async def quarantine_redrive(self, pbx: str, n: int) -> api.Done:
        self.asked.append(("quarantine_redrive", pbx, n))
        return {"done": "redriven"}

    async def quarantine_drop(self, pbx: str, n: int) -> api.Done:
        self.asked.append(("quarantine_drop", pbx, n))
        return {"done": "dropped"}

    async def journal(self, pbx: str | None) -> list[api.JournalStatus]:
        return [
            {
                "pbx": "pbx1",
                "uuid": "u",
                "first_n": 1,
                "last_n": 12350,
                "rows": 12350,
                "bytes": 9_000_000,
                "segments": 1,
                "first_ms": 1_795_336_000_000,
                "last_ms": 1_795_336_919_000,
                "folded_n": 12350,
                "lost": 0,
            }
        ]

    async def journal_export(self, pbx: str, first_n: int | None, last_n: int | None) -> AsyncIterator[bytes]:
        self.asked.append(("journal_export", pbx, first_n, last_n))
        if pbx != "pbx1":
            raise api.NotFound(f"there is no PBX {pbx}")
        return self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        yield b'{"n":1}'
        yield b'{"n":2}'
        if self.hang.is_set():
            raise api.Refused("the journal's segment is torn")

    async def gaps(self, pbx: str | None) -> list[api.Gap]:
        return [
            {
                "pbx": "pbx1",
                "from_ms": 1_795_336_100_000,
                "to_ms": 1_795_336_105_000,
                "reason": "lost",
                "adopted": ["1.1"],
                "corrected": [],
                "ended": [],
                "inferred": 2,
                "rows_lost": 0,
            }
        ]

    async def crashes(self) -> list[api.Crash]:
        return [CRASH]

    async def crash(self, crash_id: str) -> api.CrashDetail:
        return {"crash": CRASH, "message": "JournalReaches(…)", "state": "…", "traceback": "Traceback …\nKeyError: 1"}

    async def follow(self, call_id: str | None, operation: str | None) -> AsyncIterator[bytes]:
        self.asked.append(("follow", call_id, operation))
        return self._follow()

    async def _follow(self) -> AsyncIterator[bytes]:
        try:
            yield b'{"sequence":1}'
            await self.hang.wait()
            yield b'{"sequence":2}'
        finally:
            self.closed.set()


QUARANTINED: api.QuarantineRow = {
    "pbx": "pbx1",
    "n": 77,
    "at_ms": 1_795_336_100_000,
    "call_id": "1.1",
    "where": "call",
    "error": "ZeroDivisionError: division by zero",
    "attempts": 0,
}

CRASH: api.Crash = {
    "id": "5",
    "at_ms": 1_795_336_100_000,
    "path": "pbx/pbx1/switchboard",
    "generation": 2,
    "reason": "exception",
    "error": "KeyError: 1",
}


class ServerThread:
    """A control server in an event loop of its own, as Monitor has it."""

    def __init__(self, path: Path, backend: Callable[[], api.Backend], **options: Any) -> None:
        self.path = path
        self._ready: Future[ControlServer] = Future()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(backend, options)))

    def __enter__(self) -> "ServerThread":
        self._thread.start()
        self._ready.result(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _run(self, backend: Callable[[], api.Backend], options: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.backend = backend()
        server = ControlServer(Control(socket=self.path), self.backend, **options)
        try:
            await server.start()
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self._ready.set_result(server)
        await self._end.wait()
        await server.stop()

    def call(self, function: Callable[[], Any]) -> None:
        """Run something in the server's loop."""
        self.loop.call_soon_threadsafe(function)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)
