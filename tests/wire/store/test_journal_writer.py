"""The journal's writer: order, numbers, disks that refuse, damage, death."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson
import pytest

from wire.store import journal_writer
from wire.store.database import transaction
from wire.store.errors import StoreLocked, StoreUnusable
from wire.store.journal import JournalWriter
from wire.store.row import Kind, Position, Row

if TYPE_CHECKING:
    from tests.wire.store.conftest import Eventually, Harness


def append(writer: JournalWriter, first: int, last: int, body: bytes = b"{}") -> None:
    for number in range(first, last + 1):
        writer.append(Kind.FRAME, 1000 + number, body)


def lost(row: Row) -> dict[str, object]:
    assert row.kind == Kind.LOST
    told = orjson.loads(row.body)
    assert isinstance(told, dict)
    return told


def fill_disk(writer: JournalWriter, pages: int = 1) -> None:
    """Give the open segment no room to grow, as a full disk does (fewer pages than it has: as many as it has)."""
    connection = writer._connection
    assert connection is not None
    connection.execute(f"PRAGMA max_page_count={pages}")


def refused(journal: "Harness", eventually: "Eventually", size: int) -> JournalWriter:
    """A writer with a reserve of 64 KiB, whose disk has become full: row 1 is committed, row 2 of this size waits."""
    writer = journal.writer(reserve_bytes=65536)
    append(writer, 1, 1)
    assert writer.flush(10)
    fill_disk(writer)
    append(writer, 2, 2, b"x" * size)
    eventually(lambda: writer.health().state == "refused")
    return writer


def test_rows_are_numbered_from_one(journal: "Harness") -> None:
    """Rows get n = 1, 2, 3 … in the order of appending, with time, kind and body as given."""
    writer = journal.writer()
    writer.append(Kind.LINK_UP, 7, b'{"generation":1}')
    writer.append(Kind.FRAME, 8, b"\xff not json")
    assert writer.flush(10)
    uuid = journal.told[-1].uuid
    assert journal.rows() == [
        (uuid, Row(1, 7, "link-up", b'{"generation":1}')),
        (uuid, Row(2, 8, "frame", b"\xff not json")),
    ]
    assert journal.told[0] == (uuid, 0)
    assert journal.told[-1] == (uuid, 2)


def test_batches_form_under_load(journal: "Harness", eventually: "Eventually") -> None:
    """What arrives while a commit runs is committed together; a lone row is committed at once."""
    writer = journal.writer(segment_bytes=1 << 26)
    append(writer, 1, 5000)
    assert writer.flush(10)
    assert len(journal.told) < 2500
    append(writer, 5001, 5001)
    eventually(lambda: journal.told[-1].n == 5001)


def test_numbers_go_on_after_a_restart(journal: "Harness") -> None:
    """The next writer of a journal that was closed goes on in the same journal behind its last row."""
    for first in (1, 11):
        writer = journal.writer()
        append(writer, first, first + 9)
        assert writer.close()
    rows = journal.rows()
    assert [row.n for _, row in rows] == list(range(1, 21))
    assert len({uuid for uuid, _ in rows}) == 1
    assert len(journal.segments()) == 1


def test_numbers_go_on_in_an_empty_segment_after_the_others_were_retired(journal: "Harness") -> None:
    """n never starts again at 1 in a journal, even if all its earlier rows were unlinked."""
    writer = journal.writer(max_bytes=65536, segment_bytes=65536)
    for first in range(1, 401, 100):
        append(writer, first, first + 99, b"x" * 1000)
        assert writer.flush(10)
    writer.retire([journal.told[-1]])
    assert writer.close()
    assert len(journal.segments()) == 1
    writer = journal.writer()
    append(writer, 401, 401)
    assert writer.close()
    assert journal.told[-1].n == 401


def test_segments_are_rolled_by_size(journal: "Harness") -> None:
    """A new segment is begun when one is full, and its name tells its place and its first row."""
    writer = journal.writer(segment_bytes=65536)
    for first in range(1, 501, 50):
        append(writer, first, first + 49, b"x" * 1000)
        assert writer.flush(10)
    rows = journal.rows()
    names = [path.name.split("-", 3)[:3] for path in journal.segments()]
    assert [row.n for _, row in rows] == list(range(1, 501))
    assert len(names) > 4
    assert [name[0] for name in names] == [f"{n:08d}" for n in range(1, len(names) + 1)]
    by_n = {row.n: row.at_ms for _, row in rows}
    assert [int(name[2]) for name in names[1:]] == [by_n[int(name[1])] for name in names[1:]]


def test_a_second_writer_is_refused(journal: "Harness") -> None:
    """start() raises StoreLocked with the holder's pid while there is a writer."""
    journal.writer()
    with pytest.raises(StoreLocked) as caught:
        journal.writer()
    assert caught.value.pid == os.getpid()


