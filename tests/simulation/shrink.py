"""The shortest schedule that still fails: delta debugging (Zeller's ddmin) over the lines of a schedule."""

from collections.abc import Callable, Sequence

from tests.simulation.faults import Fault

MOST_RUNS = 200
"""Runs after which the shortest schedule found so far is good enough."""


def shortest(schedule: Sequence[Fault], fails: Callable[[Sequence[Fault]], bool]) -> tuple[Fault, ...]:
    """Leave out lines as long as it fails.

    Args:
        schedule: fails as a whole.
        fails: whether a schedule does.

    Returns:
        A schedule of which no single line can be left out (if `MOST_RUNS` were enough to find it).
    """
    left = tuple(schedule)
    runs = 0
    parts = 2
    while len(left) >= 2 and runs < MOST_RUNS:
        size = -(-len(left) // parts)
        for begin in range(0, len(left), size):
            rest = left[:begin] + left[begin + size :]
            runs += 1
            if fails(rest):
                left, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(left), parts * 2)
    if len(left) == 1 and fails(()):
        return ()
    return left
