"""ARI over HTTP."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.wire.simulator.conftest import DEADLINE
from wire.simulator import Simulator


async def test_a_wrong_password_is_401(sim: Simulator, client: Any) -> None:
    """REST and the WebSocket want basic auth, or api_key in the query."""
    http = sim.url.replace("ws", "http", 1)
    for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Basic YXJpbW9uOndyb25n"}):
        for path in ("/channels", "/events?app=arimon"):
            async with client.session.get(http + path, headers=headers) as response:
                assert response.status == 401
                assert "Asterisk REST Interface" in response.headers["WWW-Authenticate"]
    async with client.session.get(http + "/channels?api_key=arimon:arimon") as response:
        assert response.status == 200


async def test_an_application_must_be_named(sim: Simulator, client: Any) -> None:
    """Without app there is no WebSocket."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.listen(app="")
    assert refused.value.status == 400


async def test_info_ping_and_unknown_things(sim: Simulator, client: Any) -> None:
    """The PBX says who it is and since when; what is not there is 404 with a message."""
    status, info = await client.get("/asterisk/info")
    assert (status, info["system"]["entity_id"]) == (200, "02:fc:00:00:00:01")
    assert info["status"]["startup_time"].endswith("+0000")
    assert (await client.get("/asterisk/info", only="system"))[1].keys() == {"system"}
    assert (await client.get("/asterisk/ping"))[1]["ping"] == "pong"
    assert await client.get("/channels/nope") == (404, {"message": "Channel not found"})
    assert await client.get("/channels/nope/variable", variable="X") == (404, {"message": "Channel not found"})
    assert await client.get("/bridges/nope") == (404, {"message": "Bridge not found"})
    assert (await client.get("/applications/nope"))[0] == 404


async def test_rest_follows_the_calls_without_any_client(sim: Simulator, client: Any) -> None:
    """Events that nobody hears happen all the same: REST shows the call that is under way."""
    playing = asyncio.create_task(sim.play("01_inbound", speed=4))
    async with asyncio.timeout(DEADLINE):
        while not (await client.get("/bridges"))[1]:  # noqa: ASYNC110 (the fact is on the other side of HTTP)
            await asyncio.sleep(0.02)
    sim.pbxs[0].pause(True)
    channels = (await client.get("/channels"))[1]
    bridges = (await client.get("/bridges"))[1]
    assert {channel["state"] for channel in channels} == {"Up"}
    caller, callee = sorted(channels, key=lambda channel: channel["creationtime"] + channel["id"])
    assert set(bridges[0]["channels"]) <= {caller["id"], callee["id"]}
    assert await client.get(f"/bridges/{bridges[0]['id']}") == (200, bridges[0])
    assert await client.get(f"/channels/{caller['id']}") == (200, caller)
    for channel in channels:
        path = f"/channels/{channel['id']}/variable"
        assert await client.get(path, variable="CHANNEL(linkedid)") == (200, {"value": caller["id"]})
        assert (await client.get(path, variable="CDR(answer,u)"))[1]["value"] > "1"
        assert (await client.get(path, variable="NOPE"))[0] == 404
        assert (await client.get(path))[0] == 400
    endpoints = {row["resource"]: row["channel_ids"] for row in (await client.get("/endpoints"))[1]}
    assert endpoints == {"trunk": [caller["id"]], "1121": [callee["id"]]}
    sim.pbxs[0].pause(False)
    await playing
    assert (await client.get("/channels"))[1] == []
    assert (await client.get(f"/channels/{caller['id']}"))[0] == 404
    assert sim.sent == []


async def test_ids_with_slashes_can_be_asked_for(sim: Simulator, client: Any) -> None:
    """An originate may choose any text as the id; it arrives escaped in the path."""
    ear = await client.listen()
    playing = asyncio.create_task(sim.play("15d_", speed=1))
    created = (await ear.heard(1))[0]["channel"]
    assert created["id"].startswith("c2c/")
    path = created["id"].replace("/", "%2F")
    assert (await client.get(f"/channels/{created['id']}"))[1]["id"] == created["id"]
    answer = await client.request("GET", f"/channels/{path}/variable?variable=CHANNEL(linkedid)")
    assert answer == (200, {"value": created["id"]})
    playing.cancel()


async def test_the_event_filter_is_honoured(sim: Simulator, client: Any) -> None:
    """Disallowed types do not come, allowed ones alone do, an empty body takes the filter away."""
    ear = await client.listen()
    path = "/applications/arimon/eventFilter"
    body: dict[str, Any] = {"disallowed": [{"type": "ChannelVarset"}, {"type": "ChannelDialplan"}]}
    status, shown = await client.request("PUT", path, json=body)
    assert (status, shown["events_disallowed"]) == (200, body["disallowed"])
    await sim.play("04_busy", speed=0)
    await client.request("PUT", path, json={"allowed": [{"type": "Dial"}], "disallowed": []})
    await sim.play("04_busy", speed=0)
    await client.request("PUT", path, json={})
    await sim.play("04_busy", speed=0)
    await ear.until(lambda heard: len(heard.frames) == sim.pbxs[0].log.count)
    assert ear.types.count("ChannelVarset") == 14
    assert len(ear.types) == 10 + 2 + 28
    assert (await client.request("PUT", path, json=[]))[0] == 400
    assert (await client.request("PUT", path, json={"allowed": ["Dial"]}))[0] == 400
    assert (await client.request("PUT", "/applications/nope/eventFilter", json={}))[0] == 404


async def test_the_filter_is_gone_with_the_link(sim: Simulator, client: Any) -> None:
    """A client that comes back must set it again."""
    first = await client.listen()
    await client.request("PUT", "/applications/arimon/eventFilter", json={"allowed": [{"type": "Dial"}]})
    await first.ws.close()
    await client.listen()
    assert (await client.get("/applications/arimon"))[1]["events_allowed"] == []


async def test_a_read_only_user_may_not_change_anything(client: Any) -> None:
    """Listening and GET work; the event filter is 403."""
    async with Simulator(read_only=True) as sim:
        client.url = sim.url
        await client.listen()
        assert (await client.get("/applications/arimon"))[0] == 200
        assert (await client.request("PUT", "/applications/arimon/eventFilter", json={}))[0] == 403
