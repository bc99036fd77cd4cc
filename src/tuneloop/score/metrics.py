"""Quality figures: what a model said against what was expected, each with a 95 % interval.

    predicted, expected (N)  --MEASURES-->  Measure (statistics of each row)  -->  figure with interval
                                                                              \\->  paired difference of two models

A measure holds what each row adds to the figure's sums, so that a figure, its interval and its paired
difference all come from one place. Fractions are in [0, 1], BLEU too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from tuneloop.errors import DataError, ShapeError
from tuneloop.examples.think import split_think
from tuneloop.pick import pick
from tuneloop.score.overlap import answer_text, bleu_counts, bleu_of_sums, rouge_l_of
from tuneloop.score.statistics import (
    DRAWS,
    Difference,
    Floats,
    Sample,
    Statistic,
    Verdict,
    bootstrap_band,
    bootstrap_interval,
    group,
    mean_of,
    paired_difference,
    paired_statistic_difference,
    ratio,
    wilson,
)

Figure = dict[str, Any]
"""{"value", "low", "high", "n"}; BLEU also names its "tokenizer"."""


@dataclass(frozen=True)
class Options:
    """What a metric may be told.

    Attributes:
        seed: Of the bootstrap draws.
        opened_by_prompt: The generation prompt ended with an open `<think>`.
    """

    seed: int = 0
    opened_by_prompt: bool = False


@dataclass(frozen=True)
class Measure:
    """A figure over N rows as sums over rows.

    Attributes:
        sample: What each row adds.
        statistic: (draws, K) sums -> (draws,) figures.
        proportion: The figure is a share of rows (its interval is Wilson's); the only sum counts them.
        facts: More to say beside the figure.
    """

    sample: Sample
    statistic: Statistic
    proportion: bool = False
    facts: Mapping[str, Any] | None = None


Measurer = Callable[[Sequence[str], Sequence[str], Options], Measure]
Metric = Callable[..., dict[str, Figure]]


def _share(hits: ArrayLike) -> Measure:
    array = np.asarray(hits, dtype=np.float64)
    return Measure(group(array), mean_of(array.size), proportion=True)


def _accuracy(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
    del options
    return _share([p == e for p, e in zip(predicted, expected, strict=True)])


def _macro_f1(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
    """F1 averaged over the classes that stand in a draw, predicted or expected (scikit-learn's rule)."""
    del options
    _, sample = _class_sums(predicted, expected)

    def statistic(sums: Floats) -> Floats:
        seen = _seen(sums)
        return np.asarray(_f1_of(sums).sum(axis=1) / np.maximum((seen > 0).sum(axis=1), 1))

    return Measure(sample, statistic)


def _class_sums(predicted: Sequence[str], expected: Sequence[str]) -> tuple[list[str], Sample]:
    """The classes, sorted, and what a row adds to each one's right answers, expected and predicted rows (3 C sums)."""
    names, codes = np.unique(np.asarray([*expected, *predicted], dtype=object), return_inverse=True)
    count, classes = len(expected), len(names)
    cells, kinds = np.unique(codes[:count].astype(np.int64) * classes + codes[count:], return_inverse=True)
    truth, guess = cells // classes, cells % classes
    rows = np.arange(len(cells))
    hit = truth == guess
    columns = np.concatenate([truth[hit], classes + truth, 2 * classes + guess])
    values = csr_array(
        (np.ones(len(columns)), (np.concatenate([rows[hit], rows, rows]), columns)), (len(cells), 3 * classes)
    )
    return [str(name) for name in names], Sample(kinds.reshape(-1).astype(np.int64), values)


def _seen(sums: Floats) -> Floats:
    _, wanted, given = np.split(sums, 3, axis=1)  # (draws, C) each
    return np.asarray(wanted + given)


def _f1_of(sums: Floats) -> Floats:
    """(draws, 3 C) sums -> (draws, C) F1 of each class, 0 where a draw holds none of it."""
    seen = _seen(sums)
    return np.divide(2 * np.split(sums, 3, axis=1)[0], seen, out=np.zeros_like(seen), where=seen > 0)


def _exact_match(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
    """Answers (behind the reasoning) that are equal after white space is made one."""
    pairs = zip(predicted, expected, strict=True)
    return _share(
        [
            answer_text(p, opened=options.opened_by_prompt).split() == answer_text(e, opened=False).split()
            for p, e in pairs
        ]
    )


def _bleu(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
    said = [answer_text(text, opened=options.opened_by_prompt) for text in predicted]
    counts, tokenizer = bleu_counts(said, [answer_text(text, opened=False) for text in expected])
    return Measure(group(counts), bleu_of_sums, facts={"tokenizer": tokenizer})


def _rouge_l(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
    pairs = zip(predicted, expected, strict=True)
    scores = [
        rouge_l_of(answer_text(p, opened=options.opened_by_prompt), answer_text(e, opened=False)) for p, e in pairs
    ]
    return Measure(group(scores), mean_of(len(scores)))


def _think(of: Callable[[Any], bool]) -> Measurer:
    def measure(predicted: Sequence[str], expected: Sequence[str], options: Options) -> Measure:
        del expected
        return _share([of(split_think(text, opened_by_prompt=options.opened_by_prompt)) for text in predicted])

    return measure


MEASURES: dict[str, Measurer] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    # Every row has one label and one prediction, so false positives equal false negatives: micro F1 is the accuracy.
    "micro_f1": _accuracy,
    "exact_match": _exact_match,
    "bleu": _bleu,
    "rouge_l": _rouge_l,
    "think_rate": _think(lambda thought: thought.opened),
    "closed_tag_rate": _think(lambda thought: thought.opened and thought.closed),
    "answer_after_think": _think(lambda thought: thought.opened and thought.closed and bool(thought.answer.strip())),
}
"""Figure -> the function that takes each row's part in it: `(predicted, expected, options) -> Measure`."""


def figure_of(measure: Measure, seed: int) -> Figure:
    """The figure of a measure, with its interval: Wilson for a share of rows, bootstrap elsewhere."""
    rows = len(measure.sample.kinds)
    sums = measure.sample.sums()
    if measure.proportion:
        low, high = wilson(round(float(sums[0, 0])), rows)
    else:
        low, high = bootstrap_interval(measure.sample, measure.statistic, seed=seed)
    value = float(measure.statistic(sums)[0])
    return {"value": value, "low": low, "high": high, "n": rows, **(measure.facts or {})}


def _measured(*names: str) -> Metric:
    def metric(predicted: Sequence[str], expected: Sequence[str], *, options: Options = Options()) -> dict[str, Figure]:
        _check(predicted, expected)
        return {name: figure_of(MEASURES[name](predicted, expected, options), options.seed) for name in names}

    metric.__doc__ = (
        f"The figures {', '.join(names)} of N predictions against N expected texts; DataError where N is 0."
    )
    return metric


METRICS: dict[str, Metric] = {
    **{name: _measured(name) for name in ("accuracy", "macro_f1", "micro_f1", "exact_match", "bleu", "rouge_l")},
    "think": _measured("think_rate", "closed_tag_rate", "answer_after_think"),
}
"""The recipe's metrics: `(predicted, expected, *, options) -> {figure: {"value", "low", "high", "n"}}`."""


def measure(
    names: Sequence[str], predicted: Sequence[str], expected: Sequence[str], options: Options = Options()
) -> dict[str, Figure]:
    """The figures of several metrics, built-in or installed plugins, in their order.

    Args:
        names: Names in METRICS, or of plugins of the group `tuneloop.metric`.
        predicted: What the model said, reasoning and all.
        expected: What was expected.
        options: Seed and template facts.

    Raises:
        DataError: if there is no row.
        RecipeError: if there is no such metric.
    """
    found: dict[str, Figure] = {}
    for name in names:
        found |= pick("metric", METRICS, name)(predicted, expected, options=options)
    return found


def difference(
    figure: str,
    a: Sequence[Sequence[str]],
    b: Sequence[Sequence[str]],
    expected: Sequence[str],
    options: Options = Options(),
) -> Difference:
    """The paired difference a - b of one built-in figure, averaged over seeds (section 4.1 of the design).

    Args:
        figure: A name in MEASURES.
        a: Each seed's N predictions of the one model.
        b: The same of the other model, on the same rows.
        expected: The N expected texts.
        options: Seed and template facts.

    Raises:
        DataError: if there is no row.
        ShapeError: if the rows differ.
    """
    for predicted in (*a, *b):
        _check(predicted, expected)
    left, right = ([MEASURES[figure](predicted, expected, options) for predicted in side] for side in (a, b))
    if left[0].proportion:
        return paired_difference(
            *([m.sample.values[m.sample.kinds, 0] for m in s] for s in (left, right)), seed=options.seed
        )
    return paired_statistic_difference(
        [m.sample for m in left], [m.sample for m in right], left[0].statistic, seed=options.seed
    )


def loss_figure(sums: Sequence[float], weights: Sequence[float], *, seed: int = 0) -> Figure:
    """Mean loss with its bootstrap interval over rows, e.g. nats a trained token.

    Args:
        sums: (N,) each row's summed loss.
        weights: (N,) each row's weight (its trained tokens), not all 0.
        seed: Of the draws.

    Raises:
        DataError: if there is no row.
    """
    sample = group(np.column_stack([sums, weights]))
    return figure_of(Measure(sample, ratio), seed)


def loss_difference(a: ArrayLike, b: ArrayLike, weights: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """The paired difference of two models' mean loss, a - b; "better" where a's loss is lower for certain.

    Args:
        a: (N,) each row's summed loss by the one model.
        b: The same by the other.
        weights: (N,) each row's weight.
        draws: Resamples of the rows.
        seed: Of the draws.

    Raises:
        DataError: if there is no row.
    """
    left, right = (np.column_stack([side, weights]) for side in (a, b))
    found = paired_statistic_difference([left], [right], ratio, draws=draws, seed=seed)
    turned: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "no difference": "no difference"}
    return replace(found, verdict=turned[found.verdict])


def confusion_matrix(predicted: Sequence[str], expected: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Labels, sorted, and the (C, C) counts; a line an expected class, a column a predicted one."""
    _check(predicted, expected)
    labels = sorted({*predicted, *expected})
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, ([place[e] for e in expected], [place[p] for p in predicted]), 1)
    return labels, counts


def per_class(predicted: Sequence[str], expected: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Each label's {"precision", "recall", "f1", "support"}, with a 95 % interval of each figure: "f1_low", "f1_high".

    Precision is a share of the rows predicted as the class, recall of the rows that have it: their intervals are
    Wilson's, F1's is a bootstrap. Precision and its interval are absent where a class is never predicted, recall
    and its interval where no row has it; F1 is then 0.

    Args:
        predicted: N labels given.
        expected: N labels wanted.
        seed: Of the bootstrap draws.
    """
    labels, counts = confusion_matrix(predicted, expected)
    _, sample = _class_sums(predicted, expected)
    low, high = bootstrap_band(sample, _f1_of, seed=seed)  # (C,) each
    found: dict[str, dict[str, float]] = {}
    for index, label in enumerate(labels):
        right, wanted, given = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
        entry: dict[str, float] = {}
        for figure, rows in (("precision", given), ("recall", wanted)):
            if rows:
                ends = wilson(right, rows)
                entry |= {figure: right / rows, f"{figure}_low": ends[0], f"{figure}_high": ends[1]}
        interval = {"f1_low": float(low[index]), "f1_high": float(high[index])}
        found[label] = {**entry, "f1": 2 * right / (wanted + given), **interval, "support": wanted}
    return found


def calibration(
    confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10, seed: int = 0
) -> dict[str, Any]:
    """How far confidence tells the share of right answers: {"ece": figure, "bins": [{"confidence", "accuracy", "n"}]}.

    Args:
        confidences: (N,) in [0, 1].
        right: (N,) whether each answer was right.
        bins: Equal-width bins; empty ones are left out.
        seed: Of the bootstrap draws.

    Raises:
        DataError: if there is no row.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2 (expected calibration error).
    """
    sure, hit = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if sure.size == 0 or sure.shape != hit.shape:
        raise DataError(
            "Calibration needs a confidence and a verdict for each row", got=f"{sure.shape} and {hit.shape}"
        )
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gaps = np.zeros((sure.size, bins))
    gaps[np.arange(sure.size), place] = sure - hit
    sample = Sample(np.arange(sure.size), gaps)
    found = figure_of(Measure(sample, lambda sums: np.abs(sums).sum(axis=1) / sure.size), seed)
    listed = []
    for index in range(bins):
        inside = place == index
        if inside.any():
            means = {"confidence": float(sure[inside].mean()), "accuracy": float(hit[inside].mean())}
            listed.append({**means, "n": int(inside.sum())})
    return {"ece": found, "bins": listed}


def _check(predicted: Sequence[str], expected: Sequence[str]) -> None:
    if len(predicted) != len(expected):
        raise ShapeError("Predictions and expected texts must pair up", got=f"{len(predicted)} and {len(expected)}")
    if not predicted:
        raise DataError("There is no row to score", fix="Give at least one test row")
