"""What a Switchboard has its calls in."""

import random
from typing import TYPE_CHECKING

from actors.call import host
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call_system import CallSystem, Poisoned
from conf.settings import Settings
from supervision.reasons import Crash
from tests.simulation.bugs import Bug
from tests.simulation.places import PBX

if TYPE_CHECKING:
    pass


class PlainCalls:
    """Calls in a dict: what `actors.call_system` does with actors, several times as fast."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.states: dict[str, Call] = {}

    def deliver(self, routed: Routed) -> host.Folded | Poisoned:
        try:
            folded = host.fold(self.states.get(routed.call_id), routed, PBX, self._settings)
        except Bug as problem:
            return Poisoned(Crash("Bug", str(problem)))
        if folded.ended:
            self.states.pop(routed.call_id, None)
        else:
            self.states[routed.call_id] = folded.call
        return folded

    def degrade(self, call_id: str) -> None:
        if call_id in self.states:
            self.states[call_id] = host.degrade(self.states[call_id])

    def restore(self, call_id: str, state: Call) -> None:
        self.states[call_id] = state

    replace = restore

    def dismiss(self, call_id: str) -> None:
        del self.states[call_id]


def make_calls(settings: Settings, luck: random.Random) -> "PlainCalls | CallSystem":
    """A host of calls: real actors now and then, since a plain dict is faster."""
    return CallSystem(PBX, settings) if luck.random() < 0.25 else PlainCalls(settings)
