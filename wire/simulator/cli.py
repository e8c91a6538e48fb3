"""The simulator as a command: `bin/arimon-sim`, `python -m wire.simulator`."""

import asyncio
import os
import signal
import ssl as tls
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from wire.simulator.faults import FAULTS, FaultError, PlannedFault, parse
from wire.simulator.pbx import Reader
from wire.simulator.program import MIXES, Program
from wire.simulator.recording import DIRECTORY, RecordingError, find
from wire.simulator.simulator import Simulator

EXIT_PORT = 1

EPILOG = """
\b
Examples:
  arimon-sim                                  ordinary calls for ever, on a free port
  arimon-sim --port 8088 01_inbound           one call, as it was recorded
  arimon-sim --speed 0 --log /tmp/sim all     every recording, as fast as arimon reads
  arimon-sim --rate 1000 --lanes 20 --for 60 --loop forever --wait-for-client ordinary
  arimon-sim --pbx 10 --mix demo --log DIR    ten PBXs, DIR/pbx1.jsonl … say what each sent
  arimon-sim --fault 5:drop:how=rst --fault 12:restart:how=crash,down=3
  curl -X POST 'localhost:8088/sim/fault/stall?seconds=20'
  curl localhost:8088/sim/                    what it is doing, and which faults there are

\b
Faults (--fault SECONDS:NAME[:ARGUMENT=VALUE,…], seconds after playing began; or POST /sim/fault/NAME):
"""


def _loops(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """`--loop`: 0 here stands for "not given", None for ever."""
    if value is None:
        return 0
    if value == "forever":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r}: a number of at least 1, or forever, is wanted")
    return int(value)


