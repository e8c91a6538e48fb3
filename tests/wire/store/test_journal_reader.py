"""The journal's reader: bounded, following, and honest about what it cannot read."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from wire.store.errors import StoreDamaged
from wire.store.journal import JournalReader, export_line
from wire.store.journal_reader import PAUSE_MS
from wire.store.row import Kind, Position, Row

if TYPE_CHECKING:
    from tests.wire.store.conftest import Harness


def fill(
    journal: "Harness", rows: int, *, step: int = 50, segment_bytes: int = 65536, body: bytes = b"x" * 1000
) -> str:
    """A closed journal with rows 1 … `rows`, at_ms = 1000 + n; returns its uuid."""
    writer = journal.writer(segment_bytes=segment_bytes, clock=lambda: 1000)
    for n in range(1, rows + 1):
        writer.append(Kind.FRAME, 1000 + n, body)
        if n % step == 0:
            assert writer.flush(10)
    assert writer.close()
    return journal.told[-1].uuid


def lost(row: Row) -> dict[str, Any]:
    assert row.kind == Kind.LOST
    return dict(orjson.loads(row.body))


def without_head(path: Path) -> None:
    """Its first page is lost."""
    with path.open("r+b") as file:
        file.write(b"\0" * 4096)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def set_aside(path: Path) -> Path:
    return path.rename(path.with_name(path.name + ".corrupt-1"))


def test_nothing_yet(journal: "Harness") -> None:
    """A journal that does not exist, or has no rows, gives None and an empty range."""
    reader = journal.reader()
    assert reader.read(None, 10, 1000) is None
    assert reader.read(Position("x", 3), 10, 1000) is None
    assert (reader.uuid(), reader.range().segments, rewound(reader, 5)) == (None, 0, None)
    assert journal.writer().close()
    assert reader.read(None, 10, 1000) is None
    assert (reader.range().first, reader.range().last, reader.range().segments) == (None, None, 1)


def test_reads_are_bounded(journal: "Harness") -> None:
    """A read gives at most so many rows, and ends at the row that fills the bytes."""
    uuid = fill(journal, 100)
    reader = journal.reader()
    found = [
        reader.read(*how) for how in ((None, 7, 1 << 20), (Position(uuid, 7), 50, 2500), (Position(uuid, 10), 50, 1))
    ]
    assert [[row.n for row in batch.rows] for batch in found if batch] == [[*range(1, 8)], [8, 9, 10], [11]]
    assert reader.read(Position(uuid, 100), 50, 1000) is None


def test_follows_a_writer_over_segments(journal: "Harness") -> None:
    """Read while it is written, every row comes once and in order, over many segments, and no read pins the WAL."""
    writer = journal.writer(segment_bytes=65536)
    reader, after, seen = journal.reader(), None, list[int]()

    def write() -> None:
        for n in range(1, 6001):
            writer.append(Kind.FRAME, n, b"x" * 500)
            if n % 100 == 0:
                writer.flush(10)

    thread = threading.Thread(target=write)
    thread.start()
    largest = 0
    while len(seen) < 6000:
        batch = reader.read(after, 150, 1 << 20)
        if batch is None:
            assert thread.is_alive() or writer.flush(10)
            continue
        seen += [row.n for row in batch.rows]
        after = Position(batch.uuid, batch.rows[-1].n)
        largest = max([largest, *_sizes(journal.directory, "*-wal")])
    thread.join()
    assert seen == list(range(1, 6001))
    assert len(journal.segments()) > 20
    assert largest <= 16 * 1024 * 1024


def _sizes(directory: Path, pattern: str) -> Iterator[int]:
    """Bytes of each file; the writer may rename it between two looks."""
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):
            yield path.stat().st_size


def test_range_and_times(journal: "Harness") -> None:
    """range() tells first and last."""
    uuid = fill(journal, 500)
    reader = journal.reader()
    found = reader.range()
    assert (found.first, found.last) == (Position(uuid, 1), Position(uuid, 500))
    assert reader.last() == found.last
    assert (found.first_ms, found.last_ms, found.segments) == (1001, 1500, len(journal.segments()))
    assert found.bytes == sum(path.stat().st_size for path in journal.directory.iterdir() if path.name != "writer.lock")


def rewound(reader: JournalReader, span_ms: int) -> Position | None:
    """What `rewound` returns."""
    steps = reader.rewound(span_ms)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Position | None = end.value
            return found


def test_the_last_stretch_of_a_journal(journal: "Harness") -> None:
    """rewound() finds the row before it, in whichever segment."""
    uuid = fill(journal, 500)
    assert len(journal.segments()) > 3
    reader = journal.reader()
    assert [rewound(reader, span_ms) for span_ms in (0, 1, 200, 498, 499, 9999)] == [
        *(Position(uuid, n) for n in (499, 498, 299, 1)),
        None,
        None,
    ]


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
def test_a_stretch_is_as_long_when_the_clock_was_set(journal: "Harness", jump_ms: int) -> None:
    """Nor does it matter how long the host was off: a pause counts for no more than PAUSE_MS."""
    writer = journal.writer()
    for n in range(1, 101):
        writer.append(Kind.FRAME, 5_000_000 + n * 1000 + (jump_ms if n > 50 else 0), b"x")
    assert writer.close()
    reader, pause = journal.reader(), PAUSE_MS if jump_ms > 0 else 0
    found = [rewound(reader, span_ms) for span_ms in (40_000, 60_000 + pause, 98_000 + pause)]
    assert [position and position.n for position in found] == [59, 38, None]


def test_a_stretch_over_damage(journal: "Harness") -> None:
    """A segment that cannot be read counts for nothing, and the stretch reaches over it."""
    fill(journal, 500)
    path, following = journal.segments()[-2:]
    first, then = (int(each.name.split("-")[1]) for each in (path, following))
    with path.open("r+b") as file:
        file.write(b"\0" * 4096)
    reader = journal.reader()
    position = rewound(reader, 500 - then + 2)
    assert position is None or position.n < first
    assert reader.range().last == Position(following.name.split("-", 3)[3].removesuffix(".journal"), 500)


@pytest.mark.parametrize("hurt", [without_head, cut_to_nothing])
@pytest.mark.parametrize("edge", [0, -1])
def test_the_range_of_a_journal_with_a_damaged_edge(
    journal: "Harness", edge: int, hurt: Callable[[Path], None]
) -> None:
    """range() tells what can be read."""
    uuid = fill(journal, 500)
    firsts = [int(path.name.split("-")[1]) for path in journal.segments()]
    hurt(journal.segments()[edge])
    found = journal.reader().range()
    want = (firsts[1], 500) if edge == 0 else (1, firsts[-1] - 1)
    assert (found.first, found.last) == tuple(Position(uuid, n) for n in want)


def test_the_last_row_is_found_while_another_segment_is_read(journal: "Harness") -> None:
    """last() follows the writer into new segments, and reading goes on where it was."""
    reader = journal.reader()
    assert reader.last() is None
    uuid = fill(journal, 500)
    batch = reader.read(None, 5, 1 << 20)
    assert batch is not None
    assert reader.last() == Position(uuid, 500)
    batch = reader.read(Position(uuid, 5), 1, 1 << 20)
    assert batch is not None
    assert [row.n for row in batch.rows] == [6]


def test_a_missing_segment_is_told(journal: "Harness") -> None:
    """Rows of a segment that somebody removed are one `lost` row, and reading goes on behind it."""
    fill(journal, 500)
    paths = journal.segments()
    first, following = (int(path.name.split("-")[1]) for path in paths[2:4])
    paths[2].unlink()
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows] == [*range(1, first), *range(following - 1, 501)]
    told = lost(rows[first - 1])
    assert (told["rows"], told["reason"], told["to_ms"]) == (following - first, "rows are missing", 1000 + following)


def test_a_journal_without_its_beginning_is_cut(journal: "Harness") -> None:
    """One that does not exist, or whose first segment is there, is not; one whose first was set aside is."""
    assert journal.reader().cut() is None
    fill(journal, 300, segment_bytes=65536)
    assert journal.reader().cut() is None
    oldest, following = journal.segments()[:2]
    aside = set_aside(oldest)
    found = journal.reader().cut()
    assert found is not None
    assert found.n == int(following.name.split("-")[1]) - 1
    assert journal.reader().began_ms() == int(aside.name.split("-")[2])
    aside.unlink()
    assert journal.reader().cut() == found
    assert journal.reader().began_ms() == int(following.name.split("-")[2])


def test_a_journal_of_which_all_was_set_aside_is_in_doubt(journal: "Harness") -> None:
    """Until its writer has begun another."""
    fill(journal, 10)
    for path in journal.segments():
        set_aside(path)
    with pytest.raises(StoreDamaged):
        journal.reader().cut()


def two_journals(journal: "Harness") -> tuple[list[Path], list[Path]]:
    """The segments of a journal whose last was set aside, without that, and of the one begun then."""
    fill(journal, 300)
    *earlier, last = journal.segments()
    set_aside(last)
    fill(journal, 300)
    return earlier, [path for path in journal.segments() if path not in earlier]


def first_of(journal: "Harness", later: list[Path]) -> Row:
    """The first row of the later journal."""
    return next(row for uuid, row in journal.rows() if later[0].name.endswith(f"{uuid}.journal"))


def test_a_later_journal_tells_what_was_set_aside_just_before_it(journal: "Harness") -> None:
    """So the reader has nothing to add."""
    _, later = two_journals(journal)
    assert first_of(journal, later).n == 1


@pytest.mark.parametrize("harm", [Path.unlink, set_aside, cut_to_nothing])
def test_what_else_is_missing_between_two_journals_is_told(journal: "Harness", harm: Callable[[Path], object]) -> None:
    """By a `lost` row before the first row of the later one."""
    earlier, later = two_journals(journal)
    harm(earlier[-1])
    row = first_of(journal, later)
    assert (row.n, lost(row)["reason"], lost(row)["rows"]) == (0, "rows are missing", 0)
    assert lost(row)["to_ms"] == int(later[0].name.split("-")[2])
    batch = journal.reader().read(Position(journal.reader().uuid() or "", 0), 1, 1 << 20)
    assert batch is not None
    assert batch.rows[0].n == 1


def test_a_missing_beginning_of_a_later_journal_is_told(journal: "Harness") -> None:
    """With the number of its rows that are known to be gone."""
    _, later = two_journals(journal)
    later[0].unlink()
    row, missing = first_of(journal, later[1:]), int(later[1].name.split("-")[1]) - 1
    assert (row.n, lost(row)["rows"]) == (missing, missing)


def test_reading_an_unlinked_beginning(journal: "Harness") -> None:
    """Without a position reading begins with the oldest row that is kept."""
    fill(journal, 500)
    journal.segments()[0].unlink()
    first = int(journal.segments()[0].name.split("-")[1])
    assert [row.n for _, row in journal.rows()] == list(range(first, 501))


def pages_of(path: Path, low: int, high: int) -> list[int]:
    """The offsets of the leaf pages that hold rows low … high only, found by their content."""
    data, found = path.read_bytes(), []
    bodies = [b"row %d;" % n for n in range(low, high + 1)]
    for at in range(4096, len(data), 4096):
        page = data[at : at + 4096]
        if page[:1] == b"\x0d" and any(body in page for body in bodies):
            found.append(at)
    return found


def test_damaged_pages_cost_their_rows_only(journal: "Harness") -> None:
    """Damage within a segment loses the rows of the damaged pages; one `lost` row tells them."""
    writer = journal.writer(segment_bytes=1 << 24)
    for n in range(1, 1001):
        writer.append(Kind.FRAME, 1000 + n, b"row %d;" % n * 60)
    assert writer.close()
    path = journal.segments()[0]
    pages = pages_of(path, 500, 540)
    with path.open("r+b") as file:
        for at in pages:
            file.seek(at)
            file.write(os.urandom(4096))
    rows = [row for _, row in journal.rows()]
    gone = [row for row in rows if row.kind == Kind.LOST]
    assert len(gone) == 1
    told = lost(gone[0])
    assert (told["from_ms"], told["to_ms"]) == (1000 + gone[0].n - told["rows"], 1001 + gone[0].n)
    count = told["rows"]
    assert 41 <= count < 80
    assert "damaged" in str(told["reason"])
    kept = [row.n for row in rows if row.kind == Kind.FRAME]
    assert kept == [*range(1, gone[0].n - count + 1), *range(gone[0].n + 1, 1001)]


@pytest.mark.parametrize("n", [1, 57, 200])
def test_a_changed_body_is_noticed(journal: "Harness", n: int) -> None:
    """SQLite does not notice a changed byte in a body; the row's checksum does, at the end of the journal too."""
    fill(journal, 200, segment_bytes=1 << 24)
    connection = sqlite3.connect(journal.segments()[0], isolation_level=None)
    connection.execute("UPDATE row SET body = CAST(replace(CAST(body AS TEXT), 'xx', 'xy') AS BLOB) WHERE n = ?", (n,))
    connection.close()
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows] == list(range(1, 201))
    assert [row.n for row in rows if row.kind == Kind.LOST] == [n]
    assert lost(rows[n - 1])["rows"] == 1


