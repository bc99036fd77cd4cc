from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.dirt.plant import Rates, dirty_set

from tuneloop.records import Row
from tuneloop.rows.label_errors import (
    LEAST_ERRORS,
    WRONG_FROM,
    Errors,
    estimate_errors,
    label_doubts,
    margin,
    plausibility,
    suspicious,
)
from tuneloop.rows.out_of_fold import OutOfFold, log_softmax


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    given = np.concatenate([np.arange(classes), chance.integers(0, classes, rows - classes)])
    logits = chance.normal(size=(rows, classes)) + 2.0 * np.eye(classes)[given]
    logits[::7] = chance.normal(size=(len(logits[::7]), classes))
    shares = np.exp(logits)
    return given, shares / shares.sum(axis=1, keepdims=True)


def flipped(rows: int, classes: int, share: float, *, plain: float, seed: int = 0) -> tuple[OutOfFold, np.ndarray]:
    """Rows whose true label has the logit `plain` above the rest, a share of the labels put at random; and which.

    The probabilities are blunted by a half, as a pool is that had to fit the wrong labels too.
    """
    chance = np.random.default_rng(seed)
    true = np.arange(rows) % classes
    shares = np.exp(log_softmax(0.5 * (chance.normal(0, 1, (rows, classes)) + plain * np.eye(classes)[true])))
    bad = chance.permutation(rows) < share * rows
    given = np.where(bad, (true + chance.integers(1, classes, rows)) % classes, true)
    names = [f"{place:02}" for place in range(classes)]
    return OutOfFold(names, given, shares, shares, np.ones(rows, bool)), bad


@pytest.mark.parametrize(("classes", "share"), [(2, 0.1), (5, 0.05), (20, 0.05), (20, 0.2)])
def test_the_share_of_errors_is_counted_where_the_words_are_plain(classes: int, share: float):
    one, bad = flipped(6000, classes, share, plain=9.0)
    errors = estimate_errors(one)
    assert errors.share == pytest.approx(share, rel=0.15)
    assert errors.wrong.sum() == pytest.approx(bad.sum(), rel=0.2)
    found = suspicious(one, errors)
    assert found[bad].mean() > 0.9 and found[~bad].mean() < 0.01
    assert errors.found == pytest.approx(found[bad].mean(), abs=0.12)


def test_both_numbers_are_those_of_the_largest_likelihood_and_the_rest_is_the_definition():
    one, _ = flipped(400, 4, 0.1, plain=2.5)
    errors = estimate_errors(one)

    def likelihood(sharpness: float, share: float) -> tuple[float, list[float], list[list[float]]]:
        total, wrong, others = 0.0, [], []
        for p, label in zip(one.pooled, one.given.tolist(), strict=True):
            q = p**sharpness / (p**sharpness).sum()
            chances = [share * (1 - value) / 3 for value in q]
            each = [chance / ((1 - share) * value + chance) for value, chance in zip(q, chances, strict=True)]
            total += math.log((1 - share) * q[label] + chances[label])
            wrong.append(each[label])
            others.append([value for place, value in enumerate(each) if place != label])
        return total, wrong, others

    best, wrong, others = likelihood(errors.sharpness, errors.share)
    for more, less in ((1.02, 1.0), (0.98, 1.0), (1.0, 1.05), (1.0, 0.95)):
        assert likelihood(errors.sharpness * more, errors.share * less)[0] < best
    np.testing.assert_allclose(errors.wrong, wrong, rtol=1e-6)
    assert errors.found == pytest.approx(np.mean([[value > WRONG_FROM for value in row] for row in others]))


def test_where_there_is_no_error_the_least_share_is_taken_and_hardly_a_row_is_doubted():
    one, _ = flipped(4000, 10, 0.0, plain=8.0)
    errors = estimate_errors(one)
    assert errors.share == LEAST_ERRORS and suspicious(one, errors).mean() < 0.005


def test_where_the_words_say_little_few_rows_are_doubted_and_it_is_known():
    one, bad = flipped(2000, 14, 0.05, plain=1.2)
    errors = estimate_errors(one)
    right = (one.pooled.argmax(axis=1) == one.given).mean()
    assert 0.2 < right < 0.65 and suspicious(one, errors)[~bad].mean() < 0.1
    assert errors.found < 0.5


def test_a_label_that_leads_counts_as_one_that_is_not_found():
    one, _ = flipped(4000, 2, 0.3, plain=1.0)
    right = (one.pooled.argmax(axis=1) == one.given).mean()
    assert 0.5 < estimate_errors(one).found <= right + 1e-9


def test_rows_that_cannot_be_judged_do_not_count():
    one, bad = flipped(600, 5, 0.1, plain=9.0)
    known = np.arange(600) % 2 == 0
    half = OutOfFold(one.labels, one.given, one.classifier, one.pooled, known)
    errors = estimate_errors(half)
    assert (errors.wrong[~known] == 0).all() and errors.wrong[known & bad].min() > 0
    some = OutOfFold(one.labels, one.given[known], one.classifier[known], one.pooled[known], known[known])
    assert errors.share == pytest.approx(estimate_errors(some).share)
    none = estimate_errors(OutOfFold(one.labels, one.given, one.classifier, one.pooled, known & ~known))
    assert none.wrong.sum() == 0 and none.found == 0


