"""A real ARI client (aiohttp) for the simulator, and the simulator itself."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from wire.simulator import Simulator

DEADLINE = 60.0


def authorization(username: str = "arimon", password: str = "arimon") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


class Ear:
    """A WebSocket client that keeps what it hears."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.messages: list[aiohttp.WSMessage] = []
        self.news = asyncio.Condition()
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            message = await self.ws.receive()
            async with self.news:
                self.messages.append(message)
                self.news.notify_all()
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return

    @property
    def frames(self) -> list[bytes]:
        kinds = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        return [message.data for message in self.messages if message.type in kinds]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(frame) for frame in self.frames]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def until(self, fact: Callable[["Ear"], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(DEADLINE), self.news:
            await self.news.wait_for(lambda: fact(self))

    async def heard(self, count: int) -> list[dict[str, Any]]:
        """Wait for a number of frames."""
        await self.until(lambda ear: len(ear.frames) >= count)
        return self.events

    async def ended(self) -> int | None:
        """Wait for the end of the link; gives the close code."""
        async with asyncio.timeout(DEADLINE):
            await self.task
        return self.ws.close_code


class Client:
    """An ARI client of one simulated PBX."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.ears: list[Ear] = []

    async def listen(self, app: str = "arimon", subscribe_all: bool = True, **options: Any) -> Ear:
        query = f"app={app}" + ("&subscribeAll=true" if subscribe_all else "")
        ws = await self.session.ws_connect(
            f"{self.url}/events?{query}",
            headers=authorization(),
            decode_text=False,
            max_msg_size=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            **options,
        )
        ear = Ear(ws)
        self.ears.append(ear)
        return ear

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        return await self.request("GET", path, params=query)

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        base = self.url.replace("ws", "http", 1)
        url = base.removesuffix("/ari") + path if path.startswith("/sim") else base + path
        async with self.session.request(method, url, headers=authorization(), **options) as response:
            return response.status, orjson.loads(await response.read())

    async def close(self) -> None:
        for ear in self.ears:
            ear.task.cancel()
        await asyncio.gather(*(ear.task for ear in self.ears), return_exceptions=True)
        await asyncio.gather(*(ear.ws.close() for ear in self.ears), return_exceptions=True)
        await self.session.close()


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[Client]:
    ours = Client(aiohttp.ClientSession(), sim.url)
    yield ours
    await ours.close()
