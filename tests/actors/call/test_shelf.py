"""The map that says who is known."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from actors.call.shelf import Shelf

KEYS = st.text(max_size=2)


@given(st.lists(st.tuples(st.booleans(), KEYS, st.integers())))
def test_is_a_dict(done: list[tuple[bool, str, int]]) -> None:
    """After any changes it holds what a dict holds after the same."""
    shelf: Shelf[str, int] = Shelf()
    plain: dict[str, int] = {}
    for put, key, value in done:
        if put:
            shelf = shelf.set(key, value)
            plain[key] = value
        else:
            shelf = shelf.discard(key)
            plain.pop(key, None)
        assert shelf.get(key) == plain.get(key)
        assert (key in shelf) == (key in plain)
        assert len(shelf) == len(plain)
    assert dict(shelf) == plain
    assert Shelf(plain) == shelf


@given(st.dictionaries(KEYS, st.integers()), KEYS, st.integers())
def test_never_changes(items: dict[str, int], key: str, value: int) -> None:
    """What is made of a map leaves it as it was."""
    shelf = Shelf(items)
    shelf.set(key, value)
    shelf.discard(key)
    assert dict(shelf) == items


def test_survives_pickling() -> None:
    """It can be stored and read again, in a process that hashes otherwise."""
    shelf = Shelf({"a": 1, "b": 2})
    assert pickle.loads(pickle.dumps(shelf)) == shelf