def test_the_margin_is_the_papers():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    np.testing.assert_allclose(margin(np.array([0, 1]), probabilities), [0.2, -0.5])


def judged(given: list[int], pooled: list[list[float]], known: list[bool] | None = None) -> OutOfFold:
    names, shares = [chr(97 + place) for place in range(len(pooled[0]))], np.array(pooled)
    return OutOfFold(names, np.array(given), shares, shares, np.array(known or [True] * len(given)))


def test_plausibility_is_the_pooled_probability_of_the_label_beside_the_best_other_one():
    worth, likely = plausibility(judged([0, 1, 2], [[0.6, 0.3, 0.1], [0.8, 0.15, 0.05], [0.0, 1.0, 0.0]]))
    assert worth.tolist() == [0.6, 0.15, 0.0] and likely.tolist() == [1, 0, 1]


def test_rows_that_cannot_be_judged_are_plausible():
    one = judged([0, 1], [[0.1, 0.9], [1.0, 0.0]], [True, False])
    assert plausibility(one)[0].tolist() == [0.1, 1.0]
    assert suspicious(one, Errors(0.1, 1.0, np.array([1.0, 1.0]), 1.0)).tolist() == [True, False]


def test_as_many_rows_are_doubted_as_are_likely_wrong_the_least_plausible_and_none_whose_label_leads():
    given, probabilities = drawn(300, 5)
    one = OutOfFold(list("abcde"), given, probabilities, probabilities, np.ones(300, bool))
    worth, _ = plausibility(one)
    wrong = np.zeros(300)
    wrong[:20] = WRONG_FROM + 0.01  # which ones are likely says only how many
    found = suspicious(one, Errors(0.1, 1.0, wrong, 1.0))
    assert np.flatnonzero(found).tolist() == sorted(np.argsort(worth)[:20].tolist())
    assert (probabilities.argmax(axis=1)[found] != given[found]).all()
    all_of_them = suspicious(one, Errors(0.1, 1.0, np.ones(300), 1.0))
    assert np.array_equal(all_of_them, probabilities.argmax(axis=1) != given)


CLEANLAB = [0.643846, 0.592495]
"""cleanlab 2.9.0, get_label_quality_scores(method="normalized_margin"), of the first two rows."""


def test_the_margin_is_cleanlabs():
    chance = np.random.default_rng(11)
    given = np.concatenate([np.arange(4), chance.integers(0, 4, 36)])
    logits = chance.normal(size=(40, 4)) + 1.5 * np.eye(4)[given]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(margin(given, shares)[:2] / 2 + 0.5, CLEANLAB, atol=1e-6)


def test_planted_flips_are_found_and_the_right_label_is_suggested():
    _, dirty = dirty_set("made_up", seed=4, rates=Rates().only("flipped"), rows=300)
    rows = [Row(id=str(n), source=f"a:{n}", **json.loads(line)) for n, line in enumerate(dirty.lines)]
    found = label_doubts(rows)
    planted = {one.line - 1: one.before["label"] for one in dirty.planted if one.before}
    assert len(planted) == 15
    told = {int(one.row): one.suggestion for one in found}
    assert sum(told.get(place) == label for place, label in planted.items()) >= 12
    assert len(told.keys() - planted.keys()) <= 3 and list(told) == sorted(told)
    assert all(one.stage == "label_errors" and 0 <= one.score < 0.5 for one in found)
    assert all(f"label {rows[int(one.row)].label!r} is unlikely" in one.reason for one in found)


def test_rows_without_one_label_and_tiny_sets_are_not_judged():
    assert label_doubts([]) == []
    assert label_doubts([Row(id="", source="", text=f"t{n}") for n in range(50)]) == []
    assert label_doubts([Row(id="", source="", text=f"t{n}", label=("a", "b")) for n in range(50)]) == []
    assert label_doubts([Row(id="", source="", text=f"t{n}", label="ab"[n % 2]) for n in range(19)]) == []
    assert label_doubts([Row(id="", source="", text=f"t{n}", label="a") for n in range(50)]) == []


def test_words_that_say_little_are_told_and_plain_ones_are_not():
    told: list[str] = []
    _, dirty = dirty_set("made_up", seed=4, rates=Rates().only("flipped"), rows=300)
    rows = [Row(id=str(n), source=f"a:{n}", **json.loads(line)) for n, line in enumerate(dirty.lines)]
    label_doubts(rows, tell=told.append)
    assert told == []
    chance = np.random.default_rng(0)
    mute = [replace(row, label="abcdefgh"[chance.integers(8)]) for row in rows]
    assert len(label_doubts(mute, tell=told.append)) <= 15
    (sentence,) = told
    assert "say little about their labels" in sentence and "% of wrong labels are found" in sentence


def test_rows_without_words_are_told_and_not_judged():
    told: list[str] = []
    rows = [Row(id=str(n), source=f"a:{n}", text="?!" * (n % 5 + 1), label="ab"[n % 2]) for n in range(40)]
    assert label_doubts(rows, tell=told.append) == []
    assert told == ["label_errors: these rows hold no words to judge labels by; no row is judged"]
