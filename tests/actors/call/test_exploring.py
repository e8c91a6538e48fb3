"""Small worlds, explored whole: see `exploring`, which goes deeper by `--depth`."""

from tests.actors.call.exploring import explore


def test_all_orders_of_what_decides_a_call() -> None:
    """Births, dials, bridges and deaths of three channels break no invariant, in whatever order."""
    assert explore(6)["states at depth 6"] > 5_000


def test_all_orders_of_everything() -> None:
    """Nor do they with answers and dialplan in between."""
    assert explore(5, every=True)["states at depth 5"] > 1_000
