"""SQLite, opened the one way.

Every database of arimon is in WAL mode, has one writer (who holds a `WriterLock`, taken after the fork) and any number
of readers. Opening for writing makes the directory (0700) and the file (0600), checks the file's integrity, and brings
its schema up to date; a torn or corrupt file is *set aside* (renamed `NAME.corrupt-TIME`, kept, named in the result)
and a new one begun, because a damaged database repaired in place is a database nobody can vouch for.

Why these settings:

- `journal_size_limit`: a WAL that one slow reader let grow is cut back at the next reset instead of staying large.
- Readers are opened `mode=ro` with `query_only`, and read bounded batches that they finish: an open read pins the WAL
  (144 MB was seen).
- `busy_timeout`: with one writer, only a checkpoint or a backup ever makes anybody wait; five seconds is far above
  both.
- `isolation_level=None`: the module's implicit transactions are off; every BEGIN stands in our code.

A database file must never be opened with `open()` in a process that has it open through SQLite: closing it would drop
SQLite's POSIX locks (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled). Nothing here does.
"""

import contextlib
import fcntl
import functools
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self

from wire.store.errors import StoreDamaged, StoreError, StoreForeign, StoreLocked, StoreUnusable, classify

BUSY_TIMEOUT_MS = 5_000
# A commit of one 900-byte row takes 1.5 pages of WAL, and a checkpoint of 550 to 3,000 pages took 12 to 37 ms of a busy
# disk. At SQLite's own 1,000 pages a journal of 1,000 rows/s would have one every 0.7 s, so that more than one row in a
# hundred waited for it. At 16,000 pages it is one in 10 s, for 64 MB of disk.
CHECKPOINT_PAGES = 16_000
WAL_LIMIT_BYTES = CHECKPOINT_PAGES * 4096
SUFFIXES = ("", "-wal", "-shm")
_OBJECTS = "SELECT name, sql FROM sqlite_schema ORDER BY name"
_REPEAT = "CREATE TRIGGER version BEFORE UPDATE ON {} WHEN 0 BEGIN SELECT {}; END"
"""Says the version a second time: one byte changed in the file's head would else make it a newer arimon's.

A trigger that never fires, for a table would have a page of its own that may be lost, and a view may keep SQLite 3.40's
checks from looking at the list of free pages.
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a kind of database is made of."""

    name: str
    """For people: `journal segment`, `ledger`."""
    application_id: int
    """SQLite's application_id: tells our files from others'."""
    steps: tuple[str, ...]
    """Step i (SQL, one or more statements) brings version i to i + 1; the version (user_version) is their number.

    A step is never edited once a file was made with it, not even its comments: SQLite keeps the text, and a file whose
    text is another counts as damaged.
    """
    repeats_on: str = ""
    """A table whose rows are never updated: a trigger on it says the file's version a second time. Empty for none."""
    repeats_since: int = 1
    """From this version on it does."""
    check: Literal["quick_check", "integrity_check"] = "quick_check"
    """How SQLite looks at a file's structure; only the second finds an index that its table does not fit."""
    damage: Callable[[sqlite3.Connection], str | None] | None = None
    """Says what is wrong with the content of a file whose structure is sound. Reads all texts: one may be none."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A database opened for writing."""

    connection: sqlite3.Connection
    """In autocommit mode; usable from any one thread at a time."""
    fresh: bool
    """True if the file was begun now."""
    set_aside: Path | None
    """Where the damaged predecessor was moved to; None if there was none."""
    damage: str | None
    """What was wrong with it."""


