"""Marks: how far each stream is published, for a fold that cannot be done again in full.

A restart folds the journal again from a snapshot up to the checkpoint. Where rows in between are damaged, the states
come out older than what was published of them, and would give numbers that consumers have seen to other messages. So
the last sequence of every open stream is kept beside the checkpoint, and moves with it.

The mark of a call that has ended stays until no snapshot that is kept knows the call any more: the newest may turn out
to be unreadable. If an old state of it comes back all the same, or the channel that is to begin it, or if rows since
the snapshot are gone, so that one may come back, the call is *closed*: nothing more is said of it, and its mark stays
until nothing can name the call any more (`Standing.fade`).
"""

import sqlite3
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

STEP = """
CREATE TABLE mark (
    stream TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    phase INTEGER NOT NULL
) WITHOUT ROWID;
"""

CRC_STEP = "ALTER TABLE mark ADD COLUMN crc INTEGER; -- of all of it; null: written by a version that wrote none"

_SUM = "checksum(stream, sequence, phase)"


class Phase(IntEnum):
    """Where a stream is."""

    OPEN = 0
    ENDED = 1
    CLOSED = 2


class Mark(NamedTuple):
    """What stands of one stream."""

    sequence: int
    """Of its last message that was decided on."""
    phase: Phase


class Marks:
    """The marks' table in the owner's database. What changes it is called within the owner's transaction.

    Args:
        connection: The owner's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def move(self, sequences: Mapping[str, int], ended: Iterable[str]) -> None:
        """Messages were decided on, and streams ended.

        Args:
            sequences: Stream → its last sequence.
            ended: Streams.
        """
        self._connection.executemany(
            "INSERT INTO mark (stream, sequence, phase, crc) VALUES (?, ?, 0, checksum(?, ?, 0))"
            " ON CONFLICT DO UPDATE SET sequence = excluded.sequence, phase = 0, crc = excluded.crc",
            (item * 2 for item in sequences.items()),
        )
        self._set(ended, Phase.ENDED)

    def amend(self, sequences: Mapping[str, int]) -> None:
        """Something was said of streams that have ended; stream → its last sequence."""
        self._connection.executemany(
            "INSERT INTO mark (stream, sequence, phase, crc) VALUES (?, ?, ?, checksum(?, ?, ?))"
            " ON CONFLICT DO UPDATE SET sequence = excluded.sequence, crc = checksum(stream, excluded.sequence, phase)",
            ((stream, sequence, Phase.ENDED) * 2 for stream, sequence in sequences.items()),
        )

    def of(self, stream: str) -> int:
        """Sequence of a stream's last message; 0 if nothing stands of it."""
        found = self._connection.execute("SELECT sequence FROM mark WHERE stream = ?", (stream,)).fetchone()
        return found[0] if found else 0

    def close(self, streams: Iterable[str]) -> None:
        """Nothing more is to be said on these."""
        self._set(streams, Phase.CLOSED)

    def ended(self) -> list[str]:
        """Streams that have ended and are not closed."""
        found = self._connection.execute("SELECT stream FROM mark WHERE phase = ?", (Phase.ENDED,))
        return [stream for (stream,) in found.fetchall()]

    def forget(self, streams: Iterable[str]) -> None:
        """Delete these, if they are still ended."""
        self._connection.executemany(
            "DELETE FROM mark WHERE stream = ? AND phase = ?", ((stream, Phase.ENDED) for stream in streams)
        )

    def release(self, streams: Iterable[str]) -> None:
        """Delete these, whatever they are: nothing can name them any more."""
        self._connection.executemany("DELETE FROM mark WHERE stream = ?", ((stream,) for stream in streams))

    def all(self) -> dict[str, Mark]:
        """Every mark."""
        found = self._connection.execute("SELECT stream, sequence, phase FROM mark").fetchall()
        return {stream: Mark(sequence, Phase(phase)) for stream, sequence, phase in found}

    def _set(self, streams: Iterable[str], phase: Phase) -> None:
        # What is closed stays so: a suspended call that is closed may yet come to its end.
        self._connection.executemany(
            "UPDATE mark SET phase = max(phase, ?), crc = checksum(stream, sequence, max(phase, ?)) WHERE stream = ?",
            ((phase, phase, stream) for stream in streams),
        )


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with a mark; None if nothing is. Reads them all."""
    found = connection.execute(
        f"SELECT stream FROM mark WHERE crc != {_SUM} OR phase NOT IN (0, 1, 2)"  # noqa: S608
    ).fetchone()
    return None if found is None else f"the mark of {found[0]} has another checksum"
