"""Calls[0..n]: in-process supervisors of calls, and Call: one Thespian actor per active call.

They live in a `simpleSystemBase` inside of the Switchboard's process: a process per call would cost 7 MB and 3 ms, an
embedded actor costs 1 KB and 25 µs. Supervision is the same machine as above (supervision.machine), with
`simple_one_for_one`, `transient` children and a budget per call: one call cannot take its siblings down. There are
several partitions, because Thespian's cost of removing a child grows with the number of its siblings.

Events reach a call through its actor's mailbox and no other way. An actor that raises is gone; its successor begins
with the state before the message that killed it. States are immutable, so that state is simply still there, and equal
to what a refold of the call's inputs would give.

Calls and partitions show their state to whoever asks (actors.debug), by way of their mailboxes. Counting, tracing and
suspending a call is not its actor's business, but its host's (actors.call_system, actors.waiting): a trace goes on in a
successor and tells the last message of a call that ends, and what is kept for a suspended call survives even the host.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from thespian.actors import Actor, ActorAddress, ActorExitRequest, ActorSystemMessage, ChildActorExited

from actors.call.discreet import call_shown, routed_shown, traceback_shown, words_shown
from actors.call.host import degrade, fold
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.debug import Debug, brief, shown
from conf.settings import Settings
from supervision import machine
from supervision.child_spec import Budget, ChildSpec, Restart, Strategy, SupervisorSpec
from supervision.commands import Command, KillChild, Ok, Reply, StartChild, StopChild
from supervision.inputs import AskStartDynamic, AskTerminateChild, Boot, ChildExited, ChildStarted, Input
from supervision.reasons import KILLED, NORMAL, SHUTDOWN, Crash, Reason
from supervision.reports import Report
from supervision.state import State
from supervision.views import budget, which_children
from wire import log

_SHOWN = 4000
"""Characters of a message or a state in a crash report."""

# --- messages of the embedded system ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """Host → Calls: what every call of this partition needs."""

    path: str
    server: str
    settings: Settings
    states: Mapping[str, Call]
    """The host's record of each call's state after the last input that it took; read only. An actor, the first of its
    call or a successor, begins with what stands here; a call that is not here is new."""


@dataclass(frozen=True, slots=True)
class StartCall:
    """Host → Calls: start an actor for this call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class RestartCall:
    """Host → Calls: stop the actor of this call in order, and start another. An operator's wish: it costs no budget."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallIs:
    """Calls → Host: the actor of a call, after a start or a restart."""

    call_id: str
    address: ActorAddress
    reason: Reason | None
    """Why its predecessor ended; None for the first, and where an operator wanted it."""


@dataclass(frozen=True, slots=True)
class CallGivenUp:
    """Calls → Host: the call's own budget is used up; it has no actor any more."""

    call_id: str
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class CallReports:
    """Calls → Host: the supervisor's reports."""

    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class _Birth:
    """Calls → Call: who it is."""

    call_id: str
    state: Call | None
    server: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Ending:
    """Call → Calls: last words."""

    call_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Degrade:
    """Host → Call: one of your rows was set aside."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Host → Call: you never came to be, since your first input could not be taken. End in order."""


@dataclass(frozen=True, slots=True)
class Degraded:
    """Call → Host: done."""

    state: Call


@dataclass(frozen=True, slots=True)
class Leave:
    """Calls → Call: end in order."""


@dataclass(frozen=True, slots=True)
class Enquiry:
    """Host → any of them: a question of OTP's `sys` or `supervisor`."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EnquiryAnswered:
    """The answer; None if there is no such question."""

    value: Any


# --- actors -----------------------------------------------------------------------------------------------------------


class CallActor(Actor):  # type: ignore[misc]  # Thespian has no types
    """One active call."""

    def __init__(self) -> None:
        super().__init__()
        self._call_id = ""
        self._state: Call | None = None
        self._server: str
        self._settings: Settings
        self._supervisor: ActorAddress
        self._ended = False

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        """Thespian's entry. Never raises: Thespian would call it again on this same object."""
        if self._ended:
            return
        try:
            self._take(message, sender)
        except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this actor, and is reported
            found = Crash.of(problem, message=self._message_shown(message), state=self._state_shown())
            text, traceback = words_shown(found.text, self._settings), traceback_shown(problem, self._settings)
            self._leave(replace(found, text=log.mask(text), traceback=log.mask(traceback)))

    def _message_shown(self, message: Any) -> str:
        if isinstance(message, Routed):
            message = routed_shown(message, self._state, self._settings)
        return brief(message, _SHOWN)

    def _state_shown(self) -> str:
        return brief(None if self._state is None else call_shown(self._state), _SHOWN)

    # Not `_receive`: the simple system base hangs a method of that name on every actor.
    def _take(self, message: Any, sender: ActorAddress) -> None:
        match message:
            case Routed():
                folded = fold(self._state, message, self._server, self._settings)
                self._state = folded.call
                self.send(sender, folded)
                if folded.ended:
                    self._leave(NORMAL)
            case Degrade():
                assert self._state is not None
                self._state = degrade(self._state)
                self.send(sender, Degraded(self._state))
            case _Birth():
                self._supervisor = sender
                self._call_id, self._state = message.call_id, message.state
                self._server, self._settings = message.server, message.settings
            case Dismiss():
                self._leave(NORMAL)
            case Leave():
                self._leave(SHUTDOWN)
            case Enquiry("get_state"):
                self.send(sender, EnquiryAnswered(shown({"call_id": self._call_id, "state": self._state})))
            case ActorSystemMessage():
                pass

    def _leave(self, reason: Reason) -> None:
        self._ended = True
        self.send(self._supervisor, _Ending(self._call_id, reason))
        self.send(self.myAddress, ActorExitRequest(recursive=False))


