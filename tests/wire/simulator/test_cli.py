"""The command, as a child process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.wire.simulator.conftest import DEADLINE

ROOT = Path(__file__).resolve().parents[3]


class Child:
    """A simulator in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    async def ports(self) -> list[int]:
        """Wait until it listens."""
        file = self.folder / "ports"
        async with asyncio.timeout(DEADLINE):
            while not file.exists():
                assert self.process.returncode is None
                await asyncio.sleep(0.02)
        return [int(line) for line in file.read_text().splitlines()]

    async def ended(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        async with asyncio.timeout(DEADLINE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Any]:
    children: list[Child] = []

    async def begin(*words: str) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "wire.simulator", "--port-file", str(tmp_path / "ports"), *words),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        children.append(Child(process, tmp_path))
        return children[-1]

    yield begin
    for child in children:
        if child.process.returncode is None:
            child.process.kill()
            await child.process.communicate()


async def test_sigterm_ends_it_with_a_complete_log(start: Any, client: Any, tmp_path: Path) -> None:
    """As the demo uses it: it waits for the client, plays, and on SIGTERM exits 0 with every frame in the log."""
    child = await start("--port", "0", "--wait-for-client", "--log", str(tmp_path / "log"), "--speed", "20")
    client.url = f"ws://127.0.0.1:{(await child.ports())[0]}/ari"
    ear = await client.listen()
    await ear.heard(200)
    child.process.send_signal(signal.SIGTERM)
    code, out, err = await child.ended()
    await ear.ended()
    assert (code, err) == (0, "")
    assert "listens at ws://127.0.0.1:" in out
    assert "frames sent" in out
    lines = (tmp_path / "log" / "pbx1.jsonl").read_bytes().splitlines()
    logged = [orjson.loads(line)["event"] for line in lines]
    assert logged[: len(ear.events)] == ear.events
    assert len(ear.frames) >= 200


async def test_it_ends_by_itself(start: Any) -> None:
    """When everything is played, or --for seconds are over."""
    played = await start("--speed", "0", "--pbx", "2", "04_busy", "01_inbound")
    code, out, _ = await played.ended()
    assert code == 0
    assert "4 recordings begun, 0 under way, 206 events happened" in out
    timed = await start("--for", "0.3", "--quiet")
    code, out, _ = await timed.ended()
    assert (code, out.count("\n")) == (0, 1)


async def test_faults_by_command_line(start: Any, client: Any) -> None:
    """--fault makes the link end at its time."""
    child = await start("--wait-for-client", "--fault", "0.2:drop:how=close,code=1001", "--stay", "04_busy")
    client.url = f"ws://127.0.0.1:{(await child.ports())[0]}/ari"
    ear = await client.listen()
    assert await ear.ended() == 1001
    child.process.send_signal(signal.SIGINT)
    assert (await child.ended())[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nothing_of_this_name",), "no such file"),
        (("--fault", "1:boom"), "no fault 'boom'"),
        (("--loop", "0"), "at least 1, or forever"),
        (("--verbatim", "--loop", "2", "04_busy"), "repeats ids"),
    ],
)
async def test_mistakes_are_told_in_plain_words(start: Any, words: tuple[str, ...], why: str) -> None:
    """Exit code 2, and what to do instead."""
    code, _, err = await (await start(*words)).ended()
    assert code == 2
    assert why in err


async def test_a_taken_port_is_told(start: Any) -> None:
    """Exit code 1 and one line."""
    other = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    try:
        code, _, err = await (await start("--port", str(other.sockets[0].getsockname()[1]), "04_busy")).ended()
    finally:
        other.close()
        await other.wait_closed()
    assert code == 1
    assert err.startswith("cannot listen")


async def test_help_and_list(start: Any) -> None:
    """Help has the launcher's name, examples and every fault; the list has the recordings."""
    code, out, _ = await (await start("--help")).ended()
    assert code == 0
    assert out.startswith("Usage: arimon-sim ")
    assert "--wait-for-client" in out
    assert "graceful" in out
    code, out, _ = await (await start("--list")).ended()
    assert "04_busy" in out.splitlines()


async def test_a_killed_simulator_leaves_its_log(start: Any, client: Any, tmp_path: Path) -> None:
    """The log is written twice a second, so SIGKILL costs at most half a second of it."""
    child = await start("--wait-for-client", "--log", str(tmp_path / "sent.jsonl"), "--stay", "04_busy")
    client.url = f"ws://127.0.0.1:{(await child.ports())[0]}/ari"
    ear = await client.listen()
    await ear.heard(28)
    async with asyncio.timeout(DEADLINE):
        while (tmp_path / "sent.jsonl").read_bytes().count(b"\n") < 28:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.05)
    child.process.kill()
    await child.ended()
    assert await ear.ended() == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
