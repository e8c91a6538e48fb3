"""The quarantine: rows that something could not take, kept whole, until somebody redrives or drops them.

A row is in it once for everybody (`call_id` null: it could not be decoded, had no call, or killed the process) or once
for each call that could not take it, while others went on with it. What the call was told is kept too, from the input
on at which it failed (`part`): by the time of a redrive nobody could tell it again.

A refold asks `keys()` and leaves these out, and asks `settled_at()` what was applied or dropped at the row of an order.
So an entry that was redriven or dropped stays, shown to nobody, until nothing can name it any more (`forget`).
"""

import sqlite3
from collections.abc import Container, Iterable
from typing import Any, Literal, NamedTuple

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

REDRIVE_STEP = """
ALTER TABLE quarantine ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN inputs BLOB;
ALTER TABLE quarantine ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN order_id TEXT;
ALTER TABLE quarantine ADD COLUMN redriven_uuid TEXT;
ALTER TABLE quarantine ADD COLUMN redriven_n INTEGER;
ALTER TABLE quarantine ADD COLUMN dropped_ms INTEGER;
"""

CRC_STEP = "ALTER TABLE quarantine ADD COLUMN crc INTEGER; -- of all of it; null: written by a version that wrote none"

_SUM = (
    "checksum(id, uuid, n, at_ms, kind, body, call_id, stage, error, traceback, quarantined_ms, redriven_ms, part,"
    " inputs, attempts, order_id, redriven_uuid, redriven_n, dropped_ms)"
)
_COLUMNS = "uuid, n, at_ms, kind, body, call_id, stage, error, traceback, part, inputs, quarantined_ms"
_WAITING = "redriven_ms IS NULL AND dropped_ms IS NULL"


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
    part: int = 0
    """Which of the inputs that the row gave to this call was the first that it could not take, from 0."""
    inputs: bytes | None = None
    """That one and those that followed, encoded by the owner; None if nobody could take the row."""


class Quarantined(NamedTuple):
    """A row in quarantine."""

    id: int
    """Never used again."""
    uuid: str
    row: Row
    call_id: str | None
    stage: str
    error: str
    """Of the last attempt, as the traceback."""
    traceback: str
    part: int
    """As in `Suspect`, and so are its inputs."""
    inputs: bytes | None
    quarantined_ms: int
    """Unix milliseconds."""
    attempts: int
    """Times that it was redriven."""
    order_id: str | None
    """Of the last redrive."""


class Attempt(NamedTuple):
    """What became of an entry by an order to redrive or to drop it."""

    id: int
    """The entry's."""
    order_id: str
    """The order's."""
    at: Position
    """The row of the order."""
    error: str | None
    """Why it stays in quarantine; None if it has left it."""
    traceback: str = ""
    dropped: bool = False
    """Forgotten, and not applied."""


