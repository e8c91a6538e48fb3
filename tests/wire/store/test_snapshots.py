"""Snapshots in slices."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire.store.database import Schema, open_writer
from wire.store.row import Position
from wire.store.snapshots import CRC_STEP, STEP, SnapshotInfo, Snapshots


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Snapshots]:
    connection = open_writer(tmp_path / "s.db", Schema("test", 1, (STEP, CRC_STEP))).connection
    yield Snapshots(connection, tmp_path / "s.db")
    connection.close()


def take(snapshots: Snapshots, n: int) -> int:
    number = snapshots.begin(Position("j", n), 3, "hash", 100 + n)
    snapshots.put(number, [("b", b"2" * n), ("a", b"1")])
    snapshots.complete(number, 200 + n)
    return number


def test_slices_come_back_by_key(snapshots: Snapshots) -> None:
    """A snapshot has its position, version and configuration, and gives its slices by key."""
    number = snapshots.begin(Position("j", 9), 3, "hash", 100)
    for start in (100, 0):
        snapshots.put(number, [(f"call:{key:03}", b"%d" % key) for key in range(start, start + 100)])
    assert snapshots.latest_complete() is None
    snapshots.complete(number, 200)
    size = sum(len(str(key)) for key in range(200))
    assert snapshots.latest_complete() == SnapshotInfo(number, Position("j", 9), 3, "hash", 200, 200, size)
    assert list(snapshots.load(number)) == [(f"call:{key:03}", b"%d" % key) for key in range(200)]


def test_an_empty_key_is_a_key(snapshots: Snapshots) -> None:
    """The slice of the key "" comes first, not never: a fold may keep there what is nobody's in particular."""
    number = snapshots.begin(Position("j", 9), 3, "hash", 100)
    snapshots.put(number, [("a", b"1"), ("", b"0")])
    assert list(snapshots.load(number)) == [("", b"0"), ("a", b"1")]


def test_two_are_kept(snapshots: Snapshots) -> None:
    """The newest complete one and the one before it stay; older ones go with their slices."""
    for n in (1, 2, 3, 4):
        take(snapshots, n)
    assert [info.position.n for info in snapshots.complete_ones()] == [4, 3]
    assert snapshots._connection.execute("SELECT count(*) FROM slice").fetchone()[0] == 4


def test_an_incomplete_one_does_not_count(snapshots: Snapshots) -> None:
    """One that was begun and given up is never the latest, and goes when the next begins."""
    complete = take(snapshots, 1)
    snapshots.put(snapshots.begin(Position("j", 5), 3, "hash", 1), [("a", b"x")])
    latest = snapshots.latest_complete()
    assert latest is not None
    assert latest.id == complete
    take(snapshots, 6)
    assert [info.position.n for info in snapshots.complete_ones()] == [6, 1]
    assert snapshots._connection.execute("SELECT count(*) FROM slice").fetchone()[0] == 4


def test_an_unreadable_one_can_be_discarded(snapshots: Snapshots) -> None:
    """After discard the one before it is the latest."""
    first, second = take(snapshots, 1), take(snapshots, 2)
    snapshots.discard(second)
    assert [info.id for info in snapshots.complete_ones()] == [first]


def test_a_snapshot_without_slices(snapshots: Snapshots) -> None:
    """A world without calls has an empty snapshot, which counts."""
    number = snapshots.begin(Position("j", 1), 1, "", 1)
    snapshots.complete(number, 2)
    assert (snapshots.latest_complete() or ())[-2:] == (0, 0)
    assert list(snapshots.load(number)) == []


def test_a_key_is_put_once(snapshots: Snapshots) -> None:
    """The same key twice is a fault of the writer."""
    number = snapshots.begin(Position("j", 1), 1, "", 1)
    with pytest.raises(sqlite3.IntegrityError):
        snapshots.put(number, [("a", b""), ("a", b"")])
