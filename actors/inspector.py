"""Inspector: answers arimon-ctl, in Monitor's loop, from what Monitor knows and what it asks of the tree."""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast
from uuid import uuid4

import orjson
import yaml

from actors.call import redrive
from actors.debug import MOST_TRACED
from actors.messages import Vitals
from actors.reports import Reports
from actors.views import crash_detail, crash_summary, status, tree_node
from conf.load import show
from conf.settings import Settings
from supervision.messages import Identity, Place
from wire.control import api
from wire.control.server import RECONCILE_SECONDS, REDRIVE_SECONDS, RESTART_SECONDS
from wire.store.journal import JournalReader
from wire.store.row import Kind, Position

ROOT = Place("root", None)

_RECENT = 200
"""Messages looked through for those of one call."""
_TRACE_EVERY = 0.2
"""Seconds between two looks at what was traced."""
_LOOK_EVERY = 0.1
"""Seconds between two questions whether the looks of a reconciliation are folded."""
_FOLLOW_EVERY = 0.2
"""Seconds between two looks for messages of somebody who follows them."""
_EXPORT_LINES = 500
"""Rows of a journal read at once, between which Monitor does other things."""
_LAST_WORD = 0.1
"""Seconds that Monitor's answer has to leave before it is restarted or killed."""


class Knows(Protocol):
    """What Monitor knows, and whom it can ask."""

    @property
    def vitals(self) -> Mapping[Place, tuple[Identity, Vitals]]:
        """The last of each process."""

    @property
    def reports(self) -> Reports:
        """Kept ones."""

    @property
    def started_ms(self) -> int:
        """When Monitor began, Unix milliseconds."""

    async def ask(self, place: Place, question: str, /, *, limit: float = ..., **arguments: Any) -> Any:
        """Ask a process of the tree."""