class Progress(NamedTuple):
    """How far an order is."""

    tried: int
    """Entries."""
    error: str | None
    """Of the first that stays; None if there is none."""
    attempts: int
    """Times that one was tried by now, at most."""


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
        for uuid, row, *rest in suspects:
            values = (uuid, row.n, row.at_ms, row.kind, row.body, *rest, now_ms)
            added = self._connection.execute(
                f"INSERT INTO quarantine ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
                " ON CONFLICT DO NOTHING RETURNING id",
                values,
            ).fetchall()
            found += [id for (id,) in added]
        self._sum(found)
        return found

    def listing(self, *, after_id: int = 0, rows: int = 100) -> list[Quarantined]:
        """Rows that wait, by id.

        Args:
            after_id: Only ids above this one (to page on).
            rows: Most to give.
        """
        return self._select(f"id > ? AND {_WAITING} ORDER BY id LIMIT ?", (after_id, rows))

    def find(self, n: int, uuid: str | None = None) -> list[Quarantined]:
        """The entries of a row that wait, by id.

        Args:
            n: Of the row.
            uuid: Of its journal; None is any.
        """
        return self._select(f"n = ? AND uuid = ifnull(?, uuid) AND {_WAITING} ORDER BY id", (n, uuid))

    def settled_at(self, at: Position) -> list[Quarantined]:
        """The entries that were applied or dropped at the row of an order, by id."""
        return self._select("redriven_uuid = ? AND redriven_n = ? ORDER BY id", at)

    def settle(self, attempts: Iterable[Attempt], now_ms: int) -> None:
        """Orders were carried out: what was applied or dropped waits no more, what failed again shows its last error.

        Of what was dropped there stays what a refold needs.
        """
        for id, order_id, at, error, traceback, dropped in attempts:
            if error is None and dropped:
                self._connection.execute(
                    "UPDATE quarantine SET body = x'', inputs = NULL, order_id = ?, dropped_ms = ?, redriven_uuid = ?,"
                    " redriven_n = ? WHERE id = ?",
                    (order_id, now_ms, *at, id),
                )
            elif error is None:
                self._connection.execute(
                    "UPDATE quarantine SET attempts = attempts + 1, order_id = ?, redriven_ms = ?, redriven_uuid = ?,"
                    " redriven_n = ? WHERE id = ?",
                    (order_id, now_ms, *at, id),
                )
            else:
                self._connection.execute(
                    "UPDATE quarantine SET attempts = attempts + 1, order_id = ?, error = ?, traceback = ?"
                    " WHERE id = ?",
                    (order_id, error, traceback, id),
                )
            self._sum([id])

    def progress(self, order_id: str) -> Progress:
        """What became of an order so far."""
        found = self._connection.execute(
            f"SELECT attempts, error, {_WAITING} FROM quarantine WHERE order_id = ? ORDER BY id",  # noqa: S608
            (order_id,),
        ).fetchall()
        errors = [error for _attempts, error, waits in found if waits]
        return Progress(len(found), errors[0] if errors else None, max((each[0] for each in found), default=0))

    def forget(self, oldest: Position, checkpoint: Position) -> None:
        """Nothing is folded again but what lies between these two: of all else, what was applied or dropped goes.

        Nobody here knows the order of journals. But a journal is folded in one piece: if both are of the same, every
        other is older, be it there or not. Until then what is of others stays.

        Args:
            oldest: That of the oldest stored state.
            checkpoint: Up to here all is done.
        """
        alone = oldest.uuid == checkpoint.uuid
        self._connection.execute(
            f"DELETE FROM quarantine WHERE NOT ({_WAITING})"  # noqa: S608
            " AND CASE uuid WHEN :uuid THEN n <= :n ELSE :alone END"
            " AND (redriven_n IS NULL OR CASE redriven_uuid WHEN :uuid THEN redriven_n <= :n ELSE :alone END)",
            {**oldest._asdict(), "alone": alone},
        )

    def count(self) -> int:
        """How many wait."""
        found = self._connection.execute(f"SELECT count(*) FROM quarantine WHERE {_WAITING}").fetchone()  # noqa: S608
        return int(found[0])

    def calls(self) -> set[str]:
        """Calls of which a row waits."""
        found = self._connection.execute(
            f"SELECT DISTINCT call_id FROM quarantine WHERE call_id IS NOT NULL AND {_WAITING}"  # noqa: S608
        )
        return {call_id for (call_id,) in found.fetchall()}

    def waits(self, call_id: str, at: Position, without: Container[int]) -> bool:
        """Whether something of a call waited when the row of an order was folded, and waited on behind it.

        Args:
            call_id: the call.
            at: the row of the order; what was set aside or settled behind it does not count yet.
            without: entries that do not count.
        """
        found = self._connection.execute(
            "SELECT id FROM quarantine WHERE call_id = :call AND NOT (uuid = :uuid AND n >= :n)"  # noqa: S608
            f" AND (({_WAITING}) OR (redriven_uuid = :uuid AND redriven_n > :n))",
            {"call": call_id, **at._asdict()},
        )
        return any(id not in without for (id,) in found.fetchall())

    def keys(self, uuid: str, after_n: int, upto_n: int) -> dict[tuple[int, str | None], int]:
        """(n, call_id) → part of the entries for rows after_n < n <= upto_n: what a refold of these must leave out.

        Redriven and dropped ones too: what an order did stands at its own row of the journal.
        """
        found = self._connection.execute(
            "SELECT n, call_id, part FROM quarantine WHERE uuid = ? AND n > ? AND n <= ?", (uuid, after_n, upto_n)
        )
        return {(n, call_id): part for n, call_id, part in found.fetchall()}

    def positions(self, since_ms: int) -> list[Position]:
        """The positions before the first row of each journal that was quarantined since then (Unix milliseconds)."""
        found = self._connection.execute(
            f"SELECT uuid, min(n) - 1 FROM quarantine WHERE quarantined_ms >= ? AND {_WAITING} GROUP BY uuid",  # noqa: S608
            (since_ms,),
        )
        return [Position(*row) for row in found.fetchall()]

    def _sum(self, ids: Iterable[int]) -> None:
        self._connection.executemany(f"UPDATE quarantine SET crc = {_SUM} WHERE id = ?", ((id,) for id in ids))  # noqa: S608

    def _select(self, where: str, values: tuple[object, ...]) -> list[Quarantined]:
        found = self._connection.execute(
            f"SELECT id, {_COLUMNS}, attempts, order_id FROM quarantine WHERE {where}",  # noqa: S608
            values,
        )
        return [_quarantined(*row) for row in found.fetchall()]


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with an entry; None if nothing is. Reads them all."""
    found = connection.execute(f"SELECT n FROM quarantine WHERE crc != {_SUM}").fetchone()  # noqa: S608
    return None if found is None else f"row {found[0]} in quarantine has another checksum"


def _quarantined(id: int, uuid: str, n: int, at_ms: int, kind: str, body: bytes, *rest: Any) -> Quarantined:
    return Quarantined(id, uuid, Row(n, at_ms, kind, body), *rest)
