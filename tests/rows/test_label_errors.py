from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.dirt.plant import Rates, dirty_set

from tuneloop.errors import ShapeError
from tuneloop.records import Row
from tuneloop.rows.label_errors import confident_joint, label_doubts, margin, plausibility, suspicious
from tuneloop.rows.out_of_fold import OutOfFold


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    given = np.concatenate([np.arange(classes), chance.integers(0, classes, rows - classes)])
    logits = chance.normal(size=(rows, classes)) + 2.0 * np.eye(classes)[given]
    logits[::7] = chance.normal(size=(len(logits[::7]), classes))
    shares = np.exp(logits)
    return given, shares / shares.sum(axis=1, keepdims=True)


def plain_joint(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Equations 1 and 2 of the paper, row by row."""
    classes = probabilities.shape[1]
    threshold = [np.mean([p[j] for p, y in zip(probabilities, given, strict=True) if y == j]) for j in range(classes)]
    counts = np.zeros((classes, classes))
    for p, y in zip(probabilities, given, strict=True):
        sure = [j for j in range(classes) if p[j] >= threshold[j] - 1e-9]
        if sure:
            counts[y, max(sure, key=lambda j: p[j])] += 1
    for i in range(classes):
        if counts[i].sum():
            counts[i] *= (given == i).sum() / counts[i].sum()
    return counts


@pytest.mark.parametrize(("rows", "classes"), [(40, 2), (300, 5), (90, 30)])
def test_the_confident_joint_is_the_papers(rows: int, classes: int):
    given, probabilities = drawn(rows, classes)
    joint = confident_joint(given, probabilities)
    np.testing.assert_allclose(joint, plain_joint(given, probabilities))
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(given, minlength=classes))


def test_a_label_that_no_row_has_is_never_likely():
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])
    joint = confident_joint(np.array([0, 0, 1]), probabilities)
    assert joint.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


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
    assert suspicious(one).tolist()[1] is False


def test_as_many_rows_are_doubted_as_the_joint_has_off_its_diagonal_and_none_whose_label_leads():
    given, probabilities = drawn(300, 5)
    one = OutOfFold(list("abcde"), given, probabilities, probabilities, np.ones(300, bool))
    worth, _ = plausibility(one)
    joint = confident_joint(given, probabilities)
    wrong = round(joint.sum() - np.trace(joint))
    found = suspicious(one)
    assert 0 < found.sum() <= wrong
    assert (probabilities.argmax(axis=1)[found] != given[found]).all()
    behind = probabilities.argmax(axis=1) != given
    assert worth[found].max() <= worth[behind & ~found].min()


CLEANLAB = [[10, 0, 0, 0], [0, 7, 2, 0], [2, 0, 9, 0], [0, 2, 0, 8]]
"""cleanlab 2.9.0, count.compute_confident_joint(calibrate=True): the same, rounded to whole numbers."""


def test_the_confident_joint_is_cleanlabs_up_to_its_rounding():
    chance = np.random.default_rng(11)
    given = np.concatenate([np.arange(4), chance.integers(0, 4, 36)])
    logits = chance.normal(size=(40, 4)) + 1.5 * np.eye(4)[given]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(confident_joint(given, shares) - CLEANLAB).max() < 1
    np.testing.assert_allclose(margin(given, shares)[:2] / 2 + 0.5, [0.643846, 0.592495], atol=1e-6)


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


def test_labels_and_probabilities_must_pair_up():
    with pytest.raises(ShapeError, match="2 and 3"):
        confident_joint(np.array([0, 1]), np.ones((3, 2)) / 2)
