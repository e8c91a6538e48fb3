"""The fold goes on where it stood, whatever became of process, disk and journal."""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.call import decoding, redrive
from actors.call.envelope import rfc3339
from actors.folding import Folding
from conf.settings import Call as CallSettings
from conf.settings import Settings, Switchboard
from conf.validation import validated
from tests.actors.site import TYPED, Fault, Log
from tests.simulation.bugs import Bug
from tests.simulation.calls import PlainCalls
from tests.simulation.disk import Disk, installed
from tests.simulation.journal import DrivenJournal
from tests.telling import UP, look
from tests.truth import recordings, run
from wire.message import OutboundMessage
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger
from wire.store.row import Kind, Position
from wire.store.segment import Segment, list_segments
from wire.store.snapshots import KEEP

RECORDING = "07_dtmf_during_call"


class Bench:
    """A journal with one recording, and folds of it one after the other on the same ledger."""

    def __init__(
        self, folder: Path, disk: Disk, recording: str | None = RECORDING, synchronous: str = "normal"
    ) -> None:
        self.folder = folder
        self.disk = disk
        self.log = Log()
        self.began_ms = self.now_ms = 5_000
        self.settings = validated(
            Settings,
            {
                "pbx": [{"name": "pbx1"}],
                "journal": {"segment_bytes": 65536, "synchronous": synchronous},
                "switchboard": {"snapshot_rows": 100},
            },
        )
        self.begin_journal()
        self.frames = [] if recording is None else list(recordings.frames(recording))
        self.append(self.frames)
        self.begin()

    def begin_journal(self) -> None:
        """The journal's process starts, on another boot of the host."""
        self.journal = DrivenJournal(
            self.folder / "journal",
            self.settings.journal,
            lambda uuid, n: None,
            clock=lambda: self.now_ms,
            boot_id=f"boot at {self.now_ms}",
        )
        self.journal.begin()

    def cut(self, rows: int) -> None:
        """The host loses its power, and all but these first rows of the journal; what runs is started again."""
        self.hurt("DELETE FROM row WHERE n > ?", rows)

    def hurt(self, statement: str, *values: int) -> None:
        """The host loses its power, and the journal's rows what this SQL says; what runs is started again."""
        self.die()
        self.journal.die()
        for segment in list_segments(self.folder / "journal")[0]:
            connection = sqlite3.connect(segment.path)
            connection.execute(statement, values)
            connection.commit()
            connection.close()
        self.now_ms += 1
        self.begin_journal()
        assert self.journal.drive()
        self.begin()

    def row(self, kind: Kind, at_ms: int, body: dict[str, Any]) -> None:
        """A row comes."""
        self.journal.append(kind, at_ms, orjson.dumps(body))
        assert self.journal.drive()

    def append(self, frames: list[bytes]) -> None:
        """Rows come, one by one."""
        for number, line in enumerate(frames):
            body = line[line.index(b'"event":') + 8 : line.rindex(b"}")].strip()
            self.journal.append(Kind.FRAME, 1_000 + number, body)
            assert self.journal.drive()

    def begin(self) -> None:
        """A process starts."""
        self.ledger = Ledger(self.folder / "ledger.db")
        self.ledger.open()
        self.reader = JournalReader(self.folder / "journal")
        self.calls = PlainCalls(self.settings)
        self.folding = Folding(
            "pbx1", self.settings, self.ledger, self.reader, self.calls, self.log, lambda: self.now_ms
        )
        for _ in self.folding.restore():
            pass

    def begin_without_ledger(self) -> None:
        """A process starts and finds none."""
        self.die()
        (self.folder / "ledger.db").unlink()
        self.begin()

    def die(self) -> None:
        """A process ends, and everything in its memory with it."""
        self.ledger.close()
        self.reader.close()

    def fold(self, rows: int | None = None) -> None:
        """Fold some rows, or all."""
        left = rows
        while left is None or left > 0:
            done = self.folding.fold(lambda: True)
            if done is None:
                return
            left = None if left is None else left - done.rows

    def published(self) -> list[OutboundMessage]:
        """What is in the outbox, in order."""
        return [entry.message for entry in self.ledger.outbox.load(0, 1000, 1 << 24)]


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    disk = Disk(tmp_path, Counter())
    with installed(disk, random.Random(1)):
        made = Bench(tmp_path, disk, *getattr(request, "param", ()))
        yield made
        made.die()
        made.journal.die()


