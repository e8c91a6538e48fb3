"""The sequence that holds a conferee's records."""

import pickle
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from actors.call.series import Series, added, put, where


class Item(NamedTuple):
    key: int
    value: int


ITEMS = st.builds(Item, st.integers(0, 3), st.integers())
CHANGES = st.lists(st.tuples(st.integers(0, 60), ITEMS), max_size=120)


@given(CHANGES)
def test_is_a_tuple(changes: list[tuple[int, Item]]) -> None:
    """Short or long, after any changes it holds and finds what a list holds after the same."""
    items = added((), Item(0, 0))
    plain = [Item(0, 0)]
    for at, item in changes:
        if at < len(plain):
            items = put(items, at, item)
            plain[at] = item
        else:
            items = added(items, item)
            plain.append(item)
        assert list(where(items, "key", item.key)) == [place for place, one in enumerate(plain) if one.key == item.key]
    assert (list(items), len(items), items[-1], items[: len(plain)]) == (plain, len(plain), plain[-1], items[:])
    assert items == tuple(plain)


@given(CHANGES, st.integers(32, 60), ITEMS)
def test_never_changes(changes: list[tuple[int, Item]], length: int, new: Item) -> None:
    """What is made of it leaves it as it was, however many versions there are, and whichever is read first."""
    versions = [added(tuple(Item(0, number) for number in range(length)), new)]
    plain = [[*versions[0]]]
    for at, item in changes:
        versions.append(put(versions[-1], at % length, item) if at % 2 else added(versions[-1], item))
        plain.append([*plain[-1]])
        plain[-1][at % length : at % length + 1] = [item] if at % 2 else plain[-1][at % length : at % length + 1]
        if not at % 2:
            plain[-1].append(item)
    for version, expected in sorted(zip(versions, plain, strict=True), key=lambda one: id(one[0])):
        assert list(version) == expected
        assert list(where(version, "key", 1)) == [at for at, item in enumerate(expected) if item.key == 1]


def test_another_version_in_between() -> None:
    """Who goes through it sees it as it was, though another version is made meanwhile."""
    items = Series(range(40))
    assert [one for one in items if items.put(39, one) or True] == list(range(40))


def test_survives_pickling() -> None:
    """It is stored as a tuple, which equals it."""
    series = Series(range(40))
    assert pickle.loads(pickle.dumps(series)) == tuple(range(40)) == series
