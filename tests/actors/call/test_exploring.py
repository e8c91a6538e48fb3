"""Small worlds, explored whole: see `exploring`, which goes deeper by `--depth`."""

import pytest

from tests.actors.call.exploring import explore


def test_all_orders_of_what_decides_a_call() -> None:
    """Births, dials, bridges and deaths of three channels break no invariant, in whatever order."""
    assert explore(6)["states at depth 5"] > 1_000


@pytest.mark.parametrize("first", ["Ring", "Down"])
def test_all_orders_of_what_makes_calls_meet(first: str) -> None:
    """Nor do they on paths of eight moves, without the conference, in which calls never meet."""
    assert explore(8, bridges="x", first=first)["states at depth 7"] > 5_000


def test_all_orders_of_everything() -> None:
    """Nor do they with answers and dialplan in between."""
    assert explore(5, every=True)["states at depth 4"] > 400


@pytest.mark.parametrize("deaf", [2, 3, 4])
def test_all_orders_of_what_is_heard_late(deaf: int) -> None:
    """Nor do they if the first moves are not heard."""
    assert explore(6, every=True, bridges="x", deaf=deaf)["steps"] > 5_000
