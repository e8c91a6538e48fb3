"""States as bytes, and only states."""

import os
import pickle
import sys
import zlib
from enum import Enum
from typing import NamedTuple

import pytest
from pyrsistent import (
    PClass,
    field,
    pdeque,
    plist,
    pmap,
    pmap_field,
    pset,
    pset_field,
    pvector,
    pvector_field,
)

from wire.store.codec import Codec, classes_in
from wire.store.errors import CodecError
from wire.store.row import Kind, Position, Row


class Colour(Enum):
    RED = 1

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """As Python 3.11.0 to 3.11.3 have it for every enum."""
        return getattr, (type(self), self.name)


class Leg(NamedTuple):
    name: str


class State(PClass):
    """A state with every sort of field that we use."""

    colour = field(type=Colour)
    legs = pvector_field(Leg)
    notes = pmap_field(str, int)
    names = pset_field(str)


STATE = State(colour=Colour.RED, legs=pvector([Leg("a")]), notes=pmap({"b": 1}), names=pset(["c"]))


def blob(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    "value",
    [
        None,
        (1, "a", b"b", 2.5, True, [1], {2: {3}}, frozenset([4])),
        pmap({"a": pvector([1, 2]), "b": pset([3])}),
        (plist([1]), pdeque([2])),
        STATE,
        pmap({"x": STATE}),
    ],
)
def test_states_come_back_equal(value: object) -> None:
    """Plain values, pyrsistent's containers and allowed classes are restored as they were."""
    codec = Codec([Colour, Leg, State])
    again = codec.decode(codec.encode(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("missing", [Colour, Leg, State])
def test_a_class_that_was_not_named_is_refused(missing: type) -> None:
    """Each class of ours must be named by the owner."""
    every = {Colour, Leg, State}
    with pytest.raises(CodecError, match=f"{missing.__name__} is not allowed"):
        Codec(every - {missing}).decode(Codec(every).encode(STATE))


class Evil:
    """What an attacker would write."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        Evil(os.system, "true"),
        Evil(eval, "1"),
        Evil(getattr, "", "join"),
        Evil(__import__, "os"),
        Evil(pickle.loads, b"N."),
        Evil(sys.exit),
        Evil(classes_in, "os"),
        Row,
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x04\x8c\x16wire.store.codec\x8c\x0aimportlib\x93.",
    ],
)
def test_anything_else_is_refused(attack: object) -> None:
    """No function is reached, ours or another's, in old or new pickle."""
    data = attack if isinstance(attack, bytes) else pickle.dumps(attack)
    with pytest.raises(CodecError):
        Codec([Leg]).decode(blob(data))


@pytest.mark.parametrize("damaged", [b"", b"abcd", blob(b"")[:4], blob(pickle.dumps(1))[:-1], b"\0" + blob(b"N.")[1:]])
def test_damage_is_told(damaged: bytes) -> None:
    """What does not fit its checksum is not even looked at."""
    with pytest.raises(CodecError, match="damaged"):
        Codec([]).decode(damaged)


def test_classes_in_a_module() -> None:
    """classes_in gives the value classes that a module defines, and not what it imports."""
    assert set(classes_in("wire.store.row")) == {Kind, Row, Position}
