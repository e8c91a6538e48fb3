"""An immutable sequence that may be long and of which one item changes at a time: the records of a conferee.

In a conference of n each party has up to n records, and each arrival and each end changes one record of each: copying
tuples, that is n³ steps. A short sequence is a plain tuple here; from `_LONG` on it is a `Series`, whose versions share
a list as those of a `Shelf` share a dict: to replace, to add and to find an item then cost the same at any length.
Who reads both sees a sequence, and whoever goes through all of it may make a tuple of it again.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")

_LONG = 32
"""Items from which on it is quicker to share a list than to copy a tuple."""

_ABSENT: Any = object()
"""In place of an item: there was none."""


def put(items: Sequence[T], at: int, item: T) -> Sequence[T]:
    """The sequence, with one item replaced."""
    if type(items) is Series:  # no isinstance: Sequence makes that slow for a tuple
        return items.put(at, item)
    if len(items) < _LONG:
        return (*items[:at], item, *items[at + 1 :])
    return Series(items).put(at, item)


def added(items: Sequence[T], item: T) -> Sequence[T]:
    """The sequence, with one item more."""
    if type(items) is Series:
        return items.put(len(items), item)
    if len(items) < _LONG:
        return (*items, item)
    return Series(items).put(len(items), item)


def where(items: Sequence[Any], field: str, value: object) -> Sequence[int]:
    """Places of the items of which this field has this value, in order."""
    if type(items) is Series:
        return items.where(field, value)
    return [at for at, item in enumerate(items) if getattr(item, field) == value]


class Series(Sequence[T]):
    """A long sequence; `put` makes another one and leaves this as it is.

    Args:
        items: what is in it.
    """

    __slots__ = ("_at", "_before", "_items", "_newer", "_places")

    _items: list[T] | None
    """All of it, in the newest version; None in an older one, of which the next three speak."""
    _newer: "Series[T]"
    """The version made of this one."""
    _at: int
    """The place in which that differs."""
    _before: T
    """The item there; `_ABSENT` if that was added."""
    _places: tuple[str, dict[object, list[int]]] | None
    """A field, and value → places of the items that have it, in order; None until it is asked for."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = list(items)
        self._places = None

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        items = self._items
        return items[at] if items is not None else self._own()[at]

    def __len__(self) -> int:
        items = self._items
        return len(items if items is not None else self._own())

    def put(self, at: int, item: T) -> "Series[T]":
        """This sequence with one item replaced, or added at its end."""
        items = self._own()
        made: Series[T] = object.__new__(Series)
        made._places = self._places
        if at == len(items):
            self._before = _ABSENT
            items.append(item)
            if made._places is not None:
                field, places = made._places
                places.setdefault(getattr(item, field), []).append(at)
        else:
            self._before = before = items[at]
            items[at] = item
            if made._places is not None and getattr(before, made._places[0]) != getattr(item, made._places[0]):
                made._places = None
        self._items = self._places = None
        self._newer = made
        self._at = at
        made._items = items
        return made

    def where(self, field: str, value: object) -> Sequence[int]:
        """See the function of the same name."""
        items = self._own()
        if self._places is None or self._places[0] != field:
            self._places = (field, {})
            for at, item in enumerate(items):
                self._places[1].setdefault(getattr(item, field), []).append(at)
        return self._places[1].get(value, ())

    def _own(self) -> list[T]:
        """The items; an older version gets a list of its own: the newest one's, all since undone, the last first."""
        if self._items is not None:
            return self._items
        changed: list[Series[T]] = []
        newest = self
        while newest._items is None:
            changed.append(newest)
            newest = newest._newer
        items = newest._items.copy()
        for older in reversed(changed):
            if older._before is _ABSENT:
                items.pop()
            else:
                items[older._at] = older._before
        self._items = items
        del self._newer, self._at, self._before
        return items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._own() == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared with others by its items

    def __repr__(self) -> str:
        return f"Series({self._own()!r})"

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[list[T]]]:
        return (tuple, (self._own(),))
