"""The Thespian actor around the supervisor machine: inputs in, commands out, nothing decided here.

A supervisor does nothing but supervise: no sockets, no threads, no work. Only supervisors fork.

- *Started* is the child's own word (`Started`) that it is initialised.
- *A start may take long, but not be silent*: the time of `start_timeout` runs from the child's last sign of life
  (`StillStarting`), so a Switchboard may refold for an hour, and a hung one is found. A deviation from OTP, whose
  timeout is of the start as a whole; the machine does not know, it is told of its timer later. As with probes, time
  without a CPU does not count (supervision.starvation).
- *Exited* is its pidfd. The reason is its farewell; no farewell means `killed`, with what the kernel says of it. Death
  may be seen before the farewell is read; but a process that ended by itself (exit status 0) has said one. If that is
  lost on the way all the same, it has ended as it was told to, if it was.
- A child that said farewell is killed at once: it has nothing left to do, and an interpreter's teardown may hang.
- Children die with their supervisor, because the kernel sees to it (supervision.links).

Upward it reports who is up below it (`PeersBelow`); Root makes the directory of it.

`arimon-ctl restart` is OTP's `terminate_child` and `restart_child`, one after the other: in order, and free of charge.
As in OTP a child whose start then fails stays stopped, and is shown as `down`, until somebody restarts it.
"""

import os
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from thespian.actors import ActorAddress

