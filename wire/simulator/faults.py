"""What can go wrong between a PBX and its client, on request.

Each fault is a method of `Faults` (for tests), a line of FAULTS (for `--fault` and the control API), and an act in the
log. A fault that lasts ends by itself after `seconds`, or with `resume`.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wire.simulator.frames import GARBAGE
from wire.simulator.link import Link
from wire.simulator.moment import stamp

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from wire.simulator.pbx import Pbx

FAULTS: Mapping[str, tuple[Mapping[str, type], str]] = {
    "drop": (
        {"how": str, "code": int, "app": str},
        "end the WebSocket. how: fin (default; FIN, no close frame), rst, close (handshake with code, default 1001)",
    ),
    "stall": (
        {"app": str, "seconds": float},
        "neither read nor write on the WebSocket, TCP stays up: a dead line without FIN",
    ),
    "slow": ({"delay": float, "seconds": float}, "events and REST answers come delay seconds late (default 1)"),
    "http": (
        {"answer": str, "target": str, "delay": float, "seconds": float},
        "answer: 401, 403, 404, 500, 503 …, stall (none until the end), ok. target: all (default), ws, rest",
    ),
    "refuse": ({"seconds": float}, "connections are refused; those that are open stay (default 2 seconds)"),
    "garbage": ({"kind": str, "size": int, "app": str}, f"send a bad frame. kind: {', '.join(GARBAGE)}"),
    "lose": ({"events": int}, "the next events (default 1) happen, but are not sent, though the link is up"),
    "repeat": ({"events": int}, "the next events (default 1) are sent twice"),
    "restart": (
        {"how": str, "down": float},
        "how: crash (default; all gone without a word), now (hangs up and says so, 1006), graceful (waits for the "
        "calls, 1000). Back after down seconds (default 1), empty, with another start time",
    ),
    "pause": ({"seconds": float}, "nothing happens for a while; the link is fine"),
    "resume": ({}, "end stall, slow, http, refuse and pause"),
}
"""Name → its arguments with their types, and what it does."""


class FaultError(ValueError):
    """A fault that cannot be made; the text says what was wrong with the request."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault at a time."""

    at: float
    """Seconds after the start of playing."""
    name: str
    arguments: Mapping[str, Any]


def parse(text: str) -> PlannedFault:
    """`SECONDS:NAME[:ARGUMENT=VALUE[,…]]` as a planned fault.

    Raises:
        FaultError: it is not of this form, or there is no such fault or argument.
    """
    when, _, rest = text.partition(":")
    name, _, listed = rest.partition(":")
    pairs = [pair.partition("=") for pair in listed.split(",") if pair]
    try:
        at = float(when)
    except ValueError:
        raise FaultError(f"{text!r}: SECONDS:NAME[:ARGUMENT=VALUE,…] is wanted, as 5:drop:how=rst") from None
    return PlannedFault(at, name, arguments(name, {key: value for key, _, value in pairs}))