@pytest.mark.parametrize("at", [1, 40, 70, 100])
def test_a_restart_changes_nothing(bench: Bench, tmp_path: Path, at: int) -> None:
    """What two processes publish is what one would have published."""
    bench.fold(at)
    bench.die()
    bench.begin()
    bench.fold()
    found = bench.published()
    bench.begin_without_ledger()
    bench.fold()
    assert bench.published() == found
    assert bench.log.told == []


def test_with_few_calls_a_snapshot_comes_early(bench: Bench) -> None:
    """Whatever `snapshot_rows` allows: it is cheap then, and a restart need not fold 5,000 rows again."""
    bench.die()
    bench.settings = replace(bench.settings, switchboard=Switchboard(snapshot_rows=5_000))
    bench.begin()
    while bench.journal.health().last_n < 1_100:
        bench.append(bench.frames)
    for _ in range(1_050):
        bench.fold(1)
        bench.folding.snapshot()
    info = bench.ledger.snapshots.latest_complete()
    assert info is not None
    assert info.position.n == 1_000


def test_another_configuration_is_told_and_holds_for_new_calls(bench: Bench) -> None:
    """A call under way keeps the rules that it began with, and no row is folded again because of it."""
    bench.fold(40)
    bench.folding.begin_snapshot()
    while bench.folding.snapshot():
        pass
    bench.die()
    bench.settings = replace(bench.settings, call=CallSettings(mask_dtmf=True))
    bench.begin()
    assert bench.log.told == ["switchboard.configuration_changed"]
    bench.append(bench.frames)
    bench.fold()
    digits = [orjson.loads(one.body)["data"]["dtmf"] for one in bench.published() if one.operation == "finished-call"]
    assert digits[0] == "123#9*0"


def test_a_lost_ledger_is_made_good_whatever_the_clock_says(bench: Bench, tmp_path: Path) -> None:
    """What is folded again is counted on the rows: the host may have been off for a day, or its clock been set."""
    bench.append(bench.frames)
    bench.now_ms = 86_400_000
    bench.fold()
    found = bench.published()
    bench.begin_without_ledger()
    bench.fold()
    assert bench.published() == found
    assert bench.log.told == []


def test_a_journal_longer_than_the_window_is_folded_again_in_part(bench: Bench, tmp_path: Path) -> None:
    """And the log says from where; health says so, and a gap covers what was not folded again."""
    bench.settings = replace(bench.settings, switchboard=replace(bench.settings.switchboard, rebuild_window=0.01))
    bench.begin_without_ledger()
    assert bench.folding.position is not None
    assert bench.folding.position.n == len(bench.frames) - 11
    assert bench.log.told == ["switchboard.rebuilt_in_part"]
    assert bench.folding.made_good_in_part
    gap = bench.folding.watch.gap
    assert gap is not None
    assert (gap.reason, gap.to_ms) == ("journal-lost", None)
    assert gap.from_ms is not None
    assert gap.from_ms <= 1_000 + bench.folding.position.n
    for at_ms in (10_000, 13_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, []))
    bench.fold()
    told = [orjson.loads(message.body) for message in bench.published() if message.operation == "monitoring-gap"]
    assert [(one["data"]["from"], one["data"]["reason"]) for one in told] == [(rfc3339(gap.from_ms), "journal-lost")]


