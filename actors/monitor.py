"""Monitor: what the tree shows to the outside: control socket, /health, /metrics, StatsD.

Every process sends its vitals once a second; Monitor keeps the last of each and asks nobody for figures. Questions of
arimon-ctl that need more go to the process concerned as a `Query`, and its `Answer` comes back here.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Any

from actors.inspector import Inspector
from actors.messages import Vitals
from actors.reports import Reports
from actors.views import health
from actors.worker import WorkerActor
from supervision.messages import Answer, Identity, Peer, Place, Query, Reported, Start
from supervision.reports import Report
from wire.control import api
from wire.control.server import ControlServer, ControlSocketError
from wire.metrics import names
from wire.metrics.collector import Collector, Source
from wire.metrics.http import Health, MonitoringServer
from wire.metrics.statsd import StatsdSender

_ANSWER_LIMIT = 4.0
"""Seconds that a process has to answer a question: less than the control server's own limit, so that it can say who is
hung."""
_HEARTBEAT_LIMIT_MS = 4000


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
    unsuspendable = "nobody could resume it"

    def start(self, start: Start) -> None:
        self._settings = start.settings
        self._collector = Collector()
        self.vitals: dict[Place, tuple[Identity, Vitals]] = {}
        self.reports = Reports(start.settings.state_dir / "crashes")
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
        problems = health(self._settings, self.vitals)
        return Health(not problems, {"problems": problems})

    async def ask(self, place: Place, question: str, /, *, limit: float = _ANSWER_LIMIT, **arguments: Any) -> Any:
        """Ask a process of the tree.

        Args:
            place: where it stands.
            question: its name.
            limit: longest wait for the answer, seconds.
            arguments: of the question.

        Raises:
            api.ControlError: it is not there, does not answer, or cannot.
        """
        reference = next(self._questions)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[reference] = future
        self.bridge.post(_Ask(reference, place, question, arguments))
        try:
            async with asyncio.timeout(limit):
                answer = await future
        except TimeoutError:
            raise api.Unanswered(f"{place} did not answer within {limit:.0f} s: it is hung") from None
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
            self.reports.add(at_ms, report)

    def _forget_others(self, alive: set[Identity]) -> None:
        for place, (identity, _vitals) in list(self.vitals.items()):
            if identity not in alive:
                del self.vitals[place]
                self._collector.forget(Source(*identity))
