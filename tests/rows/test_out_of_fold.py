from __future__ import annotations

import numpy as np
import pytest
from benchmarks.dirt.sets import made_up
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.errors import DataError, RecipeError, ShapeError
from tuneloop.rows.out_of_fold import (
    Judge,
    assign_folds,
    by_folds,
    chinese_share,
    features,
    fitted_temperature,
    linear_svm,
    log_softmax,
    naive_bayes,
    neighbour_votes,
    out_of_fold,
    pool,
    softmax,
)

ROWS = made_up(160)
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(2, 7), st.integers(0, 3))
def test_folds_spread_every_label(labels: list[int], folds: int, seed: int):
    given_ = np.array(labels)
    found = assign_folds(given_, folds, seed)
    assert set(found) <= set(range(folds))
    sizes = np.bincount(found, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for label in set(labels):
        each = np.bincount(found[given_ == label], minlength=folds)
        assert each.max() - each.min() <= 1


def test_folds_follow_the_seed():
    many = np.zeros(100, int)
    assert (assign_folds(many, 5, 0) == assign_folds(many, 5, 0)).all()
    assert (assign_folds(many, 5, 0) != assign_folds(many, 5, 1)).any()


def test_clean_rows_are_told_right_and_shares_sum_to_one():
    found = out_of_fold(TEXTS, LABELS)
    assert found.labels == sorted(set(LABELS)) and found.judged.all()
    assert (found.pooled.argmax(axis=1) == found.given).mean() > 0.95
    for shares in (found.classifier, found.pooled):
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("judge", [linear_svm(0), naive_bayes])
def test_a_row_never_teaches_the_judge_that_judges_it(judge: Judge):
    """Flip one label: what is said of its fold stays as it was, to the last bit; what is said of the others moves."""
    matrix = features(TEXTS)
    given_ = np.unique(LABELS, return_inverse=True)[1]
    fold = assign_folds(given_, 5, 0)
    flipped = given_.copy()
    flipped[7] = (given_[7] + 1) % 4
    before, after = (by_folds(judge, matrix, one, fold, 4) for one in (given_, flipped))
    same = fold == fold[7]
    assert np.array_equal(before[same], after[same]) and not np.array_equal(before[~same], after[~same])


def test_labels_with_fewer_rows_than_folds_are_judged_and_lone_ones_are_not():
    texts = [*TEXTS, "mortgage for a house", "mortgage on a house", "pension plan"]
    found = out_of_fold(texts, [*LABELS, "loan", "loan", "pension"])
    assert found.judged[:-1].all() and not found.judged[-1]
    assert found.pooled.shape == (163, 6) and np.isfinite(found.pooled).all() and (found.pooled >= 0).all()
    assert found.pooled[160].argmax() == found.labels.index("loan")


def test_a_fold_that_leaves_one_label_says_nothing_and_an_unknown_label_is_the_least_likely():
    matrix = features(["aa bb", "bb cc", "cc dd", "dd ee", "ee ff", "ff gg"])
    values = by_folds(linear_svm(0), matrix, np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1]), 2)
    assert values.tolist() == np.zeros((6, 2)).tolist()
    values = by_folds(linear_svm(0), matrix, np.array([0, 0, 1, 1, 0, 2]), np.array([0, 1, 0, 1, 0, 1]), 3)
    assert (values[[1, 3, 5], 2] == values[[1, 3, 5]][:, :2].min(axis=1) - 1).all()
    assert (values[[0, 2, 4]] != 0).all()


def test_a_pool_has_no_more_loss_than_its_best_judge_and_leaves_out_the_useless():
    chance = np.random.default_rng(2)
    labels = chance.integers(0, 3, 600)

    def judge(strength: float) -> np.ndarray:
        return log_softmax(chance.normal(size=(600, 3)) + strength * np.eye(3)[labels])

    def loss(shares: np.ndarray) -> float:
        return -float(np.log(shares[np.arange(600), labels]).mean())

    good, fair, none = judge(2.0), judge(1.5), judge(0.0)
    both = pool([good, fair], labels)
    assert loss(both) < min(loss(np.exp(good)), loss(np.exp(fair))) - 0.05
    assert loss(pool([good, fair, none], labels)) == pytest.approx(loss(both), abs=0.01)
    np.testing.assert_allclose(both.sum(axis=1), 1)
    # The slopes that the fit follows are those of the loss: at its end no weight can be moved for the better.
    for step in (0.97, 1.03):
        moved = np.exp(log_softmax(np.log(both) + (step - 1) * good))
        assert loss(moved) >= loss(both) - 1e-6


def test_the_temperature_is_that_of_least_loss():
    chance = np.random.default_rng(0)
    decisions, labels = chance.normal(size=(300, 4)), chance.integers(0, 4, 300)
    decisions[np.arange(300), labels] += 1.0

    def loss(factor: float) -> float:
        return -float(log_softmax(decisions * factor)[np.arange(300), labels].mean())

    best = fitted_temperature(decisions, labels)
    assert loss(best) <= min(loss(factor) for factor in np.exp(np.linspace(-2, 4, 200))) + 1e-6


def test_softmax_is_the_definition():
    values = np.array([[0.0, 1.0, -2.0], [1000.0, 0.0, 0.0]])
    np.testing.assert_allclose(softmax(values)[0], np.exp(values[0]) / np.exp(values[0]).sum())
    assert softmax(values)[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("at_once", [3, 512])
def test_votes_are_those_of_the_nearest_others(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr("tuneloop.rows.out_of_fold.ROWS_AT_ONCE", at_once)
    texts = TEXTS[:20]
    given_ = np.unique(LABELS[:20], return_inverse=True)[1]
    matrix = features(texts)
    dense = matrix.toarray()
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    expected = np.zeros((20, 4))
    for row in range(20):
        cosine = [(float(dense[row] @ dense[other]), other) for other in range(20) if other != row]
        for weight, other in sorted(cosine, reverse=True)[:5]:
            expected[row, given_[other]] += weight
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(neighbour_votes(matrix, given_, 4, neighbours=5), expected, atol=1e-5)


def test_a_row_without_neighbours_has_no_votes():
    matrix = features(["aaa bbb", "aaa ccc", "zzz qqq"])
    votes = neighbour_votes(matrix, np.array([0, 0, 1]), 2)
    assert votes[2].tolist() == [0, 0] and votes[0].tolist() == [1, 0]


def test_the_share_of_chinese():
    assert chinese_share(["你好 ab"]) == 0.5 and chinese_share(["...", ""]) == 0.0


def test_wrong_input_is_told():
    with pytest.raises(RecipeError, match="two folds"):
        out_of_fold(TEXTS, LABELS, folds=1)
    with pytest.raises(ShapeError, match="3 and 2"):
        out_of_fold(["a", "b", "c"], ["x", "y"])
    with pytest.raises(DataError, match="two labels"):
        out_of_fold(["a", "b"], ["x", "x"])
    with pytest.raises(DataError, match="no words"):
        out_of_fold(["", " "], ["x", "y"])
