"""The embedded actor system of one Switchboard: its partitions, its calls, and the way in to each call's mailbox.

Two habits of Thespian's `simpleSystemBase` are dealt with here and nowhere else. It keeps the key of a dead actor in
its registry for ever. And its `ask` returns with the first of several answers, while `listen` runs the whole system
again for each further one: `tell` runs it until it is quiet, and what the actors said lies in its mailbox for outsiders
then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystem

from actors.call.discreet import routed_shown
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.calls import (
    Begin,
    CallActor,
    CallGivenUp,
    CallIs,
    CallReports,
    CallsActor,
    Degrade,
    Degraded,
    Dismiss,
    Enquiry,
    EnquiryAnswered,
    RestartCall,
    StartCall,
)
from actors.debug import Debug
from conf.settings import Settings
from supervision.reasons import Crash, Reason
from supervision.reports import Report


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A call's actor raised at an input, and so did its successor."""

    reason: Reason


@dataclass(slots=True)
class _Resident:
    """A call's actor as we know it."""

    address: ActorAddress
    generation: int
    """1 for the call's first actor."""


class CallSystem:
    """All calls of one PBX."""

    def __init__(self, server: str, settings: Settings) -> None:
        self.states: dict[str, Call] = {}
        """Each active call's state after the last input that it took. Immutable values: a copy of the dict is a
        snapshot of all calls."""
        self.restarts = 0
        """Call actors replaced since the start."""
        self._settings = settings
        self._reports: list[Report] = []
        self._residents: dict[str, _Resident] = {}
        self._reason: Reason | None = None
        self._debugs: dict[str, Debug] = {}
        """Of calls that somebody asked about: their messages are counted from the first question on, as in OTP."""
        self._system = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        self._mailbox = self._system._systemBase.actorRegistry["System:ExternalRequester"].instance
        self._mailbox.responses = []
        self._partitions = [self._system.createActor(CallsActor) for _ in range(settings.switchboard.partitions)]
        for index, partition in enumerate(self._partitions):
            path = f"pbx/{server}/calls/{index}"
            self._ask(partition, Begin(path, server, settings, self.states))

    def restore(self, call_id: str, state: Call) -> None:
        """Put a call of a snapshot back, with an actor of its own."""
        self.states[call_id] = state
        self._start(call_id)

    def deliver(self, routed: Routed) -> Folded | Poisoned:
        """Give an input to its call by way of its mailbox; the call's actor is started if it has none.

        An actor that raises is replaced, and the input given to its successor once more: that tells a passing fault of
        the actor from a row that no actor can take. After `Poisoned` the call has a live actor and its former state.
        """
        self._reason = None
        before = self.states.get(routed.call_id)
        for _attempt in (1, 2):
            resident = self._residents.get(routed.call_id) or self._start(routed.call_id)
            answer = self._ask(resident.address, routed)
            if self._debugs and (debug := self._debugs.get(routed.call_id)) is not None:
                _account(debug, routed_shown(routed, before, self._settings), answer)
            if isinstance(answer, Folded):
                if answer.ended:
                    self._forget(routed.call_id)
                else:
                    self.states[routed.call_id] = answer.call
                return answer
        return Poisoned(self._reason or Crash("NoAnswer", "the call's actor did not answer"))

    def degrade(self, call_id: str) -> None:
        """Tell a call that a row of it was set aside."""
        if call_id not in self.states:
            # It failed at its very first input: there is no state yet that could say so, see `restore`.
            if (resident := self._residents.get(call_id)) is not None:
                self._ask(resident.address, Dismiss())
                self._forget(call_id)
            return
        resident = self._residents.get(call_id) or self._start(call_id)
        answer = self._ask(resident.address, Degrade())
        assert isinstance(answer, Degraded), f"{call_id} did not answer: {answer!r}"
        self.states[call_id] = answer.state

    def replace(self, call_id: str, state: Call) -> None:
        """Give an active call another state, by way of a successor."""
        self.states[call_id] = state
        self.kill(call_id)

    def dismiss(self, call_id: str) -> None:
        """Forget an active call without a word."""
        self._ask(self._residents[call_id].address, Dismiss())
        self._forget(call_id)

    def kill(self, call_id: str) -> bool:
        """End a call's actor at once; its supervisor starts a successor. False if there is no such call."""
        resident = self._residents.get(call_id)
        if resident is None:
            return False
        self._ask(resident.address, ActorExitRequest(recursive=False))
        return True

    def restart(self, call_id: str) -> bool:
        """Stop a call's actor in order and start another, which costs no budget. False if there is no such call."""
        if call_id not in self._residents:
            return False
        self._ask(self._partition(call_id), RestartCall(call_id))
        return True

    def enquire(self, path: str, name: str, arguments: dict[str, Any]) -> Any:
        """Ask a call or a partition, by way of its mailbox, what OTP's `sys` asks.

        Args:
            path: `call/ID` or `calls/INDEX`.
            name: of the question.
            arguments: of the question.

        Returns:
            The answer; None if nobody has that path, or the question is none for whoever has it.
        """
        kind, _, key = path.partition("/")
        if kind == "call" and name != "get_state":
            return self._answer(key, name, arguments)
        address = None
        if kind == "call" and key in self._residents:
            address = self._residents[key].address
        elif kind == "calls" and key.isascii() and key.isdigit() and int(key) < len(self._partitions):
            address = self._partitions[int(key)]
        if address is None:
            return None
        told = self._ask(address, Enquiry(name, arguments))
        return told.value if isinstance(told, EnquiryAnswered) else None

    def _answer(self, call_id: str, name: str, arguments: dict[str, Any]) -> Any:
        if call_id in self._residents:
            debug = self._debugs.setdefault(call_id, Debug())
        elif (found := self._debugs.pop(call_id, None)) is not None:
            debug = found  # it has ended, and this is the last of it
        else:
            return None
        if len(self._debugs) > _MOST_DEBUGGED:
            del self._debugs[next(iter(self._debugs))]
        return debug.answer(name, arguments)

    def generation(self, call_id: str) -> int:
        """Of a call's actor."""
        return self._residents[call_id].generation

    def take_reports(self) -> list[Report]:
        """What the partitions have reported since the last time."""
        reports, self._reports = self._reports, []
        return reports

    def census(self) -> dict[str, int]:
        """Count what lives in the registry: calls that ought to have an actor, and actors that there are."""
        alive = sum(isinstance(actor, CallActor) for actor in self._instances())
        return {"calls": len(self.states), "actors": alive}

    def partition_of(self, call_id: str) -> int:
        """Index of the partition whose supervisor a call has."""
        return crc32(call_id.encode()) % len(self._partitions)

    def partition_sizes(self) -> list[int]:
        """Calls per partition."""
        sizes = [0] * len(self._partitions)
        for call_id in self.states:
            sizes[self.partition_of(call_id)] += 1
        return sizes

    def _partition(self, call_id: str) -> ActorAddress:
        return self._partitions[self.partition_of(call_id)]

    # --- machinery ----------------------------------------------------------------------------------------------------

    def _start(self, call_id: str) -> _Resident:
        self._ask(self._partition(call_id), StartCall(call_id))
        return self._residents[call_id]

    def _forget(self, call_id: str) -> None:
        """The call has ended, and its actor with it."""
        if (debug := self._debugs.get(call_id)) is not None:
            debug.end()
        self.states.pop(call_id, None)
        self._prune(self._residents.pop(call_id).address)

    def _ask(self, address: ActorAddress, message: Any) -> Folded | Degraded | EnquiryAnswered | None:
        """Send a message, run the system until it is quiet, take in what supervisors say; return an actor's answer."""
        found: Folded | Degraded | EnquiryAnswered | None = None
        given_up: list[str] = []
        self._system.tell(address, message)
        answers, self._mailbox.responses = self._mailbox.responses, []
        # Reports are of those who died, so they are taken in before anybody has moved in.
        for answer in answers:
            if isinstance(answer, CallReports):
                self._reports.extend(map(self._of_generation, answer.reports))
        for answer in answers:
            match answer:
                case Folded() | Degraded() | EnquiryAnswered():
                    found = answer
                case CallIs(call_id, resident, reason):
                    self._moved_in(call_id, resident, reason)
                case CallGivenUp(call_id, reason):
                    self._reason = reason
                    given_up.append(call_id)
        for call_id in given_up:
            # Its supervisor has had enough of it, but it is active, and every active call has an actor.
            if call_id in self.states:
                self._start(call_id)
            elif (gone := self._residents.pop(call_id, None)) is not None:
                self._prune(gone.address)
        return found

    def _of_generation(self, report: Report) -> Report:
        """A report with the generation that people know; the machine's counts all calls of a partition together."""
        resident = self._residents.get(report.id)
        return replace(report, generation=None if resident is None else resident.generation)

    def _moved_in(self, call_id: str, address: ActorAddress, reason: Reason | None) -> None:
        before = self._residents.get(call_id)
        if before is not None:
            self._prune(before.address)
            self.restarts += reason is not None
            self._reason = reason or self._reason
        self._residents[call_id] = _Resident(address, 1 if before is None else before.generation + 1)

    def _prune(self, address: ActorAddress) -> None:
        registry = self._system._systemBase.actorRegistry
        key = address.actorAddressString
        if registry.get(key, _ABSENT) is None:
            del registry[key]

    def _instances(self) -> Iterator[Any]:
        for reference in list(self._system._systemBase.actorRegistry.values()):
            if reference is not None and reference.instance is not None:
                yield reference.instance


def _account(debug: Debug, routed: Routed, answer: object) -> None:
    debug.came(routed.input, "switchboard")
    if isinstance(answer, Folded):
        for message in answer.messages:
            debug.went(message, "outbox")


_MOST_DEBUGGED = 1000
"""Calls whose messages are counted or traced at once; the oldest makes room."""
_ABSENT = object()
