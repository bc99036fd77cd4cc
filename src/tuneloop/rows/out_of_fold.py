"""What a quick classifier says of each row that did not teach it: out-of-fold probabilities over TF-IDF.

    texts + labels -> folds, each label spread over all -> TF-IDF + one LinearSVC a fold -> (N, C) decision values
                   -> softmax at the temperature of least loss -> (N, C) probabilities

The vocabulary is that of all texts (it holds no label). A label that only one row has cannot be learnt without that
row: such rows are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError, RecipeError, ShapeError
from tuneloop.rows.ngrams import codes_of, is_cjk

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FOLDS = 5
CHINESE_ABOVE = 0.3
UNKNOWN = -2.0
"""Decision value of a class that a fold's classifier has never seen: below what it gives to any that it has."""
TEMPERATURES = (0.1, 100.0)
ROWS_AT_ONCE = 512
NEIGHBOURS = 10


@dataclass(frozen=True)
class OutOfFold:
    """What is said of N rows and C labels.

    Attributes:
        labels: The C labels, sorted.
        given: (N,) the place of each row's label among them.
        probabilities: (N, C) of the classifier that did not see the row; rows sum to 1.
        votes: (N, C) of the nearest other rows, weighted by cosine; rows sum to 1, or to 0 where no row is near.
        judged: (N,) whether the row's label could be learnt from other rows.
    """

    labels: list[str]
    given: Ints
    probabilities: Floats
    votes: Floats
    judged: Bools


def out_of_fold(texts: Sequence[str], labels: Sequence[str], *, folds: int = FOLDS, seed: int = 0) -> OutOfFold:
    """Judge every row by classifiers and neighbours that leave it out.

    Args:
        texts: N texts.
        labels: Their labels.
        folds: How many classifiers, >= 2.
        seed: Of the folds and of the classifier.

    Raises:
        RecipeError: if `folds` is below 2.
        ShapeError: if texts and labels do not pair up.
        DataError: if there are fewer than two labels, or no text holds a word.
    """
    if folds < 2:
        raise RecipeError("Out-of-fold needs two folds or more", got=str(folds))
    if len(texts) != len(labels):
        raise ShapeError("Texts and labels must pair up", got=f"{len(texts)} and {len(labels)}")
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError("A label error needs two labels or more to be one", got=", ".join(names) or "no rows")
    place = {name: number for number, name in enumerate(names)}
    given = np.array([place[label] for label in labels])
    matrix = features(texts)
    decisions = decision_values(matrix, given, assign_folds(given, folds, seed), len(names), seed)
    probabilities = softmax(decisions * fitted_temperature(decisions, given))
    judged = np.bincount(given, minlength=len(names))[given] > 1
    return OutOfFold(names, given, probabilities, neighbour_votes(matrix, given, len(names)), judged)


def features(texts: Sequence[str]) -> Any:
    """(N, D) sparse TF-IDF: words 1-2 and characters 2-5 inside words; characters 1-3 where the letters are Chinese.

    Raises:
        DataError: if no text holds a word.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    if chinese_share(texts) > CHINESE_ABOVE:
        kinds = [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)]
    else:
        kinds = [
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ]
    try:
        return hstack([kind.fit_transform(list(texts)) for kind in kinds]).tocsr()
    except ValueError as error:
        raise DataError("The rows hold no words to judge labels by", got=str(error)) from None


def chinese_share(texts: Sequence[str]) -> float:
    """Share of the letters and digits of all texts that are Chinese, Japanese or Korean; 0 for none."""
    letters = sum(sign.isalnum() for text in texts for sign in text)
    return float(is_cjk(codes_of(texts).points).sum()) / letters if letters else 0.0


def assign_folds(given: Ints, folds: int, seed: int) -> Ints:
    """(N,) a fold for each row: every label spread as evenly as can be, and so are the folds.

    Args:
        given: (N,) labels as numbers.
        folds: How many.
        seed: Of the order within a label.
    """
    chance = np.random.default_rng(seed)
    order = np.lexsort((chance.random(len(given)), given))  # label by label, each shuffled
    found = np.empty(len(given), dtype=np.int64)
    found[order] = np.arange(len(given)) % folds
    return found


def decision_values(matrix: Any, given: Ints, fold: Ints, classes: int, seed: int) -> Floats:
    """(N, C) what the classifier of the other folds says of each row; UNKNOWN for a label that they lack.

    Args:
        matrix: (N, D) sparse.
        given: (N,) labels as numbers.
        fold: (N,) as `assign_folds` gives them.
        classes: C.
        seed: Of the coordinate descent.
    """
    from sklearn.svm import LinearSVC

    values = np.full((len(given), classes), UNKNOWN)
    for number in np.unique(fold):
        inside = fold == number
        known = np.unique(given[~inside])
        if len(known) < 2:
            values[np.ix_(inside, known)] = 0.0  # nothing can be learnt here, and nothing is said against a row
            continue
        model = LinearSVC(random_state=seed).fit(matrix[~inside], given[~inside])
        found = model.decision_function(matrix[inside])
        found = np.column_stack([-found, found]) if found.ndim == 1 else found
        values[np.ix_(inside, known)] = found
    return values


def fitted_temperature(decisions: Floats, given: Ints) -> float:
    """The factor on decision values whose softmax gives the given labels the least mean loss.

    One number over all rows, so that no row can fit its own. Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.

    Args:
        decisions: (N, C).
        given: (N,) labels as numbers.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_factor: float) -> float:
        shares = log_softmax(decisions * np.exp(log_factor))
        return -float(shares[np.arange(len(given)), given].mean())

    bounds = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=tuple(bounds), method="bounded").x))


def neighbour_votes(matrix: Any, given: Ints, classes: int, *, neighbours: int = NEIGHBOURS) -> Floats:
    """(N, C) the labels of each row's nearest other rows, weighted by cosine; sums to 1, or 0 for no neighbour.

    Memory is that of ROWS_AT_ONCE rows against all, in float32.

    Args:
        matrix: (N, D) sparse TF-IDF.
        given: (N,) labels as numbers.
        classes: C.
        neighbours: How many, fewer where there are fewer rows.
    """
    from sklearn.preprocessing import normalize

    unit = normalize(matrix.astype(np.float32))
    others, votes = unit.T.tocsr(), np.zeros((len(given), classes))
    count = min(neighbours, len(given) - 1)
    for start in range(0, len(given), ROWS_AT_ONCE):
        cosine = (unit[start : start + ROWS_AT_ONCE] @ others).toarray()  # (n, N)
        inside = np.arange(len(cosine))
        cosine[inside, start + inside] = -1.0  # a row is no neighbour of its own
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        weights = np.maximum(np.take_along_axis(cosine, nearest, axis=1), 0.0)
        np.add.at(votes, (np.repeat(start + inside, count), given[nearest].ravel()), weights.ravel())
    total = votes.sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


def softmax(values: Floats) -> Floats:
    """(N, C) shares."""
    return np.asarray(np.exp(log_softmax(values)))


def log_softmax(values: Floats) -> Floats:
    """(N, C) logs of shares."""
    away = values - values.max(axis=1, keepdims=True)
    return np.asarray(away - np.log(np.exp(away).sum(axis=1, keepdims=True)))
