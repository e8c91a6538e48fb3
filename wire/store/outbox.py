"""interface draft: the design follows."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wire.message import OutboundMessage


class Entry(NamedTuple):
    """A message in the outbox."""

    id: int
    """Never reused; rises in the order of adding."""
    message: OutboundMessage


class Listed(NamedTuple):
    """A message as arimon-ctl lists it."""

    entry: Entry
    added_ms: int
    parked_ms: int | None
    parked_reason: str | None


class OutboxCounts(NamedTuple):
    waiting: int
    """Messages not confirmed and not parked."""
    parked: int
    oldest_waiting_ms: int | None
    """When the oldest was added, Unix ms."""
    oldest_parked_ms: int | None
    """When the one parked longest was parked, Unix ms."""


class Outbox:
    """The outbox's tables in the owner's database. Every change is made within the owner's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None: ...

    def add(self, messages: Iterable[OutboundMessage], now_ms: int) -> list[Entry]:
        raise NotImplementedError

    def confirm(self, ids: Iterable[int]) -> None:
        """Delete: the broker has them."""

    def park(self, ids: Iterable[int], reason: str, now_ms: int) -> None:
        """Set aside what came back; load() passes over it."""

    def unpark(self, ids: Iterable[int] | None = None, routing_key: str | None = None) -> list[int]:
        """Let parked messages go again (all, those ids, or those of a key); returns their ids, in order."""
        raise NotImplementedError

    def drop(self, ids: Iterable[int]) -> list[Entry]:
        """Delete unpublished (age policy, operator); returns what was deleted, for `messages-withheld`."""
        raise NotImplementedError

    def load(self, after_id: int, rows: int, max_bytes: int) -> list[Entry]:
        """The next waiting (not parked) messages by id."""
        raise NotImplementedError

    def counts(self) -> OutboxCounts:
        raise NotImplementedError

    def listing(
        self,
        *,
        after_id: int = 0,
        rows: int = 100,
        parked: bool | None = None,
        stream: str | None = None,
        operations: Sequence[str] | None = None,
        added_before_ms: int | None = None,
    ) -> list[Listed]:
        raise NotImplementedError
