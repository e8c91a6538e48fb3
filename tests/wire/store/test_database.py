"""Opening SQLite the one way."""

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wire.store.database import (
    Schema,
    WriterLock,
    disk_size,
    open_reader,
    open_sound,
    open_writer,
    remove,
    transaction,
    translated,
)
from wire.store.errors import StoreDamaged, StoreError, StoreForeign, StoreLocked, StoreUnusable

ONE = Schema(
    "test store",
    0x1234,
    ("CREATE TABLE thing (id INTEGER PRIMARY KEY, text TEXT); -- a; comment\n",),
    repeats_on="thing",
)
TWO = Schema(
    "test store",
    0x1234,
    (*ONE.steps, "ALTER TABLE thing ADD COLUMN more TEXT; INSERT INTO thing VALUES (7, 'a;b', '')"),
    repeats_on="thing",
)

MARKS = (*range(60, 64), *range(68, 72))
"""Bytes of a file's head that SQLite leaves to us: the version and the application_id."""

LOCKER = """
import sys
from pathlib import Path
from wire.store.database import WriterLock
lock = WriterLock(Path(sys.argv[1])); lock.acquire()
print("locked", flush=True); sys.stdin.read()
"""


def fill(path: Path, rows: int = 1000) -> None:
    connection = open_writer(path, ONE).connection
    with transaction(connection):
        connection.executemany("INSERT INTO thing VALUES (?, ?)", ((n, "x" * 100) for n in range(1, rows + 1)))
    connection.close()


def test_files_are_ours_alone(tmp_path: Path) -> None:
    """Directories are made 0700, and database and WAL 0600, whatever the umask says."""
    path = tmp_path / "a" / "b" / "store.db"
    before = os.umask(0)
    try:
        opened = open_writer(path, ONE)
        opened.connection.execute("INSERT INTO thing VALUES (1, '')")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path.parent.parent, path.parent)]
    files = [stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()]
    opened.connection.close()
    assert (opened.fresh, modes, files) == (True, [0o700, 0o700], [0o600] * 3)


def test_settings_of_a_writer(tmp_path: Path) -> None:
    """A writer is in WAL mode, with the policy asked for and a WAL that is cut back."""
    connection = open_writer(tmp_path / "store.db", ONE, synchronous="full").connection
    found = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "journal_size_limit")
    ]
    connection.close()
    assert found == ["wal", 2, 16_000 * 4096]


def test_schema_grows_by_steps(tmp_path: Path) -> None:
    """An older database gets the steps that it lacks, and keeps its rows."""
    fill(tmp_path / "store.db", 3)
    opened = open_writer(tmp_path / "store.db", TWO)
    found = opened.connection.execute("SELECT id, text FROM thing WHERE id IN (3, 7)").fetchall()
    version = opened.connection.execute("PRAGMA user_version").fetchone()[0]
    opened.connection.close()
    assert (opened.fresh, found, version) == (False, [(3, "x" * 100), (7, "a;b")], 2)


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A migration is one transaction: after an error in it the old version is still whole."""
    fill(tmp_path / "store.db", 3)
    broken = replace(ONE, steps=(*ONE.steps, "DELETE FROM thing; CREATE TABLE thing (id)"))
    with pytest.raises(sqlite3.OperationalError):
        open_writer(tmp_path / "store.db", broken)
    connection = open_reader(tmp_path / "store.db")
    assert connection.execute("SELECT count(*) FROM thing").fetchone()[0] == 3
    connection.close()


@pytest.mark.parametrize("schema", [ONE, Schema("other", 0x9999, ONE.steps)])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, schema: Schema) -> None:
    """A newer schema and another program's file are refused with a word on what to do, and not set aside."""
    path = tmp_path / "store.db"
    open_writer(path, TWO).connection.close()
    with pytest.raises(StoreForeign, match=r"upgrade|move it away"):
        open_writer(path, schema)
    assert [each.name for each in tmp_path.iterdir()] == ["store.db"]


@pytest.mark.parametrize("repeats_since", [1, 2, 3])
def test_a_changed_version_is_damage(tmp_path: Path, repeats_since: int) -> None:
    """Whatever it says, and so is another application_id: no newer arimon's, nor another program's; readers read it."""
    path = tmp_path / "store.db"
    schema = replace(TWO, repeats_since=repeats_since)
    open_writer(path, schema).connection.close()
    good = path.read_bytes()
    changes = [(at, 1 << bit) for at in MARKS for bit in range(8)]
    for at, change in [*changes, (63, 3), (63, 5), (63, 6), (63, 7)]:
        path.write_bytes(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :])
        with pytest.raises(StoreDamaged, match=r"version|schema|application_id"):
            open_sound(path, schema)
        open_reader(path, schema).close()


def test_a_newer_version_says_so_twice(tmp_path: Path) -> None:
    """A file of which only one of both is changed is damaged."""
    path = tmp_path / "store.db"
    open_writer(path, TWO).connection.close()
    good = path.read_bytes()
    for open_it in (open_sound, open_reader):
        path.write_bytes(good)
        with pytest.raises(StoreForeign, match="schema 2, this one knows 1"):
            open_it(path, ONE)
        assert good.count(b"SELECT 2;") == 1
        path.write_bytes(good.replace(b"SELECT 2;", b"SELECT 3;"))
        with pytest.raises(StoreDamaged):
            open_it(path, ONE)


