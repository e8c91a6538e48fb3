"""Monitor's view of all processes' figures. Pure: no clock, no I/O; it is told, and it is asked.

Every process sends cumulative snapshots. The collector keeps the last one of each (role, pbx, generation). A successor
begins at zero, so the last figures of its predecessor are added to what is kept of the dead: counters never go back.
Gauges and processes die together.

    told: accept(source, snapshot), forget(source)
    asked: flush() → what came since the last flush, for StatsD;  totals() → what there is in all, for Prometheus
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from wire.metrics.distribution import Distribution
from wire.metrics.registry import Key, Snapshot


class Source(NamedTuple):
    """The process that counted."""

    role: str
    """`connection`, `publisher`, …"""
    pbx: str | None
    """The PBX it serves; None for those that serve all."""
    generation: int
    """Which incarnation; a higher one has replaced the lower ones."""


Place = tuple[str | None, Key]
"""A PBX (or None) and a metric's key."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of all processes together: since the last flush, or in all."""

    counters: dict[Place, float] = field(default_factory=dict)
    gauges: dict[Place, float] = field(default_factory=dict)
    """Values of several processes of the same PBX are added."""
    histograms: dict[Place, Distribution] = field(default_factory=dict)


class Collector:
    """Merges what processes tell."""

    def __init__(self) -> None:
        self._last: dict[Source, Snapshot] = {}
        self._generations: dict[tuple[str, str | None], int] = {}
        self._dead = Figures()
        self._flushed = Figures()

    def accept(self, source: Source, snapshot: Snapshot) -> bool:
        """Take a process's snapshot.

        Returns:
            Whether it said anything new: a late or repeated one, or one of a replaced generation, does not.
        """
        name = (source.role, source.pbx)
        newest = self._generations.get(name, source.generation)
        if source.generation < newest:
            return False
        known = self._last.get(source)
        if known is not None and snapshot.sequence <= known.sequence:
            return False
        if source.generation > newest:
            self.forget(Source(source.role, source.pbx, newest))
        elif known is None and name in self._generations:
            return False  # it was forgotten: this came after its death
        self._generations[name] = source.generation
        self._last[source] = snapshot
        return True

    def forget(self, source: Source) -> None:
        """A process is gone: its gauges go with it, what it counted stays."""
        snapshot = self._last.pop(source, None)
        if snapshot is not None:
            _add(self._dead, source.pbx, snapshot, gauges=False)

    def totals(self) -> Figures:
        """All counted so far by the living and the dead, and the gauges of the living."""
        totals = Figures(dict(self._dead.counters), {}, dict(self._dead.histograms))
        for source, snapshot in self._last.items():
            _add(totals, source.pbx, snapshot, gauges=True)
        return totals

    def flush(self) -> Figures:
        """What was counted since the last flush (zeros left out), and the gauges as they are."""
        totals, before = self.totals(), self._flushed
        self._flushed = totals
        counters = {place: value - before.counters.get(place, 0) for place, value in totals.counters.items()}
        histograms = {
            place: value.minus(before.histograms.get(place, Distribution()))
            for place, value in totals.histograms.items()
        }
        return Figures(
            {place: value for place, value in counters.items() if value > 0},
            totals.gauges,
            {place: value for place, value in histograms.items() if value.counts},
        )


def _add(figures: Figures, pbx: str | None, snapshot: Snapshot, *, gauges: bool) -> None:
    for key, value in snapshot.counters.items():
        figures.counters[pbx, key] = figures.counters.get((pbx, key), 0) + value
    for key, distribution in snapshot.histograms.items():
        known = figures.histograms.get((pbx, key))
        figures.histograms[pbx, key] = distribution if known is None else known.plus(distribution)
    if gauges:
        for key, value in snapshot.gauges.items():
            figures.gauges[pbx, key] = figures.gauges.get((pbx, key), 0) + value
