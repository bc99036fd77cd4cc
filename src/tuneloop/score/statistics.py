"""Intervals and paired differences: every figure of a report carries one of these.

    items (N) --group equal ones--> kinds (G) --resample--> counts (draws, G) --@ values--> sums (draws, K) --> figure

A figure is a function of sums over items (correct answers, class counts, n-gram matches), so one draw is a
row of counts and all draws are one matrix product. Wilson for proportions, the percentile bootstrap elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, hstack

from tuneloop.errors import DataError, ShapeError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""(draws, K) sums over the items of a draw -> (draws,) figures."""

DRAWS = 10_000
Z_95 = 1.959963984540054
CELLS_AT_ONCE = 4_000_000
Verdict = Literal["better", "worse", "no difference"]


@dataclass(frozen=True)
class Sample:
    """N items that fall into G kinds with equal sufficient statistics.

    Attributes:
        kinds: (N,) int64, the kind of each item, 0 to G - 1.
        values: (G, K) float64, dense or CSR, what an item of each kind adds to the K sums.
    """

    kinds: NDArray[np.int64]
    values: Any

    def sums(self) -> Floats:
        """(1, K) sums over all items."""
        counts = np.bincount(self.kinds, minlength=self.values.shape[0]).astype(np.float64)
        return np.atleast_2d(counts @ self.values)


@dataclass(frozen=True)
class Difference:
    """A paired difference a - b with its 95 % interval.

    Attributes:
        difference: a - b on the rows as they are, in the figure's unit.
        low: 2.5 % point of the bootstrap.
        high: 97.5 % point.
        p: Two-sided: twice the share of draws on the far side of 0, the observed one counted in; at most 1.
        verdict: "better" where the interval lies above 0, "worse" where below.
    """

    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """The five entries, for scores.json."""
        return asdict(self)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion.

    Args:
        successes: 0 to n.
        n: Trials, at least 1.

    Raises:
        DataError: if there is no trial, or more successes than trials.

    Source: Wilson 1927, JASA 22(158); as in Brown, Cai & DasGupta 2001, Statist. Sci. 16(2), section 3.1.1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(
            "A proportion needs at least one row", got=f"{successes} of {n}", allowed="0 <= successes <= n, n >= 1"
        )
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (0.0 if successes == 0 else max(0.0, centre - half)), (1.0 if successes == n else min(1.0, centre + half))