class Inspector(api.Backend):
    """Answers arimon-ctl, in Monitor's loop."""

    def __init__(self, monitor: Knows, settings: Settings) -> None:
        self._monitor = monitor
        self._settings = settings
        self._last_order: asyncio.Future[Any] | None = None

    async def status(self) -> api.Status:
        return status(self._settings, self._monitor.vitals, self._monitor.started_ms)

    async def tree(self) -> api.Node:
        return tree_node(self._monitor.vitals)

    async def calls(self, pbx: str | None) -> list[api.CallSummary]:
        found: list[api.CallSummary] = []
        for name in self._names(pbx):
            found.extend(await self._monitor.ask(Place("switchboard", name), "calls"))
        return sorted(found, key=lambda call: call["since_ms"])

    async def call(self, call_id: str, pbx: str | None) -> api.CallDetail:
        found: list[api.CallDetail] = []
        recent = await self.messages(_RECENT)
        for name in self._names(pbx):
            detail = await self._monitor.ask(Place("switchboard", name), "call", call_id=call_id)
            if detail is not None:
                said = {
                    told["message_id"]: each
                    for each in recent
                    if ((told := _told(each))["server"], told["call_id"]) == (name, call_id)
                }
                said |= {_told(each)["message_id"]: each for each in map(orjson.loads, detail["waiting"])}
                messages = sorted(said.values(), key=_place)
                found.append({"summary": detail["summary"], "state": detail["state"], "messages": messages})
        if not found:
            raise api.NotFound(f"there is no call {call_id!r}")
        if len(found) > 1:
            raise api.Refused(f"several PBXs have a call {call_id!r}: name one with --pbx")
        return found[0]

    # --- processes and calls ------------------------------------------------------------------------------------------

    async def which_children(self, path: str) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], await self._ask(path, "which_children"))

    async def get_state(self, path: str) -> dict[str, Any]:
        return cast(dict[str, Any], await self._ask(path, "get_state"))

    async def statistics(self, path: str) -> dict[str, Any]:
        return cast(dict[str, Any], await self._ask(path, "statistics"))

    async def suspend(self, path: str) -> api.Done:
        return {"done": await self._ask(path, "suspend")}

    async def resume(self, path: str) -> api.Done:
        return {"done": await self._ask(path, "resume")}

    async def trace(self, path: str, most: int) -> AsyncIterator[bytes]:
        if not 0 < most <= MOST_TRACED:
            raise api.BadRequest(f"max must be from 1 to {MOST_TRACED}")
        await self._ask(path, "trace", most=most)
        return self._traced(path)

    async def _traced(self, path: str) -> AsyncIterator[bytes]:
        over = False
        try:
            while not over:
                found = await self._ask(path, "traced")
                over = found["over"]
                for record in found["records"]:
                    yield orjson.dumps(record)
                if not over:
                    await asyncio.sleep(_TRACE_EVERY)
        finally:
            if not over:
                # Whoever looked on has gone; if the actor has too, there is nothing to end.
                with contextlib.suppress(api.ControlError):
                    await self._ask(path, "trace", most=0)

    async def kill(self, path: str) -> api.Done:
        place, within = self._target(path)
        if within is not None:
            kind, _, key = within.partition("/")
            if kind != "call":
                raise api.Refused(f"{path} has no process: a partition lives and dies with its Switchboard")
            if not await self._monitor.ask(place, "kill_call", call_id=key):
                raise api.NotFound(f"there is no call {key!r} on {place.pbx}")
            return {"done": f"killed the actor of call {key}; its successor goes on"}
        if place == ROOT:
            os.kill(self._monitor.vitals[ROOT][1].pid, signal.SIGKILL)
            return {"done": "killed root; arimond starts everything over"}
        # By its supervisor, which holds its pidfd: a pid may be somebody else's by now.
        if place.role == "monitor":
            self._order_own_end(_above(place), "kill_child", path)
            return {"done": "killed monitor; ask its successor in a moment"}
        return {"done": await self._monitor.ask(_above(place), "kill_child", id=path)}

    async def restart(self, path: str) -> api.Done:
        place, within = self._target(path)
        if within is not None:
            if within.startswith("calls/"):
                raise api.Refused(f"{path} has no process: restart its Switchboard")
            await self._ask(path, "restart")
            return {"done": f"{path} was stopped and started again"}
        if place == ROOT:
            raise api.Refused("Root is restarted with arimond: `systemctl restart arimond`")
        above = _above(place)
        if place.role == "monitor":
            self._order_own_end(above, "restart_child", path)
            return {"done": "monitor stops and starts again; ask again in a moment"}
        await self._monitor.ask(above, "restart_child", id=path, limit=RESTART_SECONDS - 1)
        return {"done": f"{path} was stopped and is started again"}

    def _order_own_end(self, above: Place, order: str, path: str) -> None:
        """Monitor cannot tell of its own end: its answer is on its way before this order is."""

        def give() -> None:
            self._last_order = asyncio.ensure_future(self._monitor.ask(above, order, id=path))
            # There will be no answer: whoever waits for it is gone by then.
            self._last_order.add_done_callback(lambda done: done.cancelled() or done.exception())

        asyncio.get_running_loop().call_later(_LAST_WORD, give)

    async def _ask(self, path: str, name: str, **arguments: Any) -> Any:
        place, within = self._target(path)
        has_children = place.role in ("root", "pbx", "switchboard") and not (within or "").startswith("call/")
        if name == "which_children" and not has_children:
            raise api.Refused(f"{path} supervises nobody")
        if within is None:
            return await self._monitor.ask(place, name, **arguments)
        answer = await self._monitor.ask(place, "ask_within", path=within, name=name, arguments=arguments)
        if answer is None or answer is False:
            raise api.NotFound(f"there is nothing at {path!r} that could answer {name}")
        return answer

    def _target(self, path: str) -> tuple[Place, str | None]:
        """Which process a path is in, and what is meant within it: `call/ID` or `calls/INDEX`; None is itself."""
        parts = path.split("/", 3)
        if len(parts) == 4 and parts[0] == "pbx" and parts[2] in ("call", "calls"):
            [name] = self._names(parts[1])
            return Place("switchboard", name), f"{parts[2]}/{parts[3]}"
        places = [ROOT, *(Place(role, None) for role in ("publisher", "recovery", "monitor"))]
        for name in self._names(None):
            places += [Place(role, name) for role in ("pbx", "switchboard", "connection")]
        for place in places:
            if str(place) == path:
                return place, None
        raise api.NotFound(f"there is no {path!r}; `arimon-ctl tree --json` shows the paths")

    # --- messages, rows, reports --------------------------------------------------------------------------------------

    async def messages(self, limit: int) -> list[dict[str, Any]]:
        bodies = await self._monitor.ask(Place("publisher", None), "recent", count=limit)
        return [orjson.loads(body) for body in bodies]

    async def outbox_redrive(self, pbx: str | None) -> api.Done:
        count = 0
        for name in self._names(pbx):
            count += await self._monitor.ask(Place("switchboard", name), "outbox_redrive")
        return {"done": f"{count} parked messages are offered again"}

    async def quarantine(self, pbx: str | None) -> list[api.QuarantineRow]:
        found: list[api.QuarantineRow] = []
        for name in self._names(pbx):
            found.extend(await self._monitor.ask(Place("switchboard", name), "quarantine"))
        return found

    async def quarantine_show(self, pbx: str, n: int) -> api.QuarantineDetail:
        [name] = self._names(pbx)
        detail: api.QuarantineDetail | None
        detail = await self._monitor.ask(Place("switchboard", name), "quarantine_show", n=n)
        if detail is None:
            raise api.NotFound(f"row {n} of {name} is not in quarantine")
        return detail

    async def follow(self, call_id: str | None, operation: str | None) -> AsyncIterator[bytes]:
        return self._follow(call_id, operation)

    async def _follow(self, call_id: str | None, operation: str | None) -> AsyncIterator[bytes]:
        last: int | None = None
        generation: int | None = None
        while True:
            try:
                given = await self._given(last)
                if generation not in (None, given["generation"]):
                    given = await self._given(0)  # a successor counts anew: all that it has given
            except (api.Refused, api.Unanswered):
                # It is being restarted, or hung and will be: what it has not given its successor gives.
                await asyncio.sleep(_FOLLOW_EVERY)
                continue
            generation = given["generation"]
            if given["missed"]:
                raise api.Refused(f"{given['missed']} messages went by unseen: there are more than can be followed")
            last = given["last"]
            for body in given["bodies"]:
                message = orjson.loads(body)
                wanted = call_id in (None, _told(message)["call_id"])
                if not wanted or operation not in (None, message["operation"]["type"]):
                    continue
                yield body.encode()
            await asyncio.sleep(_FOLLOW_EVERY)

    async def _given(self, after: int | None) -> dict[str, Any]:
        found: dict[str, Any] = await self._monitor.ask(Place("publisher", None), "given", after=after)
        return found

    async def journal_export(self, pbx: str, first_n: int | None, last_n: int | None) -> AsyncIterator[bytes]:
        [name] = self._names(pbx)
        return self._export(name, first_n, last_n)

    async def _export(self, name: str, first_n: int | None, last_n: int | None) -> AsyncIterator[bytes]:
        reader = JournalReader(self._settings.state_dir / "pbx" / name / "journal")
        try:
            newest = await asyncio.to_thread(reader.range)
            if newest.first is None or newest.last is None:
                return
            after = None if first_n is None else Position(newest.last.uuid, first_n - 1)
            upto = newest.last if last_n is None else Position(newest.last.uuid, last_n)
            lines = reader.export(after, upto)
            while chunk := await asyncio.to_thread(lambda: list(itertools.islice(lines, _EXPORT_LINES))):
                for line in chunk:
                    yield line.rstrip(b"\n")
        finally:
            reader.close()

    async def quarantine_redrive(self, pbx: str, n: int) -> api.Done:
        [name] = self._names(pbx)
        switchboard = Place("switchboard", name)
        found = await self._monitor.ask(switchboard, "redrivable", n=n)
        if not found["entries"]:
            raise api.NotFound(f"row {n} of {name} is not in quarantine")
        if others := [kind for kind in found["kinds"] if kind != Kind.FRAME]:
            raise api.Refused(f"a row of kind {others[0]} was true at its time only: reconcile tells what is true now")
        order = await self._order(name, n, found["journals"], "redrive")
        until = asyncio.get_running_loop().time() + REDRIVE_SECONDS - 1
        while asyncio.get_running_loop().time() < until:
            done = await self._monitor.ask(switchboard, "redriven", order=order)
            if done["tried"] < found["entries"]:
                await asyncio.sleep(_LOOK_EVERY)
            elif done["error"] is None:
                return {"done": f"row {n} of {name} was applied"}
            else:
                times = "once" if done["attempts"] == 1 else f"{done['attempts']} times"
                raise api.Refused(f"row {n} of {name} was redriven {times} and stays in quarantine: {done['error']}")
        raise api.Unanswered(f"the order to redrive row {n} of {name} is journalled, and not folded yet")

    async def quarantine_drop(self, pbx: str, n: int) -> api.Done:
        [name] = self._names(pbx)
        switchboard = Place("switchboard", name)
        found = await self._monitor.ask(switchboard, "redrivable", n=n)
        if not found["entries"]:
            raise api.NotFound(f"row {n} of {name} is not in quarantine")
        await self._order(name, n, found["journals"], "drop")
        until = asyncio.get_running_loop().time() + REDRIVE_SECONDS - 1
        while asyncio.get_running_loop().time() < until:
            if not (await self._monitor.ask(switchboard, "redrivable", n=n))["entries"]:
                return {"done": f"row {n} of {name} is forgotten; the journal keeps it for as long as its segment"}
            await asyncio.sleep(_LOOK_EVERY)
        raise api.Unanswered(f"the order to drop row {n} of {name} is journalled, and not folded yet")

    async def _order(self, pbx: str, n: int, journals: list[str], command: redrive.Command) -> str:
        """Journal an operator's order about a row, of each journal that it may be of; returns its id."""
        order = uuid4().hex
        for journal in journals:
            told = redrive.command(redrive.Order(order, journal, n, command))
            await self._monitor.ask(Place("connection", pbx), "operate", command=told)
        return order

    async def config(self) -> dict[str, Any]:
        shown: dict[str, Any] = yaml.safe_load(show(self._settings))
        return shown

    async def crashes(self) -> list[api.Crash]:
        return [crash_summary(report) for report in self._monitor.reports.deaths()]

    async def crash(self, crash_id: str) -> api.CrashDetail:
        report = self._monitor.reports.get(crash_id)
        if report is None:
            raise api.NotFound(f"there is no report {crash_id!r}")
        return crash_detail(report)

    async def outbox(self) -> list[api.OutboxStatus]:
        return [await self._monitor.ask(Place("switchboard", name), "outbox") for name in self._names(None)]

    async def journal(self, pbx: str | None) -> list[api.JournalStatus]:
        return [await self._monitor.ask(Place("switchboard", name), "journal") for name in self._names(pbx)]

    async def gaps(self, pbx: str | None) -> list[api.Gap]:
        found: list[api.Gap] = []
        for name in self._names(pbx):
            found.extend(await self._monitor.ask(Place("switchboard", name), "gaps"))
        return sorted(found, key=lambda gap: gap["from_ms"])

    async def reconcile(self, pbx: str | None, dry_run: bool) -> list[api.Reconciled]:
        return list(await asyncio.gather(*(self._reconcile(name, dry_run) for name in self._names(pbx))))

    async def _reconcile(self, pbx: str, dry_run: bool) -> api.Reconciled:
        """Order two looks (a dry run needs one), and wait until Switchboard has folded them."""
        name = f"reconcile-{uuid4().hex}"
        if not await self._monitor.ask(Place("recovery", None), "reconcile", pbx=pbx, name=name, dry_run=dry_run):
            raise api.Refused(f"there is no link to {pbx}; when there is one, it is reconciled by itself")
        until = asyncio.get_running_loop().time() + RECONCILE_SECONDS - 1
        while asyncio.get_running_loop().time() < until:
            outcome = await self._monitor.ask(Place("switchboard", pbx), "outcome", name=name)
            if outcome is not None and outcome["nth"] == 2:
                return {
                    "pbx": pbx,
                    "dry_run": dry_run,
                    "channels": outcome["channels"],
                    "adopted": list(outcome["adopted"]),
                    "corrected": list(outcome["corrected"]),
                    "ended": list(outcome["ended"]),
                }
            await asyncio.sleep(_LOOK_EVERY)
        raise api.Unanswered(f"{pbx} did not say what it is doing, or what it said was not folded in time")

    def _names(self, pbx: str | None) -> list[str]:
        names_ = [each.name for each in self._settings.pbx]
        if pbx is None:
            return names_
        if pbx not in names_:
            raise api.NotFound(f"there is no PBX {pbx!r}; there are: {', '.join(names_)}")
        return [pbx]


def _told(message: dict[str, Any]) -> dict[str, Any]:
    """Where a message has its ids: in the legacy form they are in its payload."""
    told: dict[str, Any] = message.get("payload", message)
    return told


def _place(message: dict[str, Any]) -> tuple[int, str]:
    """A message's place among those of its call; the legacy form has no sequence, but a time."""
    return message.get("sequence", 0), _told(message)["timestamp"]


def _above(place: Place) -> Place:
    """Who supervises a process."""
    return Place("pbx", place.pbx) if place.pbx is not None and place.role != "pbx" else ROOT
