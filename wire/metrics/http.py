"""/health and /metrics for monitors, by HTTP. Asks whoever has the figures; knows nothing itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from conf.settings import Monitoring
from wire.metrics.collector import Figures
from wire.metrics.prometheus import CONTENT_TYPE, text


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

    async def stop(self) -> None:
        """Stop listening and end open requests. Does nothing when not started."""
