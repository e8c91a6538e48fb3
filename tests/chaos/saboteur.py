"""arimond with faults in it, which strike when a test says so: `python -m tests.chaos.saboteur --config …`.

The classes are changed here, before anything is forked, so every process of the tree has them; the product has no hook
for it. A fault strikes the role for which there is a file `ROLE.FAULT` in $ARIMON_TEST_FAULTS, once: the file goes.

Disks misbehave for as long as there is a file: `journal.full`, and a journal may not grow (`max_page_count`: what needs
a new page fails as on a full disk); `ledger.readonly`, and a ledger takes no writes (`query_only`). That it has
happened is in the daemon's status.

While there is a file `poison`, no call can take a digit: a bug, that is mended when the file goes. While there is a
file `long way`, a Switchboard does not come to the end of folding rows again.
"""

import functools
import os
import resource
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors import calls
from actors.base import ProcessActor
from actors.call import host
from actors.call.events import ChannelDtmfReceived
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.folding import Folding
from actors.worker import WorkerActor
from conf.settings import Settings
from supervision.arimond import main

FOLDER = Path(os.environ["ARIMON_TEST_FAULTS"])
EXIT_STATUS = 3
ROOM = 32 * 1024 * 1024
"""Bytes of address space left by the memory limit."""


class Sabotage(Exception):
    """What a test wanted."""


def strikes(role: str, fault: str) -> bool:
    """Whether this is the moment."""
    try:
        (FOLDER / f"{role}.{fault}").unlink()
    except FileNotFoundError:
        return False
    return True


def fail(*_: object) -> None:
    """Raise."""
    raise Sabotage("on purpose, with the password hunter2hunter2")


def run_out_of_memory() -> None:
    """Set a limit a little above what is used, and need more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    bytearray(2 * ROOM)


taken_as_written, made_as_written = ProcessActor._dispatch, ProcessActor._init


def dispatch(self: ProcessActor, body: Any, author: Any, sender: Any) -> None:
    """As written, unless a fault strikes."""
    role = self.identity.role
    if strikes(role, "receive"):
        fail()
    if strikes(role, "exit"):
        os._exit(EXIT_STATUS)
    if strikes(role, "memory"):
        run_out_of_memory()
    if isinstance(self, WorkerActor) and strikes(role, "loop"):
        self.bridge.call(fail)
    taken_as_written(self, body, author, sender)


def init(self: ProcessActor, init: Any, sender: Any) -> None:
    """As written, but for a start that fails."""
    if strikes(init.identity.role, "start"):
        self.start = fail  # type: ignore[method-assign,assignment]
    if strikes(init.identity.role, "hang"):
        threading.Event().wait()
    if strikes(init.identity.role, "slow"):
        # It looks at its mailbox, as a refold in slices does, and is done when the test says so.
        begun, self.start = self.start, lambda _start: wait_in_mailbox(self, init.start)  # type: ignore[method-assign,assignment]
        self.begun = begun
        self.starts_later = True  # type: ignore[misc]
    made_as_written(self, init, sender)


restored_as_written = Folding.restore


def restore(self: Folding) -> Iterator[None]:
    """As written, after a long way."""
    while (FOLDER / "long way").exists():
        yield
    yield from restored_as_written(self)


def fold(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
    """As written, but for the bug."""
    if isinstance(routed.input.body, ChannelDtmfReceived) and (FOLDER / "poison").exists():
        fail()
    return host.fold(call, routed, server, settings)


def wait_in_mailbox(self: Any, start: Any) -> None:
    """Start when there is a file `ROLE.done`."""
    if strikes(self.identity.role, "done"):
        self.begun(start)
        self.started()
    else:
        self.after(0.05, "wait", lambda: wait_in_mailbox(self, start))


class Choking(sqlite3.Connection):
    """A database whose disk is full, or takes no writes, when a test says so."""

    NO_LIMIT = 2**30
    """Pages; SQLite takes a limit below the present size as the present size."""
    choked = False

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        """As written; but when a transaction begins, the disk is made as it is to be."""
        if sql == "BEGIN IMMEDIATE":
            file = super().execute("PRAGMA database_list").fetchone()[2]
            ledger = file.endswith("ledger.db")
            choked = (FOLDER / ("ledger.readonly" if ledger else "journal.full")).exists()
            if choked or self.choked:
                setting = f"query_only={int(choked)}" if ledger else f"max_page_count={1 if choked else self.NO_LIMIT}"
                super().execute(f"PRAGMA {setting}").fetchone()
            self.choked = choked
        return super().execute(sql, *arguments)


if __name__ == "__main__":
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Choking)  # type: ignore[assignment]
    ProcessActor._dispatch = dispatch  # type: ignore[method-assign]
    ProcessActor._init = init  # type: ignore[method-assign]
    Folding.restore = restore  # type: ignore[method-assign]
    calls.fold = fold  # type: ignore[attr-defined]
    sys.exit(main())