def damage_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(8192))


def damage_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is not a database, is it? " * 10)


def tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [damage_middle, damage_head, tear])
def test_damage_is_set_aside(tmp_path: Path, damage: object) -> None:
    """A corrupt or torn file is renamed, kept and told, and an empty one begun in its place."""
    path = tmp_path / "store.db"
    fill(path)
    assert callable(damage)
    damage(path)
    kept = path.read_bytes()
    opened = open_writer(path, ONE)
    rows = opened.connection.execute("SELECT count(*) FROM thing").fetchone()[0]
    opened.connection.close()
    assert opened.set_aside is not None
    assert opened.set_aside.name.startswith("store.db.corrupt-2")
    assert opened.set_aside.read_bytes() == kept
    assert (opened.fresh, rows, bool(opened.damage)) == (True, 0, True)


def test_two_damaged_in_one_second(tmp_path: Path) -> None:
    """A second file set aside at the same time does not overwrite the first."""
    for _ in range(2):
        fill(tmp_path / "store.db")
        damage_head(tmp_path / "store.db")
        open_writer(tmp_path / "store.db", ONE).connection.close()
    assert len(list(tmp_path.glob("store.db.corrupt-*"))) == 2


def test_open_sound_leaves_damage_where_it_is(tmp_path: Path) -> None:
    """open_sound raises StoreDamaged with the path, and moves nothing."""
    fill(tmp_path / "store.db")
    damage_middle(tmp_path / "store.db")
    with pytest.raises(StoreDamaged) as caught:
        open_sound(tmp_path / "store.db", ONE)
    assert caught.value.path == str(tmp_path / "store.db")
    assert not list(tmp_path.glob("*corrupt*"))


def test_no_place_is_unusable(tmp_path: Path) -> None:
    """A directory that cannot be made is StoreUnusable, for writers and readers."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable):
        open_writer(tmp_path / "file" / "store.db", ONE)
    with pytest.raises(StoreUnusable):
        open_reader(tmp_path / "missing.db")


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """A reader's connection refuses to change anything."""
    fill(tmp_path / "store.db", 1)
    connection = open_reader(tmp_path / "store.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM thing")
    connection.close()


def test_a_full_disk_is_unusable_and_changes_nothing(tmp_path: Path) -> None:
    """SQLITE_FULL becomes StoreUnusable, the transaction is undone, and the connection goes on working."""
    path = tmp_path / "store.db"
    connection = open_writer(path, ONE).connection
    connection.execute("PRAGMA max_page_count=20")
    with pytest.raises(StoreUnusable, match="full"), translated(path), transaction(connection):
        connection.executemany("INSERT INTO thing VALUES (?, ?)", ((n, "x" * 1000) for n in range(1000)))
    connection.execute("PRAGMA max_page_count=100000")
    with transaction(connection):
        connection.execute("INSERT INTO thing VALUES (1, '')")
    assert connection.execute("SELECT count(*) FROM thing").fetchone()[0] == 1
    connection.close()


def test_faults_of_ours_are_not_the_disks(tmp_path: Path) -> None:
    """A broken constraint is not translated: it is a bug, and must crash."""
    connection = open_writer(tmp_path / "store.db", ONE).connection
    with pytest.raises(sqlite3.IntegrityError), translated(tmp_path / "store.db"), transaction(connection):
        connection.executemany("INSERT INTO thing VALUES (?, '')", [(1,), (1,)])
    connection.close()


def test_remove_takes_the_wal_too(tmp_path: Path) -> None:
    """disk_size and remove know the database's companions; what is missing is passed over."""
    path = tmp_path / "store.db"
    connection = open_writer(path, ONE).connection
    connection.execute("INSERT INTO thing VALUES (1, '')")
    assert disk_size(path) == sum(each.stat().st_size for each in tmp_path.iterdir())
    remove(path)
    connection.close()
    remove(path)
    assert not list(tmp_path.iterdir())


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    """A second process is refused with the holder's pid; SIGKILL of the holder frees the lock."""
    path = tmp_path / "writer.lock"
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(StoreLocked) as caught:
            WriterLock(path).acquire()
        assert caught.value.pid == child.pid
        assert f"process {child.pid}" in str(caught.value)
        child.kill()
        child.wait()
    with WriterLock(path) as lock:
        assert lock.held


def test_the_lock_excludes_its_own_process_too(tmp_path: Path) -> None:
    """POSIX locks do not; WriterLock does, and release lets the next one in."""
    first, second = WriterLock(tmp_path / "writer.lock"), WriterLock(tmp_path / "writer.lock")
    first.acquire()
    with pytest.raises(StoreLocked):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize("error", [StoreLocked("/a", 7), StoreDamaged("/a", "torn")])
def test_errors_survive_pickling(error: StoreError) -> None:
    """Errors go to other processes whole."""
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
