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


@given(st.dictionaries(KEYS, st.integers()), st.lists(st.tuples(KEYS, st.none() | st.integers())))
def test_every_version_stays(items: dict[str, int], changes: list[tuple[str, int | None]]) -> None:
    """Each of many versions holds what it held, whichever is read first."""
    versions = [(Shelf(items), items)]
    for key, value in changes:
        shelf, plain = versions[-1]
        if value is None:
            versions.append((shelf.discard(key), {one: plain[one] for one in plain if one != key}))
        else:
            versions.append((shelf.set(key, value), {**plain, key: value}))
    for shelf, plain in sorted(versions, key=lambda one: id(one[0])):
        assert dict(shelf) == plain


def test_another_version_in_between() -> None:
    """Who goes through it sees it as it was, though another version is made meanwhile."""
    shelf = Shelf({"a": 1, "b": 2, "c": 3})
    seen = []
    for key, value in shelf.items():
        shelf.discard("c").set("d", 4)
        seen.append((key, value))
    assert seen == [("a", 1), ("b", 2), ("c", 3)]
