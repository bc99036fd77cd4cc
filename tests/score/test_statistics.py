"""Intervals against scipy and the closed formulas, coverage on synthetic data, pairing."""

import numpy as np
import pytest
from scipy import stats

from tuneloop.errors import DataError, ShapeError
from tuneloop.score import statistics
from tuneloop.score.statistics import (
    Sample,
    bootstrap_interval,
    group,
    mean_of,
    paired_difference,
    paired_statistic_difference,
    ratio,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 3), (91, 100), (2808, 3080)])
def test_wilson_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(DataError):
        wilson(successes, n)


def test_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(1).gamma(2.0, size=300)
    ours = bootstrap_interval(values, mean_of(300), seed=3)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=5).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_interval_of_a_ratio_is_scipys():
    generator = np.random.default_rng(2)
    weights = generator.integers(1, 50, size=200).astype(float)
    losses = weights * generator.normal(2.0, 0.5, size=200)

    def by_hand(a, b, axis=-1):
        return a.sum(axis=axis) / b.sum(axis=axis)

    ours = bootstrap_interval(np.column_stack([losses, weights]), ratio, seed=3)
    theirs = stats.bootstrap((losses, weights), by_hand, paired=True, n_resamples=5_000, method="percentile", rng=5)
    low, high = theirs.confidence_interval
    assert ours == pytest.approx((low, high), abs=0.01)


def test_intervals_cover_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(4)
    trials, rows, truth = 400, 120, 2.0
    inside = 0
    for trial in range(trials):
        low, high = bootstrap_interval(generator.gamma(truth, size=rows), mean_of(rows), draws=500, seed=trial)
        inside += low <= truth <= high
    assert 0.90 <= inside / trials <= 0.98


def test_paired_interval_covers_and_its_level_holds_under_the_null():
    generator = np.random.default_rng(5)
    trials, rows = 400, 200
    covered = told_apart = 0
    for trial in range(trials):
        easy = generator.random(rows)  # rows differ in how hard they are: what pairing takes out
        a, b = generator.random(rows) < easy, generator.random(rows) < easy
        found = paired_difference(a, b, draws=400, seed=trial)
        covered += found.low <= 0.0 <= found.high
        told_apart += found.p < 0.05
    assert 0.91 <= covered / trials <= 0.99
    assert told_apart / trials <= 0.09


def test_pairing_is_narrower_than_two_intervals():
    generator = np.random.default_rng(6)
    a = generator.random(500) < 0.8
    b = a.copy()
    b[:25] = False
    found = paired_difference(a, b, seed=0)
    alone = [bootstrap_interval(side, mean_of(500), seed=0) for side in (a, b)]
    assert found.verdict == "better"
    assert found.low > 0.0
    assert found.high - found.low < 0.7 * max(high - low for low, high in alone)
    assert paired_difference(b, a, seed=0).verdict == "worse"


def test_seeds_are_averaged_row_by_row_before_the_draws():
    generator = np.random.default_rng(7)
    a, b = generator.random((3, 50)), generator.random((2, 50))
    assert paired_difference(a, b, seed=1) == paired_difference(a.mean(axis=0), b.mean(axis=0), seed=1)
    assert paired_difference(a, b, seed=1).difference == pytest.approx(a.mean() - b.mean())


def test_equal_models_are_not_told_apart():
    found = paired_difference(np.ones(20), np.ones(20))
    assert (found.difference, found.low, found.high, found.p, found.verdict) == (0.0, 0.0, 0.0, 1.0, "no difference")


def test_an_interval_over_zero_is_no_difference():
    per_row = np.random.default_rng(3).normal(size=100)
    found = paired_difference(per_row, np.full(100, per_row.mean()))
    assert found.low < 0 < found.high
    assert found.verdict == "no difference"
    assert found.p > 0.5


def test_statistic_difference_of_means_is_the_paired_difference():
    generator = np.random.default_rng(8)
    a, b = generator.random((2, 80)), generator.random((2, 80))
    corpus = paired_statistic_difference(list(a), list(b), mean_of(80), seed=2)
    rows = paired_difference(a, b, seed=2)
    # Rows group in another order, so the draws differ; the figures agree within their noise.
    assert corpus.difference == pytest.approx(rows.difference)
    assert (corpus.low, corpus.high) == pytest.approx((rows.low, rows.high), abs=0.01)


def test_statistic_difference_takes_the_same_rows_for_both():
    values = np.random.default_rng(9).random((60, 2)) + 0.5
    found = paired_statistic_difference([values], [values * 1.0], ratio)
    assert (found.low, found.high, found.verdict) == (0.0, 0.0, "no difference")


def test_same_seed_same_interval_whatever_the_blocks(monkeypatch):
    values = np.random.default_rng(10).random(101)
    whole = bootstrap_interval(values, mean_of(101), draws=999, seed=5)
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 101 * 7)
    assert bootstrap_interval(values, mean_of(101), draws=999, seed=5) == pytest.approx(whole, abs=1e-12)
    assert bootstrap_interval(values, mean_of(101), draws=999, seed=6) != whole


def test_blocks_bound_the_memory():
    widest = 0

    def watch(sums):
        nonlocal widest
        widest = max(widest, len(sums))
        return sums[:, 0]

    bootstrap_interval(np.arange(40_000.0), watch, draws=300)
    assert widest <= statistics.CELLS_AT_ONCE // 40_000


def test_group_puts_equal_items_together_and_keeps_the_sums():
    sample = group([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    assert sample.values.shape == (2, 2)
    assert sample.sums().tolist() == [[5.0, 8.0]]
    assert Sample(sample.kinds, sample.values).sums().tolist() == [[5.0, 8.0]]


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf"), 1.0]])
def test_no_row_and_no_number_are_errors(values):
    with pytest.raises(DataError):
        bootstrap_interval(values, mean_of(1))


def test_unpaired_sides_are_an_error():
    with pytest.raises(ShapeError):
        paired_difference(np.ones(3), np.ones(4))
    with pytest.raises(ShapeError):
        paired_statistic_difference([np.ones(3)], [np.ones(4)], mean_of(3))
    with pytest.raises(DataError):
        paired_statistic_difference([], [np.ones(4)], mean_of(4))