from actors.base import LATER, MONITOR, Asking, Declined, ProcessActor
from supervision import links, machine
from supervision.child_spec import ChildType
from supervision.commands import (
    CallError,
    ChildInfo,
    ChildState,
    Command,
    Exit,
    Initialised,
    KillChild,
    ProbeChild,
    Refused,
    Reply,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.inputs import (
    AskRestartChild,
    AskTerminateChild,
    Boot,
    ChildAnswered,
    ChildExited,
    ChildStarted,
    Input,
    ProbeSwitched,
    ShutDown,
    Timer,
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
    StillStarting,
    Stop,
    Suspended,
)
from supervision.reasons import SHUTDOWN, Killed, Reason
from supervision.reports import Context, Report, ReportKind
from supervision.starvation import Starved
from supervision.views import budget, which_children
from wire.metrics import names

_FAREWELL_LIMIT = 1.0
"""Seconds that the last word of a process which ended by itself has to come out of our mailbox."""


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
    process: Any
    """Thespian's handle of the process, of `multiprocessing`: it alone can wait for it, and so knows how it ended."""
    pid: int
    pidfd: int
    since_ms: int
    heard_at: float
    """When it gave its last sign of life during its start, seconds, monotonic."""
    starved: Starved
    """Since then, or since it was last asked whether it lives."""
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
    told_to_stop: bool = False
    """It was asked to end."""
    dead: bool = False
    """Its pidfd has told; its farewell may still be in our mailbox."""
    hung: bool = False
    """It was killed because it did not answer its probe."""


@dataclass(frozen=True, slots=True)
class _Restart:
    """A restart that an operator asked for."""

    asking: Asking
    id: str
    stopped: bool = False
    """Half of it is done."""


class Supervisor(ProcessActor):
    """A node of the tree that supervises."""

    role = "supervisor"
    starts_later = True
    answered_anyway = frozenset({"which_children", "kill_child"})

    def start(self, start: Start) -> None:
        self._start = start
        self._spec = start.supervisor
        assert self._spec is not None
        self._children: dict[str, _Child] = {}
        self._latest: dict[str, Identity] = {}
        """Who stood last in each place: of a child that has ended, its reports are to say which one it was."""
        self._inputs: deque[Input] = deque()
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
        # What a command gives rise to at once has to wait until the commands before it are done.
        self._inputs.append(given)
        if len(self._inputs) > 1:
            return
        while self._inputs:
            self._machine, commands = machine.handle(self._machine, self._inputs[0], _now_ms())
            for command in commands:
                self._carry_out(command)
            self._inputs.popleft()

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartChild():
                self._start_child(command)
            case StopChild(id, generation, limit):
                if (child := self._child(id, generation)) is not None:
                    child.told_to_stop = True
                    self._write(child, Stop(limit if isinstance(limit, int) else None))
            case KillChild(id, generation):
                if (child := self._child(id, generation)) is not None and not child.dead:
                    links.kill(child.pidfd)
            case ProbeChild(id, generation):
                if (child := self._child(id, generation)) is not None:
                    child.probed_at = time.monotonic()
                    child.starved = Starved(child.pid)
                    self._write(child, Probe(generation))
            case SetTimer(timer, at_ms):
                self._set_timer(timer, max(0, at_ms - _now_ms()) / 1000)
            case Report():
                self._report(command)
            case Reply(_Restart() as restart, result):
                self._go_on_with(restart, result)
            case Initialised():
                self.started()
            case Exit(reason):
                self.leave(reason)

    def _set_timer(self, timer: Timer, limit: float, remaining: float | None = None) -> None:
        def fire() -> None:
            child = None if timer.id is None else self._children.get(timer.id)
            starved = 0.0 if child is None else child.starved.seconds()
            silent = limit if child is None else time.monotonic() - child.heard_at - starved
            if timer.purpose == "start" and silent < limit:
                self._set_timer(timer, limit, limit - max(0.0, silent))
            else:
                self._give(TimerFired(timer, int(starved * 1000)))

        self.after(limit if remaining is None else remaining, f"machine {timer.serial}", fire)

    def _go_on_with(self, restart: _Restart, result: object) -> None:
        if isinstance(result, Refused):
            why = f"{result.error}" if result.detail is None else f"{result.error}: {result.detail}"
            if result.error is CallError.START_FAILED:
                why = f"it could not be started again, and stays down until it is restarted: {result.detail}"
            self.answer(restart.asking, problem=why)
        elif restart.stopped:
            self.answer(restart.asking, True)
        else:
            self._give(AskRestartChild(_Restart(restart.asking, restart.id, stopped=True), restart.id))

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
        process = self._myRef._child_procs[-1].childProc
        pid = process.pid
        pidfd = links.open_pidfd(pid)
        assert pidfd is not None, "a child that nobody has waited for has a pidfd, dead or alive"
        child = _Child(
            id=command.id,
            generation=command.generation,
            identity=identity,
            type=command.spec.type,
            address=address,
            process=process,
            pid=pid,
            pidfd=pidfd,
            since_ms=_wall_ms(),
            heard_at=time.monotonic(),
            starved=Starved(pid),
        )
        self._children[command.id] = child
        self._latest[command.id] = identity
        self.watch(pidfd, lambda: self._died(child))
        self.send(address, Init(identity, self.identity, self.myAddress, start))

    def _died(self, child: _Child) -> None:
        self.unwatch(child.pidfd)
        child.dead = True
        if child.farewell is None and child.process.exitcode == 0:
            self.after(_FAREWELL_LIMIT, f"farewell {child.id}", lambda: self._bury(child))
        else:
            self._bury(child)

    def _bury(self, child: _Child) -> None:
        self.cancel(f"farewell {child.id}")
        links.close_pidfd(child.pidfd)
        del self._children[child.id]
        reason = _how_it_ended(child) if child.farewell is None else child.farewell
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
        if report.context is Context.HUNG and report.id in self._children:
            self._children[report.id].hung = True
        # The machine's generation counts all starts of all its children, and means nothing to people.
        latest = self._latest.get(report.id)
        report = replace(report, generation=None if latest is None else latest.generation)
        shown = report.as_dict()
        kind = shown.pop("report")
        # In a log line `generation` is the writer's own.
        shown["child_generation"] = shown.pop("generation", None)
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
            ]
            + [self._absent(info.id, info.type, info.state) for info in self._absentees()],
        }

    def _absentees(self) -> list[ChildInfo]:
        """Children that have no process now, in start order."""
        return [info for info in reversed(which_children(self._machine)) if info.id not in self._children]

    def _absent(self, id: str, kind: str, state: ChildState) -> dict[str, Any]:
        start = self._machine.children[id].spec.start
        assert isinstance(start, Start)
        return {
            "id": id,
            "role": start.place.role,
            "pbx": start.place.pbx,
            "kind": str(kind),
            "pid": None,
            "state": "waiting" if state is ChildState.RESTARTING else "down",
            "generation": self._latest[id].generation if id in self._latest else 0,
            "restarts": self._restarts.get(id, 0),
            "since_ms": None,
            "last_exit": self._last_exit.get(id),
            "probe_age_seconds": None,
            "lag_seconds": None,
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
        if child.peer is None:
            return "starting"
        return "hung" if child.hung else "running"

    # --- questions ----------------------------------------------------------------------------------------------------

    def query_which_children(self) -> list[dict[str, Any]]:
        """OTP's `which_children`: the child started last first."""
        found = []
        for info in which_children(self._machine):
            child = self._children.get(info.id)
            found.append(
                {
                    "id": info.id,
                    "state": self._state_of(child) if child is not None else str(info.state),
                    "generation": self._latest[info.id].generation if info.id in self._latest else 0,
                    "pid": None if child is None else child.pid,
                    "type": str(info.type),
                    "restart": str(info.restart),
                }
            )
        return found

    def query_kill_child(self, id: str) -> str:
        """Kill a child's process at once, whatever it is doing; what follows is decided as after any death."""
        child = self._children.get(id)
        if child is None or child.dead:
            raise Declined(f"{id} has no process now")
        links.kill(child.pidfd)
        return f"killed {child.identity} (pid {child.pid})"

    def query_restart_child(self, id: str) -> Any:
        """Stop a child in order and start it again; answered when it is started."""
        self._give(AskTerminateChild(_Restart(self.asking, id), id))
        return LATER

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive_Started(self, message: Started, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is None:
            return
        child.peer = sender
        self._peers_moved()
        self._give(ChildStarted(child.id, child.generation))

    def receive_StillStarting(self, message: StillStarting, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is not None:
            child.heard_at, child.starved = time.monotonic(), Starved(child.pid)

    def receive_Suspended(self, message: Suspended, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is not None:
            self._give(ProbeSwitched(child.id, not message.on))

    def receive_PeersBelow(self, message: PeersBelow, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is not None and child.below != message.peers:
            child.below = message.peers
            self._peers_moved()

    def receive_Farewell(self, message: Farewell, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is None:
            return
        child.farewell = message.reason
        if child.dead:
            self._bury(child)
        else:
            links.kill(child.pidfd)

    def receive_ProbeAnswered(self, message: ProbeAnswered, sender: Peer) -> None:
        child = self._by_identity(sender.identity)
        if child is None or child.generation != message.token:
            return
        child.answered_at = time.monotonic()
        if child.probed_at is not None:
            child.lag, child.probed_at = child.answered_at - child.probed_at, None
        self._give(ChildAnswered(child.id, child.generation))


def _how_it_ended(child: _Child) -> Reason:
    """Of a process without a farewell: what its exit status says."""
    status = child.process.exitcode
    if status == 0 and child.told_to_stop:
        return SHUTDOWN  # as asked; Thespian may lose the last word of a process that ends
    said = [] if status is None else [f"signal {-status}" if status < 0 else f"exit status {status}"]
    return Killed(", ".join((["hung"] if child.hung else []) + said))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
