"""Distributions in logarithmic buckets: cheap to count, mergeable, with quantiles of a known error.

Eight buckets per doubling: a quantile is read at the geometric middle of its bucket, so it is off by at most 4.5 %.
From 1 µs to 2**37 µs (38 hours) that makes 297 buckets; what lies outside counts in the first or last.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PER_DOUBLING = 8
SMALLEST = 1e-6
"""Upper bound of bucket 0, seconds."""
BUCKETS = 37 * PER_DOUBLING + 1


def bucket(value: float) -> int:
    """The bucket of a value in seconds. Anything that is no positive number counts as the smallest."""
    if not value > SMALLEST:  # also catches NaN
        return 0
    if value == math.inf:
        return BUCKETS - 1
    return min(BUCKETS - 1, math.ceil(math.log2(value / SMALLEST) * PER_DOUBLING - 1e-9))


def upper_bound(index: int) -> float:
    """The largest value that bucket `index` holds, seconds (the last bucket's is nominal)."""
    return float(SMALLEST * 2.0 ** (index / PER_DOUBLING))


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values fell into each bucket, and their sum. Immutable and picklable."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """Bucket to count; empty buckets are absent."""
    total: float = 0.0
    """Sum of all values, seconds."""

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts.values())

    def plus(self, other: "Distribution") -> "Distribution":
        """Both together."""
        counts = dict(self.counts)
        for index, count in other.counts.items():
            counts[index] = counts.get(index, 0) + count
        return Distribution(counts, self.total + other.total)

    def minus(self, earlier: "Distribution") -> "Distribution":
        """What came since `earlier`, an older state of the same distribution."""
        counts = {
            index: count - earlier.counts.get(index, 0)
            for index, count in self.counts.items()
            if count > earlier.counts.get(index, 0)
        }
        return Distribution(counts, max(0.0, self.total - earlier.total) if counts else 0.0)

    def quantile(self, fraction: float) -> float | None:
        """The value below which `fraction` of all values lie, seconds; None when there are none.

        Args:
            fraction: 0.5 for the median, 0.99 for p99.
        """
        rank = fraction * self.count
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                return upper_bound(index) if index == 0 else math.sqrt(upper_bound(index - 1) * upper_bound(index))
        return None

    @classmethod
    def merged(cls, parts: "Iterable[Distribution]") -> "Distribution":
        """All parts together."""
        whole = cls()
        for part in parts:
            whole = whole.plus(part)
        return whole
