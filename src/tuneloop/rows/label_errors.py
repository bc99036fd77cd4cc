"""Likely label errors: rows whose label neither a classifier that left them out nor their nearest rows would give.

How many: confident learning. A row counts for the joint (given i, likely j) where its out-of-fold probability of j is
at least the mean that rows labelled j have for j (the largest such j); the counts, scaled to the label counts, estimate
how many rows of each label are wrong, and their sum off the diagonal is how many rows are doubted.
Source: Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR 70, arXiv:1911.00068, section 3.1, equations 1 and 2.

Which: the rows are ranked by the *plausibility* of their label, its pooled probability (out_of_fold.py). With flips
that hit every other label alike, P(wrong | text, label) falls with p[label] alone, whatever the shape of the rest: so
ours is the paper's self-confidence (section 3.2) of better probabilities. Its normalised margin, p[label] less the
largest other, is worse wherever labels are easily confused: a row that two labels fit looks as bad as a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneloop.errors import ShapeError
from tuneloop.records import Doubt, Row
from tuneloop.rows.out_of_fold import Bools, Floats, Ints, OutOfFold, out_of_fold
from tuneloop.rows.texts import row_text

STAGE = "label_errors"
FEWEST_ROWS = 20


def label_doubts(rows: Sequence[Row], *, seed: int = 0) -> list[Doubt]:
    """The rows whose label is likely wrong, in order, each with the label that would fit.

    Rows without a label and rows with several are not judged, nor are sets of fewer than FEWEST_ROWS labelled rows.
    The score is the plausibility: the probability of the given label, always less than that of the suggested one.

    Args:
        rows: All rows of the set.
        seed: Of the folds.
    """
    labelled = [row for row in rows if isinstance(row.label, str)]
    labels = [str(row.label) for row in labelled]
    if len(labelled) < FEWEST_ROWS or len(set(labels)) < 2:
        return []
    judged = out_of_fold([row_text(row) for row in labelled], labels, seed=seed)
    worth, likely = plausibility(judged)
    found = []
    for place in np.flatnonzero(suspicious(judged)).tolist():
        row, label = labelled[place], judged.labels[likely[place]]
        reason = f"label {row.label!r} is unlikely, {label!r} fits better"
        found.append(Doubt(row.id, row.source, STAGE, reason, float(worth[place]), label))
    return found


def plausibility(judged: OutOfFold) -> tuple[Floats, Ints]:
    """How plausible each row's label is, and the best other one.

    Args:
        judged: Of N rows.

    Returns:
        (N,) in [0, 1], 1 for rows that cannot be judged; (N,) the best other label.
    """
    every = np.arange(len(judged.given))
    worth = judged.pooled[every, judged.given]
    others = judged.pooled.copy()
    others[every, judged.given] = -1.0
    return np.where(judged.judged, worth, 1.0), others.argmax(axis=1)


def suspicious(judged: OutOfFold) -> Bools:
    """(N,) the rows that are doubted: the least plausible, as many as confident learning counts as wrong.

    A row whose label no other one beats is never doubted.

    Args:
        judged: Of N rows.
    """
    worth, likely = plausibility(judged)
    joint = confident_joint(judged.given, judged.pooled)
    wrong = round(float(joint.sum() - np.trace(joint)))
    chosen = np.zeros(len(worth), bool)
    chosen[np.argsort(worth, kind="stable")[:wrong]] = True
    return chosen & (worth < judged.pooled[np.arange(len(worth)), likely])


def confident_joint(given: Ints, probabilities: Floats) -> Floats:
    """(C, C) estimated numbers of rows with given label i and likely true label j; row i sums to the rows labelled i.

    Args:
        given: (N,) labels as numbers.
        probabilities: (N, C) out of fold.

    Raises:
        ShapeError: if they do not pair up.
    """
    if len(given) != len(probabilities):
        raise ShapeError("Labels and probabilities must pair up", got=f"{len(given)} and {len(probabilities)}")
    classes = probabilities.shape[1]
    counts = np.bincount(given, minlength=classes)
    every = np.arange(len(given))
    own = np.bincount(given, weights=probabilities[every, given], minlength=classes)
    # A label that no row has is never likely.
    thresholds = np.divide(own, counts, out=np.full(classes, np.inf), where=counts > 0)
    above = np.where(probabilities >= thresholds - 1e-9, probabilities, -1.0)
    likely = above.argmax(axis=1)
    sure = above[every, likely] >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (given[sure], likely[sure]), 1.0)
    # Of each label that has rows one at least is sure: the one with the largest probability of it.
    return np.asarray(joint * counts[:, None] / np.maximum(joint.sum(axis=1, keepdims=True), 1.0))


def margin(given: Ints, probabilities: Floats) -> Floats:
    """(N,) the paper's normalised margin, in [-1, 1].

    Args:
        given: (N,) labels as numbers.
        probabilities: (N, C) out of fold.
    """
    every = np.arange(len(given))
    others = probabilities.copy()
    others[every, given] = -np.inf
    return np.asarray(probabilities[every, given] - others.max(axis=1))