def test_what_is_appended_after_close_is_an_error(journal: "Harness") -> None:
    """A closed writer takes nothing, loudly."""
    writer = journal.writer()
    assert writer.close()
    with pytest.raises(RuntimeError, match="ended"):
        writer.append(Kind.FRAME, 1, b"")
    assert writer.health().state == "closed"


def test_a_fault_of_ours_is_handed_to_who_appends(journal: "Harness", eventually: "Eventually") -> None:
    """An unexpected exception ends the thread; append raises it, and health says so."""
    writer = journal.writer()
    writer.append(Kind.FRAME, cast(int, "no time"), b"")
    eventually(lambda: writer.health().state == "failed")
    with pytest.raises(RuntimeError) as caught:
        append(writer, 1, 1)
    assert isinstance(caught.value.__cause__, TypeError)
    assert not writer.close()


# A disk that refuses


def test_a_full_disk_loses_nothing_within_the_reserve(journal: "Harness", eventually: "Eventually") -> None:
    """Rows wait in memory while the disk is full, health says why, and all are there when it works again."""
    writer = journal.writer()
    append(writer, 1, 10)
    assert writer.flush(10)
    fill_disk(writer)
    append(writer, 11, 200, b"x" * 1000)
    eventually(lambda: writer.health().state == "refused")
    health = writer.health()
    assert "full" in (health.reason or "")
    assert (health.waiting_rows, health.last_n, health.lost_rows) == (190, 10, 0)
    assert not writer.flush(0.01)
    fill_disk(writer, 100_000)
    assert writer.flush(10)
    assert writer.health().state == "working"
    assert [row.n for _, row in journal.rows()] == list(range(1, 201))


def test_what_overflows_the_reserve_is_told(journal: "Harness", eventually: "Eventually") -> None:
    """Beyond the reserve rows are counted, and one `lost` row in their place tells from when to when, how many, why."""
    writer = refused(journal, eventually, 30_000)
    append(writer, 3, 102, b"x" * 1000)
    health = writer.health()
    kept = health.waiting_rows
    assert (health.losing_rows, health.lost_rows) == (101 - kept, 101 - kept)
    assert health.waiting_bytes <= 65536
    fill_disk(writer, 100_000)
    assert writer.flush(10)
    append(writer, 103, 103)
    assert writer.flush(10)
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows] == list(range(1, kept + 4))
    told = lost(rows[-2])
    assert "full" in str(told.pop("reason"))
    assert told == {"from_ms": 1000 + kept + 2, "to_ms": 1102, "rows": 101 - kept}
    assert rows[-1].at_ms == 1103
    assert writer.health().losing_rows == 0


def test_rows_lost_while_the_clock_is_set_back(journal: "Harness", eventually: "Eventually") -> None:
    """The `lost` row tells from the earliest of their times to the latest."""
    writer = refused(journal, eventually, 65_000)
    for at_ms in (5000, 6000, 3000, 4000):
        writer.append(Kind.FRAME, at_ms, b"x" * 1000)
    fill_disk(writer, 100_000)
    assert writer.flush(10)
    told = lost([row for _, row in journal.rows()][-1])
    assert (told["from_ms"], told["to_ms"], told["rows"]) == (3000, 6000, 4)