def _faults(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[PlannedFault]:
    try:
        return [parse(value) for value in values]
    except FaultError as error:
        raise click.BadParameter(str(error)) from error


class _Help(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for line in EPILOG.replace("\b\n", "").strip("\n").splitlines():
            formatter.write(line + "\n" if line else "\n")
        with formatter.indentation():
            formatter.write_dl([(name, what) for name, (_, what) in FAULTS.items()])


@click.command(cls=_Help, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("recordings", nargs=-1)
@click.option(
    "--mix",
    type=click.Choice(sorted(MIXES)),
    help="A ready-made programme: demo (default; a new ordinary "
    "call every 1.5 s, for ever), ordinary (recordings 01-09 and 13), all.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    help="1 is as recorded, 10 ten times as fast, 0 as fast as the clients read.  [default: 1]",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Events per second, whatever the recorded pace. With several PBXs: of each.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    help="Begin a recording every so many seconds, however many are under way.",
)
@click.option("--lanes", type=click.IntRange(min=1), help="Recordings under way at once.  [default: 1]")
@click.option(
    "--loop",
    "loops",
    metavar="N|forever",
    callback=_loops,
    help="Times through the list, or forever: each time with fresh channel ids and present times.  [default: 1]",
)
@click.option("--shuffle", type=int, metavar="SEED", help="A new order each time through the list.")
@click.option("--verbatim", is_flag=True, help="Keep ids and times exactly as recorded.")
@click.option(
    "--channelvars",
    is_flag=True,
    help="Put the linkedid into every channel object, as channelvars = CHANNEL(linkedid) in ari.conf does.",
)
@click.option("--wait-for-client", is_flag=True, help="Begin to play when every PBX has a client.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="Stop after so many seconds of playing.")
@click.option("--stay", is_flag=True, help="Stay when everything is played, until SIGTERM.")
@click.option(
    "--pbx",
    "pbxs",
    type=click.IntRange(min=1, max=1000),
    default=1,
    show_default=True,
    help="How many PBXs, each on a port of its own.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    "ports",
    type=click.IntRange(0, 65535),
    multiple=True,
    help="Port of a PBX (once for each); 0, the default, takes a free one.",
)
@click.option("--port-file", type=click.Path(path_type=Path), help="Write the ports here, a line each, when listening.")
@click.option("--username", default="arimon", show_default=True, help="ARI user.")
@click.option("--password", default="arimon", show_default=True, help="ARI password.")
@click.option("--read-only", is_flag=True, help="As read_only = yes in ari.conf: 403 on every change.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Serve wss:// with this certificate.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Key of --tls-cert.")
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    help="Log the frames sent: a folder (pbx1.jsonl …), or with "
    "one PBX a file ending in .jsonl. arimon-ctl replay reads it.",
)
@click.option(
    "--fault",
    "faults",
    metavar="SECONDS:NAME[:ARGS]",
    callback=_faults,
    multiple=True,
    help="Something that goes wrong; see below.",
)
@click.option(
    "--slow-reader",
    type=click.Choice(["wait", "cut"]),
    default="wait",
    show_default=True,
    help="A client that reads too slowly: wait for it, or cut it off as Asterisk does.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bridge ids that are made up.")
@click.option("--list", "only_list", is_flag=True, help="List the recordings that have names, and exit.")
@click.option("--quiet", is_flag=True, help="No progress lines.")
def main(
    recordings: tuple[str, ...],
    mix: str | None,
    speed: float | None,
    rate: float | None,
    every: float | None,
    lanes: int | None,
    loops: int | None,
    shuffle: int | None,
    verbatim: bool,
    channelvars: bool,
    wait_for_client: bool,
    seconds: float | None,
    stay: bool,
    pbxs: int,
    host: str,
    ports: tuple[int, ...],
    port_file: Path | None,
    username: str,
    password: str,
    read_only: bool,
    tls_cert: str | None,
    tls_key: str | None,
    log: Path | None,
    faults: list[PlannedFault],
    slow_reader: Reader,
    seed: int,
    only_list: bool,
    quiet: bool,
) -> None:
    """Be an Asterisk: serve ARI and play what a real one sent.

    RECORDINGS are files (.jsonl, .jsonl.gz), folders, or names in tests/traces, whole or in part (01_inbound, 24); the
    word `all` is every one there. Without any, the demo mix plays.

    An ARI client connects to ws://HOST:PORT/ari/events?app=NAME&subscribeAll=true; REST says what has become of the
    calls, also of what happened while nobody was connected.
    """
    if only_list:
        for path in find(DIRECTORY):
            click.echo(path.name.removesuffix(".gz").removesuffix(".jsonl"))
        return
    program = MIXES[mix] if mix else Program() if recordings else MIXES["demo"]
    if recordings:
        program = replace(program, recordings=tuple(DIRECTORY if name == "all" else name for name in recordings))
    program = replace(
        program,
        speed=program.speed if speed is None else speed,
        rate=rate,
        every=every if every is not None else program.every if lanes is None else None,
        lanes=lanes or program.lanes,
        loops=program.loops if loops == 0 else loops,
        shuffle=shuffle,
        verbatim=verbatim,
        channelvars=channelvars,
        wait_for_client=wait_for_client,
    )
    if program.verbatim and program.loops != 1:
        raise click.UsageError("--verbatim repeats ids if it loops: use it with --loop 1")
    try:
        program.load()
    except RecordingError as error:
        raise click.UsageError(str(error)) from error
    simulator = Simulator(
        pbxs, ports=ports, log=log, remember=0, host=host, username=username, password=password, read_only=read_only,
        ssl=_tls(tls_cert, tls_key), slow_reader=slow_reader, seed=seed,
    )  # fmt: skip
    session = _Session(simulator, program, faults, seconds, stay, port_file, quiet)
    sys.exit(asyncio.run(session.run()))


def _tls(certificate: str | None, key: str | None) -> tls.SSLContext | None:
    if certificate is None:
        return None
    context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


class _Session:
    """One run of the command."""

    PROGRESS = 5.0
    """Seconds between progress lines."""

    def __init__(
        self,
        simulator: Simulator,
        program: Program,
        faults: list[PlannedFault],
        seconds: float | None,
        stay: bool,
        port_file: Path | None,
        quiet: bool,
    ) -> None:
        self._simulator = simulator
        self._program = program
        self._faults = faults
        self._seconds = seconds
        self._stay = stay
        self._port_file = port_file
        self._quiet = quiet
        self._stopped = asyncio.Event()

    async def run(self) -> int:
        """Serve and play until done or told to stop.

        Returns:
            The exit code.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        try:
            await self._simulator.start()
        except OSError as error:
            click.echo(f"cannot listen: {error}", err=True)
            return EXIT_PORT
        try:
            self._announce()
            playing = asyncio.create_task(self._play())
            progress = asyncio.create_task(self._tell())
            stopped = asyncio.create_task(self._stopped.wait())
            await asyncio.wait((playing, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in (playing, progress, stopped):
                task.cancel()
            ends = await asyncio.gather(playing, progress, stopped, return_exceptions=True)
        finally:
            await self._simulator.stop()
        self._say(f"stopped: {self._sum()}")
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return 0

    async def _play(self) -> None:
        if self._program.wait_for_client:
            self._say("waiting for a client")
            await self._simulator.wait_for_client(None)
        faults = asyncio.create_task(self._simulator.make_faults(self._faults))
        try:
            async with asyncio.timeout(self._seconds):
                await self._simulator.play(program=self._program)
                self._say(f"played: {self._sum()}")
                await faults
                if self._stay:
                    await asyncio.Event().wait()
        except TimeoutError:
            self._say(f"{self._seconds:g} seconds are over")
        finally:
            faults.cancel()
            await asyncio.gather(faults, return_exceptions=True)

    def _announce(self) -> None:
        ports = [pbx.port for pbx in self._simulator.pbxs]
        for pbx in self._simulator.pbxs:
            self._say(f"{pbx.name} listens at {pbx.url}", always=True)
        if self._port_file is not None:
            # Renamed into place: who waits for the file reads all of it.
            partial = self._port_file.with_name(f"{self._port_file.name}.{os.getpid()}")
            partial.write_text("".join(f"{port}\n" for port in ports))
            partial.replace(self._port_file)

    async def _tell(self) -> None:
        before, at = 0, time.monotonic()
        while not self._quiet:
            await asyncio.sleep(self.PROGRESS)
            sent, now = sum(pbx.log.count for pbx in self._simulator.pbxs), time.monotonic()
            self._say(f"{self._sum()}; {(sent - before) / (now - at):,.0f} frames/s")
            before, at = sent, now

    def _sum(self) -> str:
        pbxs = self._simulator.pbxs
        clients = sum(len(pbx.clients) for pbx in pbxs)
        under_way = sum(len(pbx.runs) for pbx in pbxs)
        begun = sum(pbx.begun for pbx in pbxs)
        happened, sent = sum(pbx.happened for pbx in pbxs), sum(pbx.log.count for pbx in pbxs)
        return (
            f"{begun} recordings begun, {under_way} under way, {happened:,} events happened, {sent:,} frames sent to "
            f"{clients} client{'' if clients == 1 else 's'}"
        )

    def _say(self, text: str, always: bool = False) -> None:
        if always or not self._quiet:
            click.echo(f"arimon-sim: {text}")
            sys.stdout.flush()