def group(per_item: ArrayLike) -> Sample:
    """Put equal items together.

    Args:
        per_item: (N,) or (N, K) numbers, what each item adds to the sums.

    Raises:
        DataError: if there is no item, or a number is not finite.
        ShapeError: if it has more than two dimensions.
    """
    array = np.asarray(per_item, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ShapeError("Statistics of items must be (N,) or (N, K)", got=str(array.shape))
    if len(array) == 0:
        raise DataError("There is no row to take a figure of", fix="Give at least one test row")
    if not np.isfinite(array).all():
        raise DataError(
            "A figure of a row is not finite", got="nan or inf", fix="Leave such rows out before, and count them"
        )
    values, kinds = np.unique(array.reshape(len(array), -1), axis=0, return_inverse=True)
    return Sample(kinds.reshape(-1).astype(np.int64), values)


def mean_of(n: int) -> Statistic:
    """The statistic of a plain mean over `n` items: the first sum by n."""
    return lambda sums: sums[:, 0] / n


def ratio(sums: Floats) -> Floats:
    """The statistic of a weighted mean, e.g. nats a token: the first sum by the second.

    Args:
        sums: (draws, 2); where the second is 0, so is the result.
    """
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def bootstrap_interval(
    per_item: ArrayLike | Sample, statistic: Statistic, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a figure over items.

    Args:
        per_item: (N,) or (N, K) sufficient statistics, or a Sample.
        statistic: (draws, K) sums -> (draws,) figures.
        draws: Resamples of N items with replacement.
        seed: Same seed, same interval.

    Raises:
        DataError: if there is no item.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    sample = per_item if isinstance(per_item, Sample) else group(per_item)
    drawn = _figures(sample, statistic, draws, seed)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_band(sample: Sample, statistic: Statistic, *, draws: int = DRAWS, seed: int = 0) -> tuple[Floats, Floats]:
    """95 % percentile bootstrap intervals of many figures of the same draws at once.

    Args:
        sample: N items.
        statistic: (draws, K) sums -> (draws, C) figures.
        draws: Resamples of N items with replacement.
        seed: Same seed, same intervals.

    Returns:
        The low and the high ends, (C,) each.
    """
    low, high = np.percentile(_figures(sample, statistic, draws, seed), [2.5, 97.5], axis=0)
    return np.asarray(low), np.asarray(high)


def paired_difference(a: ArrayLike, b: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """The difference of two models' mean figure on the same rows, averaged over seeds first.

    Args:
        a: (N,) or (seeds, N) figure of each row, more is better.
        b: The same rows of the other model; its number of seeds may differ.
        draws: Resamples of the N rows.
        seed: Same seed, same interval.

    Raises:
        DataError: if there is no row.
        ShapeError: if the two do not hold the same rows.
    """
    left, right = (np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (a, b))
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ShapeError(
            "A paired difference needs the same rows on both sides", got=f"{np.shape(a)} and {np.shape(b)}"
        )
    per_row = left.mean(axis=0) - right.mean(axis=0)
    return _difference(group(per_row), mean_of(per_row.size), draws, seed)


def paired_statistic_difference(
    a: Sequence[ArrayLike | Sample],
    b: Sequence[ArrayLike | Sample],
    statistic: Statistic,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """The difference of a figure of the whole set (macro F1, BLEU, nats a token) between two models.

    Every draw takes the same rows for all seeds of both models; the figure is averaged over seeds.

    Args:
        a: Each seed's (N, K) sufficient statistics, or Sample.
        b: The same for the other model.
        statistic: (draws, K) sums -> (draws,) figures, more is better.
        draws: Resamples of the N rows.
        seed: Same seed, same interval.

    Raises:
        DataError: if there is no row, or no seed.
        ShapeError: if they do not hold the same number of rows.
    """
    if not a or not b:
        raise DataError("A paired difference needs at least one seed on both sides", got=f"{len(a)} and {len(b)}")
    sides = [[side if isinstance(side, Sample) else group(side) for side in part] for part in (a, b)]
    joint, widths = _joined([*sides[0], *sides[1]])

    def gap(sums: Floats) -> Floats:
        figures = np.stack([statistic(part) for part in np.split(sums, widths, axis=1)])
        return np.asarray(figures[: len(a)].mean(axis=0) - figures[len(a) :].mean(axis=0))

    return _difference(joint, gap, draws, seed)


def _joined(samples: list[Sample]) -> tuple[Sample, list[int]]:
    """One sample whose K sums stand side by side, and where to split them again."""
    sizes = {len(sample.kinds) for sample in samples}
    if len(sizes) != 1:
        raise ShapeError("A paired difference needs the same rows on both sides", got=f"{sorted(sizes)} rows")
    kinds, which = np.unique(np.stack([sample.kinds for sample in samples], axis=1), axis=0, return_inverse=True)
    blocks = [csr_array(sample.values[kinds[:, place]]) for place, sample in enumerate(samples)]
    widths = np.cumsum([block.shape[1] for block in blocks])[:-1].tolist()
    return Sample(which.reshape(-1).astype(np.int64), csr_array(hstack(blocks))), widths


def _difference(sample: Sample, statistic: Statistic, draws: int, seed: int) -> Difference:
    observed = float(statistic(sample.sums())[0])
    drawn = _figures(sample, statistic, draws, seed)
    low, high = (float(edge) for edge in np.percentile(drawn, [2.5, 97.5]))
    far = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no difference"
    return Difference(observed, low, high, min(1.0, 2 * (far + 1) / (draws + 1)), verdict)


def _figures(sample: Sample, statistic: Statistic, draws: int, seed: int) -> Floats:
    """(draws,) figures of resamples, in blocks that hold at most about CELLS_AT_ONCE numbers."""
    if draws < 1:
        raise DataError("A bootstrap needs at least one draw", got=str(draws))
    return np.concatenate([statistic(np.asarray(counts @ sample.values)) for counts in _counts(sample, draws, seed)])


def _counts(sample: Sample, draws: int, seed: int) -> Iterator[Floats]:
    """Yield (d, G) counts of each kind among N items taken with replacement; the blocks do not change the draws."""
    generator = np.random.default_rng(seed)
    items, (kinds, sums) = len(sample.kinds), sample.values.shape
    block = max(1, CELLS_AT_ONCE // max(items, kinds, sums))
    for start in range(0, draws, block):
        d = min(block, draws - start)
        taken = sample.kinds[generator.integers(0, items, size=(d, items))]  # (d, N)
        taken += np.arange(d)[:, None] * kinds
        yield np.bincount(taken.reshape(-1), minlength=d * kinds).reshape(d, kinds).astype(np.float64)