def test_link_rows_are_kept_when_frames_are_lost(journal: "Harness", eventually: "Eventually") -> None:
    """Link and operator rows have room above the reserve; the gap before them is told in its place."""
    writer = refused(journal, eventually, 65_000)
    append(writer, 3, 9, b"x" * 1000)
    writer.append(Kind.LINK_DOWN, 1010, b"{}")
    append(writer, 11, 12, b"x" * 1000)
    fill_disk(writer, 100_000)
    assert writer.flush(10)
    rows = [row for _, row in journal.rows()]
    assert [row.kind for row in rows] == ["frame", "frame", "lost", "link-down", "lost"]
    assert [lost(rows[2])["rows"], lost(rows[4])["rows"]] == [7, 2]


def test_a_place_that_cannot_be_made_is_tried_again(journal: "Harness", eventually: "Eventually") -> None:
    """A journal that cannot be opened at start is a state, and it is opened when the place is there."""
    journal.directory.parent.mkdir()
    journal.directory.touch()
    writer = journal.writer()
    append(writer, 1, 3)
    eventually(lambda: writer.health().state == "refused")
    assert writer.health().uuid is None
    journal.directory.unlink()
    assert writer.flush(10)
    assert [row.n for _, row in journal.rows()] == [1, 2, 3]


def test_close_gives_up_on_a_full_disk_in_time(journal: "Harness", eventually: "Eventually") -> None:
    """close() returns False within its limit if the disk still refuses, and frees the lock."""
    writer = journal.writer()
    append(writer, 1, 1)
    assert writer.flush(10)
    fill_disk(writer)
    append(writer, 2, 100, b"x" * 1000)
    eventually(lambda: writer.health().state == "refused")
    assert not writer.close(timeout=0.2)
    again = journal.writer()
    append(again, 2, 2)
    assert again.flush(10)
    assert [row.n for _, row in journal.rows()] == [1, 2]


FULL_DISK = """
import resource, sys, time
from pathlib import Path
from conf.settings import Journal
from wire.store.journal import JournalReader, JournalWriter
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
writer = JournalWriter(Path(sys.argv[1]), Journal(), lambda uuid, n: None)
writer.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
for n in range(1, 1001):
    writer.append("frame", n, b"x" * 1000)
    if n == 100:
        assert writer.flush(20), writer.health()
health, until = writer.health(), time.monotonic() + 20
while health.state != "refused" and time.monotonic() < until:
    writer.flush(0.05)
    health = writer.health()
assert health.state == "refused" and 0 < health.last_n < 1000 and health.lost_rows == 0, health
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert writer.flush(20), writer.health()
reader, after, seen = JournalReader(Path(sys.argv[1])), None, []
batch = reader.read(None, 5000, 1 << 30)
assert [row.n for row in batch.rows] == list(range(1, 1001)), len(batch.rows)
assert [row.at_ms for row in batch.rows] == list(range(1, 1001))
reader.close()
assert writer.close()
print("whole")
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """With the kernel refusing writes (RLIMIT_FSIZE) rows wait, and none is lost or doubled when it relents."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


def test_a_commit_in_doubt_is_not_repeated(journal: "Harness", monkeypatch: pytest.MonkeyPatch) -> None:
    """A COMMIT that fails but reached the file is noticed: its rows are not written a second time."""
    writer = journal.writer()
    append(writer, 1, 1)
    assert writer.flush(10)
    failed: list[bool] = []

    @contextmanager
    def lying(connection: sqlite3.Connection) -> Iterator[None]:
        with transaction(connection):
            yield
        if not failed:
            failed.append(True)
            raise StoreUnusable("disk", "said no, but did it")

    monkeypatch.setattr(journal_writer, "transaction", lying)
    append(writer, 2, 9)
    assert writer.flush(10)
    assert failed
    assert [row.at_ms for _, row in journal.rows()] == list(range(1001, 1010))


# Ends that cannot be trusted


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


