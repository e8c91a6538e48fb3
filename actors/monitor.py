"""Monitor: what the tree shows to the outside: control socket, /health, /metrics, StatsD.

Every process sends its vitals once a second; Monitor keeps the last of each and asks nobody for figures. Questions of
arimon-ctl that need more go to the process concerned as a `Query`, and its `Answer` comes back here.
"""

import asyncio
import itertools
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from actors.messages import Vitals
from actors.views import crash_detail, crash_summary, health, status, tree_node
from actors.worker import WorkerActor
from conf.load import show
from conf.settings import Settings
from supervision.messages import Answer, Identity, Peer, Place, Query, Reported, Start
from supervision.reports import Report, ReportKind
from wire.control import api
from wire.control.server import ControlServer, ControlSocketError
from wire.metrics import names
from wire.metrics.collector import Collector, Source
from wire.metrics.http import Health, MonitoringServer
from wire.metrics.statsd import StatsdSender

_ANSWER_LIMIT = 5.0
"""Seconds that a process has to answer a question."""
_HEARTBEAT_LIMIT_MS = 4000
_RECENT = 200
"""Messages looked through for those of one call."""
_REPORTS_KEPT = 1000
"""Reports of all actors together; a crash report has a few kilobytes."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A question on its way from the loop to the actor."""

    reference: int
    place: Place
    name: str
    arguments: dict[str, Any]


class MonitorActor(WorkerActor):
    """The tree's face."""

    role = "monitor"

    def start(self, start: Start) -> None:
        self._settings = start.settings
        self._collector = Collector()
        self.vitals: dict[Place, tuple[Identity, Vitals]] = {}
        self.reports: deque[tuple[int, str, Report]] = deque(maxlen=_REPORTS_KEPT)
        self._report_count = 0
        self.started_ms = int(time.time() * 1000)
        self._stopped: asyncio.Event | None = None
        self._questions = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.run_loop()

    def stop(self) -> None:
        self.bridge.call(self._stop_loop)

    def measure(self) -> None:
        self.metrics.gauge(names.PROCESSES).set(len(self.vitals))
        # The slowest of them speaks once a second; three missed ones are no accident any more.
        oldest = min((vitals.at_ms for _identity, vitals in list(self.vitals.values())), default=0)
        self.metrics.gauge(names.HEARTBEAT).set(1 if time.time() * 1000 - oldest < _HEARTBEAT_LIMIT_MS else 0)

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    async def main(self) -> None:
        self._stopped = asyncio.Event()
        monitoring = MonitoringServer(self._settings.monitoring, health=self._health, figures=self._collector.totals)
        control = ControlServer(self._settings.control, Inspector(self, self._settings))
        try:
            await monitoring.start()
        except OSError as problem:
            # Somebody else has the port: the calls matter more than being asked about them over HTTP.
            self.log.error("monitor.http_refused", error=str(problem))
        self.log.info("monitor.http", **{f"monitoring_{name}": url for name, url in monitoring.addresses.items()})
        try:
            await control.start()
        except ControlSocketError as problem:
            self.log.error("monitor.control_refused", error=str(problem))
        statsd = asyncio.create_task(self._send_statsd()) if self._settings.statsd.enabled else None
        await self._stopped.wait()
        if statsd is not None:
            statsd.cancel()
        await control.stop()
        await monitoring.stop()

    def _stop_loop(self) -> None:
        assert self._stopped is not None
        self._stopped.set()

    async def _send_statsd(self) -> None:
        sender = StatsdSender(self._settings.statsd)
        while True:
            await asyncio.sleep(self._settings.statsd.interval)
            # In a thread: looking up a host name can take seconds.
            if not await asyncio.to_thread(sender.send, self._collector.flush()):
                self.metrics.counter(names.STATSD_FAILED).add()

    def _health(self) -> Health:
        problems = health(self.vitals)
        return Health(not problems, {"problems": problems})

    async def ask(self, place: Place, name: str, **arguments: Any) -> Any:
        """Ask a process of the tree.

        Raises:
            api.ControlError: it is not there, does not answer, or cannot.
        """
        reference = next(self._questions)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[reference] = future
        self.bridge.post(_Ask(reference, place, name, arguments))
        try:
            async with asyncio.timeout(_ANSWER_LIMIT):
                answer = await future
        except TimeoutError:
            raise api.Unanswered(f"{place} did not answer within {_ANSWER_LIMIT:.0f} s: it is hung") from None
        finally:
            del self._waiting[reference]
        assert isinstance(answer, Answer)
        if answer.problem is not None:
            raise api.Refused(answer.problem)
        return answer.value

    def _answered(self, answer: Answer) -> None:
        future = self._waiting.get(answer.reference)
        if future is not None and not future.done():
            future.set_result(answer)

    # --- in the actor -------------------------------------------------------------------------------------------------

    def from_loop__Ask(self, ask: _Ask) -> None:
        if not self.tell(ask.place, Query(ask.reference, ask.name, ask.arguments)):
            self.bridge.call(self._answered, Answer(ask.reference, problem=f"{ask.place} is not running"))

    def receive_Answer(self, message: Answer, _sender: Peer) -> None:
        self.bridge.call(self._answered, message)

    def receive_Vitals(self, message: Vitals, sender: Peer) -> None:
        identity = sender.identity
        self.bridge.call(self._take_vitals, identity, message)

    def receive_Reported(self, message: Reported, sender: Peer) -> None:
        self.bridge.call(self._take_reports, message.reports)

    def peers_changed(self) -> None:
        self.bridge.call(self._forget_others, {peer.identity for peer in self.peers()})

    # --- in the loop's thread: what the actor brings ------------------------------------------------------------------

    def _take_vitals(self, identity: Identity, vitals: Vitals) -> None:
        self.vitals[identity.place] = (identity, vitals)
        self._collector.accept(Source(*identity), vitals.metrics)

    def _take_reports(self, reports: tuple[tuple[int, Report], ...]) -> None:
        for at_ms, report in reports:
            self._report_count += 1
            self.reports.append((at_ms, str(self._report_count), report))

    def _forget_others(self, alive: set[Identity]) -> None:
        for place, (identity, _vitals) in list(self.vitals.items()):
            if identity not in alive:
                del self.vitals[place]
                self._collector.forget(Source(*identity))