class CallsActor(Actor):  # type: ignore[misc]
    """One partition: the supervisor of some calls."""

    def __init__(self) -> None:
        super().__init__()
        self._addresses: dict[str, tuple[ActorAddress, int]] = {}
        self._by_address: dict[str, str] = {}
        self._endings: dict[str, Reason] = {}
        self._inputs: deque[Input] = deque()
        self._reports: list[Report] = []
        self._reason: Reason | None = None
        self._machine: State
        self._debug = Debug()

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        """Thespian's entry. An exception here is a bug of the supervisor itself: the host sees no answer and raises."""
        if not isinstance(message, Enquiry):
            self._debug.came(message, self._by_address.get(sender.actorAddressString, "switchboard"))
        match message:
            case StartCall(call_id):
                self._host = sender
                self._give(AskStartDynamic(call_id, call_id))
            case RestartCall(call_id):
                self._host = sender
                self._give(AskTerminateChild(call_id, call_id))
            case Enquiry("which_children"):
                self.send(sender, EnquiryAnswered(self._which_children()))
            case Enquiry("get_state"):
                self.send(sender, EnquiryAnswered(shown({"machine": self._machine})))
            case Enquiry(name, arguments):
                self.send(sender, EnquiryAnswered(self._debug.answer(name, arguments)))
            case _Ending(call_id, reason):
                self._endings[call_id] = reason
            case ChildActorExited():
                self._died(message.childAddress)
            case Begin():
                self._begin, self._host = message, sender
                self._machine = machine.new(_spec(message.settings), message.path)
                self._give(Boot())

    def _died(self, address: ActorAddress) -> None:
        call_id = self._by_address.pop(address.actorAddressString, None)
        if call_id is None:
            return
        _address, generation = self._addresses.pop(call_id)
        self._reason = self._endings.pop(call_id, KILLED)
        self._give(ChildExited(call_id, generation, self._reason))
        if call_id not in self._addresses and self._reason != NORMAL:
            self.send(self._host, CallGivenUp(call_id, self._reason))

    def _which_children(self) -> list[dict[str, Any]]:
        now_ms = time.monotonic_ns() // 1_000_000
        found = []
        for info in which_children(self._machine):
            used = budget(self._machine, now_ms, info.id)
            found.append(
                {
                    "id": info.id,
                    "state": str(info.state),
                    "type": str(info.type),
                    "restart": str(info.restart),
                    "budget": {"used": used.used, "allowed": used.intensity},
                }
            )
        return found

    def _give(self, given: Input) -> None:
        # A start completes within its command, so its outcome queues here until the commands before it are done.
        self._inputs.append(given)
        if len(self._inputs) > 1:
            return
        while self._inputs:
            self._machine, commands = machine.handle(self._machine, self._inputs[0], time.monotonic_ns() // 1_000_000)
            for command in commands:
                self._carry_out(command)
            self._inputs.popleft()
        if self._reports:
            self.send(self._host, CallReports(tuple(self._reports)))
            self._reports.clear()

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartChild(call_id, generation, again=again):
                address = self.createActor(CallActor)
                self._addresses[call_id] = (address, generation)
                self._by_address[address.actorAddressString] = call_id
                state = self._begin.states.get(call_id)
                self.send(address, _Birth(call_id, state, self._begin.server, self._begin.settings))
                self.send(self._host, CallIs(call_id, address, self._reason if again else None))
                self._give(ChildStarted(call_id, generation))
            case StopChild(call_id, _):
                if call_id in self._addresses:
                    self.send(self._addresses[call_id][0], Leave())
            case KillChild(call_id, _):
                if call_id in self._addresses:
                    self.send(self._addresses[call_id][0], ActorExitRequest(recursive=False))
            case Reply(str() as call_id, Ok(None)):
                # It was stopped for `RestartCall`; the reply to a start carries a ChildRef.
                self._give(AskStartDynamic(call_id, call_id))
            case Report():
                self._reports.append(command)
            case _:
                # Nobody waits for replies (`CallIs` says more), and nothing here has a time limit.
                pass


def _spec(settings: Settings) -> SupervisorSpec:
    options = settings.supervision
    template = ChildSpec("call", CallActor, restart=Restart.TRANSIENT)
    return SupervisorSpec(
        strategy=Strategy.SIMPLE_ONE_FOR_ONE,
        intensity=options.call_intensity,
        period_ms=int(options.period * 1000),
        budget=Budget.CHILD,
        children=(template,),
    )
