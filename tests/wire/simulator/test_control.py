"""The simulator's own HTTP API."""

from typing import Any

from wire.simulator import Simulator


async def test_state_says_what_is_going_on(sim: Simulator, client: Any) -> None:
    """Clients, calls, counts and the faults there are; no password is asked."""
    await client.listen()
    await sim.play("04_busy", speed=0)
    status, state = await client.request("GET", "/sim/")
    assert status == 200
    assert state["clients"] == [{"app": "arimon", "live": True, "stalled": False}]
    assert (state["events_happened"], state["frames_sent"], state["recordings_begun"]) == (28, 28, 1)
    assert "restart" in state["faults"]


async def test_faults_by_request(sim: Simulator, client: Any) -> None:
    """Arguments come in the query or as JSON; a mistake is 400 with the reason."""
    ear = await client.listen()
    assert (await client.request("POST", "/sim/fault/garbage?kind=bad-json"))[0] == 200
    await ear.until(lambda heard: len(heard.frames) == 1)
    assert (await client.request("POST", "/sim/fault/drop", json={"how": "close", "code": 1001}))[0] == 200
    assert await ear.ended() == 1001
    for path in ("nope", "drop?how=gently", "drop?when=1"):
        status, body = await client.request("POST", f"/sim/fault/{path}")
        assert status == 400
        assert body["message"]


async def test_a_crash_spares_the_one_who_asked(sim: Simulator, client: Any) -> None:
    """The request is answered though every other connection ends."""
    ear = await client.listen()
    status, _ = await client.request("POST", "/sim/fault/restart?how=crash&down=0.5")
    assert status == 202
    assert await ear.ended() == 1006


async def test_play_and_events_by_request(sim: Simulator, client: Any) -> None:
    """More can be played, and any event be sent, while it runs."""
    ear = await client.listen()
    status, played = await client.request("POST", "/sim/play?recording=04_busy&speed=0&wait=1")
    assert (status, played["events"]) == (200, 28)
    assert (await client.request("POST", "/sim/play?recording=nothing"))[0] == 400
    assert (await client.request("POST", "/sim/event", json={"type": "Own"})) == (200, {"clients": 1})
    assert (await ear.heard(29))[-1] == {
        "type": "Own",
        "application": "arimon",
        "asterisk_id": "02:fc:00:00:00:01",
    }
    assert (await client.request("POST", "/sim/event", json=[]))[0] == 400
    assert (await client.request("POST", "/sim/flush"))[0] == 200