def begin_journal_cut(bench: Bench) -> None:
    """The journal loses its oldest segment, and is folded anew, without a ledger."""
    bench.append(bench.frames)
    oldest, *others = list_segments(bench.folder / "journal")[0]
    assert others
    oldest.path.unlink()
    bench.begin_without_ledger()


def gaps_told(bench: Bench) -> list[dict[str, Any]]:
    """The data of every gap, when two looks have shown that nothing is under way."""
    for at_ms in (10_000, 13_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, []))
    bench.fold()
    return [orjson.loads(one.body)["data"] for one in bench.published() if one.operation == "monitoring-gap"]


def test_a_journal_that_was_cut_makes_a_lost_ledger_good_in_part(bench: Bench) -> None:
    """Though all that it has is folded again: and a gap says so, since the oldest that it has."""
    begin_journal_cut(bench)
    assert bench.folding.made_good_in_part
    oldest = list_segments(bench.folder / "journal")[0][0]
    assert bench.folding.position == Position(oldest.uuid, oldest.first_n - 1)
    assert bench.log.told == ["switchboard.rebuilt_in_part"]
    assert [(gap["from"], gap["reason"]) for gap in gaps_told(bench)] == [(rfc3339(oldest.begun_ms), "journal-lost")]


def test_a_whole_journal_makes_a_lost_ledger_good_without_a_gap(bench: Bench) -> None:
    """Nothing was lost, and nobody is told that anything was."""
    bench.append(bench.frames)
    bench.begin_without_ledger()
    assert not bench.folding.made_good_in_part
    assert bench.folding.position is None
    assert gaps_told(bench) == []


def test_a_journal_that_was_cut_costs_no_gap_while_the_ledger_is_there(bench: Bench) -> None:
    """Retention cuts off what everybody has done with."""
    bench.append(bench.frames)
    bench.fold()
    bench.folding.begin_snapshot()
    while bench.folding.snapshot():
        pass
    bench.die()
    list_segments(bench.folder / "journal")[0][0].path.unlink()
    bench.begin()
    assert not bench.folding.made_good_in_part
    assert gaps_told(bench) == []


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_the_gap_of_a_journal_that_was_cut_outlives_a_death(bench: Bench, rows: int) -> None:
    """It is stored before any row is folded upon it."""
    begin_journal_cut(bench)
    bench.fold(rows)
    gap = bench.folding.watch.gap
    bench.die()
    bench.begin()
    assert gap is not None
    assert bench.folding.watch.gap == gap
    assert len(gaps_told(bench)) == 1


def set_aside(segment: Segment, begun_ms: int) -> None:
    """A segment is set aside as damaged; this is when it was begun."""
    name = segment.path.name.replace(f"-{segment.begun_ms}-", f"-{begun_ms}-")
    segment.path.rename(segment.path.with_name(name + ".corrupt-1"))


def test_a_journal_whose_beginning_was_set_aside_is_cut(bench: Bench) -> None:
    """The gap begins with what was set aside: what came of that, and no broker had yet, is gone."""
    bench.append(bench.frames)
    set_aside(list_segments(bench.folder / "journal")[0][0], 500)
    bench.begin_without_ledger()
    assert [gap["from"] for gap in gaps_told(bench)] == [rfc3339(500)]


def test_a_journal_that_was_set_aside_as_a_whole_waits_for_its_writer(bench: Bench) -> None:
    """Then the gap begins with the first of what was set aside; the new journal tells of the last only."""
    bench.append(bench.frames)
    bench.journal.die()
    segments = list_segments(bench.folder / "journal")[0]
    assert len(segments) > 1
    for number, segment in enumerate(segments):
        set_aside(segment, 500 + number)
    with pytest.raises(StoreDamaged):
        bench.begin_without_ledger()
    bench.die()
    bench.begin_journal()
    assert bench.journal.drive()
    bench.begin()
    assert [gap["from"] for gap in gaps_told(bench)] == [rfc3339(500)]