class Inspector(api.Backend):
    """Answers arimon-ctl, in Monitor's loop."""

    def __init__(self, monitor: MonitorActor, settings: Settings) -> None:
        self._monitor = monitor
        self._settings = settings

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
                    each["message_id"]: each for each in recent if (each["server"], each["call_id"]) == (name, call_id)
                }
                said |= {each["message_id"]: each for each in map(orjson.loads, detail["waiting"])}
                messages = sorted(said.values(), key=lambda message: message["sequence"])
                found.append({"summary": detail["summary"], "state": detail["state"], "messages": messages})
        if not found:
            raise api.NotFound(f"there is no call {call_id!r}")
        if len(found) > 1:
            raise api.Refused(f"several PBXs have a call {call_id!r}: name one with --pbx")
        return found[0]

    async def kill(self, path: str) -> api.Done:
        parts = path.split("/", 3)
        if len(parts) == 4 and parts[0] == "pbx" and parts[2] == "call":
            killed = await self._monitor.ask(Place("switchboard", parts[1]), "kill_call", call_id=parts[3])
            if not killed:
                raise api.NotFound(f"there is no call {parts[3]!r} on {parts[1]}")
            return {"done": f"killed the actor of call {parts[3]}; its successor goes on"}
        identity, vitals = self._at(path)
        # Monitor may be its own victim: whoever asked sees the connection end, and that is the answer.
        os.kill(vitals.pid, 9)
        return {"done": f"killed {identity} (pid {vitals.pid})"}

    async def messages(self, limit: int) -> list[dict[str, Any]]:
        bodies = await self._monitor.ask(Place("publisher", None), "recent", limit=limit)
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

    async def config(self) -> dict[str, Any]:
        shown: dict[str, Any] = yaml.safe_load(show(self._settings))
        return shown

    async def crashes(self) -> list[api.Crash]:
        return [crash_summary(*report) for report in self._monitor.reports if report[2].kind is ReportKind.CRASH]

    async def crash(self, crash_id: str) -> api.CrashDetail:
        for at_ms, number, report in self._monitor.reports:
            if number == crash_id and report.kind is ReportKind.CRASH:
                return crash_detail(at_ms, number, report)
        raise api.NotFound(f"there is no crash report {crash_id!r}")

    async def outbox(self) -> list[api.OutboxStatus]:
        return [await self._monitor.ask(Place("switchboard", name), "outbox") for name in self._names(None)]

    async def journal(self, pbx: str | None) -> list[api.JournalStatus]:
        return [await self._monitor.ask(Place("switchboard", name), "journal") for name in self._names(pbx)]

    def _names(self, pbx: str | None) -> list[str]:
        names_ = [each.name for each in self._settings.pbx]
        if pbx is None:
            return names_
        if pbx not in names_:
            raise api.NotFound(f"there is no PBX {pbx!r}; there are: {', '.join(names_)}")
        return [pbx]

    def _at(self, path: str) -> tuple[Identity, Vitals]:
        for place, found in self._monitor.vitals.items():
            if str(place) == path:
                return found
        raise api.NotFound(f"nothing runs at {path!r}; `arimon-ctl tree` shows the paths")
