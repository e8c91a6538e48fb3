"""A row of the journal: everything that can cause a message, in the order in which we had it."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a row's body holds."""

    FRAME = "frame"
    """One WebSocket message from ARI, as it came; not necessarily JSON."""
    LINK_UP = "link-up"
    """JSON `{"generation": int, "app": str}`: the WebSocket is open, frames follow. In journals of older versions,
    which have no row of kind `clock`, also `last_row_ms` for this process's first link, as `heard_ms` there."""
    LINK_DOWN = "link-down"
    """JSON `{"reason": str, "detail": str, "last_data_ms": int | null, "behind_ms": int}`: no frames until the next
    link-up; `behind_ms`: how old the last frame was when it came, of a link that broke."""
    SNAPSHOT = "snapshot"
    """JSON, the PBX's answers by REST: `{"id", "purpose": "link-up" | "audit" | "operator", "nth": 1 | 2,
    "asked_ms", "answered_ms", "info": {…}, "channels": […], "bridges": […], "variables": {channel_id: {name: value}},
    "link": int, "dry_run": bool, "heard_ms": int}`, `link` is the link-up's `generation`, with `dry_run` nothing is
    concluded, `heard_ms`: when the last byte had come over the link (not in journals of older versions),
    `info`, `channels` and `bridges` as ARI gave them (GET /asterisk/info, /channels, /bridges)."""
    CLOCK = "clock"
    """JSON `{"boot_id": str | null, "ahead_ms": int, "began": bool, "heard_ms": int | null}`: how far the host's clock
    is ahead of CLOCK_BOOTTIME of this boot; a process's first row (`began`), and one before the next row whenever the
    host's clock was set; `heard_ms`: until when the PBX was surely heard: before this process, as the host's clock
    counted for the one before (`began`), or by this process, as it counts now (not in journals of older versions)."""
    OPERATOR = "operator"
    """JSON `{"command": str, …}`: what somebody told us to do, as `redrive` or `drop`."""
    LOST = "lost"
    """JSON `{"from_ms", "to_ms", "reason": str, "rows": int | null}`: rows that the journal could not keep, or that
    were damaged on disk; `rows` is null where nobody can say how many; `from_ms` is the later one where the clock was
    set back in between."""


class Row(NamedTuple):
    """One row; its position `n` never repeats within a journal's uuid."""

    n: int
    """Position, from 1, without gaps."""
    at_ms: int
    """When we had it, Unix milliseconds of the host's clock."""
    kind: str
    """One of `Kind`, as text."""
    body: bytes


class Position(NamedTuple):
    """A place in a journal: everything up to and including row `n` of the journal named `uuid`."""

    uuid: str
    """Names the journal; a new journal (the old one lost or damaged) has a new one."""
    n: int
    """The last row included; 0 is before the first."""
