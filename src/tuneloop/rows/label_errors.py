"""Likely label errors: rows whose label neither a classifier that left them out nor their nearest rows would give.

How many: those whose label is wrong with a probability above WRONG_FROM. If a share e of the labels were
drawn at random among the others, and q_j is the probability of label j by the text, a row has its label i with

    P(i) = (1 - e) * q_i + e * (1 - q_i) / (C - 1)        q_j ~ p_j^b

and is wrong with probability w = e * (1 - q_i) / (C - 1) / P(i). p are the pooled probabilities (out_of_fold.py), which
had to fit the wrong labels too and are blunted by them, hence b. Both e and b are those of the largest likelihood of
the given labels, e at least LEAST_ERRORS: errors that are not random (and no set was found without any: Northcutt,
Athalye & Mueller 2021, arXiv:2103.14749, section 4) are not counted by it. As many rows are doubted as have w above
WRONG_FROM. Where words say little about the labels, hardly a label is less likely than chance: few rows are doubted,
and what share of random errors would be found, the mean over all rows and wrong labels, is told.

Before, confident learning's joint (Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR 70, arXiv:1911.00068,
section 3.1) said how many: it takes what the classifier confuses for errors, three rows in ten where it is right about
every second one.

Which: the rows are ranked by the *plausibility* of their label, its pooled probability. With flips that hit every
other label alike, P(wrong | text, label) falls with p[label] alone, whatever the shape of the rest: so ours is
self-confidence (the same, section 3.2) of better probabilities. Its normalised margin, p[label] less the largest other,
is worse wherever labels are easily confused: a row that two labels fit looks as bad as a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tuneloop.errors import DataError
from tuneloop.records import Doubt, Row
from tuneloop.rows.out_of_fold import Bools, Floats, Ints, OutOfFold, log_softmax, out_of_fold
from tuneloop.rows.stage import quiet
from tuneloop.rows.texts import row_text

STAGE = "label_errors"
FEWEST_ROWS = 20
LEAST_ERRORS, MOST_ERRORS = 0.02, 0.5
WRONG_FROM = 0.15
"""A row is worth a look from one wrong label in seven on."""
SHARPNESS = (0.2, 10.0)
FEWEST_FOUND = 0.5
"""Below this share of random errors that would be found, the stage says so."""


@dataclass(frozen=True)
class Errors:
    """What the labels of N rows say about errors among them.

    Attributes:
        share: e, of labels that are wrong, in [LEAST_ERRORS, MOST_ERRORS].
        sharpness: b, the power of the pooled probabilities.
        wrong: (N,) the probability of each label to be wrong; 0 for rows that cannot be judged.
        found: Share of labels put at random that would be doubted.
    """

    share: float
    sharpness: float
    wrong: Floats
    found: float


def label_doubts(rows: Sequence[Row], *, seed: int = 0, tell: Callable[[str], None] = quiet) -> list[Doubt]:
    """The rows whose label is likely wrong, in order, each with the label that would fit.

    Rows without a label and rows with several are not judged, nor are sets of fewer than FEWEST_ROWS labelled rows.
    The score is the plausibility: the probability of the given label, always less than that of the suggested one.

    Args:
        rows: All rows of the set.
        seed: Of the folds.
        tell: Takes a sentence where the rows' words say too little about their labels, or there are none.
    """
    labelled = [row for row in rows if isinstance(row.label, str)]
    labels = [str(row.label) for row in labelled]
    if len(labelled) < FEWEST_ROWS or len(set(labels)) < 2:
        return []
    try:
        judged = out_of_fold([row_text(row) for row in labelled], labels, seed=seed)
    except DataError:  # there are labels enough: it is the words
        tell("label_errors: these rows hold no words to judge labels by; no row is judged")
        return []
    worth, likely = plausibility(judged)
    errors = estimate_errors(judged)
    if errors.found < FEWEST_FOUND and judged.judged.any():
        right = float((judged.pooled.argmax(axis=1) == judged.given).mean())
        tell(
            f"label_errors: the words of these rows say little about their labels (rows that left a row out give "
            f"{right:.0%} of the labels): about {errors.found:.0%} of wrong labels are found, the plainest"
        )
    found = []
    for place in np.flatnonzero(suspicious(judged, errors)).tolist():
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


def suspicious(judged: OutOfFold, errors: Errors) -> Bools:
    """(N,) the rows that are doubted: the least plausible, as many as are likely enough to be wrong.

    A row whose label no other one beats is never doubted.

    Args:
        judged: Of N rows.
        errors: What `estimate_errors` says of them.
    """
    worth, likely = plausibility(judged)
    count = int((errors.wrong > WRONG_FROM).sum())
    chosen = np.zeros(len(worth), bool)
    chosen[np.argsort(worth, kind="stable")[:count]] = True
    return chosen & (worth < judged.pooled[np.arange(len(worth)), likely])


def estimate_errors(judged: OutOfFold) -> Errors:
    """How many labels are wrong, how likely each is, and how many that were put at random would be found.

    Args:
        judged: Of N rows and C labels.
    """
    from scipy.optimize import minimize

    some, classes = judged.judged, len(judged.labels)
    if not some.any():
        return Errors(LEAST_ERRORS, 1.0, np.zeros(len(some)), 0.0)
    logs, given = np.log(np.maximum(judged.pooled[some], 1e-12)), judged.given[some]  # (n, C), (n,)
    every = np.arange(len(given))

    def loss(point: Floats) -> tuple[float, Floats]:
        sharpness, share = point
        shares = np.exp(log_softmax(sharpness * logs))
        own = shares[every, given]
        likely = (1 - share) * own + share * (1 - own) / (classes - 1)
        by_own = (1 - share) - share / (classes - 1)
        steep = own * (logs[every, given] - (shares * logs).sum(axis=1))
        slopes = [(by_own * steep / likely).mean(), (((1 - own) / (classes - 1) - own) / likely).mean()]
        return -float(np.log(likely).mean()), -np.array(slopes)

    bounds = [SHARPNESS, (LEAST_ERRORS, MOST_ERRORS)]
    sharpness, share = minimize(loss, [1.0, 0.05], jac=True, method="L-BFGS-B", bounds=bounds).x
    shares = np.exp(log_softmax(sharpness * logs))
    own = shares[every, given]
    by_chance = share * (1 - own) / (classes - 1)
    wrong = np.zeros(len(some))
    wrong[some] = by_chance / ((1 - share) * own + by_chance)
    # A label is doubted where its odds are below these: w > WRONG_FROM, solved for q.
    odds = (1 - WRONG_FROM) * share / (WRONG_FROM * (1 - share) * (classes - 1))
    doubted = (shares < odds / (1 + odds)) & (shares < shares.max(axis=1, keepdims=True))
    others = doubted.sum(axis=1) - doubted[every, given]
    return Errors(float(share), float(sharpness), wrong, float(others.mean() / (classes - 1)))


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
