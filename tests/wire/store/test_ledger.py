"""The ledger: everything moves together, and deaths are counted."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wire.message import OutboundMessage
from wire.store.database import open_reader
from wire.store.errors import StoreLocked, StoreUnusable
from wire.store.ledger import Attempt, Ledger, Suspect
from wire.store.row import Position, Row

Make = Callable[..., OutboundMessage]
SUSPECT = Suspect("j", Row(4, 5, "frame", b"{"), None, "decode", "bad JSON", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "switchboard" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    assert ledger.open() == (True, None, None)
    yield ledger
    ledger.close()


def again(ledger: Ledger, path: Path) -> Ledger:
    """As after a death: closed, and opened by the next process."""
    ledger.close()
    ledger.open()
    return ledger


def test_all_moves_together(ledger: Ledger, path: Path, message: Make) -> None:
    """A transaction moves checkpoint, outbox and quarantine, and they are there for the next process."""
    assert ledger.position() is None
    with ledger.transaction():
        ledger.move(Position("j", 4), 50)
        entries = ledger.outbox.add([message()], 50)
        ledger.quarantine.add([SUSPECT], 50)
    again(ledger, path)
    assert ledger.position() == Position("j", 4)
    assert ledger.outbox.load(0, 10, 1000) == entries
    assert ledger.quarantine.keys("j", 0, 10) == {(4, None): 0}


def test_or_nothing_moves(ledger: Ledger, message: Make) -> None:
    """An exception within a transaction undoes all of it."""

    def step() -> None:
        with ledger.transaction():
            ledger.move(Position("j", 4), 50)
            ledger.outbox.add([message()], 50)
            ledger.quarantine.add([SUSPECT], 50)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    assert (ledger.position(), ledger.outbox.counts().waiting, ledger.quarantine.count()) == (None, 0, 0)


def test_a_full_disk_changes_nothing_and_may_be_tried_again(ledger: Ledger, message: Make) -> None:
    """A disk that refuses is StoreUnusable; the same transaction succeeds when there is room."""

    def step() -> None:
        with ledger.transaction():
            ledger.move(Position("j", 9), 50)
            ledger.outbox.add([message(body=b"x" * 500_000)], 50)

    ledger._connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreUnusable, match="full"):
        step()
    assert ledger.position() is None
    ledger._connection.execute("PRAGMA max_page_count=1000000")
    step()
    assert (ledger.position(), ledger.outbox.counts().waiting) == (Position("j", 9), 1)


def test_a_damaged_ledger_is_set_aside(ledger: Ledger, path: Path) -> None:
    """A corrupt file is kept and told, and a fresh ledger begins without a checkpoint."""
    with ledger.transaction():
        ledger.move(Position("j", 4), 50)
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    opened = ledger.open()
    assert opened.fresh
    assert opened.set_aside is not None
    assert opened.set_aside.exists()
    assert ledger.position() is None


def test_a_damaged_list_of_free_pages_is_found(ledger: Ledger, path: Path) -> None:
    """At the opening: else each process that wants more room than there is would die of it."""
    snapshot = ledger.snapshots.begin(Position("j", 1), 1, "hash", 1)
    ledger.snapshots.put(snapshot, [("", bytes(50_000))])
    ledger.snapshots.discard(snapshot)
    ledger.close()
    with path.open("r+b") as file:
        file.seek(32)
        first = int.from_bytes(file.read(4), "big")  # SQLite's file format: the page where the list begins
        assert first
        file.seek((first - 1) * 4096)
        file.write(bytes(4096))
    opened = ledger.open()
    assert opened.set_aside is not None, opened


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outbox SET body = x'00'",
        "UPDATE outbox SET server = x'ff'",
        "UPDATE checkpoint SET n = 5",
        "UPDATE mark SET sequence = sequence + 1 WHERE stream = 'call:2'",
        "UPDATE mark SET phase = 1 WHERE stream = 'call:3'",
        "UPDATE quarantine SET body = x'00'",
        "UPDATE quarantine SET attempts = 9",
        "UPDATE snapshot SET n = 5",
    ],
)
def test_other_bytes_in_a_sound_structure_are_damage(ledger: Ledger, path: Path, message: Make, change: str) -> None:
    """What SQLite does not notice after a power cut is found at the opening: it is neither published nor believed."""
    with ledger.transaction():
        ledger.move(Position("j", 4), 50)
        ledger.outbox.add([message()], 50)
        ledger.marks.move({f"call:{n}": n for n in range(5)}, ["call:2", "call:4"])
        ledger.marks.move({"call:3": 9}, [])
        ledger.marks.amend({"call:2": 7, "call:9": 1})
        ledger.marks.close(["call:4"])
        entries = ledger.quarantine.add([SUSPECT._replace(row=SUSPECT.row._replace(n=n)) for n in range(4)], 5)
        attempts = [Attempt(id, "order", Position("j", 9), None) for id in entries]
        attempts[1:] = attempts[1]._replace(dropped=True), attempts[2]._replace(error="again")
        ledger.quarantine.settle(attempts, 6)
    ledger.snapshots.complete(ledger.snapshots.begin(Position("j", 4), 1, "hash", 1), 5)
    ledger.close()
    assert not ledger.open().fresh
    ledger._connection.execute(change)
    ledger.close()
    opened = ledger.open()
    assert opened.fresh
    assert "another checksum" in (opened.damage or "")
    assert ledger.outbox.counts().waiting == 0


@pytest.mark.parametrize("seed", range(60))
def test_whatever_bytes_are_flipped(ledger: Ledger, path: Path, message: Make, seed: int) -> None:
    """The file is set aside when it is opened, or all that is done with it works: no damage fells start after start."""
    draw = random.Random(seed)
    with ledger.transaction():
        entries = ledger.outbox.add([message(sequence=n, body=b"x" * 500) for n in range(1, 60)], 1)
        ledger.outbox.park([entry.id for entry in entries[::7]], "NO_ROUTE", 5)
        ledger.marks.move({f"call:{n}": n for n in range(20)}, ["call:3"])
        ledger.marks.close(["call:7"])
        ledger.quarantine.add([SUSPECT._replace(row=SUSPECT.row._replace(n=n)) for n in range(20)], 5)
        ledger.move(Position("j", 9), 50)
    for n in (5, 6):
        snapshot = ledger.snapshots.begin(Position("j", n), 1, "hash", 1)
        ledger.snapshots.put(snapshot, [(f"call:{n}", b"state" * 100) for n in range(20)])
        ledger.snapshots.complete(snapshot, 5)
    ledger.close()
    whole = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 3, 10, 60))):
        whole[draw.randrange(100, len(whole))] ^= draw.choice((1, 0x80, 0xFF))
    path.write_bytes(whole)
    ledger.open()
    ledger.marks.move({f"call:{n}": 99 for n in range(30)}, ["call:5"])
    ledger.marks.all()
    waiting = ledger.outbox.load(0, 1000, 1 << 20)
    with ledger.transaction():
        ledger.outbox.unpark()
        ledger.outbox.confirm([entry.id for entry in waiting])
        ledger.outbox.add([message()], 3)
    ledger.outbox.counts()
    for info in ledger.snapshots.complete_ones():
        list(ledger.snapshots.load(info.id))
        ledger.snapshots.discard(info.id)
    ledger.quarantine.listing()
    ledger.quarantine.keys("j", 0, 99)
    ledger.needed(0)
    with ledger.transaction():
        ledger.quarantine.forget(Position("j", 3), Position("j", 9))
        ledger.move(Position("j", 50), 60)
    assert ledger.position() == Position("j", 50)


def test_one_writer(ledger: Ledger, path: Path) -> None:
    """A second owner is refused, and the file is for its own user alone."""
    with pytest.raises(StoreLocked):
        Ledger(path).open()
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_starts_are_counted_until_the_checkpoint_moves(ledger: Ledger, path: Path) -> None:
    """begin_attempt counts the starts at a checkpoint, over deaths, and from 1 again once it moved."""
    counts = [again(ledger, path).begin_attempt() for _ in range(3)]
    with ledger.transaction():
        ledger.move(Position("j", 1), 50)
    assert [*counts, again(ledger, path).begin_attempt()] == [1, 2, 3, 1]


def test_the_latest_time_is_kept_where_the_clock_was_set_back(ledger: Ledger, path: Path) -> None:
    """Of the rows that a refold needs, over deaths."""
    assert ledger.latest_ms() == 0
    for n, at_ms in ((1, 50), (2, 90), (3, 20)):
        with ledger.transaction():
            ledger.move(Position("j", n), at_ms)
    assert again(ledger, path).latest_ms() == 90
    with ledger.transaction():
        ledger.forget_times(20)
    assert ledger.latest_ms() == 20


def test_the_earliest_time_after_the_clock_was_set_back_is_kept(ledger: Ledger, path: Path) -> None:
    """Of the rows that a refold needs, over deaths."""
    assert ledger.back_ms() is None
    for n, back_ms in ((1, None), (2, 30), (3, 40), (4, None), (5, 20)):
        with ledger.transaction():
            ledger.move(Position("j", n), 90, back_ms)
    assert again(ledger, path).back_ms() == 20
    with ledger.transaction():
        ledger.forget_times(90)
    assert ledger.back_ms() is None


def test_deaths_of_a_row_are_counted(ledger: Ledger, path: Path) -> None:
    """begin_row tells how often this row was begun without getting past it; another row begins at 0."""
    seven, eight = Position("j", 7), Position("j", 8)
    assert [again(ledger, path).begin_row(seven) for _ in range(3)] == [0, 1, 2]
    assert [ledger.begin_row(eight), ledger.begin_row(seven)] == [0, 0]
    with ledger.transaction():
        ledger.move(seven, 50)
    assert ledger.begin_row(seven) == 0


def test_a_start_and_a_row_are_counted_once_by_each_process(ledger: Ledger, path: Path) -> None:
    """Asked again, because the disk refused or only seemed to, they say the same."""
    seven = Position("j", 7)
    again(ledger, path).begin_attempt()
    again(ledger, path).begin_row(seven)
    again(ledger, path)
    assert [ledger.begin_attempt() for _ in range(3)] == [2, 2, 2]
    assert [ledger.begin_row(seven) for _ in range(3)] == [1, 1, 1]


POISON = """
import os, signal, sys
from pathlib import Path
from wire.store.ledger import Ledger, Suspect
from wire.store.row import Position, Row
ledger = Ledger(Path(sys.argv[1])); ledger.open()
single = ledger.begin_attempt() >= 3
n = (ledger.position() or Position("j", 0)).n
while n < 20:
    step = 1 if single else 5
    bad = single and ledger.begin_row(Position("j", n + 1)) >= 2
    if n < 13 <= n + step and not bad:
        os.kill(os.getpid(), signal.SIGKILL)
    with ledger.transaction():
        if bad:
            row = Row(n + 1, 0, "frame", b"")
            ledger.quarantine.add([Suspect("j", row, None, "process", "killed the process twice", "")], 1)
        n += step
        ledger.move(Position("j", n), 1)
