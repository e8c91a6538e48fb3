"""Named tuples that are changed often."""

from typing import NamedTuple

import pytest

from actors.call.quick import quick


@quick
class Thing(NamedTuple):
    a: int
    b: str = "b"


def test_replace() -> None:
    """It makes another one with some fields changed, and leaves the first as it was."""
    thing = Thing(1)
    assert thing._replace(a=2) == Thing(2)
    assert thing._replace(a=2, b="c") == Thing(2, "c")
    assert type(thing._replace()) is Thing
    assert thing == Thing(1, "b")


def test_unknown_field() -> None:
    """It refuses a field that there is not."""
    with pytest.raises(KeyError):
        Thing(1)._replace(c=3)  # type: ignore[call-arg]
