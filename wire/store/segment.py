"""A segment: one SQLite file with a stretch of a journal's rows. Its name says all that an index would.

`00000042-180001-1795337565516-9f1c….journal` is the 42nd segment ever begun in this directory; its first row is n =
180001 of the journal with that uuid, and was had at that Unix millisecond. So a reader knows every segment's place
without opening it, also when it cannot be opened any more. Ordinals are never used again, not even after damage: a
segment that was set aside (`….journal.corrupt-TIME`) keeps its place in the order.
"""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from wire.store.database import Schema, transaction

SUFFIX = ".journal"
_ASIDE = SUFFIX + ".corrupt-"

COLUMNS = "n, at_ms, kind, body, crc"
"""Of a row, as `is_sound` takes them."""


def _damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the word on the file's end; rows are looked at one by one when they are read."""
    match connection.execute("SELECT boot_id, clean, synchronous FROM origin").fetchall():
        case [(str(), 0 | 1, "normal" | "full")]:
            return None
    return "its origin is garbled"


SCHEMA = Schema(
    name="journal segment",
    application_id=0x41724A6C,  # "ArJl"
    steps=(
        """
        CREATE TABLE row (
            n INTEGER PRIMARY KEY,   -- given by the writer, never by SQLite, which would start again at 1 when emptied
            at_ms INTEGER NOT NULL,
            kind TEXT NOT NULL,
            body BLOB NOT NULL,
            crc INTEGER NOT NULL     -- SQLite notices damage to its structure, not to a body
        );
        CREATE TABLE origin (        -- one row: can this file's end be trusted after a power cut?
            one INTEGER PRIMARY KEY CHECK (one = 1),
            boot_id TEXT NOT NULL,   -- the boot of the host in which it was last opened for writing
            clean INTEGER NOT NULL,  -- 1 after a clean close
            synchronous TEXT NOT NULL
        );
        """,
        "-- Since here a row's checksum is of all of it; before, of its time (but for the highest bits) and its body.",
        "-- Since here the version is said twice.",
    ),
    repeats_on="row",
    repeats_since=3,
    damage=_damage,
)


class Segment(NamedTuple):
    """A segment, as its file's name tells it. Sorts in the order of beginning."""

    ordinal: int
    first_n: int
    begun_ms: int
    """at_ms of its first row."""
    uuid: str
    path: Path


def segment_path(directory: Path, ordinal: int, first_n: int, begun_ms: int, uuid: str) -> Path:
    """The file's name."""
    return directory / f"{ordinal:08d}-{first_n}-{begun_ms}-{uuid}{SUFFIX}"


def list_segments(directory: Path) -> tuple[list[Segment], list[Segment]]:
    """The segments of a directory in order: those in use, and those set aside as damaged.

    A directory that does not exist has none.
    """
    kept: list[Segment] = []
    aside: list[Segment] = []
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return kept, aside
    for name in names:
        segment, is_aside = _read_name(directory, name)
        if segment is not None:
            (aside if is_aside else kept).append(segment)
    return sorted(kept), sorted(aside)


@lru_cache(maxsize=256)  # a reader that finds nothing new looks at the same few names again and again
def _read_name(directory: Path, name: str) -> tuple[Segment | None, bool]:
    """The segment that a file's name tells of, if it does, and whether it was set aside."""
    base, mark, rest = name.partition(_ASIDE)
    if mark:
        base += SUFFIX
    elif not name.endswith(SUFFIX):
        return None, False
    if mark and rest.endswith(("-wal", "-shm")):
        return None, True
    ordinal, first_n, begun_ms, uuid = (*base.removesuffix(SUFFIX).split("-", 3), "", "", "")[:4]
    if ordinal.isdigit() and first_n.isdigit() and begun_ms.isdigit() and uuid:
        return Segment(int(ordinal), int(first_n), int(begun_ms), uuid, directory / name), bool(mark)
    return None, bool(mark)


def index_of(segments: Sequence[Segment], uuid: str, n: int) -> int | None:
    """The index of the segment that holds row n + 1 of the journal, or would; None if the journal has no segment."""
    found = None
    for index, segment in enumerate(segments):
        if segment.uuid == uuid and (found is None or segment.first_n <= n + 1):
            found = index
    return found


def checksum(n: int, at_ms: int, kind: str, body: bytes) -> int:
    """CRC-32 of a row."""
    return zlib.crc32(body, zlib.crc32(b"%d %d %s" % (n, at_ms, kind.encode())))


def is_sound(n: object, at_ms: object, kind: object, body: object, crc: object) -> bool:
    """Whether a row is as it was written; of an older version's only time and body are known to be."""
    return (
        isinstance(n, int)
        and isinstance(at_ms, int)
        and isinstance(kind, str)
        and isinstance(body, bytes)
        and (checksum(n, at_ms, kind, body) == crc or zlib.crc32(body, at_ms & 0xFFFFFFFF) == crc)
    )


def end(connection: sqlite3.Connection, segment: Segment) -> tuple[int, int, bool]:
    """n of the last sound row and when we had it; and whether damaged ones follow, whose numbers nobody knows."""
    damaged = False
    with contextlib.closing(connection.execute(f"SELECT {COLUMNS} FROM row ORDER BY n DESC")) as rows:  # noqa: S608
        for n, at_ms, *rest in rows:
            if is_sound(n, at_ms, *rest):
                return n, at_ms, damaged
            damaged = True
    return segment.first_n - 1, segment.begun_ms, damaged


_INSERTS = {
    size: "INSERT INTO row (n, at_ms, kind, body, crc) VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * size)  # noqa: S608
    for size in (128, 64, 32, 16, 8, 4, 2, 1)
}


def insert(connection: sqlite3.Connection, n: int, rows: Sequence[tuple[str, int, bytes]]) -> None:
    """Insert the rows (kind, at_ms, body) as n, n + 1, …, many to a statement; within a transaction.

    Why not executemany: it gives up the GIL at every row, and gets it back from a busy loop thread only after the
    interpreter's switch interval of 5 ms. Rows by the statement pay that once for many.
    """
    at = 0
    for size, statement in _INSERTS.items():
        while len(rows) - at >= size:
            values: list[object] = []
            for kind, at_ms, body in rows[at : at + size]:
                values += (n, at_ms, kind, body, checksum(n, at_ms, kind, body))
                n += 1
            connection.execute(statement, values)
            at += size


def mark(connection: sqlite3.Connection, boot_id: str, synchronous: Literal["normal", "full"], *, clean: bool) -> None:
    """Say whether the segment's end can be trusted, as `origin` does."""
    # Synced in full whatever the policy: a mark that a power cut takes back would vouch for rows that it took too.
    connection.execute("PRAGMA synchronous=full")
    with transaction(connection):
        connection.execute("UPDATE origin SET boot_id = ?, clean = ?, synchronous = ?", (boot_id, clean, synchronous))
    connection.execute(f"PRAGMA synchronous={synchronous}")