class WriterLock:
    """The right to be the one writer: a POSIX lock on a lock file, with the holder's pid as the file's text.

    A POSIX lock dies with its process, however it dies, and is not inherited by fork, so it must be taken by the
    process that writes. It does not exclude two holders within one process; a table of what this process holds does.
    """

    _held: ClassVar[set[tuple[int, str]]] = set()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._key: tuple[int, str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreLocked: somebody else has it.
            StoreUnusable: the lock file cannot be made or locked.
        """
        key = (os.getpid(), os.path.realpath(self.path))
        if key in self._held:
            raise StoreLocked(self.path, os.getpid())
        try:
            make_directory(self.path.parent)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(self.path, error.strerror or str(error)) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = os.pread(file, 32, 0)
            os.close(file)
            if isinstance(error, BlockingIOError | PermissionError):
                raise StoreLocked(self.path, int(text) if text.strip().isdigit() else None) from error
            raise StoreUnusable(self.path, error.strerror or str(error)) from error
        self._file, self._key = file, key
        self._held.add(key)
        # The pid only helps people; a full disk must not keep us from holding the lock.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up. The file stays: unlinking it would let two processes lock two files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._key is not None:
            self._held.discard(self._key)
            self._key = None

    @property
    def held(self) -> bool:
        """True while this object holds the lock."""
        return self._file is not None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def make_directory(path: Path) -> None:
    """Make a directory and its parents, 0700 each; those that exist are left as they are.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)


def open_writer(
    path: Path, schema: Schema, *, synchronous: Literal["normal", "full"] = "normal", check: bool = True
) -> Opened:
    """Open a database for its one writer, who holds the lock already.

    Args:
        path: The file; made if missing, set aside if damaged.
        schema: What it must be.
        synchronous: `normal` syncs at checkpoints, `full` at every commit too.
        check: Run the schema's checks (SQLite's quick_check reads the whole file: about 0.3 s per GB of page cache).

    Raises:
        StoreUnusable: the disk refuses.
        StoreForeign: the file is another program's, or of a newer arimon.
    """
    try:
        return open_sound(path, schema, synchronous=synchronous, check=check)
    except StoreDamaged as error:
        set_aside = move_aside(path)
        opened = open_sound(path, schema, synchronous=synchronous, check=check)
        return replace(opened, set_aside=set_aside, damage=error.detail)


def open_sound(
    path: Path, schema: Schema, *, synchronous: Literal["normal", "full"] = "normal", check: bool = True
) -> Opened:
    """As open_writer, but a damaged file is left where it is.

    Raises:
        StoreDamaged: the file is torn or corrupt.
        StoreUnusable, StoreForeign: as open_writer.
    """
    with translated(path):
        make_directory(path.parent)
        # SQLite makes files with the umask's rights, and the WAL with its database's: so the file is made first.
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with _connected(path, "rw") as connection:
        teach(connection)
        version, application, tables = _head(connection, path)
        if (tables and application != schema.application_id) or (application not in (0, schema.application_id)):
            if _is_ours(connection, schema):
                raise StoreDamaged(path, f"its application_id is another ({application})")
            raise StoreForeign(path, f"is not a {schema.name} of arimon (application_id {application}); move it away")
        if version or tables:
            if _is_newer(connection, schema, version):
                raise _newer(path, schema, version)
            if not 0 < version <= len(schema.steps):
                raise StoreDamaged(path, f"its schema's version is garbled ({version})")
            if connection.execute(_OBJECTS).fetchall() != _objects(schema, version):
                raise StoreDamaged(path, "its schema is another")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute("PRAGMA foreign_keys=ON")
        if check and tables:
            findings = [row[0] for row in connection.execute(f"PRAGMA {schema.check}(5)")]
            if findings != ["ok"]:
                raise StoreDamaged(path, "; ".join(findings))
        if version < len(schema.steps):
            _migrate(connection, schema, version)
        if check and tables and schema.damage is not None and (found := schema.damage(connection)) is not None:
            raise StoreDamaged(path, found)
    return Opened(connection, fresh=version == 0, set_aside=None, damage=None)


@contextlib.contextmanager
def _connected(path: Path, mode: Literal["rw", "ro"]) -> Iterator[sqlite3.Connection]:
    """A new connection, which stays open behind the block unless that raises; then errors are told as ours."""
    connection = None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        yield connection
    except (sqlite3.Error, OSError, StoreError, UnicodeDecodeError) as error:
        if connection is not None:
            connection.close()
        known = error if isinstance(error, StoreError) else classify(path, error)
        if known is None or known is error:
            raise
        raise known from error


def teach(connection: sqlite3.Connection) -> None:
    """Give its SQL a function `checksum(value, …)`, for tables that have one of each row."""
    connection.create_function("checksum", -1, _checksum, deterministic=True)


