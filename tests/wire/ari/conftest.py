"""What tests of wire/ari start and stop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import trustme
from aiohttp import web
from structlog.testing import LogCapture

from conf.settings import Pbx
from tests.wire.ari.fakes import LIMIT, Certificates, Doorway, Facts, FakePbx, Proxy, Watched, listen
from wire.ari import client
from wire.ari.client import AriLink
from wire.ari.session import Described, Down

Between = TypeVar("Between", Proxy, Doorway)
Start = Callable[[int], Awaitable[Between]]


@pytest.fixture
async def facts() -> Facts:
    return Facts()


@pytest.fixture
async def serve(facts: Facts) -> AsyncIterator[Callable[..., Awaitable[FakePbx]]]:
    """Starts fake PBXs and stops them after the test."""
    runners: list[tuple[FakePbx, web.AppRunner]] = []

    async def start(
        script: Callable[[FakePbx, web.WebSocketResponse], Awaitable[None]] = listen,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        **options: Any,
    ) -> FakePbx:
        pbx = FakePbx(facts, script, **options)
        app = web.Application()
        app.router.add_get("/ari/events", pbx.events)
        app.router.add_route("*", "/ari/{tail:.*}", pbx.rest)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        pbx.port = runner.addresses[0][1]
        runners.append((pbx, runner))
        return pbx

    yield start
    for pbx, runner in runners:
        pbx.release.set()
        for socket in pbx.sockets:
            await socket.close()
        await runner.cleanup()


@pytest.fixture
async def watch(facts: Facts) -> AsyncIterator[Callable[[Pbx], Watched]]:
    """Runs links and stops them after the test; a link that raised fails it."""
    running: list[tuple[Watched, asyncio.Task[None]]] = []

    def start(pbx: Pbx) -> Watched:
        said: list[tuple[Any, ...]] = []

        def say(*what: Any) -> None:
            said.append(what)
            facts.changed()

        def down(why: Down, detail: str, heard_ms: int) -> None:
            say("down", why, detail, heard_ms)

        def state(described: Described) -> None:
            say("state", described)

        link = AriLink(
            pbx,
            on_frame=lambda data: say("frame", data),
            on_up=lambda number: say("up", number),
            on_down=down,
            on_state=state,
        )
        watched = Watched(link, said, facts)
        running.append((watched, asyncio.create_task(link.run())))
        return watched

    yield start
    for watched, task in running:
        watched.link.stop()
        async with asyncio.timeout(LIMIT):
            await task


@asynccontextmanager
async def standing(kind: Callable[[int, Facts], Between], facts: Facts) -> AsyncIterator[Start[Between]]:
    """Starts what stands between a link and a PBX, before the port given; all of it is stopped at the end."""
    started: list[tuple[Between, asyncio.Server]] = []

    async def start(target: int) -> Between:
        one = kind(target, facts)
        started.append((one, await one.start()))
        return one

    yield start
    for one, server in started:
        server.close()
        await one.stop()
        await server.wait_closed()


@pytest.fixture
async def proxy(facts: Facts) -> AsyncIterator[Start[Proxy]]:
    async with standing(Proxy, facts) as start:
        yield start


@pytest.fixture
async def doorway(facts: Facts) -> AsyncIterator[Start[Doorway]]:
    async with standing(Doorway, facts) as start:
        yield start


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], Certificates]:
    """Makes a new CA and a server certificate for a host."""

    def make(host: str) -> Certificates:
        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(host).configure_cert(context)
        path = tmp_path / f"ca-{len(list(tmp_path.iterdir()))}.pem"
        ca.cert_pem.write_to_path(str(path))
        return Certificates(context, path)

    return make


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> list[MutableMapping[str, Any]]:
    """Everything that wire.ari.client logs, at any level."""
    capture = LogCapture()
    monkeypatch.setattr(client, "logger", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries
