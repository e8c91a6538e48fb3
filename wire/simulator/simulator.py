"""The simulator as tests, benchmarks and the demo use it: one or more PBXs in one event loop.

async with Simulator() as sim:
    ... connect to sim.url as arimon/arimon ...
    await sim.wait_for_client()
    await sim.play("01_inbound", speed=0)
    assert sim.sent[0].event["type"] == "ChannelCreated"
    await sim.faults.drop(how="rst")
"""

import asyncio
import ssl as tls
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from wire.simulator.faults import Faults, PlannedFault
from wire.simulator.pbx import Pbx, Reader
from wire.simulator.program import Played, Program
from wire.simulator.sent_log import Sent, SentLog


class Simulator:
    """Simulated PBXs, named pbx1, pbx2 …

    Args:
        pbxs: how many.
        ports: their ports; missing ones and 0 are free ones.
        log: a folder, which gets `pbx1.jsonl` and `pbx1.acts.jsonl` …; with one PBX also a file named `….jsonl`.
        remember: how many sent frames of each PBX `sent` keeps.
        options: what else `Pbx` takes: host, username, password, read_only, ssl, slow_reader, seed.
    """

    FLUSH_EVERY = 0.5
    """The log is written to disk at least this often, seconds, so that a killed simulator leaves one too."""

    def __init__(
        self,
        pbxs: int = 1,
        *,
        ports: tuple[int, ...] = (),
        log: str | Path | None = None,
        remember: int = 100_000,
        host: str = "127.0.0.1",
        username: str = "arimon",
        password: str = "arimon",  # noqa: S107 (the password of the recorded Asterisk's example user)
        read_only: bool = False,
        ssl: tls.SSLContext | None = None,
        slow_reader: Reader = "wait",
        seed: int = 0,
    ) -> None:
        epoch = time.monotonic()
        self.pbxs: list[Pbx] = []
        for number in range(1, pbxs + 1):
            name = f"pbx{number}"
            self.pbxs.append(
                Pbx(
                    name,
                    host=host,
                    port=ports[number - 1] if number <= len(ports) else 0,
                    username=username,
                    password=password,
                    read_only=read_only,
                    ssl=ssl,
                    entity_id=f"02:fc:00:00:00:{number:02x}",
                    log=SentLog(_log_path(log, name, pbxs), remember),
                    epoch=epoch,
                    slow_reader=slow_reader,
                    seed=seed + number,
                )
            )
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def url(self) -> str:
        """ARI's address of the first PBX."""
        return self.pbxs[0].url

    @property
    def port(self) -> int:
        """The first PBX's port."""
        return self.pbxs[0].port

    @property
    def sent(self) -> list[Sent]:
        """What the first PBX sent."""
        return self.pbxs[0].log.sent

    @property
    def faults(self) -> Faults:
        """The first PBX's faults."""
        return self.pbxs[0].faults

    async def play(self, *recordings: str | Path, program: Program | None = None, **options: Any) -> list[Played]:
        """Play a programme on every PBX, to its end.

        Args:
            recordings: files, folders or names in tests/traces; none keeps the programme's.
            program: what to play; an ordinary one by default.
            options: fields of `Program` to change: speed, rate, lanes, every, loops, shuffle, verbatim, channelvars,
                wait_for_client.

        Raises:
            RecordingError: a recording cannot be found or read.
        """
        program = replace(program or Program(), **options)
        if recordings:
            program = replace(program, recordings=recordings)
        program.load()  # what is wrong with it shows before anything has happened
        return await asyncio.gather(*(pbx.play(program) for pbx in self.pbxs))

    async def wait_for_client(self, timeout: float | None = 10.0) -> None:  # noqa: ASYNC109 (a plain deadline)
        """Wait until every PBX has a client that gets events.

        Raises:
            TimeoutError: not in `timeout` seconds.
        """
        await asyncio.gather(*(pbx.wait_for_client(timeout) for pbx in self.pbxs))

    async def make_faults(self, plan: list[PlannedFault]) -> None:
        """Make planned faults, each at its time from now, on every PBX."""
        began = time.monotonic()
        for planned in sorted(plan, key=lambda one: one.at):
            await asyncio.sleep(max(0.0, planned.at - (time.monotonic() - began)))
            await asyncio.gather(*(pbx.faults.make(planned.name, **planned.arguments) for pbx in self.pbxs))

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: a port is taken.
        """
        try:
            for pbx in self.pbxs:
                await pbx.start()
        except OSError:
            await self.stop()
            raise
        self._tasks.append(asyncio.create_task(self._flush()))

    async def stop(self) -> None:
        """Close everything; the logs are complete afterwards."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for pbx in self.pbxs:
            await pbx.stop()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self.FLUSH_EVERY)
            for pbx in self.pbxs:
                pbx.log.flush()

    async def __aenter__(self) -> "Simulator":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _log_path(log: str | Path | None, name: str, pbxs: int) -> Path | None:
    if log is None:
        return None
    path = Path(log)
    return path if path.suffix == ".jsonl" and pbxs == 1 else path / f"{name}.jsonl"