def _checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _head(connection: sqlite3.Connection, path: Path) -> tuple[int, int, int]:
    """Version, application_id and number of tables and indexes."""
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        return _pragma(connection, "user_version"), _pragma(connection, "application_id"), int(tables)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:  # elsewhere a fault of ours
            raise StoreDamaged(path, str(error)) from error
        raise


def _is_ours(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether tables and indexes are as some version has them: a column's name is as easily damaged as its content."""
    found = connection.execute(_OBJECTS).fetchall()
    return any(found == _objects(schema, version) for version in range(len(schema.steps), 0, -1))


def _is_newer(connection: sqlite3.Connection, schema: Schema, version: int) -> bool:
    """Whether a file is of a version to come, and says so twice."""
    found = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'version'").fetchall()
    return version > len(schema.steps) and found == [(_REPEAT.format(schema.repeats_on, version),)]


def _newer(path: Path, schema: Schema, version: int) -> StoreForeign:
    knows = len(schema.steps)
    return StoreForeign(path, f"was written by a newer arimon (schema {version}, this one knows {knows}); upgrade")


@functools.cache
def _objects(schema: Schema, version: int) -> list[tuple[str, str]]:
    """The tables and indexes of a sound file of a version."""
    with contextlib.closing(sqlite3.connect("file:objects?mode=memory", uri=True)) as connection:
        for step in schema.steps[:version]:
            connection.executescript(step)
        if schema.repeats_on and version >= schema.repeats_since:
            connection.execute(_REPEAT.format(schema.repeats_on, version))
        return connection.execute(_OBJECTS).fetchall()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(value, int)
    return value


def _migrate(connection: sqlite3.Connection, schema: Schema, version: int) -> None:
    """All the missing steps and the new version number, or nothing: `executescript` would commit in between."""
    with transaction(connection):
        for step in schema.steps[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        if schema.repeats_on and len(schema.steps) >= schema.repeats_since:
            connection.execute("DROP TRIGGER IF EXISTS version")
            connection.execute(_REPEAT.format(schema.repeats_on, len(schema.steps)))
        connection.execute(f"PRAGMA application_id={schema.application_id}")
        connection.execute(f"PRAGMA user_version={len(schema.steps)}")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement) and statement.strip(" \n;"):
            yield statement
            statement = ""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite or the system raises about the disk or the file into our errors; our own faults pass."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        known = classify(path, error)
        if known is None:
            raise
        raise known from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT; any exception rolls back and goes on its way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After a full disk SQLite may have rolled back by itself; ROLLBACK would then be an error that hides the first.
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def open_reader(path: Path, schema: Schema | None = None) -> sqlite3.Connection:
    """Open a database for reading only; it must exist.

    Args:
        path: The file.
        schema: What it must be, in whichever version; None if nobody minds.

    Raises:
        StoreUnusable: it does not exist or cannot be read.
        StoreDamaged: it is no database, or not that one.
        StoreForeign: it is of a newer arimon.
    """
    with _connected(path, "ro") as connection:
        connection.execute("PRAGMA query_only=1")
        version, _, tables = _head(connection, path)
        # Whatever it says its version is: what is in it can be read.
        if schema is not None and not _is_ours(connection, schema):
            if _is_newer(connection, schema, version):
                raise _newer(path, schema, version)
            raise StoreDamaged(path, "its schema is another" if tables else "is empty")
    return connection


def move_aside(path: Path) -> Path:
    """Rename a damaged database (with its WAL) to `NAME.corrupt-TIME`, UTC; return the new name.

    Raises:
        StoreUnusable: it cannot be renamed.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target, again = path.with_name(f"{path.name}.corrupt-{stamp}"), 1
    while target.exists():
        again += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{again}")
    # The WAL goes first: a crash in between leaves a damaged database, which is set aside next time; the other way
    # round a stray WAL would be replayed into the new file.
    for suffix in reversed(SUFFIXES):
        try:
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreUnusable(path, error.strerror or str(error)) from error
    return target


def disk_size(path: Path) -> int:
    """Size of a database with its WAL, bytes; 0 if it does not exist."""
    size = 0
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(f"{path}{suffix}").st_size
    return size


def remove(path: Path) -> None:
    """Unlink a database with its WAL, if it exists.

    Raises:
        OSError: it cannot be unlinked.
    """
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
