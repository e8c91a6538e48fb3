"""The disk: real SQLite files in a private folder, and what a disk may do to those who use it.

All connections that `wire.store` opens during a run are of `Connection`, which asks the disk before each statement.
A process that dies loses its connections: SQLite rolls back what was not committed, as after SIGKILL. Files are torn
while nobody has them open: by a host that lost its power (see `Lab.power_cut`).
"""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal
from unittest import mock
from uuid import UUID

from wire.store import database, journal_writer, segment

Trouble = Literal["full", "readonly", "ioerr", "doubt"]

_CODES = {
    "full": (sqlite3.SQLITE_FULL, "SQLITE_FULL", "database or disk is full"),
    "readonly": (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", "attempt to write a readonly database"),
    "ioerr": (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", "disk I/O error"),
    "doubt": (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", "disk I/O error"),
}
_execute = sqlite3.Connection.execute
_WRITES = ("INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE")


class Death(BaseException):
    """The process that is running dies here. Not an Exception: nobody may catch it but its machine."""


class Disk:
    """What is wrong with the disk now, by what is stored (`journal`, `ledger`)."""

    def __init__(self, folder: Path, happened: Counter[str]) -> None:
        self.folder = folder
        self.trouble: dict[str, Trouble] = {}
        self.slow_ms: dict[str, int] = {}
        self.fatal: dict[str, tuple[int, bool]] = {}
        """What is stored → (statements until the process that runs one dies, whether after it was done)."""
        self.journal_touched = 0
        """Times that anybody did something to the journal's files."""
        self.torn = False
        """Whether a power cut did."""
        self.abandoned: list[Connection] = []
        """Connections in whose midst a process died: nobody else may know of them."""
        self._happened = happened

    def delay(self, stored: str) -> int:
        """How long the next piece of work takes, milliseconds."""
        found = self.slow_ms.get(stored, 0)
        if found:
            self._happened["disk.slow"] += 1
        return found

    def process_died(self) -> None:
        """What it had open is closed, also what it was just opening."""
        while self.abandoned:
            self.abandoned.pop().close()

    def minds(self, stored: str) -> bool:
        """Whether it has anything to say about the next statement."""
        return stored in self.trouble or stored in self.fatal

    def before(self, stored: str, statement: str) -> None:
        """A statement is about to be done."""
        trouble = self.trouble.get(stored)
        refused = (
            (trouble == "full" and statement.startswith(_WRITES))
            or (trouble == "readonly" and statement.startswith("BEGIN"))
            or (trouble == "ioerr" and statement.startswith(("SELECT", "BEGIN")))
        )
        if trouble is not None and refused:
            self._fail(trouble)
        self._count_down(stored, after=False)

    def after(self, stored: str, statement: str) -> None:
        """A statement was done."""
        if self.trouble.get(stored) == "doubt" and statement.startswith("COMMIT"):
            self._fail("doubt")
        self._count_down(stored, after=True)

    def _count_down(self, stored: str, after: bool) -> None:
        left, when = self.fatal.get(stored, (0, False))
        if stored in self.fatal and when == after:
            if left <= 0:
                del self.fatal[stored]
                raise Death
            self.fatal[stored] = (left - 1, when)

    def _fail(self, trouble: Trouble) -> None:
        self._happened[f"disk.{trouble}"] += 1
        code, name, text = _CODES[trouble]
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        raise error

    def connect(self, name: str, **options: Any) -> sqlite3.Connection:
        """sqlite3.connect of this disk."""
        # All of a run is one process: SQLite need not lock against others, nor share its index of a WAL with them.
        opened: Connection = sqlite3.connect(f"{name}&vfs=unix-excl", factory=Connection, **options)
        opened.stored = "ledger" if "/ledger.db" in name else "journal"
        opened.disk = self
        return opened

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """What is on the disk at the beginning, WALs included, is there again at the end: nobody closed anything."""
        copy = self.folder.with_name(self.folder.name + "-copy")
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        yield
        shutil.rmtree(self.folder)
        copy.rename(self.folder)


class Connection(sqlite3.Connection):
    """A connection that asks its disk."""

    disk: Disk | None = None
    stored = ""

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """See sqlite3."""
        if self.disk is None or not self.disk.minds(self.stored):
            return _execute(self, statement, *parameters)
        head = statement.lstrip()[:12].upper()
        try:
            self.disk.before(self.stored, head)
            cursor = _execute(self, statement, *parameters)
            self.disk.after(self.stored, head)
        except Death:
            self.disk.abandoned.append(self)
            raise
        return cursor

    def executemany(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """See sqlite3."""
        if self.disk is not None and self.disk.minds(self.stored):
            self.disk.before(self.stored, statement.lstrip()[:12].upper())
        return super().executemany(statement, *parameters)


PAGE = 4096


def tear(path: Path, luck: random.Random) -> None:
    """Damage a file: cut it, or lose a page of it."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        if luck.random() < 0.5 or size < PAGE:
            file.truncate(luck.randrange(size) if size else 0)
        else:
            file.seek(luck.randrange(size // PAGE) * PAGE)
            file.write(bytes(PAGE))


def cut_wal(path: Path, luck: random.Random) -> None:
    """Lose the end of a WAL: what the host had not written when its power went."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(luck.randint(0, size))


class Drafts:
    """New databases, each kind made once by the product's steps and then copied page by page: the same file in a tenth
    of the time. Where the disk minds what is done to it, the steps are taken one by one."""

    _made: ClassVar[dict[str, sqlite3.Connection]] = {}
    _step_by_step = staticmethod(database._migrate)

    @classmethod
    def migrate(cls, connection: sqlite3.Connection, schema: database.Schema, version: int) -> None:
        """As the product's."""
        assert isinstance(connection, Connection)
        if version or connection.disk is None or connection.disk.minds(connection.stored):
            cls._step_by_step(connection, schema, version)
            return
        if schema.name not in cls._made:
            cls._made[schema.name] = sqlite3.connect(":memory:", isolation_level=None)
            cls._step_by_step(cls._made[schema.name], schema, 0)
        cls._made[schema.name].backup(connection)


@contextmanager
def installed(disk: Disk, luck: random.Random, before_cut: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Within, `wire.store` uses this disk, and journals get repeatable names.

    Args:
        disk: of the run.
        luck: for the names.
        before_cut: called before a segment of the journal is unlinked.
    """

    class Shim:
        connect = staticmethod(disk.connect)

        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

    def remove(path: Path) -> None:
        if path.suffix == segment.SUFFIX:
            before_cut()
        database.remove(path)

    uuids = SimpleNamespace(uuid4=lambda: UUID(int=luck.getrandbits(128), version=4))
    with (
        mock.patch.object(database, "sqlite3", Shim()),
        mock.patch.object(database, "_migrate", Drafts.migrate),
        mock.patch.object(journal_writer, "uuids", uuids),
        mock.patch.object(journal_writer, "remove", remove),
    ):
        yield
