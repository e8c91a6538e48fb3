"""Clients of a simulated PBX."""

import asyncio
import base64
from typing import Any

import aiohttp
import orjson

from tests.wire.simulator.conftest import DEADLINE
from wire.simulator import Simulator
from wire.simulator.recording import load


async def test_a_client_hears_what_the_log_says(sim: Simulator, client: Any) -> None:
    """The frames arrive in order, byte for byte as they were logged, with the client's application in them."""
    ear = await client.listen(app="other")
    await sim.play("01_inbound", "04_busy", speed=0)
    await ear.heard(103)
    assert ear.frames == [sent.payload for sent in sim.sent]
    assert {event["application"] for event in ear.events} == {"other"}
    assert tuple(ear.types) == load("01_inbound").types + load("04_busy").types


async def test_loops_have_fresh_ids_and_present_times(sim: Simulator, client: Any) -> None:
    """No channel id comes twice, and each loop tells the same story."""
    ear = await client.listen()
    await sim.play("01_inbound", speed=0, loops=3)
    events = await ear.heard(225)
    loops = [events[start : start + 75] for start in (0, 75, 150)]
    ids = [{event["channel"]["id"] for event in loop if "channel" in event} for loop in loops]
    assert [len(one) for one in ids] == [2, 2, 2]
    assert len(set.union(*ids)) == 6
    for loop, own in zip(loops, ids, strict=True):
        text = orjson.dumps(loop).decode()
        assert not any(other in text for others in ids if others is not own for other in others)
    assert len({event["bridge"]["id"] for event in events if "bridge" in event}) == 3


async def test_what_was_missed_is_never_sent_again(sim: Simulator, client: Any) -> None:
    """A client that connects later hears only what happens then."""
    await sim.play("04_busy", speed=0)
    ear = await client.listen()
    await sim.play("04_busy", speed=0)
    assert len(await ear.heard(28)) == 28
    assert sim.pbxs[0].happened == 56
    assert sim.pbxs[0].log.count == 28


async def test_a_second_client_silences_the_first(sim: Simulator, client: Any) -> None:
    """The first gets ApplicationReplaced and stays connected, without another event; pings are still answered."""
    first = await client.listen()
    second = await client.listen()
    await first.heard(1)
    await sim.play("04_busy", speed=0)
    await second.heard(28)
    assert first.types == ["ApplicationReplaced"]
    assert first.events[0]["application"] == "arimon"
    assert not first.ws.closed
    await first.ws.ping()
    await second.ws.close()
    await sim.play("04_busy", speed=0)
    assert len(first.frames) == 1


async def test_two_applications_both_hear_everything(sim: Simulator, client: Any) -> None:
    """Each gets the same events with its own name in them."""
    one, two = await client.listen("one"), await client.listen("two")
    await sim.play("04_busy", speed=0)
    heard = [await ear.heard(28) for ear in (one, two)]
    assert [event | {"application": "two"} for event in heard[0]] == heard[1]


async def test_without_subscribe_all_nothing_is_heard(sim: Simulator, client: Any) -> None:
    """An application that subscribed to nothing gets none of the recorded events."""
    quiet, all_ears = await client.listen("quiet", subscribe_all=False), await client.listen("loud")
    await sim.play("04_busy", speed=0)
    await all_ears.heard(28)
    assert quiet.frames == []


async def test_a_slow_reader_is_waited_for(sim: Simulator, client: Any) -> None:
    """Played as fast as possible, nothing is lost on a client that reads late: what happens waits for it."""
    ear = await client.listen()
    await sim.play("01_inbound", speed=0, loops=300)
    events = await ear.heard(300 * 75)
    assert len(events) == sim.pbxs[0].happened == 22_500


async def test_verbatim_frames_are_the_recording(sim: Simulator, client: Any) -> None:
    """Ids and times are as recorded."""
    ear = await client.listen()
    await sim.play("04_busy", speed=0, verbatim=True)
    events = await ear.heard(28)
    assert events[0]["channel"]["id"] == "1795337611.8"
    assert events[0]["timestamp"] == "2026-11-22T08:53:31.646+0000"


async def test_a_slow_reader_may_be_cut_off_as_asterisk_does(client: Any) -> None:
    """Who reads nothing for 100 ms with 4 MiB waiting is cut; it reads the backlog, then EOF, no close frame."""
    async with Simulator(slow_reader="cut") as sim:
        client.url = sim.url
        headers = {"Authorization": "Basic " + base64.b64encode(b"arimon:arimon").decode()}
        ws = await client.session.ws_connect(
            f"{sim.url}/events?app=slow&subscribeAll=true", headers=headers, max_msg_size=0
        )
        await sim.play("01_inbound", rate=150_000, loops=1000)
        assert [act["act"] for act in sim.pbxs[0].log.acts if act["act"] == "cut-off"] == ["cut-off"]
        frames = 0
        async with asyncio.timeout(DEADLINE):
            while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                frames += 1
        assert ws.close_code == 1006
        assert frames == sim.pbxs[0].log.count < sim.pbxs[0].happened


async def test_what_is_being_played_ends_with_the_simulator() -> None:
    """A programme that would go on for ever comes back when everything is closed."""
    async with Simulator() as sim:
        playing = asyncio.create_task(sim.play("04_busy", loops=None, speed=10))
        while not sim.pbxs[0].happened:  # noqa: ASYNC110 (there is nothing else to wait for)
            await asyncio.sleep(0.01)
    async with asyncio.timeout(DEADLINE):
        assert (await playing)[0].events > 0
