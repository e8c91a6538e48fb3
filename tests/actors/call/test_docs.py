"""`docs/calls.md`: the diagram in it is generated."""

from pathlib import Path

from actors.call.moves import diagram

PAGE = Path(__file__).parents[3] / "docs" / "calls.md"


def test_diagram_is_current() -> None:
    """The page shows the table of legal moves as it is: docs/generate_calls.py writes it anew."""
    shown = PAGE.read_text(encoding="utf-8").split("```mermaid\n")[1].split("```")[0]
    assert shown == diagram()
