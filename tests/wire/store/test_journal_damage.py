"""Whatever becomes of a journal's files: each row is read as it was written, or told as lost."""

import random
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.truth import recordings
from wire.store.errors import StoreDamaged, StoreForeign
from wire.store.row import Kind, Position, Row
from wire.store.segment import SCHEMA

if TYPE_CHECKING:
    from tests.wire.store.conftest import Eventually, Harness

PAGE = 4096
RECORDED = [*recordings.rows("07_dtmf_during_call"), *recordings.rows("01_inbound_answered_caller_hangup")] * 2
ROWS = [Row(n, recordings.BEGIN_MS + n, row.kind, row.body) for n, row in enumerate(RECORDED, 1)]
NEW = b'{"type":"Hold"}'


def write(journal: "Harness", killed: Path | None = None) -> str:
    """A journal of several segments; its uuid.

    Args:
        journal: Where.
        killed: The files go here as they stand before the close, the last one with its WAL; None: it is closed.
    """
    writer = journal.writer(clock=lambda: recordings.BEGIN_MS)
    for row in ROWS:
        writer.append(row.kind, row.at_ms, row.body)
        if row.n % 20 == 0:
            assert writer.flush(10)
    assert writer.flush(10)
    if killed is not None:
        shutil.copytree(journal.directory, killed)
    assert writer.close()
    journal.directory = killed or journal.directory
    return journal.told[-1].uuid


def hurt(directory: Path, draw: random.Random) -> None:
    """Do some harm to one of the files."""
    files = sorted(path for path in directory.glob("*.journal*") if path.stat().st_size)
    what = draw.choice(["flip"] * 5 + ["head", "zero", "cut", "cut WAL", "swap", "copy", "append", "insert", "delete"])
    if what == "cut WAL":
        files = [path for path in files if path.name.endswith("-wal")] or files
    elif what in ("swap", "copy", "head"):
        files = [path for path in files if path.suffix == ".journal"]
    path = draw.choice(files)
    data = bytearray(path.read_bytes())
    pages = [slice(at, at + PAGE) for at in range(0, len(data), PAGE)]
    match what:
        case "flip" | "head":
            for _ in range(draw.choice((1, 3, 10, 60) if what == "flip" else (1, 2, 4))):
                data[draw.randrange(len(data) if what == "flip" else 100)] ^= draw.choice((1, 4, 0x20, 0x80, 0xFF))
        case "zero":
            page = draw.choice(pages)
            data[page] = bytes(len(data[page]))
        case "cut" | "cut WAL":
            del data[draw.randrange(len(data)) :]
        case "swap" | "copy":
            one, other = draw.sample(pages[1:], 2)
            data[one], data[other] = data[other], data[one] if what == "swap" else data[other]
        case "append":
            data += draw.randbytes(draw.choice((1, 100, PAGE)))
        case "insert":
            at = draw.randrange(len(data))
            data[at:at] = draw.randbytes(8)
    if what == "delete":
        path.unlink()
    else:
        path.write_bytes(data)


def read(journal: "Harness", uuid: str) -> Iterator[Row]:
    """All rows, of which no number is missing and none comes twice; StoreDamaged where the end cannot be read."""
    reader, after = journal.reader(), None
    while (batch := reader.read(after, 37, 1 << 20)) is not None:
        known = 0 if after is None or batch.uuid != after.uuid else after.n
        for row in batch.rows:
            if row.kind == Kind.LOST and (count := orjson.loads(row.body)["rows"]) is not None:
                assert count > 0 or row.n == 0  # of what lay between two journals nobody knows how much it was
                known += count
            elif after is None and batch.uuid == uuid:
                known = row.n  # what was read and is needed no more is gone too: nobody misses the beginning
            else:
                known += 1
            assert row.n == known
            after = Position(batch.uuid, row.n)
            yield row


def check(rows: list[Row]) -> None:
    """Each is as it was written; one that is not there lies in the time of a `lost` row, or at an end."""
    written = {row.n: row for row in ROWS}
    old = [row for row in rows if row.kind != Kind.LOST and row.body != NEW]
    assert all(row == written[row.n] for row in old)
    lost = [orjson.loads(row.body) for row in rows if row.kind == Kind.LOST]
    for n in set(range(old[0].n, old[-1].n)) - {row.n for row in old} if old else ():
        assert any(gap["from_ms"] <= written[n].at_ms <= gap["to_ms"] for gap in lost)


@pytest.mark.parametrize("seed", range(70))
def test_whatever_becomes_of_a_file(journal: "Harness", tmp_path: Path, seed: int) -> None:
    """A row is given as it was written or is told as lost, nothing fells reader or writer, and the writer goes on."""
    draw = random.Random(seed)
    uuid = write(journal, draw.choice((None, tmp_path / "killed")))
    assert len(journal.segments()) >= 3
    hurt(journal.directory, draw)
    reader, found = journal.reader(), list[Row]()
    with suppress(StoreDamaged):  # its end cannot be read: the writer is to begin another
        found.extend(read(journal, uuid))
    check(found)
    reader.range()
    for _ in reader.rewound(10_000_000):
        pass
    writer = journal.writer(clock=lambda: ROWS[-1].at_ms + 5_000)
    writer.append(Kind.FRAME, ROWS[-1].at_ms + 5_000, NEW)
    assert writer.flush(10)
    assert writer.close()
    found = list(read(journal, uuid))
    check(found)
    assert found[-1].body == NEW
    assert all(orjson.loads(line) for line in reader.export())
    assert reader.last() == journal.told[-1]