@pytest.mark.parametrize("hurt", [without_head, cut_to_nothing])
def test_a_lost_segment_head_is_bridged_from_its_name(journal: "Harness", hurt: Callable[[Path], None]) -> None:
    """A segment in the middle whose head is garbage loses its own rows: the names tell which those were."""
    fill(journal, 500)
    path, following = journal.segments()[1:3]
    first, then = (int(each.name.split("-")[1]) for each in (path, following))
    hurt(path)
    rows = [row for _, row in journal.rows()]
    assert [row.n for row in rows] == [*range(1, first), then - 1, *range(then, 501)]
    assert lost(rows[first - 1])["rows"] == then - first


def test_a_journal_that_vanished(journal: "Harness") -> None:
    """A position in a journal of which nothing is left goes on with the newest journal, from its first row."""
    fill(journal, 50)
    for path in journal.directory.iterdir():
        path.unlink()
    new = fill(journal, 5)
    assert [(uuid, row.n) for uuid, row in journal.rows(Position("gone", 40))] == [(new, n) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            b'{"type":"Dial", "n": 123456789012345678901234567890}',
            b'"body":{"type":"Dial", "n": 123456789012345678901234567890}',
        ),
        (b'{"type":\r\n"Dial"}', b'"body":{"type":"Dial"}'),
        (b'{"type":', b'"text":"{\\"type\\":"'),
        (b'"\xff"', b'"text":"\\"\\\\xff\\""'),
    ],
)
def test_export_lines(body: bytes, line: bytes) -> None:
    """A row is one line: JSON as it came, or a text that is still no JSON when it is read again."""
    head = b'{"uuid":"j","n":3,"at_ms":5,"kind":"frame",'
    assert export_line(Row(3, 5, "frame", body), "j") == head + line + b"}\n"


def test_export_gives_a_range(journal: "Harness") -> None:
    """export() gives the rows after one position up to another, over segments."""
    uuid = fill(journal, 500, body=b'{"a":1}' + b" " * 900)
    lines = list(journal.reader().export(Position(uuid, 90), Position(uuid, 410)))
    assert [orjson.loads(line)["n"] for line in lines] == list(range(91, 411))
    assert len(list(journal.reader().export())) == 500