@pytest.mark.parametrize("how", [damage, lambda path: os.truncate(path, 5000), lambda path: os.truncate(path, 0)])
def test_a_damaged_end_begins_a_new_journal(journal: "Harness", how: object) -> None:
    """A torn or corrupt last segment is set aside; a new journal with another uuid begins with a `lost` row."""
    writer = journal.writer(segment_bytes=65536)
    for first in (1, 101):
        append(writer, first, first + 99, b"x" * 1000)
        assert writer.flush(10)
    assert writer.close()
    old = journal.told[-1]
    last = journal.segments()[-1]
    first_n, begun_ms = (int(part) for part in last.name.split("-")[1:3])
    assert first_n > 1
    assert callable(how)
    how(last)

    writer = journal.writer(clock=lambda: 2_000_000)
    append(writer, 201, 202)
    assert writer.flush(10)
    new = journal.told[-1]
    assert new.uuid != old.uuid
    assert new.n == 3
    assert writer.health().set_aside == tuple(str(path) for path in journal.directory.glob(f"{last.name}.corrupt-*"))
    told = [row for uuid, row in journal.rows() if uuid == new.uuid]
    assert "damaged" in str(lost(told[0])["reason"])
    assert {**lost(told[0]), "reason": ""} == {"from_ms": begun_ms, "to_ms": 2_000_000, "rows": None, "reason": ""}
    # Somebody who had read the old journal to its end, or only a part of it, goes on in the new one.
    assert journal.rows(old) == [(new.uuid, row) for row in told]
    before = journal.rows(Position(old.uuid, first_n - 2))
    assert [(uuid, row.n) for uuid, row in before] == [(old.uuid, first_n - 1), *((new.uuid, n) for n in (1, 2, 3))]


@pytest.mark.parametrize(
    ("clean", "synchronous", "boot_id", "same"),
    [
        (True, "normal", "boot 2", True),
        (False, "normal", "boot 1", True),
        (False, "normal", "boot 2", False),
        (False, "full", "boot 2", False),
    ],
)
def test_a_power_cut_begins_a_new_journal(
    journal: "Harness", tmp_path: Path, clean: bool, synchronous: str, boot_id: str, same: bool
) -> None:
    """After an unclean end in an earlier boot committed rows may be gone: n is not trusted, and unless every commit was
    synced the gap since the last row is told. Any other end is trusted."""
    writer = journal.writer(synchronous=synchronous)
    append(writer, 1, 5)
    assert writer.flush(10)
    if not clean:
        # The files as they stand, without the close.
        copy = tmp_path / "copy"
        copy.mkdir()
        for path in journal.directory.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    assert writer.close()
    if not clean:
        journal.directory = copy
    journal.told.clear()
    writer = journal.writer(synchronous=synchronous, boot_id=boot_id)
    append(writer, 6, 6)
    assert writer.close()
    rows = [row for _, row in journal.rows()]
    if same:
        assert [row.n for row in rows] == [1, 2, 3, 4, 5, 6]
    elif synchronous == "full":
        assert [row.n for row in rows] == [1, 2, 3, 4, 5, 1]
        assert rows[5].kind == Kind.FRAME
    else:
        assert [row.n for row in rows] == [1, 2, 3, 4, 5, 1, 2]
        assert {**lost(rows[5]), "reason": ""} == {"from_ms": 1005, "to_ms": 1_000_000, "rows": None, "reason": ""}


def test_no_number_is_given_twice_where_a_power_cut_took_the_end_of_a_wal(journal: "Harness", tmp_path: Path) -> None:
    """Not under `full` either, where a disk has lied: whoever had read the old rows reads all the new ones."""
    writer = journal.writer(synchronous="full")
    for n in range(1, 6):
        append(writer, n, n)
        assert writer.flush(10)
    uuid = journal.told[-1].uuid
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in journal.directory.iterdir():
        data = path.read_bytes()
        (copy / path.name).write_bytes(data[:-4000] if path.name.endswith("-wal") else data)
    assert writer.close()
    journal.directory = copy
    assert [row.n for _, row in journal.rows()] == [1, 2, 3, 4]
    writer = journal.writer(synchronous="full", boot_id="boot 2")
    append(writer, 6, 9)
    assert writer.close()
    assert [(row.n, row.at_ms) for _, row in journal.rows(Position(uuid, 5))] == [
        (n - 5, 1000 + n) for n in range(6, 10)
    ]