def test_what_was_folded_again_in_part_is_so_after_the_next_death(bench: Bench) -> None:
    """Not in whole, which would make other states than those that were published from."""
    bench.settings = replace(bench.settings, switchboard=replace(bench.settings.switchboard, rebuild_window=0.06))
    bench.begin_without_ledger()
    bench.fold(20)
    assert bench.calls.states
    found = bench.folding.position, bench.calls.states, bench.folding.watch
    bench.die()
    bench.begin()
    assert (bench.folding.position, bench.calls.states, bench.folding.watch) == found
    assert bench.log.told == ["switchboard.rebuilt_in_part"]


def test_a_journal_whose_end_is_damaged_waits_for_its_writer(bench: Bench) -> None:
    """A start finds it before Connection has begun another: it may be tried again, and then goes on."""
    bench.fold()
    before = bench.published()
    bench.die()
    bench.journal.die()
    for segment in list_segments(bench.folder / "journal")[0]:
        segment.path.write_bytes(bytes(8192))
    with pytest.raises(StoreDamaged) as caught:
        bench.begin()
    assert caught.value.path != str(bench.folder / "ledger.db")
    bench.die()
    bench.journal = DrivenJournal(bench.folder / "journal", bench.settings.journal, lambda uuid, n: None)
    bench.journal.begin()
    assert bench.journal.drive()
    bench.begin()
    bench.append(bench.frames)
    bench.fold()
    assert bench.published()[: len(before)] == before
    assert bench.folding.watch.gap is not None


@pytest.mark.parametrize("trouble", ["full", "readonly", "doubt"])
def test_a_disk_that_refuses_costs_nothing(bench: Bench, trouble: Any) -> None:
    """What was folded is committed once, when the disk takes it; also where a COMMIT failed that was made."""
    bench.fold()
    want = bench.published()
    bench.begin_without_ledger()
    bench.fold(20)
    for _ in range(30):
        bench.disk.trouble["ledger"] = trouble
        try:
            bench.folding.fold(lambda: True)
        except StoreUnusable:
            assert trouble != "doubt"
        bench.disk.trouble.clear()
        bench.folding.fold(lambda: True)
    bench.fold()
    assert bench.published() == want


def test_a_row_that_the_disk_doubts_is_not_taken_for_poison(bench: Bench) -> None:
    """A COMMIT that failed and was made all the same counts no death, however often it is asked again."""
    bench.fold()
    want = bench.published()
    bench.begin_without_ledger()
    bench.fold(20)
    for _ in range(3):
        bench.die()
        bench.begin()
    bench.disk.trouble["ledger"] = "doubt"
    for _ in range(5):
        with pytest.raises(StoreUnusable):
            bench.folding.fold(lambda: True)
    bench.disk.trouble.clear()
    bench.fold()
    assert bench.ledger.quarantine.count() == 0
    assert bench.published() == want


def test_numbers_begin_where_other_rows_stand_in_place_of_folded_ones(bench: Bench) -> None:
    """What the refold makes of rows that the checkpoint never passed was told to nobody: its numbers are free."""
    bench.die()
    (bench.folder / "ledger.db").unlink()
    ledger = Ledger(bench.folder / "ledger.db")
    ledger.open()
    uuid = bench.journal.health().uuid
    assert uuid is not None
    with ledger.transaction():
        ledger.move(Position(uuid, 60), 1)
    ledger.close()
    bench.begin()
    assert bench.calls.states
    bench.fold()
    found = bench.published()
    for stream in {message.stream for message in found}:
        sequences = [message.sequence for message in found if message.stream == stream]
        assert sequences == list(range(1, len(sequences) + 1))
    assert "switchboard.states_behind" in bench.log.told


