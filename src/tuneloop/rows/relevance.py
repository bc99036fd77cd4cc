"""Stage 2, relevance: how likely a row is of the task, in [0, 1], by its sentence embedding.

    texts -> vectors -> trusted rows: those that are surely of the task -> a Gaussian of them -> distance of each row
    texts about anything (anything.py) -> their distance from the same Gaussian --mixture--> relevance of each row

Trusted is a third of the rows, the nearest (by cosine) to the centre of what tells the task: the mean of the example
rows; or, for a description, that of the tenth of the rows that are nearest to it, since a text about questions is
itself no question. Where nothing is told, each label's own half of the rows nearest to its mean, twice over; rows with
no label, with several, or with one that FEWEST_OF_A_LABEL rows do not have, count as of one label; if these are so few
themselves, they stay unjudged. A trusted row is judged by a fit without its fold: no row vouches for itself.

The distance is Mahalanobis', to the nearest label's mean, all with one covariance (Lee et al. 2018, arXiv:1807.03888,
section 2.1), which SHRINKAGE draws towards a sphere, since there may be fewer rows than dimensions:

    d(x)^2 = min over labels of (x - mean)^T C^-1 (x - mean) / D        C = 0.3 * covariance + 0.7 * its mean variance

A text that has nothing to do with a task lies at nearly the same distance as any other such text, whatever it is about.
So strangers need no examples: their distances are those of the texts about anything, normal(m, s) by median and
deviation, flat beyond m. The task's are normal(m1, s1), and a share p of the rows are strangers; m1, s1 and p are those
of the largest likelihood (EM). Relevance is the probability that the row is of the task:

    r(x) = (1 - p) * normal(d; m1, s1) / ((1 - p) * normal(d; m1, s1) + p * strangers(d))

It means the same on any set: of the rows at 0.5, half are of the task. Where no row is a stranger p falls to its least
value, and hardly any row is doubted, unlike with a percentile.

Tried and left: cosine to the nearest examples, to their mean, nearest trusted rows, a linear classifier of near against
far rows. Centring on the set's mean finds the strangers only where there are many of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import ModelError
from tuneloop.records import Doubt, Dropped, Row
from tuneloop.rows.anything import CHINESE, ENGLISH
from tuneloop.rows.out_of_fold import CHINESE_ABOVE, chinese_share
from tuneloop.rows.stage import dropped_row
from tuneloop.rows.texts import asked_text
from tuneloop.sections import Relevance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Vectors = NDArray[np.float32]
Label = str | tuple[str, ...] | None

STAGE = "relevance"
FEWEST_OF_A_LABEL = 4
"""Half of fewer rows leaves none to judge a trusted one by."""
FEWEST_ROWS = 50
"""Fewer rows say too little about what they have in common."""
TOLD, TOLD_IN_WORDS, LEARNT = 1 / 3, 0.1, 0.5
"""Shares of the rows: trusted where the task is told, taken for examples of a description, trusted of each label."""
SHRINKAGE = 0.7
FOLDS = 5
FIT_ROWS = 20_000
"""The covariance of more trusted rows is that of every second, or third, and so on."""
ROWS_AT_ONCE = 8192
LEAST_STRANGERS, MOST_STRANGERS = 0.01, 0.5
ROUNDS = 200
READ_OF_ANYTHING = 0.5
"""Of the texts about anything, in the rows' language as far as they go: an encoder has to read so many."""
FEWEST_APART = 1.0
"""Deviations of the task's own distances that texts about anything must be away, or nothing can be told apart."""
READS_CHINESE = "shibing624/text2vec-base-chinese"
READS_MANY = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""Both are BERT with mean pooling, as model/encoder.py computes it."""


def _nothing() -> None:
    """Nothing is kept, so nothing is forgotten."""


@dataclass(frozen=True)
class Embedder:
    """What reads texts; it is handed in, since nothing here may import torch.

    Attributes:
        name: As the recipe names it.
        embed: N texts -> (N, D) float32, each of length 1.
        reads: N texts -> (N,) whether it has words for enough of each.
        done: Called when the cleaning has come to its end: what was embedded for other rows may be forgotten.
    """

    name: str
    embed: Callable[[Sequence[str]], Vectors]
    reads: Callable[[Sequence[str]], Bools]
    done: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Judged:
    """Rows after the stage; kept and dropped add up to the rows that went in.

    Attributes:
        kept: The rows that stay, in their order; some of them are doubted.
        dropped: Those that have nothing to do with the task.
        doubts: Why some of the kept ones wait.
        warnings: What the user has to know.
    """

    kept: list[Row]
    dropped: list[Dropped]
    doubts: list[Doubt]
    warnings: list[str]


def judge_relevance(
    rows: Sequence[Row], asked: Relevance, embedder: Embedder, *, examples: Sequence[str] = (),
    decided: Collection[str] = frozenset(),
) -> Judged:  # fmt: skip
    """Keep, doubt or drop each row by its relevance to the task.

    Rows that the encoder has no words for are kept, and told of. A row that a person decided about is never dropped.

    Args:
        rows: Training rows, duplicates gone: they would vouch for each other.
        asked: What the recipe says.
        embedder: What reads the rows.
        examples: Texts of rows that are of the task.
        decided: Ids of rows that a person decided about.

    Raises:
        ModelError: if the encoder cannot read most of the rows, or what tells the task.
    """
    texts = [asked_text(row) for row in rows]
    readable, examples = _read(texts, examples, asked, embedder)
    scores, found = np.ones(len(rows)), Judged([], [], [], [])
    if unread := len(rows) - len(readable):
        found.warnings.append(
            f"relevance: {embedder.name} cannot read {unread} of {len(rows)} training rows; they stay, unjudged. "
            f"To judge them too, set clean.relevance.encoder to one that reads their language, e.g. {READS_MANY}"
        )
    if len(readable) < FEWEST_ROWS:
        found.warnings.append(f"relevance: {len(readable)} rows are too few to be judged, wanted {FEWEST_ROWS}")
    else:
        some, labels = [texts[place] for place in readable], [rows[place].label for place in readable]
        scores[readable], warning = _judged(some, labels, asked, examples, embedder)
        if warning:
            found.warnings.append(f"relevance: {warning}; no row is judged")
    for row, score in zip(rows, scores.tolist(), strict=True):
        if score < asked.drop_below and row.id not in decided:
            reason = f"not of the task (relevance {score:.3f}, dropped below {asked.drop_below:g})"
            found.dropped.append(dropped_row(row, STAGE, reason))
            continue
        found.kept.append(row)
        if score < asked.keep_above:
            found.doubts.append(Doubt(row.id, row.source, STAGE, "may not be of the task", score))
    return found


def _judged(
    texts: Sequence[str], labels: Sequence[Label], asked: Relevance, examples: Sequence[str], embedder: Embedder
) -> tuple[Floats, str]:
    """(N,) relevance of texts that the encoder reads; why none can be judged, and all have 1.0, or ""."""
    every, anything = np.ones(len(texts)), CHINESE if chinese_share(texts) > CHINESE_ABOVE else ENGLISH
    if embedder.reads(anything).mean() < READ_OF_ANYTHING:
        language = "Chinese" if anything is CHINESE else "English"
        return every, f"{embedder.name} does not read {language}, the language of the texts that strangers are told by"
    vectors = embedder.embed(texts)
    description = embedder.embed([asked.task])[0] if asked.task is not None else None
    unjudged: Ints = np.zeros(0, dtype=np.int64)
    if examples or description is not None:
        groups = [trusted_told(vectors, embedder.embed(examples) if examples else None, description)]
    else:
        groups, unjudged = trusted_learnt(vectors, labels)
    likely, apart = relevance(*distances(vectors, groups, embedder.embed(anything)))
    if apart < FEWEST_APART:
        return every, f"to {embedder.name} these rows look hardly more like each other than like texts about anything"
    likely[unjudged] = 1.0
    return likely, ""


def _read(
    texts: Sequence[str], examples: Sequence[str], asked: Relevance, embedder: Embedder
) -> tuple[list[int], list[str]]:
    """Places of the texts, and those examples, that the encoder has words for.

    Raises:
        ModelError: if it has none for most of the texts, for the description, or for any example.
    """
    readable: list[int] = np.flatnonzero(embedder.reads(texts)).tolist()
    left = [text for text, read in zip(examples, embedder.reads(examples).tolist(), strict=True) if read]
    wrong = ""
    if examples and not left:
        wrong = "any of the rows in clean.relevance.examples"
    if asked.task is not None and not embedder.reads([asked.task]).all():
        wrong = "what clean.relevance.task says"
    if 2 * len(readable) < len(texts):
        wrong = f"{len(texts) - len(readable)} of the {len(texts)} training rows"
    if wrong:
        raise ModelError(
            f"The encoder {embedder.name} cannot read {wrong}", got="over a fifth of their tokens unknown to it",
            allowed="a BERT encoder of their language, by its folder or hub id",
            fix=f"Set clean.relevance.encoder: for Chinese e.g. {READS_CHINESE}, for several languages {READS_MANY}",
        )  # fmt: skip
    return readable, left


# -- trusted rows -----------------------------------------------------------------------------------------------


def trusted_told(vectors: Vectors, examples: Vectors | None, description: Vectors | None) -> Ints:
    """Places of the rows that are surely of the task, the surest first.

    Args:
        vectors: (N, D) of the rows, each of length 1.
        examples: (K, D) of rows that are of the task, or None.
        description: (D,) of the task in words, or None; with examples too both count alike.
    """
    centres = []
    if examples is not None:
        centres.append(_unit(examples.mean(axis=0)))
    if description is not None:
        nearest = _nearest(vectors, description, TOLD_IN_WORDS)
        centres.append(_unit(np.concatenate([vectors[nearest], description[None]]).mean(axis=0)))
    return _nearest(vectors, np.sum(centres, axis=0), TOLD)


def trusted_learnt(vectors: Vectors, labels: Sequence[Label]) -> tuple[list[Ints], Ints]:
    """For each label, places of its rows that are most like its others.

    Args:
        vectors: (N, D) of the rows, each of length 1.
        labels: Of each row; what is no single label, or one of few rows, counts as one that they share.

    Returns:
        The places for each label; those of rows that are too few to have any.
    """
    rows = Counter(labels)
    of: dict[str | None, list[int]] = {}
    for place, label in enumerate(labels):
        many = isinstance(label, str) and rows[label] >= FEWEST_OF_A_LABEL
        of.setdefault(label if isinstance(label, str) and many else None, []).append(place)
    few = of.pop(None) if len(of.get(None, [])) in range(1, FEWEST_OF_A_LABEL) else []
    groups = []
    for members in of.values():
        places = chosen = np.array(members)
        for _ in range(2):
            chosen = places[_nearest(vectors[places], vectors[chosen].mean(axis=0), LEARNT)]
        groups.append(chosen)
    return groups, np.array(few, dtype=np.int64)


def _nearest(vectors: Vectors, centre: Vectors, share: float) -> Ints:
    """Places of that share of the vectors, one at least, with the largest cosine, falling."""
    return np.argsort(-(vectors @ centre), kind="stable")[: max(int(share * len(vectors)), 1)]


def _unit(vector: Vectors) -> Vectors:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)


# -- distances --------------------------------------------------------------------------------------------------


def distances(vectors: Vectors, groups: Sequence[Ints], others: Vectors) -> tuple[Floats, Floats]:
    """How far the rows, and other texts, lie from the trusted rows; about 1 for those themselves.

    Args:
        vectors: (N, D) of the rows.
        groups: Places of the trusted rows, a group for each mean.
        others: (M, D) of the other texts.

    Returns:
        (N,) distances of the rows, the trusted ones judged by a fit without their fold; (M,) of the others.
    """
    whole = _Gaussian(vectors, groups)
    found = whole.distance(vectors)
    for fold in range(FOLDS):
        inside = np.concatenate([group[fold::FOLDS] for group in groups])
        rest = [np.delete(group, np.s_[fold::FOLDS]) for group in groups]
        if len(inside) and any(map(len, rest)):
            found[inside] = _Gaussian(vectors, rest).distance(vectors[inside])
    return found, whole.distance(others)


class _Gaussian:
    """Means of groups of vectors with one shrunk covariance, in coordinates where it is the unit matrix."""

    def __init__(self, vectors: Vectors, groups: Sequence[Ints]) -> None:
        groups = [group for group in groups if len(group)]
        means = [vectors[group].mean(axis=0, dtype=np.float64) for group in groups]
        step = -(-sum(map(len, groups)) // FIT_ROWS)
        away = np.concatenate([vectors[group[::step]] - mean for group, mean in zip(groups, means, strict=True)])
        covariance, width = away.T @ away / len(away), vectors.shape[1]
        variance = max(float(np.trace(covariance)) / width, 1e-12)
        values, axes = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * variance * np.eye(width))
        self.whiten = axes / np.sqrt(values * width)  # (D, D)
        self.means = np.stack(means) @ self.whiten  # (C, D)

    def distance(self, vectors: Vectors) -> Floats:
        """(N,) to the nearest mean."""
        found = np.empty(len(vectors))
        lengths = (self.means**2).sum(axis=1)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            white = vectors[start : start + ROWS_AT_ONCE] @ self.whiten
            squares = (white**2).sum(axis=1) + (lengths - 2 * white @ self.means.T).min(axis=1)
            found[start : start + ROWS_AT_ONCE] = np.sqrt(np.maximum(squares, 0.0))
        return found


# -- relevance --------------------------------------------------------------------------------------------------


def relevance(near: Floats, far: Floats) -> tuple[Floats, float]:
    """How likely each row is of the task.

    Args:
        near: (N,) distances of the rows, N > 0.
        far: (M,) distances of texts about anything, M > 0.

    Returns:
        (N,) in [0, 1], falling with the distance; and how many deviations of the task's rows the texts about anything
        are away from their mean.
    """
    middle, width = float(np.median(far)), max(float(far.std()), 1e-6)
    mean, deviation, share = min(float(np.quantile(near, 0.4)), middle), max(float(near.std()), 1e-6), 0.1
    stranger = np.zeros(len(near))
    for _ in range(ROUNDS):
        # No wider than the task's: else what is nearest of all would be taken for a stranger again.
        narrow = min(width, deviation)
        own = np.log1p(-share) - 0.5 * ((near - mean) / deviation) ** 2 - np.log(deviation)
        other = np.log(share) - 0.5 * (np.minimum(near - middle, 0.0) / narrow) ** 2 - np.log(narrow)
        stranger = 1 / (1 + np.exp(np.clip(own - other, -500, 500)))
        before, weight = share, 1 - stranger
        if weight.sum() < 1e-9:  # no row is nearer than texts about anything
            break
        share = float(np.clip(stranger.mean(), LEAST_STRANGERS, MOST_STRANGERS))
        mean = min(float(np.average(near, weights=weight)), middle)  # else relevance would rise with the distance
        deviation = max(float(np.sqrt(np.average((near - mean) ** 2, weights=weight))), 1e-6)
        if abs(share - before) < 1e-7:
            break
    return 1 - stranger, (middle - mean) / deviation
