"""Several PBXs, logs, plans."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import trustme

from wire.simulator import PlannedFault, RecordingError, Simulator


async def test_several_pbxs_are_worlds_of_their_own(client: Any, tmp_path: Path) -> None:
    """Each has its port, its entity id, its log; the same ids may come from both, as from real ones."""
    async with Simulator(3, log=tmp_path) as sim:
        ears = []
        for pbx in sim.pbxs:
            client.url = pbx.url
            ears.append(await client.listen())
        await sim.wait_for_client()
        await sim.play("04_busy", speed=0)
        heard = [await ear.heard(28) for ear in ears]
    assert len({pbx.port for pbx in sim.pbxs}) == 3
    assert [events[0]["asterisk_id"] for events in heard] == [f"02:fc:00:00:00:0{number}" for number in (1, 2, 3)]
    for number, events in enumerate(heard, 1):
        lines = (tmp_path / f"pbx{number}.jsonl").read_bytes().splitlines()
        assert [orjson.loads(line)["event"] for line in lines] == events


async def test_the_log_of_one_pbx_may_be_a_file_and_can_be_played(client: Any, tmp_path: Path) -> None:
    """What was logged is a recording: verbatim, it makes the same frames again."""
    path = tmp_path / "sent.jsonl"
    async with Simulator(log=path) as sim:
        client.url = sim.url
        first = await client.listen()
        await sim.play("01_inbound", speed=0)
        await first.heard(75)
    assert (tmp_path / "sent.acts.jsonl").exists()
    async with Simulator() as sim:
        client.url = sim.url
        second = await client.listen()
        await sim.play(path, speed=0, verbatim=True)
        await second.heard(75)
    assert first.frames == second.frames


async def test_planned_faults_come_in_order(sim: Simulator, client: Any) -> None:
    """Each at its time, on every PBX."""
    ear = await client.listen()
    plan = [PlannedFault(0.1, "drop", {"how": "rst"}), PlannedFault(0.0, "garbage", {"kind": "empty"})]
    await sim.make_faults(plan)
    await ear.ended()
    acts = [act["fault"] for act in sim.pbxs[0].log.acts if act["act"] == "fault"]
    assert acts == ["garbage", "drop"]


async def test_a_wrong_recording_stops_nothing(sim: Simulator, client: Any) -> None:
    """The mistake is told before anything has happened."""
    with pytest.raises(RecordingError):
        await sim.play("04_busy", "nothing_of_this_name")
    assert sim.pbxs[0].begun == 0


async def test_a_taken_port_is_an_error(sim: Simulator) -> None:
    """The second simulator does not start, and leaves nothing behind."""
    other = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    try:
        with pytest.raises(OSError, match="in use"):
            await Simulator(ports=(port,)).start()
    finally:
        other.close()
        await other.wait_closed()


async def test_tls(client: Any, tmp_path: Path) -> None:
    """With a certificate it is wss."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Simulator(ssl=context) as sim:
        assert sim.url.startswith("wss://")
        client.url = sim.url
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.listen()
        ear = await client.listen(ssl=trusting)
        await sim.play("04_busy", speed=0)
        assert len(await ear.heard(28)) == 28
        await ear.ws.close()