def test_numbers_go_on_where_folded_rows_are_gone(bench: Bench) -> None:
    """A call whose rows since the snapshot are lost goes on with the next number, not with one that was given."""
    bench.fold(60)
    before = bench.published()
    bench.die()
    bench.journal.die()
    # The journal is gone altogether, and begins anew with what comes now.
    for segment in list_segments(bench.folder / "journal")[0]:
        segment.path.unlink()
    bench.begin_journal()
    bench.begin()
    bench.append(bench.frames[60:])
    bench.fold()
    found = bench.published()
    assert found[: len(before)] == before
    sequences = Counter((message.stream, message.sequence) for message in found)
    assert set(sequences.values()) == {1}
    assert len(found) > len(before)
    assert "switchboard.states_behind" in bench.log.told


def test_numbers_go_on_where_all_but_what_was_set_aside_is_gone(bench: Bench, in_call: Fault) -> None:
    """A call that could not take its beginning, and whose other rows are lost, goes on with the next number too."""
    begun = run.routed(RECORDING, bench.settings)[0]
    in_call.rows, in_call.error = {begun.input.n}, Bug
    bench.fold(60)
    before = bench.published()
    assert before[-1].call_id == begun.call_id
    bench.cut(begun.input.n)
    assert bench.calls.states == {}
    in_call.mend()
    bench.append(bench.frames[begun.input.n :])
    bench.fold()
    found = bench.published()
    sequences = [message.sequence for message in found if message.call_id == begun.call_id]
    assert sequences == list(range(1, len(sequences) + 1))
    assert all(orjson.loads(message.body)["degraded"] for message in found if message.call_id == begun.call_id)
    assert found[: len(before)] == before != found


def test_numbers_go_on_behind_an_amendment_where_folded_rows_are_gone(bench: Bench, in_call: Fault) -> None:
    """What a call was not told is said at once; then it is found to live on, and has given that number."""
    in_call.rows, in_call.error = {TYPED[0]}, Bug
    bench.fold(60)
    [aside] = bench.ledger.quarantine.listing()
    bench.cut(0)
    order = redrive.Order("order", aside.uuid, aside.row.n)
    in_call.mend()
    bench.row(Kind.OPERATOR, 2_000, redrive.command(order))
    bench.append(bench.frames)
    bench.fold()
    found = [message for message in bench.published() if message.call_id == aside.call_id]
    assert "call-amended" in [message.operation for message in found]
    assert found[-1].operation == "finished-call"
    assert [message.sequence for message in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("left", [0, 4])
@pytest.mark.parametrize("bench", [("15_click_to_call",)], indirect=True)
def test_a_call_that_ended_in_rows_that_are_gone_does_not_begin_again(bench: Bench, left: int) -> None:
    """Not from the channel that was yet to begin it either, nor where its channels are found to live on, and whichever
    process folds what comes of that."""
    bench.fold()
    before = bench.published()
    assert before[-1].operation == "finished-call"
    bench.cut(left)
    assert bench.calls.states == {}
    bench.append(bench.frames[left:40])
    bench.fold()
    bench.folding.begin_snapshot()
    while bench.folding.snapshot():
        pass
    bench.die()
    bench.begin()
    bench.append(bench.frames[40:])
    bench.fold()
    assert bench.published() == before
    assert bench.log.told.count("switchboard.journal_short") == 1


def stored_and_begun(bench: Bench) -> None:
    """As many snapshots as are kept, and another process; what it says is all that was said."""
    for _ in range(KEEP):
        bench.folding._since_snapshot += 1
        bench.folding.begin_snapshot()
        while bench.folding.snapshot():
            pass
    bench.die()
    bench.log.told.clear()
    bench.begin()


def marks_of_calls(bench: Bench) -> set[str]:
    return {stream for stream in bench.ledger.marks.all() if stream.startswith("call:")}


@pytest.mark.parametrize("rows", [60, None])
def test_how_far_a_call_came_is_forgotten_when_nothing_can_name_it_any_more(bench: Bench, rows: int | None) -> None:
    """It ended, or began, in rows that are gone: not before two looks since then have agreed that it is over, and two
    snapshots know of that. Then the log says no more of it."""
    bench.fold(rows)
    bench.cut(0)
    known = marks_of_calls(bench)
    assert known
    said = ["switchboard.states_behind"] if rows else []
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (known, said)
    bench.row(Kind.LINK_UP, 9_000, UP)
    bench.row(Kind.SNAPSHOT, 10_000, look(10_000, []))
    bench.fold()
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (known, said)
    bench.row(Kind.SNAPSHOT, 13_000, look(13_000, []))
    bench.fold()
    stored_and_begun(bench)
    assert (marks_of_calls(bench), bench.log.told) == (set(), [])


@pytest.mark.parametrize("rows", [60, None])
def test_how_far_a_call_came_is_known_while_the_pbx_has_its_channel(bench: Bench, rows: int | None) -> None:
    """Rows that are gone told of it; it goes on with the next number, or in silence, whenever it is heard of."""
    bench.fold(rows)
    before = bench.published()
    known = marks_of_calls(bench)
    bench.cut(0)
    channel = decoding.read_channel(orjson.loads(next(recordings.rows(RECORDING)).body)["channel"])
    assert f"call:{channel.id}" in known
    bench.row(Kind.LINK_UP, 9_000, UP)
    for at_ms in (10_000, 13_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, [channel]))
    bench.fold()
    stored_and_begun(bench)
    assert marks_of_calls(bench) == {f"call:{channel.id}"}
    for at_ms in (20_000, 23_000):
        bench.row(Kind.SNAPSHOT, at_ms, look(at_ms, []))
    bench.fold()
    sequences = Counter((message.stream, message.sequence) for message in bench.published())
    assert set(sequences.values()) == {1}
    calls = [message for message in bench.published()[len(before) :] if message.stream.startswith("call:")]
    assert bool(calls) == bool(rows)


