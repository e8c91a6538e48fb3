"""What can go wrong with a store, split by whose fault it is.

::

    StoreError                 path, and what to do about it
    ├── StoreLocked            somebody else's: another process is the writer (pid)
    ├── StoreUnusable          the disk's: full, read-only, no permission, I/O error; try again later
    ├── StoreDamaged           the file's: not a database, torn, corrupt; it is set aside, never repaired in place
    ├── StoreForeign           the operator's: the file is another program's, or of a newer arimon
    └── CodecError             a stored state cannot be read: damaged, of another version, or of a class not allowed
"""

import sqlite3
from pathlib import Path


class StoreError(Exception):
    """A store cannot do what was asked."""

    def __init__(self, path: Path | str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = str(path)
        self.detail = detail

    def __reduce__(self) -> tuple[type["StoreError"], tuple[str, str]]:
        return type(self), (self.path, self.detail)


class StoreLocked(StoreError):
    """Another process writes here."""

    def __init__(self, path: Path | str, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(path, f"{holder} is the writer; stop it first, or choose another state_dir")
        self.pid = pid

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, int | None]]:  # type: ignore[override]
        return type(self), (self.path, self.pid)


class StoreUnusable(StoreError):
    """The disk refuses: full, read-only, no permission, I/O error. It may come back by itself."""


class StoreDamaged(StoreError):
    """The file is torn or corrupt."""


class StoreForeign(StoreError):
    """The file is sound, but not ours to use: another program's, or of a newer arimon."""


class CodecError(StoreError):
    """A stored state cannot be read."""


# Results that say "the disk refuses" (SQLite result codes, https://www.sqlite.org/rescode.html). Extended codes carry
# the primary one in their low byte.
_UNUSABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,  # after the busy timeout: somebody sits on the file, e.g. a backup
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,  # a race in the WAL's locks; SQLite asks for another try
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def classify(path: Path | str, error: sqlite3.Error | UnicodeDecodeError | OSError) -> StoreError | None:
    """Translate what SQLite or the system raised.

    Args:
        path: The file concerned.
        error: What was raised.

    Returns:
        The error of our tree, or None: then it is a fault of ours (bad SQL, a broken constraint) and must not be
        treated as the disk's.
    """
    if isinstance(error, OSError):
        return StoreUnusable(path, error.strerror or str(error))
    if isinstance(error, UnicodeDecodeError):
        # SQLite quotes what it cannot understand, and Python cannot read that.
        return StoreDamaged(path, "its schema is garbled")
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Python's own: a text is none. Else a fault of ours.
        return StoreDamaged(path, str(error)) if isinstance(error, sqlite3.OperationalError) else None
    name = getattr(error, "sqlite_errorname", "")
    if code & 0xFF in _DAMAGED:
        return StoreDamaged(path, f"{error} ({name})")
    if code & 0xFF in _UNUSABLE:
        return StoreUnusable(path, f"{error} ({name})")
    return None
