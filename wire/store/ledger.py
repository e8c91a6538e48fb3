"""interface draft: the design follows.

::

    ledger = Ledger(path); opened = ledger.open()          # in the process that uses it; takes the lock
    with ledger.transaction():                             # everything or nothing
        ledger.move(Position(uuid, n), now_ms)
        entries = ledger.outbox.add(messages, now_ms)
        ledger.quarantine.add(items, now_ms)
    offers.handle(Added(entries), monotonic_ms)            # after the commit
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from wire.store.outbox import Outbox
from wire.store.row import Position, Row

Stage = Literal["decode", "correlate", "call", "process"]


class Suspect(NamedTuple):
    """A row to be quarantined."""

    uuid: str
    row: Row
    call_id: str | None
    """The call that could not take it; None if it never came so far, or was wrong for all."""
    stage: Stage
    error: str
    traceback: str


class Quarantined(NamedTuple):
    """A row in quarantine."""

    id: int
    uuid: str
    row: Row
    call_id: str | None
    stage: str
    error: str
    traceback: str
    quarantined_ms: int
    redriven_ms: int | None


class SnapshotInfo(NamedTuple):
    id: int
    position: Position
    version: int
    config_hash: str
    completed_ms: int
    slices: int
    bytes: int


class LedgerOpened(NamedTuple):
    fresh: bool
    set_aside: Path | None
    damage: str | None


class Quarantine:
    def add(self, suspects: Iterable[Suspect], now_ms: int) -> list[int]:
        """Within a transaction. The same (uuid, n, call_id) again keeps its first entry."""
        raise NotImplementedError

    def listing(self, *, after_id: int = 0, rows: int = 100, waiting_only: bool = False) -> list[Quarantined]:
        raise NotImplementedError

    def show(self, id: int) -> Quarantined | None:  # noqa: A002
        raise NotImplementedError

    def mark_redriven(self, ids: Iterable[int], now_ms: int) -> None: ...

    def drop(self, ids: Iterable[int]) -> int:
        raise NotImplementedError

    def count(self) -> int:
        raise NotImplementedError

    def keys(self, uuid: str, after_n: int, upto_n: int) -> set[tuple[int, str | None]]:
        """(n, call_id) of what a refold of these rows must leave out."""
        raise NotImplementedError


class Snapshots:
    """Each method is a transaction of its own."""

    def begin(self, position: Position, version: int, config_hash: str, now_ms: int) -> int:
        raise NotImplementedError

    def put(self, id: int, slices: Iterable[tuple[str, bytes]]) -> None:  # noqa: A002
        ...

    def complete(self, id: int, now_ms: int) -> None:  # noqa: A002
        ...

    def latest_complete(self) -> SnapshotInfo | None:
        raise NotImplementedError

    def load(self, id: int) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        raise NotImplementedError

    def discard(self, id: int) -> None:  # noqa: A002
        ...


class Ledger:
    outbox: Outbox
    quarantine: Quarantine
    snapshots: Snapshots

    def __init__(self, path: Path, synchronous: Literal["normal", "full"] = "normal") -> None: ...

    def open(self) -> LedgerOpened:
        raise NotImplementedError

    def transaction(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def position(self) -> Position | None:
        """The checkpoint; None in a fresh ledger."""
        raise NotImplementedError

    def move(self, position: Position, now_ms: int) -> None:
        """Within a transaction. Resets attempts() and forgets the row being tried."""

    def begin_attempt(self) -> int:
        """Call once at start: counts starts at this checkpoint that got no further; 1 is the first."""
        raise NotImplementedError

    def begin_row(self, position: Position) -> int:
        """In single steps: call before each row; how often this row was begun before without getting past it."""
        raise NotImplementedError

    def needed(self, quarantined_since_ms: int) -> list[Position]:
        """For JournalWriter.retire: oldest complete snapshot, checkpoint, rows quarantined since then."""
        raise NotImplementedError

    def close(self) -> None: ...
