"""The Thespian actor around the supervisor machine: inputs in, commands out, nothing decided here.

A supervisor does nothing but supervise: no sockets, no threads, no work. Only supervisors fork.

- *Started* is the child's own word (`Started`) that it is initialised.
- *Exited* is its pidfd. The reason is its farewell; no farewell means `killed`.
- A child that said farewell is killed at once: it has nothing left to do, and an interpreter's teardown may hang.
- Children die with their supervisor, because the kernel sees to it (supervision.links).

Upward it reports who is up below it (`PeersBelow`); Root makes the directory of it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thespian.actors import ActorAddress

from actors.base import MONITOR, ProcessActor
from supervision import links, machine
from supervision.child_spec import ChildType
from supervision.commands import (
    Command,
    Exit,
    Initialised,
    KillChild,
    ProbeChild,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.inputs import (
    Boot,
    ChildAnswered,
    ChildExited,
    ChildStarted,
    Input,
    ShutDown,
    TimerFired,
)
from supervision.messages import (
    Farewell,
    Identity,
    Init,
    Letter,
    Peer,
    PeersBelow,
    Probe,
    ProbeAnswered,
    Reported,
    Start,
    Started,
    Stop,
)
from supervision.reasons import KILLED, Reason
from supervision.reports import Report, ReportKind
from supervision.views import budget
from wire.metrics import names


@dataclass
class _Child:
    """A process of ours, from its fork to its death."""

    id: str
    generation: int
    """The machine's, which counts all starts; `identity.generation` counts those of this child, for people."""
    identity: Identity
    type: ChildType
    address: ActorAddress
    """As we know it before it has told us its own."""
    pid: int
    pidfd: int
    since_ms: int
    peer: Peer | None = None
    """Where it can be written to; None until it is started."""
    below: tuple[Peer, ...] = ()
    """Who is up below it, if it is a supervisor."""
    farewell: Reason | None = None
    probed_at: float | None = None
    """When the unanswered probe was sent, seconds, monotonic."""
    answered_at: float | None = None
    lag: float | None = None
    """How long its last probe took, seconds."""
    nodes: dict[str, Any] = field(default_factory=dict)