"""


def test_a_row_that_kills_the_process_is_found(path: Path, ledger: Ledger) -> None:
    """Batches die twice, single steps twice at the row, then it is quarantined and the rest goes on."""
    ledger.close()
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        codes.append(subprocess.run([sys.executable, "-c", POISON, str(path)], timeout=60, check=False).returncode)
        assert len(codes) < 10
    ledger.open()
    assert ledger.position() == Position("j", 20)
    assert ledger.quarantine.keys("j", 0, 100) == {(13, None): 0}
    # Twice in batches behind row 10; in single steps rows 11 and 12 pass, so its own count is what finds it.
    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)


MOVER = """
import sys
from pathlib import Path
from wire.message import OutboundMessage
from wire.store.ledger import Ledger
from wire.store.row import Position
ledger = Ledger(Path(sys.argv[1])); ledger.open()
n = (ledger.position() or Position("j", 0)).n
while True:
    n += 1
    message = OutboundMessage(str(n), "v3", "s", "call:1", n, "o", None, 0, "k", b"x" * 2000)
    with ledger.transaction():
        ledger.outbox.add([message], n)
        ledger.move(Position("j", n), n)
    print(n, flush=True)
"""


def test_sigkill_keeps_checkpoint_and_outbox_together(path: Path, ledger: Ledger) -> None:
    """After SIGKILL in the midst of commits the checkpoint and the outbox agree, and nothing reported is gone."""
    ledger.close()
    for target in (300, 600):
        with subprocess.Popen([sys.executable, "-c", MOVER, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line) >= target:
                    break
            child.kill()
        opened = ledger.open()
        position = ledger.position()
        found = ledger.outbox.load(0, 10_000, 1 << 30)
        ledger.close()
        assert opened.set_aside is None
        assert position is not None
        assert position.n >= target
        assert [entry.message.sequence for entry in found] == list(range(1, position.n + 1))


def test_what_the_journal_must_keep(ledger: Ledger) -> None:
    """The oldest snapshot, or else all, the checkpoint, and the first row quarantined lately and not redriven."""
    assert ledger.needed(0) == [Position("", 0)]
    with ledger.transaction():
        ledger.move(Position("j", 40), 1)
    assert ledger.needed(0) == [Position("", 0), Position("j", 40)]
    for n in (10, 20, 30):
        number = ledger.snapshots.begin(Position("j", n), 1, "h", n)
        ledger.snapshots.complete(number, n)
    with ledger.transaction():
        ledger.move(Position("j", 40), 50)
        for n, at in ((4, 100), (6, 200), (5, 200)):
            ledger.quarantine.add([SUSPECT._replace(row=Row(n, 0, "frame", b""))], at)
        ledger.quarantine.add([SUSPECT._replace(uuid="i")], 200)
    assert ledger.needed(300) == [Position("j", 20), Position("j", 40)]
    assert ledger.needed(200) == [Position("j", 20), Position("j", 40), Position("i", 3), Position("j", 4)]


def test_a_reader_sees_what_is_committed(ledger: Ledger, path: Path) -> None:
    """arimon-ctl may read while the owner is within a transaction, and sees what was before."""
    with ledger.transaction():
        ledger.move(Position("j", 1), 50)
        connection = open_reader(path)
        assert connection.execute("SELECT n FROM checkpoint").fetchone()[0] == 0
        connection.close()


def test_what_an_older_version_wrote_without_checksums_is_taken(ledger: Ledger, path: Path) -> None:
    """Marks, quarantined rows and snapshots: they get one when they change."""
    with ledger.transaction():
        ledger.marks.move({"call:1": 1, "call:2": 2}, [])
        ledger.quarantine.add([SUSPECT], 5)
    ledger.snapshots.complete(ledger.snapshots.begin(Position("j", 4), 1, "hash", 1), 5)
    for table in ("mark", "quarantine", "snapshot"):
        ledger._connection.execute(f"UPDATE {table} SET crc = NULL")
    assert again(ledger, path).marks.of("call:1") == 1
    ledger.marks.move({"call:1": 5}, ["call:2"])
    assert again(ledger, path).marks.of("call:1") == 5
    ledger._connection.execute("UPDATE mark SET sequence = 6")
    ledger.close()
    assert ledger.open().fresh
