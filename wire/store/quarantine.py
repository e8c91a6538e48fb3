"""The quarantine: rows that something could not take, kept whole, until somebody redrives or drops them.

A row is in it once for everybody (`call_id` null: it could not be decoded, had no call, or killed the process) or once
for each call that could not take it, while others went on with it. A refold asks `keys()` and leaves them out.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import orjson

from wire.store.row import Position, Row

Stage = Literal["decode", "correlate", "call", "process"]
"""Where it happened; `process`: it killed the process."""

STEP = """
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    n INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    call_id TEXT,
    stage TEXT NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    quarantined_ms INTEGER NOT NULL,
    redriven_ms INTEGER
);
-- To SQLite two nulls differ.
CREATE UNIQUE INDEX quarantine_row ON quarantine (uuid, n, ifnull(call_id, ''));
"""

_COLUMNS = "uuid, n, at_ms, kind, body, call_id, stage, error, traceback, quarantined_ms"
_THESE = "id IN (SELECT value FROM json_each(?))"


class Suspect(NamedTuple):
    """A row to be quarantined."""

    uuid: str
    """The journal that it is of."""
    row: Row
    call_id: str | None
    """The call that could not take it; None if nobody could."""
    stage: Stage
    error: str
    """In one line."""
    traceback: str
    """Empty where there is none."""


class Quarantined(NamedTuple):
    """A row in quarantine."""

    id: int
    """Never used again."""
    uuid: str
    row: Row
    call_id: str | None
    stage: str
    error: str
    traceback: str
    quarantined_ms: int
    """Unix milliseconds."""
    redriven_ms: int | None
    """When it was last redriven, Unix milliseconds; None if it waits."""


class Quarantine:
    """The quarantine's table in the owner's database. What changes it is called within the owner's transaction.

    Args:
        connection: The owner's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, suspects: Iterable[Suspect], now_ms: int) -> list[int]:
        """Quarantine rows; the same (uuid, n, call_id) again keeps its first entry.

        Returns:
            The ids of those that are new.
        """
        found = []
        for uuid, row, call_id, stage, error, traceback in suspects:
            values = (uuid, row.n, row.at_ms, row.kind, row.body, call_id, stage, error, traceback, now_ms)
            added = self._connection.execute(
                f"INSERT INTO quarantine ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
                " ON CONFLICT DO NOTHING RETURNING id",
                values,
            ).fetchall()
            found += [id for (id,) in added]
        return found

    def listing(self, *, after_id: int = 0, rows: int = 100, waiting_only: bool = False) -> list[Quarantined]:
        """Quarantined rows by id.

        Args:
            after_id: Only ids above this one (to page on).
            rows: Most to give.
            waiting_only: Leave out what was redriven.
        """
        return self._select(
            "id > ? AND (redriven_ms IS NULL OR NOT ?) ORDER BY id LIMIT ?", (after_id, waiting_only, rows)
        )

    def show(self, id: int) -> Quarantined | None:
        """One of them; None if there is none of this id."""
        found = self._select("id = ?", (id,))
        return found[0] if found else None

    def mark_redriven(self, ids: Iterable[int], now_ms: int) -> None:
        """Note that they were given to the calls once more."""
        self._connection.execute(
            f"UPDATE quarantine SET redriven_ms = ? WHERE {_THESE}",  # noqa: S608
            (now_ms, _json(ids)),
        )

    def drop(self, ids: Iterable[int]) -> int:
        """Delete; returns how many there were."""
        return self._connection.execute(f"DELETE FROM quarantine WHERE {_THESE}", (_json(ids),)).rowcount  # noqa: S608

    def count(self) -> int:
        """How many wait, not redriven."""
        found = self._connection.execute("SELECT count(*) FROM quarantine WHERE redriven_ms IS NULL").fetchone()
        return int(found[0])

    def keys(self, uuid: str, after_n: int, upto_n: int) -> set[tuple[int, str | None]]:
        """(n, call_id) of the entries for rows after_n < n <= upto_n: what a refold of these must leave out.

        Redriven ones too: what the redrive did stands at its own row of the journal.
        """
        found = self._connection.execute(
            "SELECT n, call_id FROM quarantine WHERE uuid = ? AND n > ? AND n <= ?", (uuid, after_n, upto_n)
        )
        return set(found.fetchall())

    def positions(self, since_ms: int) -> list[Position]:
        """The positions before the first row of each journal that was quarantined since then (Unix milliseconds)."""
        found = self._connection.execute(
            "SELECT uuid, min(n) - 1 FROM quarantine WHERE quarantined_ms >= ? AND redriven_ms IS NULL GROUP BY uuid",
            (since_ms,),
        )
        return [Position(*row) for row in found.fetchall()]

    def _select(self, where: str, values: tuple[object, ...]) -> list[Quarantined]:
        found = self._connection.execute(
            f"SELECT id, {_COLUMNS}, redriven_ms FROM quarantine WHERE {where}",  # noqa: S608
            values,
        )
        return [_quarantined(*row) for row in found.fetchall()]


def _quarantined(id: int, uuid: str, n: int, at_ms: int, kind: str, body: bytes, *rest: Any) -> Quarantined:
    return Quarantined(id, uuid, Row(n, at_ms, kind, body), *rest)


def _json(ids: Iterable[int]) -> str:
    return orjson.dumps(list(ids)).decode()
