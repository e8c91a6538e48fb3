"""The fold goes on where it stood, whatever became of process, disk and journal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.call.envelope import rfc3339
from conf.settings import Call as CallSettings
from conf.settings import Switchboard
from tests.actors.bench import Bench
from tests.simulation.journal import DrivenJournal
from tests.telling import look
from wire.store.errors import StoreDamaged, StoreUnusable
from wire.store.row import Kind, Position
from wire.store.segment import Segment, list_segments


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
