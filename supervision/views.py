"""What can be read from a supervisor's state at any time, without asking through its queue."""

from supervision.child_spec import ChildType
from supervision.commands import ChildInfo, ChildState, Counts
from supervision.intensity import Gauge, gauge
from supervision.state import State


def which_children(state: State) -> tuple[ChildInfo, ...]:
    """The children, the one started last first, as OTP lists them."""
    return tuple(
        ChildInfo(child.id, child.state, child.generation, child.spec.type, child.spec.restart)
        for child in state.newest_first()
    )


def count_children(state: State) -> Counts:
    """How many children there are."""
    children = state.children.values()
    # A dead one whose exit still waits in the queue is not active; OTP does not look at dynamic ones that closely.
    active = sum(c.state is ChildState.RUNNING and (state.simple or c.id not in state.dead) for c in children)
    supervisors = sum(c.spec.type == ChildType.SUPERVISOR for c in children)
    specs = 1 if state.simple else len(children)
    return Counts(specs, active, supervisors, len(children) - supervisors)


def budget(state: State, now_ms: int, id: str | None = None) -> Gauge:
    """The restart budget as it stands now.

    Args:
        state: of the supervisor.
        now_ms: as in `handle`.
        id: where each child has its own budget, the child.
    """
    child = state.children.get(id) if id is not None else None
    restarts = state.restarts if child is None else child.restarts
    return gauge(restarts, now_ms, state.spec.intensity, state.spec.period_ms)
