"""/health and /metrics for monitors, by HTTP. Asks whoever has the figures; knows nothing itself."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from conf.settings import Monitoring
from wire.metrics.collector import Figures
from wire.metrics.prometheus import CONTENT_TYPE, text

Answer = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Health:
    """How the daemon is."""

    healthy: bool
    """Whether it does its work now: 200, else 503."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What a person or a monitor wants to know; JSON types."""


class MonitoringServer:
    """Serves what is enabled. Lives in Monitor's event loop.

    server = MonitoringServer(settings.monitoring, health=lambda: Health(True), figures=collector.totals)
    await server.start()
    """

    def __init__(self, options: Monitoring, *, health: Callable[[], Health], figures: Callable[[], Figures]) -> None:
        """Args:
        options: addresses and paths; both on one server if address and port are the same.
        health: called at each request, in the loop's thread; must not block.
        figures: called at each request, as `health`; totals.
        """
        self._options = options
        self._health = health
        self._figures = figures
        self._runners: list[web.AppRunner] = []
        self.addresses: dict[str, str] = {}
        """`health` and `metrics` to the URL each is served at, once started."""

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address is taken or not ours; nothing is left listening.
        """
        health, metrics = self._options.health_check, self._options.metrics
        routes: dict[tuple[str, int], list[tuple[str, str, Answer]]] = {}
        if health.enabled:
            routes.setdefault((health.host, health.port), []).append(("health", health.path, self._answer_health))
        if metrics.enabled:
            routes.setdefault((metrics.host, metrics.port), []).append(("metrics", metrics.path, self._answer_metrics))
        try:
            for (host, port), served in routes.items():
                await self._listen(host, port, served)
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening and end open requests. Does nothing when not started."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        self.addresses.clear()

    async def _listen(self, host: str, port: int, served: list[tuple[str, str, Answer]]) -> None:
        application = web.Application()
        for _, path, answer in served:
            application.router.add_get(path, answer)
        # A monitor that hangs must not hold up the stop of the tree, hence the short wait for open requests.
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        for what, path, _ in served:
            self.addresses[what] = f"http://{shown}:{bound_port}{path}"

    async def _answer_health(self, _: web.Request) -> web.Response:
        health = self._health()
        body = {"status": "ok" if health.healthy else "failing", **health.detail}
        return web.Response(
            status=200 if health.healthy else 503, body=orjson.dumps(body), content_type="application/json"
        )

    async def _answer_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=text(self._figures()), headers={"Content-Type": CONTENT_TYPE})
