"""The base of every process actor: let it crash, know who you are, die with your supervisor.

Thespian does not let it crash: it calls a handler that raised once more on the same live object, then answers the
sender with a PoisonMessage, and the actor stays, half-changed. Here the first exception is the end: a crash report goes
to the supervisor as this actor's farewell, and nothing is processed any more.

A subclass writes

    def start(self, start):          called once, with what the child's spec holds; raising fails the start
    def stop(self):                  called once, to end in order; calls `self.leave(...)` when done
    def receive_<Message>(self, message, sender)       sender is a Peer
    def query_<name>(self, **arguments)                answers arimon-ctl's questions with plain data, or `LATER`
    def peers_changed(self):         the directory of peers has changed
    def details(self):               what this actor shows of itself, once a second

and uses `tell`, `after`, `watch`. Handlers must take every message twice without harm.

**Suspended** by an operator (OTP: `sys:suspend`), an actor takes only what concerns it as a process: questions about
it, the directory, the answers of its lines, and the order to stop, which resumes it first. Everything else is kept and
taken at resume, in order: messages, timers, descriptors. It is not probed meanwhile, and its vitals go on. It resumes
by itself when it would have to keep more than `MOST_HELD` messages. Its event loop, if it has one, goes on: what is
suspended is the actor. Deviations from OTP: a question of its work that might change something is refused, where a
gen_server's caller would wait; and the role may refuse to be suspended (`unsuspendable`).
"""

import math
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final, NamedTuple

import setproctitle
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from actors.debug import Debug, brief, brief_state, inside, shown
from actors.line import Line, Sent
from actors.messages import StreamAnswered, Streamed, Vitals
from actors.process import own_signals, proportional_memory
from supervision import frames, links
from supervision.messages import (
    Answer,
    Farewell,
    Identity,
    Init,
    Letter,
    Peer,
    Peers,
    Place,
    Probe,
    ProbeAnswered,
    Query,
    Started,
    StillStarting,
    Stop,
    Suspended,
)
from supervision.reasons import SHUTDOWN, Crash, Reason
from wire import log
from wire.metrics import names
from wire.metrics.registry import Registry

_VITALS_EVERY = 1.0
"""Seconds between two vitals of a process."""
_REPEAT_AFTER = 2.0
"""Seconds after which an unanswered message of a line is sent again."""
_STILL_STARTING_EVERY = 1.0
"""Seconds between two signs of life of an actor whose start takes long."""
_UNHEARD_AFTER = timedelta(seconds=5)
"""Longest stay after a farewell that nobody hears."""
_UNHEARD = "unheard"
"""What the wakeup at its end brings."""
_SHOWN = 4000
"""Characters of a message or a state in a crash report."""
MOST_HELD = 20_000
"""Messages that a suspended actor keeps before it resumes by itself; each has a few hundred bytes."""

LATER: Final = object()
"""What a question's handler returns if `answer` follows."""
_SYSTEM = (Query, Stop, Peers, StreamAnswered, Probe)
"""What a suspended actor takes."""
_SYSTEM_QUESTIONS = frozenset({"get_state", "statistics", "suspend", "resume", "trace", "traced"})

MONITOR = Place("monitor", None)


def latest(_older: Any, newer: Any) -> Any:
    """The merge of a line where only the newest counts."""
    return newer


class Asking(NamedTuple):
    """Who waits for the answer to which question."""

    who: Peer
    reference: int


class Declined(Exception):
    """Raised by a question's handler: what is asked cannot be done, and why, in words for the operator."""


