"""The outbox: messages decided on and not yet confirmed, in their owner's own database and transaction.

A message is *waiting* (offered when its turn comes, see wire/store/offers.py) or *parked* (it came back as unroutable).
Confirmed messages are deleted. Ids rise in the order of adding and are never used again: the table is AUTOINCREMENT,
since without it SQLite counts from 1 again once the table was empty, and a late confirmation of the old id 7 would
delete the new one.

Used by whoever owns a stream: put `STEP` and `CRC_STEP` into the owner's schema, make an `Outbox` of the owner's
connection, and call what changes it within the owner's transaction. Readers (arimon-ctl) make one of a read-only
connection. After a power cut a body may hold other bytes than were written, which SQLite does not notice: so each
message has a checksum, the owner asks `damage` when it opens the file, and nothing that does not fit is ever offered.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from wire.message import OutboundMessage
from wire.store.errors import StoreDamaged

STEP = """
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    form TEXT NOT NULL,
    server TEXT NOT NULL,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    operation TEXT NOT NULL,
    call_id TEXT,
    timestamp_ms INTEGER NOT NULL,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    added_ms INTEGER NOT NULL,
    parked_ms INTEGER,
    parked_reason TEXT
);
-- The waiting ones (null) by id, the parked ones by age; to count either reads no message.
CREATE INDEX outbox_parked ON outbox (parked_ms);
"""

CRC_STEP = "ALTER TABLE outbox ADD COLUMN crc INTEGER; -- null: added by a version that wrote none"

_MESSAGE = "message_id, form, server, stream, sequence, operation, call_id, timestamp_ms, routing_key, body"
_INSERT = f"INSERT INTO outbox (id, {_MESSAGE}, crc, added_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_THESE = "id IN (SELECT value FROM json_each(?))"  # any number of ids as one parameter


class Entry(NamedTuple):
    """A message in the outbox."""

    id: int
    """Never reused; rises in the order of adding."""
    message: OutboundMessage


class Listed(NamedTuple):
    """A message, and whether it is parked."""

    entry: Entry
    parked_ms: int | None
    """When it was parked, Unix milliseconds; None if it is waiting."""
    parked_reason: str | None
    """What the broker said."""


class OutboxCounts(NamedTuple):
    """How much is in the outbox."""

    waiting: int
    """Messages neither confirmed nor parked."""
    parked: int
    """Messages parked."""
    oldest_waiting_ms: int | None
    """When the oldest waiting one was added, Unix milliseconds."""


class Outbox:
    """The outbox's table in the owner's database.

    Args:
        connection: The owner's.
        path: Its file, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def add(self, messages: Iterable[OutboundMessage], now_ms: int) -> list[Entry]:
        """Add messages in order; within the owner's transaction.

        Returns:
            The entries, with their ids; to be offered once the transaction is committed.
        """
        last = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        first = last[0] + 1 if last else 1
        entries = [Entry(id, message) for id, message in enumerate(messages, first)]
        self._connection.executemany(
            _INSERT, ((*row, _checksum(row), now_ms) for row in ((id, *message) for id, message in entries))
        )
        return entries

    def confirm(self, ids: Iterable[int]) -> None:
        """Delete: the broker has them. Within the owner's transaction; unknown ids are passed over."""
        self._connection.execute(f"DELETE FROM outbox WHERE {_THESE}", (_json(ids),))  # noqa: S608

    def park(self, ids: Iterable[int], reason: str, now_ms: int) -> None:
        """Set aside what came back: load() passes over it. Within the owner's transaction."""
        self._connection.execute(
            f"UPDATE outbox SET parked_ms = ?, parked_reason = ? WHERE {_THESE}",  # noqa: S608
            (now_ms, reason, _json(ids)),
        )

    def unpark(self) -> list[int]:
        """Make all parked messages waiting again; within the owner's transaction.

        Returns:
            Their ids in order, for the input `Unparked`.
        """
        found = self._connection.execute(
            "UPDATE outbox SET parked_ms = NULL, parked_reason = NULL WHERE parked_ms IS NOT NULL RETURNING id"
        ).fetchall()
        return sorted(id for (id,) in found)

    def withhold(self, ids: Iterable[int], told: Entry) -> None:
        """Delete messages unpublished, and put what says so in the last one's place; within the owner's transaction.

        Args:
            ids: All but the last.
            told: Has the last one's id, and so its place.
        """
        self.confirm(ids)
        columns = ", ".join(f"{each} = ?" for each in _MESSAGE.split(", "))
        self._connection.execute(
            f"UPDATE outbox SET {columns}, crc = ? WHERE id = ?",  # noqa: S608
            (*told.message, _checksum((told.id, *told.message)), told.id),
        )

    def load(self, after_id: int, rows: int, max_bytes: int) -> list[Entry]:
        """The next waiting messages by id.

        Args:
            after_id: Only ids above this one.
            rows: Most messages to give.
            max_bytes: Stop at the message whose body brings the bodies' sum to this size.

        Raises:
            StoreDamaged: one has another checksum.
        """
        found: list[Entry] = []
        size = 0
        cursor = self._connection.execute(
            f"SELECT crc, id, {_MESSAGE} FROM outbox"  # noqa: S608
            " WHERE id > ? AND parked_ms IS NULL ORDER BY id LIMIT ?",
            (after_id, rows),
        )
        try:
            for crc, *row in cursor:
                if not _is_sound(row, crc):
                    raise StoreDamaged(self._path, _damaged(row))
                entry = _entry(row)
                found.append(entry)
                size += len(entry.message.body)
                if size >= max_bytes:
                    break
        finally:
            cursor.close()  # ends the read
        return found

    def counts(self) -> OutboxCounts:
        """How much is waiting and parked, and how old. Reads an index in full: see tests/bench/bench_store.py."""
        one = self._connection.execute
        waiting = one("SELECT count(*) FROM outbox WHERE parked_ms IS NULL").fetchone()[0]
        oldest = one("SELECT added_ms FROM outbox WHERE parked_ms IS NULL ORDER BY id LIMIT 1").fetchone()
        return OutboxCounts(waiting, self.parked(), oldest[0] if oldest else None)

    def parked(self) -> int:
        """How many are parked."""
        found = self._connection.execute("SELECT count(*) FROM outbox WHERE parked_ms IS NOT NULL").fetchone()
        return int(found[0])

    def listing(self, *, rows: int = 100, parked: bool | None = None, stream: str | None = None) -> list[Listed]:
        """Messages by id, for people.

        Args:
            rows: Most to give.
            parked: Only parked (True) or waiting ones (False).
            stream: Only this stream's.
        """
        where, values = "TRUE", list[Any]()
        if parked is not None:
            where += f" AND parked_ms IS {'NOT ' if parked else ''}NULL"
        if stream is not None:
            where, values = f"{where} AND stream = ?", [*values, stream]
        found = self._connection.execute(
            f"SELECT id, {_MESSAGE}, parked_ms, parked_reason FROM outbox"  # noqa: S608
            f" WHERE {where} ORDER BY id LIMIT ?",
            [*values, rows],
        ).fetchall()
        return [Listed(_entry(row[:-2]), *row[-2:]) for row in found]


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with a message that waits or is parked; None if nothing is. Reads them all.

    Args:
        connection: The owner's.
    """
    for crc, *row in connection.execute(f"SELECT crc, id, {_MESSAGE} FROM outbox"):  # noqa: S608
        if not _is_sound(row, crc):
            return _damaged(row)
    return None


def _damaged(row: Sequence[Any]) -> str:
    return f"message {row[0]} of the outbox has another checksum"


def _is_sound(row: Sequence[Any], crc: object) -> bool:
    return crc is None or (isinstance(row[-1], bytes) and _checksum(row) == crc)


def _checksum(row: Sequence[Any]) -> int:
    """Of an id and a message's fields, the body last."""
    return zlib.crc32(row[-1], zlib.crc32("\0".join(map(str, row[:-1])).encode()))


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(row[0], OutboundMessage(*row[1:]))


def _json(values: Iterable[int]) -> str:
    return orjson.dumps(list(values)).decode()