def test_a_call_that_ended_amid_rows_that_are_gone_does_not_begin_again(bench: Bench) -> None:
    """The journal still has the last row that was folded."""
    bench.fold()
    before = bench.published()
    bench.hurt("UPDATE row SET body = x'00' WHERE n > 1 AND n < ?", len(bench.frames))
    assert "switchboard.journal_short" not in bench.log.told
    bench.append(bench.frames)
    bench.fold()
    assert bench.published() == before


@pytest.mark.parametrize("bench", [(None, "full")], indirect=True)
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("anew", [False, True])
def test_a_gap_covers_folded_rows_that_are_gone(bench: Bench, anew: bool, left: int, stored: bool) -> None:
    """From what is left of them, as they may have held a gap that is not told, to their latest time, which the ledger
    knows: not that of older rows, nor of the last, since the clock was set back. Whichever process tells it."""
    if stored:
        bench.row(Kind.OPERATOR, 90_000, {"command": "drop"})
    up = {"generation": 1, "app": "arimon", "last_row_ms": None}
    down = {"reason": "closed", "detail": "", "last_data_ms": None, "behind_ms": 0}
    bench.row(Kind.LINK_UP, 10_000, up)
    bench.fold()
    if stored:
        bench.folding.begin_snapshot()
        while bench.folding.snapshot():
            pass
    bench.row(Kind.LINK_DOWN, 50_000, down)
    bench.row(Kind.LINK_UP, 50_100, up)
    bench.row(Kind.OPERATOR, 20_000, {"command": "drop"})
    bench.fold()
    bench.cut(left)
    bench.row(Kind.LINK_UP, 21_000, up | {"last_row_ms": 20_000})
    if anew:
        bench.fold()
        bench.die()
        bench.begin()
    bench.row(Kind.LINK_DOWN, 22_000, down)
    bench.fold()
    [gap] = [message.body for message in bench.published() if message.operation == "monitoring-gap"]
    told = orjson.loads(gap)["data"]
    assert (told["reason"], told["from"], told["to"]) == (
        "journal-lost",
        rfc3339(10_000 if left or stored else bench.began_ms),
        rfc3339(50_100),
    )
