"""The supervisor as a pure machine: `handle(state, input, now_ms) -> (state, commands)`."""

from dataclasses import dataclass

from supervision.child_spec import SupervisorSpec
from supervision.commands import Command
from supervision.inputs import Input


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a supervisor knows. Opaque to its driver."""

    name: str
    spec: SupervisorSpec


def new(spec: SupervisorSpec, name: str, generation: int = 0, seed: int = 0) -> State:
    """A supervisor before its `Boot`.

    Args:
        spec: checked here, before anything starts.
        name: its path, for reports.
        generation: generations of children are greater than this; give what is greater than any that an earlier
            incarnation of this supervisor gave (as the milliseconds of the clock), so that nothing of then matches.
        seed: of the jitter of delayed restarts.

    Raises:
        BadSpec: the specification contradicts itself.
    """
    raise NotImplementedError


def handle(state: State, given: Input, now_ms: int) -> tuple[State, tuple[Command, ...]]:
    """One step.

    Args:
        state: as the last step left it.
        given: what happened.
        now_ms: on a clock that never goes back, milliseconds.

    Returns:
        The next state, and what is to be done, in this order.
    """
    raise NotImplementedError