def execute(journal: "Harness", segment: int, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(journal.segments()[segment], isolation_level=None)) as connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    "change",
    ["at_ms = at_ms + (1 << 40)", "kind = 'frama'", "kind = CAST(x'ff' AS TEXT)", "body = x'7b'", "at_ms = x'00'"],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_row_that_says_something_else_is_lost(journal: "Harness", change: str, last: bool) -> None:
    """Alone, and the gap of the last one ends no later than it says, if that may be true."""
    write(journal)
    n = len(ROWS) if last else 30
    execute(journal, -1 if last else 0, f"UPDATE row SET {change} WHERE n = ?", n)
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows if row.kind == Kind.LOST] == [n]
    told = orjson.loads(rows[n - 1].body)
    claimed = last and change.startswith(("at_ms", "kind = C"))
    assert told["from_ms"] == ROWS[n - 2].at_ms
    assert told["to_ms"] == ROWS[n - 2 if claimed and "at_ms" in change else n - 1 if last else n].at_ms
    assert told["rows"] == 1


def test_a_row_with_the_number_of_another_is_lost(journal: "Harness") -> None:
    """And so is the one that is not there any more."""
    write(journal)
    execute(journal, 0, "UPDATE row SET n = -n WHERE n = 31")
    execute(journal, 0, "DELETE FROM row WHERE n = 30")
    execute(journal, 0, "UPDATE row SET n = 30 WHERE n = -31")
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows] == [*range(1, 30), 31, *range(32, len(ROWS) + 1)]
    assert rows[29].kind == Kind.LOST


def test_rows_of_an_older_version_are_read(journal: "Harness") -> None:
    """Their checksums know of time and body only; another body is noticed as ever."""
    write(journal)
    older = [(zlib.crc32(row.body, row.at_ms & 0xFFFFFFFF), row.n) for row in ROWS]
    for path in journal.segments():
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany("UPDATE row SET crc = ? WHERE n = ?", older)
            connection.execute("DROP TRIGGER version")
            connection.execute("PRAGMA user_version = 1")
    assert [row for _, row in journal.rows()] == ROWS
    writer = journal.writer(clock=lambda: ROWS[-1].at_ms)
    writer.append(Kind.FRAME, ROWS[-1].at_ms, NEW)
    assert writer.close()
    execute(journal, 0, "UPDATE row SET body = x'7b' WHERE n = 30")
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows if row.kind == Kind.LOST] == [30]
    assert (rows[-1].n, rows[-1].body) == (len(ROWS) + 1, NEW)


@pytest.mark.parametrize("version", [0, 1, 2, 4, 7, 131, -1])
@pytest.mark.parametrize("since", ["", "DROP TRIGGER version"])
def test_another_version_number_is_damage(journal: "Harness", version: int, since: str) -> None:
    """Not a newer arimon, in files of older ones neither: all rows are read, the next writer sets the segment aside."""
    write(journal)
    for segment in range(len(journal.segments())):
        execute(journal, segment, f"PRAGMA user_version = {version}")
        if since:
            execute(journal, segment, since)
    assert [row for _, row in journal.rows()] == ROWS
    writer = journal.writer(clock=lambda: ROWS[-1].at_ms + 9)
    writer.append(Kind.FRAME, ROWS[-1].at_ms + 9, NEW)
    assert writer.close()
    rows = [row for _, row in journal.rows()]
    check(rows)
    assert rows[-1].body == NEW
    is_older = since and version in (1, 2)  # these say no more than that
    assert len(writer.health().set_aside) == (0 if is_older else 1)


def test_a_newer_version_is_left_to_a_newer_arimon(journal: "Harness", eventually: "Eventually") -> None:
    """Neither is the segment set aside, nor are its rows told as lost, and nothing is written."""
    write(journal)
    last = len(SCHEMA.steps) + 1
    repeat = f"CREATE TRIGGER version BEFORE UPDATE ON row WHEN 0 BEGIN SELECT {last}; END"
    for statement in ("DROP TRIGGER version", repeat):
        execute(journal, -1, statement)
    execute(journal, -1, f"PRAGMA user_version = {last}")
    before = journal.segments()
    with pytest.raises(StoreForeign, match=f"newer arimon .schema {last}, .* upgrade"):
        journal.rows()
    writer = journal.writer()
    eventually(lambda: writer.health().state == "failed")
    assert "newer arimon" in str(writer.health().reason)
    writer.close()
    assert journal.segments() == before


def test_a_damaged_last_row_begins_a_new_journal(journal: "Harness") -> None:
    """Nobody knows its number: the file is left as it is, and the gap begins with the last row that is sound."""
    uuid = write(journal)
    execute(journal, -1, "UPDATE row SET body = x'7b' WHERE n = ?", len(ROWS))
    writer = journal.writer(clock=lambda: ROWS[-1].at_ms + 9)
    writer.append(Kind.FRAME, ROWS[-1].at_ms + 9, NEW)
    assert writer.close()
    assert journal.told[-1].uuid != uuid
    assert writer.health().set_aside == ()
    [_, gap, new] = [row for _, row in journal.rows()][-3:]
    told = orjson.loads(gap.body)
    assert (told["from_ms"], told["to_ms"], new.body) == (ROWS[-2].at_ms, ROWS[-1].at_ms + 9, NEW)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM origin", "UPDATE origin SET synchronous = 'fulk'", "PRAGMA application_id = 7", "DROP TABLE origin"],
)
def test_a_garbled_origin_is_damage(journal: "Harness", change: str) -> None:
    """The segment is set aside, its rows with it, and a new journal tells it."""
    uuid = write(journal)
    execute(journal, -1, change)
    writer = journal.writer(clock=lambda: ROWS[-1].at_ms + 9)
    writer.append(Kind.FRAME, ROWS[-1].at_ms + 9, NEW)
    assert writer.close()
    assert journal.told[-1].uuid != uuid
    assert len(writer.health().set_aside) == 1
