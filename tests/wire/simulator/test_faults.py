"""What goes wrong, on request."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.wire.simulator.conftest import DEADLINE
from wire.simulator import FaultError, Simulator
from wire.simulator.faults import FAULTS, Faults, arguments, parse
from wire.simulator.frames import GARBAGE


async def test_drop_ends_the_link_without_a_close_frame(sim: Simulator, client: Any) -> None:
    """FIN, or RST: the client sees 1006 either way, and may come back at once."""
    for how in ("fin", "rst"):
        ear = await client.listen()
        await sim.faults.drop(how=how)
        assert await ear.ended() == 1006
    await client.listen()
    assert [act["fault"] for act in sim.pbxs[0].log.acts if act["act"] == "fault"] == ["drop", "drop"]


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_drop_with_a_close_frame(sim: Simulator, client: Any, code: int) -> None:
    """The closing handshake carries the code that was asked for."""
    ear = await client.listen()
    await sim.faults.drop(how="close", code=code)
    assert await ear.ended() == code


async def test_events_before_a_fin_arrive(sim: Simulator, client: Any) -> None:
    """What was handed to the transport is delivered before the end."""
    ear = await client.listen()
    await sim.play("01_inbound", speed=0, loops=20)
    await sim.faults.drop(how="fin")
    await ear.ended()
    assert len(ear.frames) == 1500


async def test_a_stalled_link_is_silent_and_goes_on_where_it_was(sim: Simulator, client: Any) -> None:
    """Nothing comes, no ping is answered, TCP stays up; after it, everything comes in order."""
    ear = await client.listen()
    await sim.faults.stall()
    await sim.play("04_busy", speed=0)
    await ear.ws.ping()
    assert await client.get("/channels") == (200, [])
    assert (ear.messages, sim.sent, ear.ws.closed) == ([], [], False)
    await sim.faults.resume()
    assert len(await ear.heard(28)) == 28
    assert ear.frames == [sent.payload for sent in sim.sent]


async def test_a_link_stalled_for_too_much_is_cut(sim: Simulator, client: Any) -> None:
    """After 4 MiB that nobody read, Asterisk has given the client up."""
    ear = await client.listen()
    await sim.faults.stall()
    await sim.play("01_inbound", speed=0, loops=120)
    await sim.faults.resume()
    assert await ear.ended() == 1006
    assert ear.frames == []


async def test_a_slow_pbx_is_late_and_alive(sim: Simulator, client: Any) -> None:
    """Events and REST answers come after the delay, none lost, in order."""
    ear = await client.listen()
    await sim.faults.slow(delay=0.3)
    clock = asyncio.get_running_loop().time
    began = clock()
    await sim.play("04_busy", speed=0)
    assert ear.frames == []
    assert (await client.get("/channels"))[0] == 200
    assert clock() - began >= 0.3
    await ear.heard(28)
    assert ear.frames == [sent.payload for sent in sim.sent]


@pytest.mark.parametrize("status", [401, 503])
async def test_http_answers_with_an_error(sim: Simulator, client: Any, status: int) -> None:
    """The WebSocket or REST alone, or both, until it ends."""
    await sim.faults.http(answer=str(status), target="ws")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.listen()
    assert refused.value.status == status
    assert (await client.get("/channels"))[0] == 200
    await sim.faults.http(answer=str(status), seconds=0.2)
    assert (await client.get("/channels"))[0] == status
    async with asyncio.timeout(DEADLINE):
        while (await client.get("/channels"))[0] == status:  # noqa: ASYNC110 (the other side of HTTP)
            await asyncio.sleep(0.02)
    await client.listen()


async def test_rest_stalls_until_it_ends(sim: Simulator, client: Any) -> None:
    """No answer comes while it lasts; the WebSocket works."""
    ear = await client.listen()
    await sim.faults.http(answer="stall", target="rest")
    asking = asyncio.create_task(client.get("/channels"))
    await sim.play("04_busy", speed=0)
    await ear.heard(28)
    assert not asking.done()
    await sim.faults.resume()
    assert await asking == (200, [])


async def test_refused_connections(sim: Simulator, client: Any) -> None:
    """Nobody can connect, who is connected stays, and the port is the same afterwards."""
    ear = await client.listen()
    await sim.faults.refuse(seconds=None)
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.listen("other")
    await sim.play("04_busy", speed=0)
    await ear.heard(28)
    await sim.faults.resume()
    await client.listen("other")


@pytest.mark.parametrize("kind", sorted(set(GARBAGE) - {"bad-opcode", "masked", "torn", "bad-utf8"}))
async def test_well_framed_garbage_leaves_the_link_up(sim: Simulator, client: Any, kind: str) -> None:
    """Events go on after it, and the log has it."""
    ear = await client.listen()
    await sim.faults.garbage(kind, size=100_000)
    await sim.play("04_busy", speed=0)
    await ear.until(lambda heard: len(heard.frames) == 29)
    assert ear.frames == [sent.payload for sent in sim.sent]


async def test_bad_utf8_arrives_as_it_is(sim: Simulator, client: Any) -> None:
    """A client that decodes itself sees the bytes."""
    ear = await client.listen()
    await sim.faults.garbage("bad-utf8")
    await ear.until(lambda heard: len(heard.frames) == 1)
    assert b"\xff\xfe" in ear.frames[0]


@pytest.mark.parametrize("kind", ["bad-opcode", "torn"])
async def test_broken_framing_ends_the_link(sim: Simulator, client: Any, kind: str) -> None:
    """The client cannot go on."""
    ear = await client.listen()
    await sim.faults.garbage(kind)
    await ear.ended()


async def test_lost_and_repeated_events(sim: Simulator, client: Any) -> None:
    """Some events are not sent though the link is up, others twice; REST knows of all."""
    ear = await client.listen()
    await sim.faults.lose(events=3)
    await sim.play("04_busy", speed=0)
    await ear.heard(25)
    await sim.faults.repeat(events=2)
    await sim.play("04_busy", speed=0)
    await ear.heard(25 + 30)
    assert ear.frames[25:27][0] == ear.frames[25:27][1]
    assert sim.pbxs[0].happened == 56


async def test_a_crash_leaves_an_empty_pbx(sim: Simulator, client: Any) -> None:
    """Calls vanish without a word; another start time; channel names begin again, ids do not."""
    pbx = sim.pbxs[0]
    ear = await client.listen()
    playing = asyncio.create_task(sim.play("01_inbound", speed=1))
    first = (await ear.heard(20))[0]["channel"]
    started = (await client.get("/asterisk/info"))[1]["status"]["startup_time"]
    crashing = asyncio.create_task(sim.faults.restart(how="crash", down=0.3))
    assert await ear.ended() == 1006
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.listen()
    await crashing
    again = await client.listen()
    assert "ChannelDestroyed" not in ear.types
    assert (await client.get("/channels"))[1] == []
    assert (await client.get("/asterisk/info"))[1]["status"]["startup_time"] != started
    assert pbx.runs == {}
    await playing
    await sim.play("01_inbound", speed=0)
    second = (await again.heard(75))[0]["channel"]
    assert second["name"] == first["name"]
    assert second["id"] != first["id"]


async def test_restart_now_hangs_up_and_says_so(sim: Simulator, client: Any) -> None:
    """Every channel alive gets its ChannelDestroyed, every bridge its end, then 1006."""
    ear = await client.listen()
    playing = asyncio.create_task(sim.play("01_inbound", speed=2))
    await ear.until(lambda heard: heard.types.count("ChannelEnteredBridge") == 2)
    alive = {channel["id"] for channel in (await client.get("/channels"))[1]}
    await sim.faults.restart(how="now", down=0)
    assert await ear.ended() == 1006
    ended = {event["channel"]["id"] for event in ear.events if event["type"] == "ChannelDestroyed"}
    assert ended == alive
    assert ear.types[-4:] == ["ChannelLeftBridge", "BridgeDestroyed", "ChannelDestroyed", "ChannelDestroyed"]
    assert ear.frames == [sent.payload for sent in sim.sent]
    await playing


async def test_a_graceful_restart_waits_for_the_calls(sim: Simulator, client: Any) -> None:
    """No new call begins, the one under way ends as recorded, the close code is 1000; then calls come again."""
    ear = await client.listen()
    playing = asyncio.create_task(sim.play("04_busy", speed=1, loops=3))
    await ear.heard(1)
    await sim.faults.restart(how="graceful", down=0)
    assert await ear.ended() == 1000
    assert len(ear.frames) == 28
    await playing
    assert sim.pbxs[0].happened == 84


def test_faults_are_parsed_with_their_types() -> None:
    """The command line's form, and its errors."""
    planned = parse("5.5:restart:how=crash,down=3")
    assert (planned.at, planned.name, planned.arguments) == (5.5, "restart", {"how": "crash", "down": 3.0})
    assert parse("1:resume").arguments == {}
    for text, why in (
        ("drop", "is wanted"),
        ("1:boom", "no fault 'boom'"),
        ("1:drop:when=2", "no argument 'when'"),
        ("1:lose:events=x", "is no int"),
    ):
        with pytest.raises(FaultError, match=why):
            parse(text)


async def test_wrong_values_are_refused(sim: Simulator) -> None:
    """A fault that does not exist is not made silently."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("drop", {"how": "gently"}),
        ("http", {"answer": "200"}),
        ("http", {"target": "both"}),
        ("garbage", {"kind": "nice"}),
        ("restart", {"how": "slowly"}),
    ]
    for name, given in wrong:
        with pytest.raises(FaultError, match=f"{name}: "):
            await sim.faults.make(name, **given)


def test_every_listed_fault_exists() -> None:
    """The list that help and the control API show is the methods there are."""
    for name in FAULTS:
        assert callable(getattr(Faults, name))
        assert arguments(name, {}) == {}