def test_rows_that_were_read_and_are_gone_begin_a_new_journal(journal: "Harness", eventually: "Eventually") -> None:
    """A reader ahead of the writer means that a WAL was removed: numbers must not be given twice."""
    writer = journal.writer()
    append(writer, 1, 5)
    assert writer.flush(10)
    uuid = journal.told[-1].uuid
    writer.retire([Position(uuid, 9)])
    eventually(lambda: journal.told[-1].uuid != uuid and journal.told[-1].n == 1)
    (new, row), *more = journal.rows(Position(uuid, 9))
    assert (new, row.n, more) == (journal.told[-1].uuid, 1, [])
    assert "rows 6 to 9" in str(lost(row)["reason"])


def test_damage_found_while_writing(journal: "Harness", eventually: "Eventually") -> None:
    """When SQLite finds the open segment corrupt, it is set aside at once and the waiting rows go to a new journal."""
    writer = journal.writer(segment_bytes=1 << 24)
    append(writer, 1, 2000, b"x" * 1000)
    assert writer.flush(10)
    old = journal.told[-1].uuid
    connection = writer._connection
    assert connection is not None
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA cache_size=0")
    damage(journal.segments()[-1])
    append(writer, 2001, 2001)
    assert writer.flush(10)
    assert journal.told[-1].uuid != old
    assert [row.kind for _, row in journal.rows()] == ["lost", "frame"]
    assert len(writer.health().set_aside) == 1


# Retention


def test_retired_by_size_and_never_what_is_needed(journal: "Harness", eventually: "Eventually") -> None:
    """Above max_bytes whole segments before the needed row go, the oldest first; the needed one and later ones stay."""
    writer = journal.writer(segment_bytes=65536, max_bytes=65536)
    for first in range(1, 1001, 50):
        append(writer, first, first + 49, b"x" * 1000)
        assert writer.flush(10)
    uuid, before = journal.told[-1].uuid, journal.segments()
    needed_n = int(before[5].name.split("-")[1]) + 3
    writer.retire([Position(uuid, 1000), Position(uuid, needed_n)])
    eventually(lambda: journal.segments() == before[5:])
    writer.retire([Position("unknown", 5)])
    append(writer, 1001, 1001)
    assert writer.flush(10)
    assert journal.segments()[: len(before) - 5] == before[5:]
    assert not list(journal.directory.glob(f"{before[0].name}*"))


def test_retired_by_age(journal: "Harness", eventually: "Eventually") -> None:
    """A segment goes when all its rows are older than max_age, however little there is."""
    now = [0]
    writer = journal.writer(segment_bytes=65536, max_age=10, clock=lambda: now[0])
    for first in range(1, 501, 50):
        append(writer, first, first + 49, b"x" * 1000)
        assert writer.flush(10)
    before = journal.segments()
    third = int(before[2].name.split("-")[2])
    now[0] = third + 10_001
    writer.retire([journal.told[-1]])
    eventually(lambda: journal.segments() == before[2:])


# Death

WRITER = """
import sys
from pathlib import Path
from conf.settings import Journal
from wire.store.journal import JournalWriter
def told(uuid, n):
    sys.stdout.write(f"{uuid} {n}\\n"); sys.stdout.flush()
writer = JournalWriter(Path(sys.argv[1]), Journal(segment_bytes=1 << 20), told)
writer.start()
n = int(sys.argv[2])
while True:
    n += 1
    writer.append("frame", n, b"%d " % n * 100)
    if n % 20 == 0:
        writer.flush(1)
"""


def test_sigkill_loses_nothing_that_was_told(journal: "Harness") -> None:
    """After SIGKILL in the midst of commits the journal is sound, holds all that on_committed told, and goes on."""
    last, uuids = 0, set()
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(journal.directory), str(last)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line.split()[1]) > last + 700:
                    break
            child.send_signal(signal.SIGKILL)
            told = [line, *child.stdout][-1]
        if not told.endswith("\n"):
            told = line
        rows = journal.rows()
        assert [row.n for _, row in rows] == list(range(1, len(rows) + 1))
        assert all(row.body == b"%d " % row.n * 100 for _, row in rows)
        assert len(rows) >= int(told.split()[1])
        last = len(rows)
        uuids |= {uuid for uuid, _ in rows}
    writer = journal.writer(boot_id=None)
    append(writer, 1, 1)
    assert writer.flush(10)
    assert journal.told[-1] == Position(uuids.pop(), last + 1)
    assert not uuids
    assert writer.health().set_aside == ()
