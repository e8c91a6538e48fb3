"""States as bytes and back: pickle, restricted to named classes of ours and pyrsistent's containers.

Why pickle: a call's state is a graph of pyrsistent classes, enums and tuples; pickle keeps it exactly and at C speed,
while JSON would need a second description of every class, to be kept in step for ever. Why restricted: whoever could
write to the state directory could otherwise run any code in the daemon that reads it (the file is 0600, so this is the
second lock, not the first). What may be built is a table of (module, name), given by the owner; anything else, a
function of ours included, is refused before it is looked up.

A blob is a CRC-32 (4 bytes) and the pickle, so damage is told as damage.
"""

import dataclasses
import importlib
import io
import pickle
import zlib
from collections.abc import Iterable
from enum import Enum
from typing import Any

import pyrsistent
from pyrsistent import PClass

from wire.store.errors import CodecError

_HEAD = 4  # bytes of the CRC

# What pyrsistent's own __reduce__ names, and the builtin types that its checked fields carry. None of it can do more
# than build a value. `pvectorc` is its C version of pvector, used where it is installed.
_CONTAINERS: dict[tuple[str, str], object] = {
    ("pyrsistent._pmap", "pmap"): pyrsistent.pmap,
    ("pyrsistent._pvector", "pvector"): pyrsistent.pvector,
    ("pyrsistent._pvector", "python_pvector"): pyrsistent.pvector,
    ("pvectorc", "pvector"): pyrsistent.pvector,
    ("pyrsistent._pset", "pset"): pyrsistent.pset,
    ("pyrsistent._plist", "plist"): pyrsistent.plist,
    ("pyrsistent._pdeque", "pdeque"): pyrsistent.pdeque,
    **{
        (module, name): getattr(importlib.import_module(module), name)
        for module, name in (
            ("pyrsistent._checked_types", "CheckedPVector"),
            ("pyrsistent._checked_types", "CheckedPSet"),
            ("pyrsistent._checked_types", "_restore_pickle"),
            ("pyrsistent._field_common", "_restore_seq_field_pickle"),
            ("pyrsistent._field_common", "_restore_pmap_field_pickle"),
        )
    },
    **{("builtins", each.__name__): each for each in (str, int, float, bool, bytes, tuple, frozenset)},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: dict[tuple[str, str], object]) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a stored state") from None


class Codec:
    """Encodes and decodes states made of given classes.

    Args:
        classes: The classes that a state may hold, besides None, numbers, texts, bytes, tuples, lists, dicts, sets and
            pyrsistent's containers.
    """

    def __init__(self, classes: Iterable[type]) -> None:
        self._allowed = _CONTAINERS | {(each.__module__, each.__qualname__): each for each in classes}
        # Python 3.11.0 to 3.11.3 would write an enum as a getattr of its class, which is not allowed.
        self._reducers = {each: _by_value for each in classes if issubclass(each, Enum)}

    def encode(self, value: object) -> bytes:
        """A value as a blob. Does not check its classes: decode() does, and a test of the owner's should."""
        written = io.BytesIO()
        pickler = pickle.Pickler(written, protocol=5)
        pickler.dispatch_table = self._reducers
        pickler.dump(value)
        data = written.getvalue()
        return zlib.crc32(data).to_bytes(_HEAD, "big") + data

    def decode(self, blob: bytes) -> Any:
        """The value of a blob.

        Raises:
            CodecError: the blob is damaged, or holds what is not allowed, or what its class does not accept any more.
        """
        data = blob[_HEAD:]
        if len(blob) <= _HEAD or zlib.crc32(data).to_bytes(_HEAD, "big") != blob[:_HEAD]:
            raise CodecError("stored state", "is damaged (its checksum does not fit)")
        try:
            return _Unpickler(data, self._allowed).load()
        except Exception as error:  # a class of another version may raise anything when it is restored
            raise CodecError("stored state", f"cannot be read: {error}") from error


def _by_value(each: Enum) -> tuple[type[Enum], tuple[Any, ...]]:
    return type(each), (each.value,)


def classes_in(module: str) -> tuple[type, ...]:
    """The value classes that a module of ours defines: PClass, Enum, dataclass, NamedTuple.

    Args:
        module: Its full name, as `actors.call.state`.
    """
    found = vars(importlib.import_module(module)).values()
    return tuple(each for each in found if isinstance(each, type) and each.__module__ == module and _is_value(each))


def _is_value(each: type) -> bool:
    return issubclass(each, PClass | Enum) or dataclasses.is_dataclass(each) or hasattr(each, "_fields")