def arguments(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A fault's arguments, with their types.

    Raises:
        FaultError: no such fault or argument, or a value of the wrong type.
    """
    if name not in FAULTS:
        raise FaultError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
    types, _ = FAULTS[name]
    typed = {}
    for key, value in given.items():
        if key not in types:
            raise FaultError(f"{name} has no argument {key!r}; it has {', '.join(types) or 'none'}")
        try:
            typed[key] = types[key](value)
        except (TypeError, ValueError):
            raise FaultError(f"{name}: {key}={value!r} is no {types[key].__name__}") from None
    return typed


@dataclass(slots=True)
class Gate:
    """How the HTTP server treats requests of one kind."""

    status: int | None = None
    """Answer with this; None answers properly."""
    delay: float = 0.0
    """Seconds before the answer."""
    stalled: bool = False
    """No answer until the fault ends."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for_end(self) -> None:
        await self.ended.wait()

    def open(self) -> None:
        self.status, self.delay, self.stalled = None, 0.0, False
        self.ended.set()
        self.ended = asyncio.Event()


class Faults:
    """The faults of one PBX."""

    def __init__(self, pbx: "Pbx") -> None:
        self.gates = {"ws": Gate(), "rest": Gate()}
        self.lag = 0.0
        """Seconds by which events go out late."""
        self._pbx = pbx
        self._lose = 0
        self._repeat = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def make(self, name: str, spare: "BaseTransport | None" = None, **given: Any) -> None:
        """Make a fault by name, with arguments as FAULTS lists them.

        Args:
            spare: the connection of the one who asks, which the fault leaves alone.

        Raises:
            FaultError: no such fault or argument.
        """
        typed = arguments(name, given)
        if name == "restart":
            typed["spare"] = spare
        await getattr(self, name)(**typed)

    async def drop(self, how: str = "fin", code: int = 1001, app: str | None = None) -> None:
        """End the clients' WebSockets."""
        if how not in ("fin", "rst", "close"):
            raise FaultError(f"drop: how={how!r}; there are fin, rst, close")
        self._pbx.flush()
        self._note("drop", how=how, code=code if how == "close" else None, app=app)
        for link in self._links(app):
            if how == "fin":
                link.fin()
            elif how == "rst":
                link.reset()
            else:
                await link.close(code, "simulated")

    async def stall(self, app: str | None = None, seconds: float | None = None) -> None:
        """The line is dead, and nobody says so."""
        self._pbx.flush()
        self._note("stall", app=app, seconds=seconds)
        for link in self._links(app):
            link.stall()
        self._later(seconds, self.resume())

    async def slow(self, delay: float = 1.0, seconds: float | None = None) -> None:
        """Everything comes late."""
        self._pbx.flush()
        self._note("slow", delay=delay, seconds=seconds)
        self.lag = delay
        for link in self._links(None):
            link.lag = delay
        for gate in self.gates.values():
            gate.delay = delay
        self._later(seconds, self.resume())

    async def http(
        self, answer: str = "503", target: str = "all", delay: float = 0.0, seconds: float | None = None
    ) -> None:
        """The HTTP server answers with an error, late, or not at all."""
        if target not in ("all", "ws", "rest"):
            raise FaultError(f"http: target={target!r}; there are all, ws, rest")
        if answer not in ("ok", "stall") and not (answer.isdecimal() and 400 <= int(answer) <= 599):
            raise FaultError(f"http: answer={answer!r}; there are ok, stall, and codes from 400 to 599")
        self._note("http", answer=answer, target=target, delay=delay, seconds=seconds)
        for name, gate in self.gates.items():
            if target in ("all", name):
                gate.open()
                gate.delay = delay
                gate.stalled = answer == "stall"
                gate.status = int(answer) if answer.isdecimal() else None
        self._later(seconds, self.resume())

    async def refuse(self, seconds: float | None = 2.0) -> None:
        """Nobody can connect. None refuses until `resume`."""
        self._note("refuse", seconds=seconds)
        self._pbx.refuse()
        self._later(seconds, self.resume())

    async def garbage(self, kind: str = "bad-json", size: int = 16 << 20, app: str | None = None) -> None:
        """A bad frame goes out."""
        if kind not in GARBAGE:
            raise FaultError(f"garbage: kind={kind!r}; there are {', '.join(GARBAGE)}")
        self._pbx.flush()
        self._note("garbage", kind=kind, app=app)
        for link in self._links(app):
            link.send_garbage(kind, size)

    async def lose(self, events: int = 1) -> None:
        """Asterisk drops events although somebody listens (facts.md 31)."""
        self._pbx.flush()
        self._note("lose", events=events)
        self._lose = events

    async def repeat(self, events: int = 1) -> None:
        """Exact duplicates (facts.md 9)."""
        self._pbx.flush()
        self._note("repeat", events=events)
        self._repeat = events

    async def restart(self, how: str = "crash", down: float = 1.0, spare: "BaseTransport | None" = None) -> None:
        """The PBX ends and comes back. Returns when it is back."""
        if how not in ("crash", "now", "graceful"):
            raise FaultError(f"restart: how={how!r}; there are crash, now, graceful")
        pbx = self._pbx
        pbx.flush()
        self._note("restart", how=how, down=down)
        if how == "graceful":
            pbx.accepting = False
            await pbx.wait_until_idle()
            pbx.flush()
        elif how == "now":
            self._hang_up_all()
            pbx.flush()
        pbx.go_down()
        if how == "crash":
            pbx.abort_connections(spare)
        else:
            for link in self._links(None):
                await link.close(1000 if how == "graceful" else 1006, "")
        await asyncio.sleep(down)
        await pbx.come_up()

    async def pause(self, seconds: float | None = None) -> None:
        """Nothing happens."""
        self._pbx.flush()
        self._pbx.pause(True)
        self._later(seconds, self.resume())

    async def resume(self) -> None:
        """End the faults that last."""
        self.lag = 0.0
        for gate in self.gates.values():
            gate.open()
        for link in self._links(None):
            link.resume()
        if self._pbx.is_up:
            await self._pbx.listen()
        self._pbx.pause(False)

    def sieve(self, frames: list[bytes]) -> list[bytes]:
        """What of the events goes out, after `lose` and `repeat`."""
        if self._lose:
            lost = min(self._lose, len(frames))
            self._lose -= lost
            frames = frames[lost:]
        if self._repeat:
            twice = min(self._repeat, len(frames))
            self._repeat -= twice
            frames = [frame for frame in frames[:twice] for _ in range(2)] + frames[twice:]
        return frames

    def release(self) -> None:
        """Nobody waits any more: the simulator stops."""
        for task in self._tasks:
            task.cancel()
        for gate in self.gates.values():
            gate.open()

    def _links(self, app: str | None) -> list[Link]:
        return [link for link in self._pbx.links if app is None or link.app == app]

    def _note(self, name: str, **details: Any) -> None:
        self._pbx.act("fault", fault=name, **{key: value for key, value in details.items() if value is not None})

    def _later(self, seconds: float | None, end: Coroutine[Any, Any, None]) -> None:
        if seconds is None:
            end.close()
            return

        async def wait() -> None:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                end.close()
                raise
            await end

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hang_up_all(self) -> None:
        """What `core restart now` says of every call before it goes (recording 21)."""
        pbx = self._pbx
        at = {"timestamp": stamp()}
        channels = {channel["id"]: channel for channel in pbx.channels()}
        for channel in channels.values():
            pbx.say({"cause": 4, "soft": True, "type": "ChannelHangupRequest", **at, "channel": channel})
        for bridge in pbx.bridges():
            members = list(bridge["channels"])
            while members:
                left = channels[members.pop(0)]
                bridge = bridge | {"channels": list(members)}
                pbx.say({"type": "ChannelLeftBridge", **at, "bridge": bridge, "channel": left})
            if bridge["bridge_class"] == "basic":
                pbx.say({"type": "BridgeDestroyed", **at, "bridge": bridge})
        for channel in channels.values():
            cause, text = (16, "Normal Clearing") if channel["state"] == "Up" else (0, "Unknown")
            pbx.say({"type": "ChannelDestroyed", **at, "cause": cause, "cause_txt": text, "channel": channel})
