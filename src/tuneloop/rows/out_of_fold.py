"""What quick judges say of each row that did not teach them: out-of-fold probabilities of its label, over TF-IDF.

    texts + labels -> folds, each label spread over all
      -> linear SVM, a fold at a time      -> (N, C) decision values -> softmax at the temperature of least loss
      -> naive Bayes, a fold at a time     -> (N, C)   } mixed with the first by three weights
      -> votes of the nearest other rows   -> (N, C)   }                  -> (N, C) pooled probabilities

Pooled is log p = sum of weight * log p of each judge, renormalised; the weights (>= 0) are those of least mean loss of
the given labels over all rows, so a judge that is no use in a set counts nothing (a logarithmic opinion pool, fitted
out of fold: stacking, Wolpert 1992). The vocabulary is that of all texts (it holds no label). A label that only one row
has cannot be learnt without that row: such rows are not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError, RecipeError, ShapeError
from tuneloop.rows.ngrams import codes_of, is_cjk

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Judge = Callable[[Any, Ints, Any], tuple[Ints, Floats]]
"""(features to learn, their labels, features to judge) -> the labels known, and a value of each for each row."""

FOLDS = 5
CHINESE_ABOVE = 0.3
TEMPERATURES = (0.1, 100.0)
ROWS_AT_ONCE = 512
NEIGHBOURS = 50
SMOOTHING = 0.1
"""Naive Bayes: added to every weight of a label. Votes: spread over all labels, beside the neighbours' one."""


@dataclass(frozen=True)
class OutOfFold:
    """What is said of N rows and C labels.

    Attributes:
        labels: The C labels, sorted.
        given: (N,) the place of each row's label among them.
        classifier: (N, C) probabilities of the linear SVM alone; rows sum to 1.
        pooled: (N, C) probabilities of all judges; rows sum to 1.
        judged: (N,) whether the row's label could be learnt from other rows.
    """

    labels: list[str]
    given: Ints
    classifier: Floats
    pooled: Floats
    judged: Bools


def out_of_fold(texts: Sequence[str], labels: Sequence[str], *, folds: int = FOLDS, seed: int = 0) -> OutOfFold:
    """Judge every row by classifiers and neighbours that leave it out.

    Args:
        texts: N texts.
        labels: Their labels.
        folds: In how many parts the rows are judged, >= 2.
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
    matrix, fold = features(texts), assign_folds(given, folds, seed)
    decisions = by_folds(linear_svm(seed), matrix, given, fold, len(names))
    classifier = log_softmax(decisions * fitted_temperature(decisions, given))
    bayes = log_softmax(by_folds(naive_bayes, matrix, given, fold, len(names)))
    votes = neighbour_votes(matrix, given, len(names))
    smooth = np.log((votes + SMOOTHING / len(names)) / (votes.sum(axis=1, keepdims=True) + SMOOTHING))
    judged = np.bincount(given, minlength=len(names))[given] > 1
    return OutOfFold(names, given, np.exp(classifier), pool([classifier, bayes, smooth], given), judged)


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


# -- judges ---------------------------------------------------------------------------------------------------


def by_folds(judge: Judge, matrix: Any, given: Ints, fold: Ints, classes: int) -> Floats:
    """(N, C) what a judge taught by the other folds says of each row.

    A label that the other folds lack gets a little less than the least likely one that they have.

    Args:
        judge: What learns and judges.
        matrix: (N, D) sparse.
        given: (N,) labels as numbers.
        fold: (N,) as `assign_folds` gives them.
        classes: C.
    """
    values = np.zeros((len(given), classes))
    for number in np.unique(fold):
        inside = fold == number
        if len(np.unique(given[~inside])) < 2:
            continue  # nothing can be learnt here, and nothing is said against a row
        known, found = judge(matrix[~inside], given[~inside], matrix[inside])
        said = np.repeat(found.min(axis=1, keepdims=True) - 1.0, classes, axis=1)
        said[:, known] = found
        values[inside] = said
    return values


def linear_svm(seed: int) -> Judge:
    """A linear support vector machine, one label against the rest: decision values.

    Args:
        seed: Of the coordinate descent.
    """

    def judge(matrix: Any, given: Ints, asked: Any) -> tuple[Ints, Floats]:
        from sklearn.svm import LinearSVC

        model = LinearSVC(random_state=seed).fit(matrix, given)
        found = model.decision_function(asked)
        return model.classes_, np.column_stack([-found, found]) if found.ndim == 1 else found

    return judge


def naive_bayes(matrix: Any, given: Ints, asked: Any) -> tuple[Ints, Floats]:
    """Multinomial naive Bayes over TF-IDF weights: joint log-likelihoods.

    Args:
        matrix: What it learns from.
        given: Its labels as numbers.
        asked: What it judges.
    """
    from sklearn.naive_bayes import MultinomialNB

    model = MultinomialNB(alpha=SMOOTHING).fit(matrix, given)
    return model.classes_, model.predict_joint_log_proba(asked)


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
    return np.asarray(np.divide(votes, total, out=np.zeros_like(votes), where=total > 0))


# -- probabilities --------------------------------------------------------------------------------------------


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


def pool(judges: Sequence[Floats], given: Ints) -> Floats:
    """(N, C) probabilities of several judges together, weighted for the least mean loss of the given labels.

    Args:
        judges: (N, C) log probabilities of each.
        given: (N,) labels as numbers.
    """
    from scipy.optimize import minimize

    every = np.arange(len(given))
    own = [logs[every, given] for logs in judges]

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = log_softmax(_mixed(judges, weights))
        shares = np.exp(mixed)
        slopes = [(shares * logs).sum(axis=1).mean() - mine.mean() for logs, mine in zip(judges, own, strict=True)]
        return -float(mixed[every, given].mean()), np.array(slopes)

    start = np.full(len(judges), 1 / len(judges))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(judges))
    return softmax(_mixed(judges, found.x))


def _mixed(judges: Sequence[Floats], weights: Floats) -> Floats:
    return np.asarray(sum(weight * logs for weight, logs in zip(weights, judges, strict=True)))


def softmax(values: Floats) -> Floats:
    """(N, C) shares."""
    return np.asarray(np.exp(log_softmax(values)))


def log_softmax(values: Floats) -> Floats:
    """(N, C) logs of shares."""
    away = values - values.max(axis=1, keepdims=True)
    return np.asarray(away - np.log(np.exp(away).sum(axis=1, keepdims=True)))
