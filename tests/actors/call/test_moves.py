"""The table of moves; tests/actors/call/test_transition.py holds what happens against it."""

from actors.call.moves import MOVES, diagram
from actors.call.state import Phase


def test_the_diagram_shows_every_move() -> None:
    """The diagram in `docs/` is made of the table."""
    shown = diagram()
    assert shown.startswith("stateDiagram-v2\n")
    for kind, move in MOVES.items():
        if move.phases != frozenset(Phase):
            assert f": {kind.__name__}" in shown