class ProcessActor(Actor):  # type: ignore[misc]  # Thespian has no types
    """One process of the tree. Instantiated by Thespian in the new process, with no arguments."""

    role: ClassVar[str] = "process"
    """For log lines before it knows who it is."""
    starts_later: ClassVar[bool] = False
    """True if `start` returns before the actor is initialised; it then calls `started` itself."""
    answered_anyway: ClassVar[frozenset[str]] = frozenset()
    """Questions that are answered while this actor is suspended, since they change nothing of it."""
    unsuspendable: ClassVar[str] = ""
    """Why this role must not be suspended; empty if it may be."""

    def __init__(self) -> None:
        super().__init__()
        links.die_with_parent()
        links.close_inherited_pidfds()
        own_signals()
        self.identity = Identity("unborn", None, 0)
        self.metrics = Registry()
        self.strays: Counter[str] = Counter()
        self.log = log.get(f"actors.{self.role}")
        self._supervisor: Peer | None = None
        self._peers: dict[Place, Peer] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._wakeups: dict[str, float] = {}
        """The earliest wakeup asked of Thespian for each timer that still has one to come."""
        self._ended = False
        self._starting = True
        self._stopping = False
        self._held: list[tuple[Any, ActorAddress]] | None = None
        """While suspended: what came meanwhile, oldest first."""
        self._held_once: set[tuple[Identity, str, int]] = set()
        """Messages of lines among them; those are sent again while they are unanswered."""
        self.debug = Debug()
        self.asking: Asking
        """While a question is being answered: who asked."""
        self.enquiries: object = None
        """Whoever answers the questions that are not answered here; has a `query_<name>` for each."""
        self._lines: dict[str, tuple[Place, Line[Any]]] = {}
        self._known: dict[str, Identity | None] = {}
        self.open_line("vitals", MONITOR, latest)
        self._machinery = frozenset(vars(self)) | {"_machinery", "_myRef", "asking"}
        """Attributes that are no part of the actor's own state."""

    # --- what a subclass overrides ------------------------------------------------------------------------------------

    def start(self, start: Any) -> None:
        """Initialise, with what the child's spec holds. Raising fails the start."""

    def stop(self) -> None:
        """End in order, then call `leave`. Called once; whoever takes longer than its spec says is killed."""
        self.leave(SHUTDOWN)

    def peers_changed(self) -> None:
        """The directory has changed: somebody came, went, or is a new process."""

    def details(self) -> dict[str, Any]:
        """What this actor shows of itself in status and health: plain data, cheap to make."""
        return {}

    def measure(self) -> None:
        """Once a second, before the figures are sent: set what is not counted as it happens."""

    def answer_probe(self, token: int) -> None:
        """Answer a liveness probe; overridden where something besides the mailbox may hang."""
        self.reply_to_supervisor(ProbeAnswered(token))

    # --- what a subclass uses -----------------------------------------------------------------------------------------

    def tell(self, place: Place, body: Any) -> bool:
        """Send a message to whoever stands in a place now; False if nobody does."""
        peer = self._peers.get(place)
        if peer is None:
            return False
        self.send(peer.address, Letter(peer.identity, self.identity, body))
        return True

    def peer(self, place: Place) -> Identity | None:
        """Who stands in a place now."""
        peer = self._peers.get(place)
        return None if peer is None else peer.identity

    def peers(self) -> list[Peer]:
        """Everybody who is up."""
        return list(self._peers.values())

    def reply_to_supervisor(self, body: Any) -> None:
        """Send a message to the supervisor."""
        assert self._supervisor is not None
        self.send(self._supervisor.address, Letter(self._supervisor.identity, self.identity, body))

    def open_line(self, name: str, place: Place, merge: Callable[[Any, Any], Any]) -> None:
        """Open a line of credit one to a place; what is said on it survives whoever stands there."""
        self._lines[name] = (place, Line(merge, _REPEAT_AFTER))

    def say(self, line: str, item: Any) -> None:
        """Say something on a line: now, or merged with what follows when the last was answered."""
        self._transmit(line, self._lines[line][1].put(item, time.monotonic()))

    def after(self, seconds: float, name: str, action: Callable[[], None]) -> None:
        """Call `action` once, in `seconds`. A second timer of the same name replaces the first."""
        due = time.monotonic() + seconds
        self._timers[name] = (due, action)
        # Thespian's wakeups cannot be cancelled and are sorted at each new one, so a timer that is set again and again
        # must not leave one each time: a wakeup that comes too early is asked for once more.
        if due < self._wakeups.get(name, math.inf):
            self._wake(name, due, seconds)

    def _wake(self, name: str, due: float, seconds: float) -> None:
        self._wakeups[name] = due
        self.wakeupAfter(timedelta(seconds=seconds), (name, due))

    def _woken(self, name: str, asked: float) -> None:
        if self._wakeups.get(name) == asked:
            del self._wakeups[name]
        due, action = self._timers.get(name, (math.inf, None))
        if action is None or name in self._wakeups or (self._held is not None and name != "tick"):
            return
        remaining = due - time.monotonic()
        if remaining > 0:
            self._wake(name, due, remaining)
        else:
            del self._timers[name]
            action()

    def cancel(self, name: str) -> None:
        """Forget a timer; that there is none is fine."""
        self._timers.pop(name, None)

    def watch(self, fileno: int, action: Callable[[], None]) -> None:
        """Call `action` whenever a descriptor is readable."""
        self._watched[fileno] = action

    def unwatch(self, fileno: int) -> None:
        """Stop watching; must come before the descriptor is closed."""
        self._watched.pop(fileno, None)

    def send(self, targetAddr: ActorAddress, msg: Any) -> None:  # Thespian's names
        """Thespian's, counted and traced."""
        self.debug.went(*inside(msg, "to", targetAddr))
        super().send(targetAddr, msg)

    def answer(self, asking: Asking, value: Any = None, problem: str | None = None) -> None:
        """Answer a question whose handler returned `LATER`."""
        who, reference = asking
        self.send(who.address, Letter(who.identity, self.identity, Answer(reference, value, problem)))

    def started(self) -> None:
        """This actor is initialised: the supervisor may go on with the next one."""
        self._starting = False
        self.log.info("actor.started")
        self.reply_to_supervisor(Started(os.getpid()))
        self._tick()

    def leave(self, reason: Reason) -> None:
        """End now, with this reason. What was sent before is delivered, nothing is processed after.

        Thespian loses what an ending process has not yet transmitted, its farewell included. So this one stays until
        the supervisor, who kills whoever has said farewell, has heard it; or ends by itself when that takes too long.
        """
        if self._ended:
            return
        self._ended = True
        self._watched.clear()
        if self._supervisor is None:
            self._exit()
            return
        self.reply_to_supervisor(Farewell(reason))
        self.wakeupAfter(_UNHEARD_AFTER, _UNHEARD)

    def _exit(self) -> None:
        # Not recursive: children are their supervisor's business, and the kernel's.
        self.send(self.myAddress, ActorExitRequest(recursive=False))

    # --- machinery ----------------------------------------------------------------------------------------------------

    def receiveMessage(self, message: Any, sender: ActorAddress) -> ThespianWatch:
        """Thespian's entry. Never raises: see the module's docstring."""
        if not self._ended:
            try:
                self._take(message, sender)
            except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this process, and is reported
                self._crash(problem, message)
        elif isinstance(message, WakeupMessage) and message.payload == _UNHEARD:
            self._exit()
        # A handler that returns anything else would clear the watch.
        return ThespianWatch(list(self._watched) if self._held is None else [])

    def _take(self, message: Any, sender: ActorAddress) -> None:
        match message:
            case Letter(to, author, body):
                if to != self.identity:
                    self.strays[type(body).__name__] += 1
                elif self._held is not None and not isinstance(body, _SYSTEM):
                    self._hold(message, sender)
                else:
                    self.debug.came(*inside(message, "sender", sender))
                    self._dispatch(body, author, sender)
            case WatchMessage() if self._held is None:
                for fileno in message.ready:
                    if (watcher := self._watched.get(fileno)) is not None:
                        watcher()
            case WakeupMessage():
                self._woken(*message.payload)
            case Init():
                self._init(message, sender)
            case ActorSystemMessage():
                # Thespian's exit notices: a death is a readable pidfd, and ActorExitRequest is Thespian's to perform.
                pass
            case _:
                self.strays[type(message).__name__] += 1

    def _dispatch(self, body: Any, author: Identity, sender: ActorAddress) -> None:
        handler = getattr(self, f"receive_{type(body).__name__}", None)
        if handler is None:
            self.strays[type(body).__name__] += 1
            self.log.warning("actor.unrecognised_message", message=type(body).__name__, sender=str(author))
        else:
            handler(body, Peer(author, sender))

    def _init(self, init: Init, sender: ActorAddress) -> None:
        self.identity = init.identity
        self._supervisor = Peer(init.supervisor, init.supervisor_address or sender)
        setproctitle.setproctitle(f"arimon: {init.identity.place}")
        role, pbx, generation = init.identity
        log.setup(init.start.settings, role=role, pbx=pbx, generation=generation)
        log.take_over_stdlib_logging()
        self.start(init.start)
        if not self.starts_later:
            self.started()
        elif self._starting:
            self.after(_STILL_STARTING_EVERY, "starting", self._still_starting)

    def _still_starting(self) -> None:
        if self._starting:
            self.reply_to_supervisor(StillStarting())
            self.after(_STILL_STARTING_EVERY, "starting", self._still_starting)

    def _crash(self, problem: Exception, message: Any) -> None:
        body = message.body if isinstance(message, Letter) else message
        found = Crash.of(problem, message=brief(body, _SHOWN), state=brief_state(self._own_state(), _SHOWN))
        # What it says may hold what it was connecting with.
        reason = replace(found, text=log.mask(found.text), traceback=log.mask(found.traceback))
        self.log.error("actor.crashed", error=repr(problem), exc_info=problem)
        self.leave(reason)

    def _own_state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._machinery}

    def _tick(self) -> None:
        self._measure_process()
        self.measure()
        details = self.details() | ({"suspended": True} if self._held is not None else {})
        self.say("vitals", Vitals(os.getpid(), int(time.time() * 1000), self.metrics.snapshot(), details))
        for name, (_place, line) in self._lines.items():
            self._transmit(name, line.overdue(time.monotonic()))
        self.after(_VITALS_EVERY, "tick", self._tick)

    def _measure_process(self) -> None:
        role = self.identity.role
        self.metrics.counter(names.MAIL_DROPPED, role).value = sum(self.strays.values())
        self.metrics.counter(names.ACTOR_FRAMES_REFUSED, role).value = frames.signed_frames().refused
        self.metrics.counter(names.LOG_SUPPRESSED, role).value = log.left_out()
        self.metrics.counter(names.PROCESS_CPU, role).value = time.process_time()
        self.metrics.gauge(names.PROCESS_MEMORY, role).set(proportional_memory())

    def _transmit(self, name: str, sent: Sent[Any] | None) -> None:
        if sent is not None:
            self.tell(self._lines[name][0], Streamed(name, sent.token, sent.item))

    # --- messages that every process actor understands ----------------------------------------------------------------

    def receive_Streamed(self, message: Streamed, sender: Peer) -> None:
        self._dispatch(message.item, sender.identity, sender.address)
        answer = StreamAnswered(message.line, message.token)
        self.send(sender.address, Letter(sender.identity, self.identity, answer))

    def receive_StreamAnswered(self, message: StreamAnswered, _sender: Peer) -> None:
        if message.line in self._lines:
            self._transmit(message.line, self._lines[message.line][1].answered(message.token, time.monotonic()))

    def receive_Peers(self, message: Peers, _sender: Peer) -> None:
        self._peers = {peer.identity.place: peer for peer in message.peers}
        for name, (place, line) in self._lines.items():
            now = self.peer(place)
            if now is not None and now != self._known.get(name):
                self._transmit(name, line.reset(time.monotonic()))
            self._known[name] = now
        if self._held is None:
            self.peers_changed()

    def receive_Probe(self, message: Probe, _sender: Peer) -> None:
        self.answer_probe(message.token)

    def receive_Stop(self, _message: Stop, _sender: Peer) -> None:
        if not self._stopping:
            self._stopping = True
            self._resume()
            self.stop()

    def receive_Query(self, message: Query, sender: Peer) -> None:
        self.asking = Asking(sender, message.reference)
        handler = getattr(self, f"query_{message.name}", None) or getattr(self.enquiries, f"query_{message.name}", None)
        if handler is None:
            self.answer(self.asking, problem=f"{self.identity.place} knows nothing of {message.name!r}")
        elif self._held is not None and message.name not in _SYSTEM_QUESTIONS | self.answered_anyway:
            self.answer(self.asking, problem=f"{self.identity.place} is suspended: resume it first")
        else:
            try:
                value = handler(**message.arguments)
            except Declined as refusal:
                self.answer(self.asking, problem=str(refusal))
            except Exception as problem:  # a question changes nothing, so it must not kill who is asked
                self.log.error("actor.question_failed", name=message.name, error=repr(problem), exc_info=problem)
                self.answer(self.asking, problem=f"{self.identity.place} could not answer: {problem!r}")
            else:
                if value is not LATER:
                    self.answer(self.asking, value)

    # --- what OTP's sys does ------------------------------------------------------------------------------------------

    def query_get_state(self) -> dict[str, Any]:
        """This actor's own attributes, as plain data."""
        return shown(self._own_state())

    def query_statistics(self) -> dict[str, Any]:
        """Messages by class since its start, what waits, and what it costs."""
        return self.debug.statistics() | {
            "generation": self.identity.generation,
            "suspended": self._held is not None,
            "held": len(self._held or ()),
            "dropped": dict(self.strays),
            "timers": sorted(self._timers),
            "cpu_seconds": time.process_time(),
            "memory_bytes": proportional_memory(),
        }

    def query_trace(self, most: int) -> bool:
        """Trace so many messages; 0 ends a trace."""
        self.debug.start_trace(most)
        return True

    def query_traced(self) -> dict[str, Any]:
        """What was traced since the last time."""
        return self.debug.traced()

    def query_suspend(self) -> str:
        """Take nothing but questions until resumed."""
        if self.unsuspendable:
            raise Declined(f"{self.identity.place} is not to be suspended: {self.unsuspendable}")
        if self._held is None:
            self._held = []
            self.log.warning("actor.suspended")
            self.reply_to_supervisor(Suspended(True))
        return f"{self.identity.place} is suspended; what comes for it is kept until it is resumed"

    def query_resume(self) -> str:
        """Take what was kept, in order, and go on."""
        if self._held is None:
            return f"{self.identity.place} was not suspended"
        count = len(self._held)
        self._resume()
        return f"{self.identity.place} goes on; {count} messages had been kept for it"

    def _hold(self, letter: Letter, sender: ActorAddress) -> None:
        assert self._held is not None
        if isinstance(letter.body, Streamed):
            once = (letter.sender, letter.body.line, letter.body.token)
            if once in self._held_once:
                return
            self._held_once.add(once)
        self._held.append((letter, sender))
        if len(self._held) > MOST_HELD:
            self.log.error("actor.resumed_by_itself", held=len(self._held))
            self._resume()

    def _resume(self) -> None:
        if self._held is None:
            return
        held, self._held = self._held, None
        self._held_once.clear()
        self.log.warning("actor.resumed", held=len(held))
        self.reply_to_supervisor(Suspended(False))
        # Timers that came due are woken for anew; descriptors that are readable still are.
        for name, (due, _action) in list(self._timers.items()):
            if name not in self._wakeups:
                self._wake(name, due, max(0.0, due - time.monotonic()))
        self.peers_changed()
        for letter, sender in held:
            if self._ended:
                break
            self._take(letter, sender)
