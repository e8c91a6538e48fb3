"""Merging what processes tell: nothing twice, nothing lost, counters never back."""

from wire.metrics import names
from wire.metrics.collector import Collector, Source
from wire.metrics.registry import Registry, Snapshot

BOARD = Source("switchboard", "pbx1", 1)
ENDED = ("pbx1", ("calls_ended",))
ACTIVE = ("pbx1", ("calls_active",))


def board(ended: int, active: int, sequence: int = 1) -> Snapshot:
    return Snapshot(sequence, {("calls_ended",): ended}, {("calls_active",): active})


def test_a_flush_has_what_came_since_the_last() -> None:
    """Counters as differences, without those that stood still; gauges as they are."""
    collector = Collector()
    collector.accept(BOARD, board(10, 3, 1))
    assert collector.flush().counters == {ENDED: 10}
    collector.accept(BOARD, board(14, 2, 2))
    flush = collector.flush()
    assert (flush.counters, flush.gauges) == ({ENDED: 4}, {ACTIVE: 2})
    assert collector.flush().counters == {}
    assert collector.totals().counters == {ENDED: 14}


def test_a_snapshot_twice_or_late_says_nothing() -> None:
    """Repeated and overtaken snapshots are recognised by their number."""
    collector = Collector()
    assert collector.accept(BOARD, board(10, 3, 2))
    assert not collector.accept(BOARD, board(10, 3, 2))
    assert not collector.accept(BOARD, board(5, 1, 1))
    assert collector.totals().counters == {ENDED: 10}


def test_a_successor_goes_on_where_the_dead_stopped() -> None:
    """What the predecessor had counted stays in the totals; its gauges go; its late snapshots say nothing."""
    collector = Collector()
    collector.accept(BOARD, board(10, 3))
    collector.flush()
    successor = BOARD._replace(generation=2)
    assert collector.accept(successor, board(1, 1))
    assert not collector.accept(BOARD, board(11, 9, 2))
    assert collector.totals().counters == {ENDED: 11}
    flush = collector.flush()
    assert (flush.counters, flush.gauges) == ({ENDED: 1}, {ACTIVE: 1})


def test_the_dead_keep_their_counts_only() -> None:
    """A process that is forgotten leaves its counters, not its gauges, and cannot speak any more."""
    collector = Collector()
    collector.accept(BOARD, board(10, 3))
    collector.forget(BOARD)
    assert not collector.accept(BOARD, board(12, 3, 2))
    assert collector.totals().counters == {ENDED: 10}
    assert collector.totals().gauges == {}
    collector.forget(BOARD)
    assert collector.totals().counters == {ENDED: 10}


def test_processes_of_one_pbx_are_added() -> None:
    """The same metric from two roles is one figure; another PBX's is another."""
    collector = Collector()
    for role, pbx in (("switchboard", "pbx1"), ("connection", "pbx1"), ("switchboard", "pbx2")):
        collector.accept(Source(role, pbx, 1), board(5, 2))
    assert collector.totals().counters == {ENDED: 10, ("pbx2", ("calls_ended",)): 5}
    assert collector.totals().gauges == {ACTIVE: 4, ("pbx2", ("calls_active",)): 2}


def test_distributions_merge_and_difference() -> None:
    """A flush's quantiles are of what came since the last flush, over all processes."""
    collector = Collector()
    registries = [Registry(), Registry()]
    for registry in registries:
        for _ in range(100):
            registry.histogram(names.TOTAL_LATENCY).observe(0.001)

    def tell() -> None:
        for generation, registry in enumerate(registries):
            collector.accept(Source(f"publisher{generation}", None, 1), registry.snapshot())

    place = (None, ("total_latency",))
    tell()
    assert collector.flush().histograms[place].count == 200
    registries[1].histogram(names.TOTAL_LATENCY).observe(1.0)
    tell()
    since = collector.flush().histograms[place]
    assert since.count == 1
    assert since.quantile(0.5) is not None
    assert (since.quantile(0.5) or 0) > 0.9
    assert collector.totals().histograms[place].count == 201
