"""Where the bulk of a set's values ends, when up to a tenth of them may be strangers at the upper end.

The bulk's upper half is taken for a power of a half-normal, which spans light and heavy tails with two numbers:

    value = median + scale * z ** power        z: the normal score of the value's rank within the bulk

Both follow from two quantiles of the middle (upper tail 25 % and 10 %), once the strangers are taken off. Their share is
what lies beyond the bulk's 99 % quantile in excess of the 1 % that belongs there; the quantiles are those of the bulk,
so the share is put in and the fit repeated until it stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError

Floats = NDArray[np.float64]

MOST_STRANGERS = 0.10
NEAR, FAR, END = (0.25, 0.674490), (0.10, 1.281552), (0.01, 2.326348)
"""Upper tails of the bulk and their normal scores: the two that are fitted, and the one beyond which is counted."""
POWERS = (0.5, 3.0)
"""Least and largest power: 1 is a normal bulk, about 1.3 an exponential one."""
_ROUNDS = 50


@dataclass(frozen=True)
class Bulk:
    """The bulk of some values.

    Attributes:
        median: Of the bulk.
        scale: Above the median, in the values' unit; > 0.
        power: Of the normal score.
        strangers: Estimated share of values that are not of the bulk, in [0, MOST_STRANGERS].
    """

    median: float
    scale: float
    power: float
    strangers: float

    def normal_scores(self, values: Floats) -> Floats:
        """Each value as the normal score that its place in the bulk has; far above 3 is a stranger."""
        away = (values - self.median) / self.scale
        return np.asarray(np.sign(away) * np.abs(away) ** (1 / self.power))

    def upper_quantile(self, values: Floats, tail: float) -> float:
        """The value that a share `tail` of the bulk lies above, read off the values themselves."""
        return _upper(values, self.strangers, tail)


def fit_bulk(values: Floats, *, floor: float = 1e-6) -> Bulk:
    """Find the bulk of (N,) values of which more is worse.

    Args:
        values: Finite, at least one.
        floor: Least scale, in the values' unit; where most values are equal there is none to be measured.

    Raises:
        DataError: if there is no value, or one is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise DataError("A bulk needs values, all of them finite", got=f"{len(values)} values")
    ordered = np.sort(values)
    found = Bulk(0.0, 1.0, 1.0, 0.0)
    for _ in range(_ROUNDS):
        found = _fitted(ordered, found.strangers, floor)
        end = found.median + found.scale * END[1] ** found.power
        beyond = 1 - np.searchsorted(ordered, end, side="right") / len(ordered)
        share = min(max((float(beyond) - END[0]) / (1 - END[0]), found.strangers), MOST_STRANGERS)
        if share - found.strangers < 1e-4:
            break
        found = Bulk(found.median, found.scale, found.power, share)
    return found


def _fitted(ordered: Floats, strangers: float, floor: float) -> Bulk:
    median = _upper(ordered, strangers, 0.5)
    far = max(_upper(ordered, strangers, FAR[0]) - median, floor)
    near = max(_upper(ordered, strangers, NEAR[0]) - median, far * 1e-3)
    power = float(np.clip(np.log(far / near) / np.log(FAR[1] / NEAR[1]), *POWERS))
    return Bulk(median, far / FAR[1] ** power, power, strangers)


def _upper(values: Floats, strangers: float, tail: float) -> float:
    return float(np.quantile(values, 1 - (strangers + tail * (1 - strangers))))
