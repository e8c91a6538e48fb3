"""Snapshots: the whole state of a fold at a row, so that a restart refolds only what came after.

States are immutable, so a snapshot of row n may be written in slices while the fold goes on::

    id = snapshots.begin(Position(uuid, n), version, config_hash, now_ms)
    snapshots.put(id, [(key, blob), …])           # many times, a few milliseconds each
    snapshots.complete(id, now_ms)                # now it counts, and the oldest goes

Two complete ones are kept: the newest may turn out to be unreadable. One that was never completed is no snapshot and is
removed at the next start or begin. Whether one of another version or configuration can be used is for its reader to
say; both are told.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wire.store.database import transaction, translated
from wire.store.row import Position

KEEP = 2
LOAD_SLICES = 64  # read at once: with slices of some 100 KB a few megabytes

STEP = """
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    n INTEGER NOT NULL,
    version INTEGER NOT NULL,
    config_hash TEXT NOT NULL,
    begun_ms INTEGER NOT NULL,
    completed_ms INTEGER
);
CREATE TABLE slice (
    snapshot INTEGER NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (snapshot, key)
);
"""

CRC_STEP = "ALTER TABLE snapshot ADD COLUMN crc INTEGER; -- of all but its slices; null: of a version that wrote none"

_SUM = "checksum(id, uuid, n, version, config_hash, begun_ms, completed_ms)"


class SnapshotInfo(NamedTuple):
    """A complete snapshot."""

    id: int
    position: Position
    """It holds what rows up to here made of the world."""
    version: int
    """Of the states' classes."""
    config_hash: str
    """Of the configuration that they depend on."""
    completed_ms: int
    """Unix milliseconds."""
    slices: int
    bytes: int
    """Sum of its blobs."""


class Snapshots:
    """The snapshots' tables in the owner's database. Each method is a transaction of its own.

    Every method that writes raises StoreUnusable when the disk refuses: the snapshot is then to be discarded, and the
    older one stays.

    Args:
        connection: The owner's.
        path: Its database, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def begin(self, position: Position, version: int, config_hash: str, now_ms: int) -> int:
        """Begin a snapshot; one that is still incomplete is given up."""
        self.discard_incomplete()
        with translated(self._path), transaction(self._connection):
            added = self._connection.execute(
                "INSERT INTO snapshot (uuid, n, version, config_hash, begun_ms) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (*position, version, config_hash, now_ms),
            )
            return int(added.fetchall()[0][0])

    def put(self, id: int, slices: Iterable[tuple[str, bytes]]) -> None:
        """Add slices; each key once."""
        with translated(self._path), transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO slice (snapshot, key, blob) VALUES (?, ?, ?)", ((id, key, blob) for key, blob in slices)
            )

    def complete(self, id: int, now_ms: int) -> None:
        """Mark it complete, and remove those that are older than the one before it."""
        with translated(self._path), transaction(self._connection):
            self._connection.execute("UPDATE snapshot SET completed_ms = ? WHERE id = ?", (now_ms, id))
            self._connection.execute(f"UPDATE snapshot SET crc = {_SUM} WHERE id = ?", (id,))  # noqa: S608
            self._connection.execute(
                "DELETE FROM snapshot WHERE completed_ms IS NOT NULL AND id NOT IN"
                " (SELECT id FROM snapshot WHERE completed_ms IS NOT NULL ORDER BY id DESC LIMIT ?)",
                (KEEP,),
            )

    def complete_ones(self) -> list[SnapshotInfo]:
        """The complete snapshots, newest first."""
        found = self._connection.execute(
            "SELECT id, uuid, n, version, config_hash, completed_ms, count(key), ifnull(sum(length(blob)), 0)"
            " FROM snapshot LEFT JOIN slice ON snapshot = id"
            " WHERE completed_ms IS NOT NULL GROUP BY id ORDER BY id DESC"
        )
        return [SnapshotInfo(row[0], Position(row[1], row[2]), *row[3:]) for row in found.fetchall()]

    def latest_complete(self) -> SnapshotInfo | None:
        """The newest complete snapshot."""
        found = self.complete_ones()
        return found[0] if found else None

    def load(self, id: int) -> Iterator[tuple[str, bytes]]:
        """Its slices, (key, blob), by key."""
        after: str | None = None  # not "", which is a key like any other
        while True:
            found = self._connection.execute(
                "SELECT key, blob FROM slice WHERE snapshot = :id AND (:after IS NULL OR key > :after)"
                " ORDER BY key LIMIT :rows",
                {"id": id, "after": after, "rows": LOAD_SLICES},
            ).fetchall()
            if not found:
                return
            yield from found
            after = found[-1][0]

    def discard(self, id: int) -> None:
        """Remove one: it was given up, or cannot be read."""
        with translated(self._path), transaction(self._connection):
            self._connection.execute("DELETE FROM snapshot WHERE id = ?", (id,))

    def discard_incomplete(self) -> None:
        """Remove what was begun and never completed."""
        with translated(self._path), transaction(self._connection):
            self._connection.execute("DELETE FROM snapshot WHERE completed_ms IS NULL")


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with what a snapshot is said to be; None if nothing is. Its slices are looked at when read."""
    found = connection.execute(f"SELECT id FROM snapshot WHERE crc != {_SUM}").fetchone()  # noqa: S608
    return None if found is None else f"snapshot {found[0]} has another checksum"
