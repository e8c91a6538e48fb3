"""ARI's REST resources: the snapshot of what a PBX is doing, and any other request.

    async with AriRest(pbx) as ari:
        body = await ari.snapshot(wanted.__contains__, snapshot_id="…", purpose="audit", nth=1)
        channel = await ari.post("channels", json={"endpoint": "PJSIP/1121", …})

Every request has a time limit, a limit of its answer's size, and shares `CONCURRENT` connections: Asterisk serves REST
with the same threads as everything else, and a thousand channels' variables at once would be an attack. Nothing is
retried here; whoever asked knows whether the question still matters. Credentials and CA are read at the first request,
and anew after a refusal that an operator has to mend, so that mending needs no restart.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from conf.settings import Pbx
from wire.ari.access import access
from wire.ari.errors import NEEDS_OPERATOR, AriError, AriProtocolError, AriRejected, Fault, for_status, translated

CONCURRENT = 20
"""Requests under way at once."""

VARIABLES = ("CHANNEL(linkedid)", "CDR(answer,u)", "CALLERID(dnid)")
"""What ARI's Channel does not tell but any channel answers (ari/facts.md 27): its call, when it was answered, and the
number that it dialled, though it may be in an IVR by now."""

Json = Any


class AriRest:
    """A client of one PBX's REST resources.

    Args:
        pbx: address, credentials, limits.
    """

    def __init__(self, pbx: Pbx) -> None:
        self._pbx = pbx
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._base = "http" + pbx.url.rstrip("/").removeprefix("ws")
        self._http: aiohttp.ClientSession | None = None
        self._under_way = 0
        self._doubtful = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def get(self, *path: str, **query: str) -> Json:
        """GET a resource; see `request`."""
        return await self.request("GET", *path, query=query)

    async def post(self, *path: str, json: Json = None, **query: str) -> Json:
        """POST to a resource; see `request`."""
        return await self.request("POST", *path, query=query, json=json)

    async def delete(self, *path: str, **query: str) -> Json:
        """DELETE a resource; see `request`."""
        return await self.request("DELETE", *path, query=query)

    async def request(self, method: str, *path: str, query: Mapping[str, str] | None = None, json: Json = None) -> Json:
        """One request.

        Args:
            method: GET, POST, PUT or DELETE.
            path: the parts between the slashes, unquoted: `"channels", channel_id, "variable"`; any text will do.
            query: query parameters, unquoted.
            json: a body, or None for none.

        Returns:
            the answer's JSON; None where there is none (204).

        Raises:
            AriError: see wire/ari/errors.py.
        """
        address = "/".join([self._base, *(quote(part, safe="") for part in path)])
        where = f"{method} {address}"
        target = URL(f"{address}?{urlencode(query)}" if query else address, encoded=True)
        body = None if json is None else orjson.dumps(json)
        headers = None if json is None else {"Content-Type": "application/json"}
        async with self._slots:
            http = await self._session()
            self._under_way += 1
            try:
                async with (
                    asyncio.timeout(self._pbx.request_timeout),
                    http.request(method, target, data=body, headers=headers, allow_redirects=False) as answer,
                ):
                    content = await self._content(answer, where)
                if not 200 <= answer.status < 300:
                    raise for_status(answer.status, where, _message(content))
            except Exception as error:  # aiohttp's exceptions share no base; what we do not know is raised again
                known = translated(error, where)
                if known is None:
                    raise
                self._doubtful = self._doubtful or known.fault in NEEDS_OPERATOR
                raise known from None
            finally:
                self._under_way -= 1
        return _parsed(content, where) if content else None

    async def _session(self) -> aiohttp.ClientSession:
        if self._doubtful and self._under_way == 0:
            await self._close()
        if self._http is None:
            way_in = access(self._pbx)
            self._doubtful = False
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONCURRENT, ssl=way_in.tls),
                headers=way_in.headers,
                timeout=aiohttp.ClientTimeout(),
            )
        return self._http

    async def _close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def snapshot(
        self,
        variables_for: Callable[[str], bool],
        *,
        snapshot_id: str,
        purpose: Literal["link-up", "audit", "operator"],
        nth: Literal[1, 2] = 1,
    ) -> dict[str, Any]:
        """What the PBX is doing now, as the body of a `Kind.SNAPSHOT` row.

        A variable of a channel that ended in between is left out. There is no limit on the whole but that of each
        request; put `asyncio.timeout` around it where one is needed.

        Args:
            variables_for: whether the variables of this channel (by id) are wanted too.
            snapshot_id: goes into the body.
            purpose: goes into the body.
            nth: goes into the body.

        Raises:
            AriError: an answer failed; there is no half snapshot.
        """
        asked_ms = _now_ms()
        info, channels, bridges = await _all(self.get("asterisk", "info"), self.get("channels"), self.get("bridges"))
        if not isinstance(info, dict):
            raise AriProtocolError(Fault.PROTOCOL, f"{self._base}/asterisk/info is no JSON object")
        _check_list(channels, f"{self._base}/channels")
        _check_list(bridges, f"{self._base}/bridges")
        wanted = [channel["id"] for channel in channels if variables_for(channel["id"])]
        pairs = [(channel_id, name) for channel_id in wanted for name in VARIABLES]
        values = await _all(*(self._variable(channel_id, name) for channel_id, name in pairs))
        variables: dict[str, dict[str, str]] = {}
        for (channel_id, name), value in zip(pairs, values, strict=True):
            if value is not None:
                variables.setdefault(channel_id, {})[name] = value
        return {
            "id": snapshot_id,
            "purpose": purpose,
            "nth": nth,
            "asked_ms": asked_ms,
            "answered_ms": _now_ms(),
            "info": info,
            "channels": channels,
            "bridges": bridges,
            "variables": variables,
        }

    async def _variable(self, channel_id: str, name: str) -> str | None:
        try:
            answer = await self.get("channels", channel_id, "variable", variable=name)
        except AriRejected as refusal:
            # 404: the channel ended, or never had it. 409: some versions keep functions to channels in Stasis.
            if refusal.status in (404, 409):
                return None
            raise
        value = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(value, str):
            raise AriProtocolError(Fault.PROTOCOL, f"{self._base}/channels/…/variable gave no value for {name}")
        return value

    async def _content(self, answer: aiohttp.ClientResponse, where: str) -> bytes:
        limit = self._pbx.max_response_bytes
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > limit:
                raise AriProtocolError(Fault.PROTOCOL, f"{where} answered more than pbx.max_response_bytes ({limit})")
        return bytes(content)


async def _all(*questions: Any) -> list[Any]:
    """Every answer, or the first failure; what is still under way is then cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except ExceptionGroup as several:
        # No `except*`: of Python 3.11.2 (Debian 12) what is raised in one comes in a group again.
        failures, others = several.split(AriError)
        if failures is None or others is not None:
            raise
        first: Exception = failures
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in tasks]


def _parsed(content: bytes, where: str) -> Json:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        # A channel variable or caller name with broken UTF-8 must not hide all the other channels.
        return orjson.loads(content.decode(errors="replace"))
    except orjson.JSONDecodeError:
        raise AriProtocolError(Fault.PROTOCOL, f"{where} answered what is no JSON") from None


def _message(content: bytes) -> str:
    """What an ARI error says: `{"message": …}`."""
    try:
        message = orjson.loads(content)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return message if isinstance(message, str) else ""


def _check_list(items: Json, where: str) -> None:
    good = isinstance(items, list) and all(isinstance(item, dict) and isinstance(item.get("id"), str) for item in items)
    if not good:
        raise AriProtocolError(Fault.PROTOCOL, f"{where} is no list of objects with an id")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
