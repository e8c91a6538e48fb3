"""Snapshots of a fold: what they hold, how they are written in slices, and read again.

A restart begins with the newest and folds only the rows since then (actors.folding). It holds the world, each active
call, and the inputs of suspended calls, all as they were at one row; where it lies is wire.store.snapshots' business.

A class of the call core that was moved or renamed makes older snapshots unreadable; where only the meaning of a field
changes, the version says so. Both cost only the folding of more rows.
"""

import hashlib
import pkgutil
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import orjson

import actors.call
from actors.call.shelf import Shelf
from actors.call.state import Call
from actors.call.world import World
from conf.settings import Bounds, Settings
from wire.store.codec import Codec, classes_in
from wire.store.errors import CodecError
from wire.store.row import Position
from wire.store.snapshots import SnapshotInfo, Snapshots

SNAPSHOT_VERSION = 11
"""Raised when a stored state can no longer be folded further by the code; older snapshots are then passed over."""

_CORE = sorted(module.name for module in pkgutil.iter_modules(actors.call.__path__, "actors.call."))
CODEC = Codec([Bounds, Shelf, *(found for name in _CORE for found in classes_in(name))])
"""Which classes a snapshot may hold: those of the call core, in whichever of its modules."""
_WORLD, _WAITING, _MAIMED = "", "\0waiting", "\0maimed"
"""Keys of slices; no call id is or begins so."""
_SLICE = 200
"""Calls written per slice."""
_ROWS_PER_CALL = 20
"""Rows folded between two snapshots for each call that they hold: a snapshot then costs a fifteenth of the folding (0.1
ms for a call, 0.07 ms for a row), and a restart need not fold 5,000 rows again for the sake of 40 calls."""
_FEWEST_ROWS = 1000
"""Fewer than so many rows are folded again in no time."""


class Taken(NamedTuple):
    """A state at a row. All of it is immutable or a copy, so it stays what it is however long it takes to write."""

    position: Position
    world: World
    calls: dict[str, Call]
    waiting: dict[str, list[tuple[Any, ...]]]
    """As `Waiting.plain`."""
    maimed: tuple[str, ...]
    """Calls that are yet to begin, and of which something was set aside."""


def rows_between(calls: int, most: int) -> int:
    """How many rows are folded between two snapshots.

    Args:
        calls: that are active.
        most: switchboard.snapshot_rows.
    """
    return min(most, max(_FEWEST_ROWS, _ROWS_PER_CALL * calls))


def write(snapshots: Snapshots, taken: Taken, settings: Settings, clock: Callable[[], int]) -> Iterator[None]:
    """Write a snapshot, a slice a turn. What is written is let go at once: the fold has newer states by then.

    Raises:
        StoreUnusable: the disk refuses. This one is given up; the older ones stay.
    """
    position, world, calls, waiting, maimed = taken
    number = snapshots.begin(position, SNAPSHOT_VERSION, configuration_hash(settings, world.server), clock())
    slices = ((_WORLD, world), (_WAITING, waiting), (_MAIMED, maimed))
    snapshots.put(number, [(key, CODEC.encode(value)) for key, value in slices])
    del taken, world, waiting, slices
    yield
    while calls:
        chosen = [calls.popitem() for _ in range(min(_SLICE, len(calls)))]
        snapshots.put(number, [(call_id, CODEC.encode(call)) for call_id, call in chosen])
        del chosen
        yield
    snapshots.complete(number, clock())


def read(snapshots: Snapshots, info: SnapshotInfo) -> Generator[None, None, Taken]:
    """Read a snapshot; comes up for air after every slice.

    Raises:
        CodecError: it cannot be used.
    """
    if info.version != SNAPSHOT_VERSION:
        raise CodecError("snapshot", f"is of version {info.version}, not {SNAPSHOT_VERSION}")
    found: dict[str, Any] = {}
    for key, blob in snapshots.load(info.id):
        found[key] = CODEC.decode(blob)
        yield
    world, waiting, maimed = found.pop(_WORLD, None), found.pop(_WAITING, {}), found.pop(_MAIMED, ())
    if world is None:
        raise CodecError("snapshot", "holds no world")
    return Taken(info.position, world, found, waiting, maimed)


def configuration_hash(settings: Settings, server: str) -> str:
    """A name for what of the configuration decides how a PBX's rows are folded."""
    told = orjson.dumps(settings.call) + settings.publisher.form.encode()
    for pbx in settings.pbx:
        if pbx.name == server:
            told += orjson.dumps({"trunks": pbx.trunks, "trunk_contexts": pbx.trunk_contexts})
    return hashlib.blake2b(told, digest_size=8).hexdigest()
