from __future__ import annotations

import numpy as np
import pytest

from tuneloop.errors import DataError
from tuneloop.rows.bulk import MOST_STRANGERS, Bulk, fit_bulk, linear_scores

COUNT = 20_000


def drawn(kind: str) -> np.ndarray:
    chance = np.random.default_rng(5)
    if kind == "normal":
        return chance.normal(3, 2, COUNT)
    if kind == "exponential":
        return chance.exponential(2, COUNT)
    return chance.uniform(0, 1, COUNT)


@pytest.mark.parametrize("kind", ["normal", "exponential", "uniform"])
def test_a_clean_set_has_next_to_no_strangers(kind: str):
    values = drawn(kind)
    bulk = fit_bulk(values)
    assert bulk.strangers < 0.012
    assert (values > bulk.upper_quantile(values, 0.025)).mean() == pytest.approx(0.025, abs=0.012)


def test_a_normal_set_gets_its_own_normal_scores_back():
    values = drawn("normal")
    bulk = fit_bulk(values)
    assert bulk.power == pytest.approx(1, abs=0.1) and bulk.scale == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(bulk.normal_scores(np.array([3.0, 5.0, 7.0])), [0, 1, 2], atol=0.15)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.09])
@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_far_strangers_move_the_end_of_the_bulk_little(kind: str, share: float):
    values = drawn(kind)
    strange = np.random.default_rng(6).normal(60, 5, round(share / (1 - share) * COUNT))
    both = np.concatenate([values, strange])
    bulk = fit_bulk(both)
    assert bulk.strangers == pytest.approx(share, abs=0.012)
    assert (values > bulk.upper_quantile(both, 0.025)).mean() == pytest.approx(0.025, abs=0.012)


def test_a_quarter_of_the_set_is_no_stranger_to_it():
    both = np.concatenate([drawn("normal"), np.full(COUNT // 3, 90.0)])
    assert fit_bulk(both).strangers < 0.01
    both = np.concatenate([drawn("normal"), np.full(COUNT // 7, 90.0)])
    assert fit_bulk(both).strangers <= MOST_STRANGERS


def test_normal_scores_keep_the_order_and_the_sign():
    bulk = Bulk(1.0, 2.0, 0.5, 0.0)
    assert bulk.normal_scores(np.array([-1.0, 1.0, 3.0, 5.0])).tolist() == [-1.0, 0.0, 1.0, 4.0]


def test_equal_values_have_a_bulk_and_the_floor_is_its_scale():
    bulk = fit_bulk(np.ones(100), floor=0.3)
    assert bulk.median == 1 and bulk.strangers == 0 and np.isfinite(bulk.normal_scores(np.array([1.0, 2.0]))).all()
    assert bulk.scale == pytest.approx(0.3 / 1.174987**bulk.power)


def test_linear_scores_keep_distances_at_the_scale_of_the_upper_part():
    values = np.concatenate([np.zeros(800), np.full(200, 4.0), [8.0]])
    scores = linear_scores(values, floor=0.5)
    assert scores[0] == 0 and scores[900] == pytest.approx(1.174987) and scores[-1] == 2 * scores[900]
    assert linear_scores(values, floor=16.0)[-1] == pytest.approx(1.174987 / 2)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_has_no_bulk_is_refused(values: list[float]):
    with pytest.raises(DataError, match="finite"):
        fit_bulk(np.array(values))
    with pytest.raises(DataError, match="finite"):
        linear_scores(np.array(values), floor=1.0)