class Supervisor(ProcessActor):
    """A node of the tree that supervises."""

    role = "supervisor"
    starts_later = True

    def start(self, start: Start) -> None:
        self._start = start
        self._spec = start.supervisor
        assert self._spec is not None
        self._children: dict[str, _Child] = {}
        self._restarts: dict[str, int] = {}
        self._last_exit: dict[str, str] = {}
        self._machine = machine.new(
            self._spec,
            str(self.identity.place),
            seed=int.from_bytes(os.urandom(4), "little"),
        )
        self.open_line("reports", MONITOR, lambda older, newer: Reported((older.reports + newer.reports)[-100:]))
        self._give(Boot())

    def stop(self) -> None:
        self._give(ShutDown())

    def details(self) -> dict[str, Any]:
        return {"node": self.node()}

    def measure(self) -> None:
        self.metrics.gauge(names.BUDGET_USED, str(self.identity.place)).set(self._budget()["used"])

    # --- the machine --------------------------------------------------------------------------------------------------

    def _give(self, given: Input) -> None:
        self._machine, commands = machine.handle(self._machine, given, _now_ms())
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartChild():
                self._start_child(command)
            case StopChild(id, generation, limit):
                if (child := self._child(id, generation)) is not None:
                    self._write(child, Stop(limit if isinstance(limit, int) else None))
            case KillChild(id, generation):
                if (child := self._child(id, generation)) is not None:
                    links.kill_process(child.pid)
            case ProbeChild(id, generation):
                if (child := self._child(id, generation)) is not None:
                    child.probed_at = time.monotonic()
                    self._write(child, Probe(generation))
            case SetTimer(timer, at_ms):
                self.after(max(0, at_ms - _now_ms()) / 1000, f"machine {timer.serial}", self._firing(TimerFired(timer)))
            case Report():
                self._report(command)
            case Initialised():
                self.started()
            case Exit(reason):
                self.leave(reason)

    def _firing(self, fired: TimerFired) -> Callable[[], None]:
        return lambda: self._give(fired)

    def _first_generation(self) -> int:
        # Children of a later incarnation of this supervisor must not be taken for those of an earlier one.
        return (self.identity.generation - 1) * 1000

    # --- children -----------------------------------------------------------------------------------------------------

    def _start_child(self, command: StartChild) -> None:
        start = command.spec.start
        assert isinstance(start, Start)
        if command.again:
            self._restarts[command.id] = self._restarts.get(command.id, 0) + 1
            self.metrics.counter(names.RESTARTS, start.place.role).add()
        generation = self._first_generation() + 1 + self._restarts.get(command.id, 0)
        identity = Identity(start.place.role, start.place.pbx, generation)
        address = self.createActor(start.actor)
        # Thespian does not tell the pid of the process that it has just forked, but keeps it here.
        pid = self._myRef._child_procs[-1].childProc.pid
        pidfd = links.open_pidfd(pid)
        assert pidfd is not None, "a child that nobody has waited for has a pidfd, dead or alive"
        child = _Child(command.id, command.generation, identity, command.spec.type, address, pid, pidfd, _wall_ms())
        self._children[command.id] = child
        self.watch(pidfd, lambda: self._died(child))
        self.send(address, Init(identity, self.identity, self.myAddress, start))

    def _died(self, child: _Child) -> None:
        self.unwatch(child.pidfd)
        links.close_pidfd(child.pidfd)
        del self._children[child.id]
        reason = KILLED if child.farewell is None else child.farewell
        self._last_exit[child.id] = str(reason)
        if child.peer is not None or child.below:
            self._peers_moved()
        self._give(ChildExited(child.id, child.generation, reason))

    def _child(self, id: str, generation: int) -> _Child | None:
        child = self._children.get(id)
        return child if child is not None and child.generation == generation else None

    def _by_identity(self, identity: Identity) -> _Child | None:
        for child in self._children.values():
            if child.identity == identity:
                return child
        return None

    def _write(self, child: _Child, body: Any) -> None:
        self.send(child.address, Letter(child.identity, self.identity, body))

    def _peers_moved(self) -> None:
        self.reply_to_supervisor(PeersBelow(self._peers_below()))

    def _peers_below(self) -> tuple[Peer, ...]:
        peers: list[Peer] = []
        for child in self._children.values():
            if child.peer is not None:
                peers.append(child.peer)
            peers.extend(child.below)
        return tuple(peers)

    # --- reports ------------------------------------------------------------------------------------------------------

    def _report(self, report: Report) -> None:
        shown = report.as_dict()
        kind = shown.pop("report")
        # In a log line `generation` is the writer's own, and the machine's means nothing to people.
        shown.pop("generation", None)
        write = self.log.info if report.kind is ReportKind.PROGRESS else self.log.warning
        write(f"supervision.{kind}", **shown)
        self.say("reports", Reported(((_wall_ms(), report),)))

    def node(self) -> dict[str, Any]:
        """This supervisor and its children, as wire.control.api.Node shows them (nodes below come from themselves)."""
        now = time.monotonic()
        return {
            "strategy": str(self._spec.strategy) if self._spec else None,
            "budget": self._budget(),
            "children": [
                {
                    "id": child.id,
                    "role": child.identity.role,
                    "pbx": child.identity.pbx,
                    "kind": str(child.type),
                    "pid": child.pid,
                    "state": self._state_of(child),
                    "generation": child.identity.generation,
                    "restarts": self._restarts.get(child.id, 0),
                    "since_ms": child.since_ms,
                    "last_exit": self._last_exit.get(child.id),
                    "probe_age_seconds": None if child.answered_at is None else now - child.answered_at,
                    "lag_seconds": child.lag,
                }
                for child in self._children.values()
            ],
            "waiting": sorted(set(self._restarts) - set(self._children)),
        }

    def _budget(self) -> dict[str, Any]:
        found = budget(self._machine, _now_ms())
        return {
            "used": found.used,
            "allowed": found.intensity,
            "reset_seconds": found.reset_ms / 1000 if found.used else None,
        }

    def _state_of(self, child: _Child) -> str:
        if child.farewell is not None:
            return "stopping"
        return "starting" if child.peer is None else "running"

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive_Started(self, message: Started, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is None:
            return
        child.peer = sender
        self._peers_moved()
        self._give(ChildStarted(child.id, child.generation))

    def receive_PeersBelow(self, message: PeersBelow, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is not None and child.below != message.peers:
            child.below = message.peers
            self._peers_moved()

    def receive_Farewell(self, message: Farewell, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is not None:
            child.farewell = message.reason
            links.kill_process(child.pid)

    def receive_ProbeAnswered(self, message: ProbeAnswered, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is None or child.generation != message.token:
            return
        child.answered_at = time.monotonic()
        if child.probed_at is not None:
            child.lag, child.probed_at = child.answered_at - child.probed_at, None
        self._give(ChildAnswered(child.id, child.generation))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
