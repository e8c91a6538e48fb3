"""Distributions: quantiles of a known error, and merging as if all had been counted in one place."""

import math
import pickle
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.metrics.distribution import BUCKETS, Distribution, bucket, upper_bound
from wire.metrics.registry import Histogram

durations = st.floats(min_value=2e-6, max_value=100_000)


def of(values: list[float]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    return histogram.distribution()


@given(durations)
def test_a_value_lies_in_its_bucket(value: float) -> None:
    """A bucket holds what is above the bound below it, up to its own bound."""
    index = bucket(value)
    assert upper_bound(index - 1) * (1 - 1e-9) < value <= upper_bound(index) * (1 + 1e-9)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_off_by_at_most_its_promise(values: list[float], fraction: float) -> None:
    """p50, p95 and p99 are within 4.5 % of the exact ones (nearest rank)."""
    exact = sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)]
    assert of(values).quantile(fraction) == pytest.approx(exact, rel=0.045)


@given(st.lists(durations), st.lists(durations))
def test_merging_is_counting_together(one: list[float], two: list[float]) -> None:
    """The sum of two distributions is the distribution of both; taking one away leaves the other."""
    merged = Distribution.merged([of(one), of(two)])
    assert merged.counts == of(one + two).counts
    assert merged.total == pytest.approx(sum(one + two))
    assert merged.minus(of(one)).counts == of(two).counts


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, -math.inf, 1e-9])
def test_what_is_no_duration_counts_as_the_smallest(value: float) -> None:
    """A clock that went back, or a NaN, is counted and harms nothing."""
    assert bucket(value) == 0


@pytest.mark.parametrize("value", [1e12, math.inf])
def test_what_is_too_long_counts_as_the_longest(value: float) -> None:
    """Beyond the last bound everything is one bucket."""
    assert bucket(value) == BUCKETS - 1


def test_no_values_have_no_quantile() -> None:
    """An empty distribution has no median, and counts nothing."""
    assert Distribution().quantile(0.5) is None
    assert Distribution().count == 0


def test_a_distribution_travels() -> None:
    """It is pickled between processes unchanged, and small: empty buckets take no room."""
    values = [statistics.NormalDist(0.01, 0.002).inv_cdf(number / 1000) for number in range(1, 1000)]
    distribution = of(values)
    data = pickle.dumps(distribution)
    assert pickle.loads(data) == distribution
    assert len(data) < 400
