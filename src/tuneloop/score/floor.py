"""The rivals that a tuned model must beat: seconds of a bag of words, a minute of a frozen encoder.

    classification   floor    texts -> TF-IDF (words 1-2 + characters 2-5; Chinese: characters 1-3) -> LinearSVC
                     encoder  (N, D) unit-norm embeddings -> logistic regression
    generation       the answer of the nearest training row, by TF-IDF cosine or by embedding

All learn on the rows that the tuned model learns on. Each gives texts and confidences in [0, 1]. A confidence
of the floor is the softmax of its decision values and that of a nearest row its cosine: they rank answers and
are not probabilities (the floor's are far too low with many classes). The encoder's are probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError, ShapeError
from tuneloop.score.overlap import cjk_share

CHINESE_ABOVE = 0.3
REGULARISATION = (1.0, 3.0, 10.0, 30.0, 100.0)
MAX_ITERATIONS = 1000
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Answers:
    """What a rival said to N rows.

    Attributes:
        texts: A label, or an answer, a row.
        confidences: In [0, 1] a row.
    """

    texts: list[str]
    confidences: list[float]


Rival = Callable[[Any], Answers]
"""Texts (or embeddings, for the encoder row) in, answers out; one row or many."""


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether more than CHINESE_ABOVE of the letters of all texts are CJK characters: these write no spaces."""
    return cjk_share(texts) > CHINESE_ABOVE


def word_features(texts: Sequence[str]) -> Any:
    """An unfitted TF-IDF for the language of `texts`: words 1-2 + characters 2-5 inside words, or characters 1-3."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    if is_chinese(texts):
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return FeatureUnion([("words", words), ("characters", characters)])


def fit_floor(texts: Sequence[str], labels: Sequence[str], *, seed: int = 0) -> Rival:
    """Learn the floor of a classification task.

    Args:
        texts: The training rows' raw texts.
        labels: Their labels.
        seed: Of LinearSVC's coordinate descent.

    Returns:
        A function of texts.

    Raises:
        DataError: if the rows hold fewer than two classes, or no character at all.
    """
    from sklearn.svm import LinearSVC

    _check_classes(len(texts), labels)
    features = word_features(texts)
    model = LinearSVC(random_state=seed).fit(_fitted(features, texts), list(labels))
    return lambda rows: _classified(model, model.decision_function(features.transform(_texts(rows))))


def choose_regularisation(
    embeddings: NDArray[np.float32],
    labels: Sequence[str],
    held_out: NDArray[np.float32],
    held_out_labels: Sequence[str],
) -> float:
    """The C of REGULARISATION that is right most often on held-out rows of training; the smallest of equals.

    Args:
        embeddings: (N, D) of the training rows.
        labels: Their labels.
        held_out: (M, D) of validation rows, never of test rows.
        held_out_labels: Their labels.

    Raises:
        DataError: if the rows hold fewer than two classes, or nothing is held out.
    """
    if not len(held_out_labels):
        raise DataError("The encoder row needs validation rows to choose its regularisation", fix="Set data.validation")
    wanted = np.asarray(held_out_labels, dtype=object)

    def right(c: float) -> int:
        said = fit_encoder(embeddings, labels, c=c)(held_out).texts
        return int((np.asarray(said, dtype=object) == wanted).sum())

    return max(REGULARISATION, key=right)


def fit_encoder(embeddings: NDArray[np.float32], labels: Sequence[str], *, c: float = 10.0) -> Rival:
    """Learn the encoder row of a classification task: logistic regression on frozen embeddings.

    Args:
        embeddings: (N, D) float32, unit norm.
        labels: N labels.
        c: Inverse strength of the L2 penalty; unit-norm embeddings of many classes want it well above 1.

    Returns:
        A function of (M, D) embeddings.

    Raises:
        DataError: if the rows hold fewer than two classes.
        ShapeError: if embeddings and labels do not pair up.
    """
    from sklearn.linear_model import LogisticRegression

    _check_classes(len(embeddings), labels)
    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(embeddings, list(labels))

    def answer(rows: Any) -> Answers:
        shares = model.predict_proba(np.atleast_2d(rows))
        best = shares.argmax(axis=1)
        return Answers([str(model.classes_[i]) for i in best], shares.max(axis=1).astype(float).tolist())

    return answer


def fit_nearest_text(texts: Sequence[str], answers: Sequence[str]) -> Rival:
    """Learn the floor of a generation task: the answer of the training row whose question is nearest by TF-IDF cosine.

    Args:
        texts: The training rows' questions.
        answers: Their answers.

    Returns:
        A function of questions.

    Raises:
        DataError: if there is no row, or no character at all.
    """
    features = word_features(texts)
    known = _normalised(_fitted(features, texts))
    return lambda rows: _nearest(known, _normalised(features.transform(_texts(rows))), answers)


def fit_nearest_embedding(embeddings: NDArray[np.float32], answers: Sequence[str]) -> Rival:
    """Learn the encoder row of a generation task: the answer of the training row whose question is nearest.

    Args:
        embeddings: (N, D) float32, unit norm, of the training rows' questions.
        answers: Their answers.

    Returns:
        A function of (M, D) embeddings.

    Raises:
        DataError: if there is no row.
        ShapeError: if embeddings and answers do not pair up.
    """
    if not len(answers):
        raise DataError("The nearest training row needs at least one training row")
    if len(embeddings) != len(answers):
        raise ShapeError("Embeddings and answers must pair up", got=f"{len(embeddings)} and {len(answers)}")
    return lambda rows: _nearest(embeddings, np.atleast_2d(rows), answers)


def _nearest(known: Any, rows: Any, answers: Sequence[str]) -> Answers:
    """The answers of the rows of `known` (N, D) nearest to `rows` (M, D), both unit norm, dense or sparse."""
    texts: list[str] = []
    confidences: list[float] = []
    for start in range(0, rows.shape[0], ROWS_AT_ONCE):
        cosine = rows[start : start + ROWS_AT_ONCE] @ known.T  # (m, N)
        cosine = cosine if isinstance(cosine, np.ndarray) else cosine.toarray()
        best = cosine.argmax(axis=1)
        texts += [answers[i] for i in best]
        confidences += np.clip(cosine[np.arange(len(best)), best], 0.0, 1.0).astype(float).tolist()
    return Answers(texts, confidences)


def _classified(model: Any, decisions: NDArray[np.float64]) -> Answers:
    values = np.column_stack([-decisions, decisions]) if decisions.ndim == 1 else decisions  # (M, C)
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    best = values.argmax(axis=1)
    return Answers([str(model.classes_[i]) for i in best], shares.max(axis=1).tolist())


def _fitted(features: Any, texts: Sequence[str]) -> Any:
    try:
        return features.fit_transform(list(texts))
    except ValueError as error:
        raise DataError("The training rows hold no words to learn a floor on", got=str(error)) from None


def _normalised(matrix: Any) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(matrix)


def _texts(rows: Any) -> list[str]:
    return [rows] if isinstance(rows, str) else list(rows)


def _check_classes(count: int, labels: Sequence[str]) -> None:
    if count != len(labels):
        raise ShapeError("Rows and labels must pair up", got=f"{count} and {len(labels)}")
    if len(set(labels)) < 2:
        raise DataError(
            "A classification needs at least two classes in the training rows",
            got=", ".join(sorted(set(labels))) or "none",
            fix="Check data.columns: the label column may be the wrong one",
        )
