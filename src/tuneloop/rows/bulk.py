"""Where the bulk of a set's values ends, when up to a tenth of them may be strangers at the upper end.

The bulk's upper half is taken for a power of a half-normal, which spans light and heavy tails with two numbers:

    value = median + scale * z ** power        z: the normal score of the value's rank within the bulk

Both follow from two quantiles of the middle (the bulk's upper 30 % and 12 %), where few strangers reach. Their share is
what lies beyond the bulk's 99 % quantile in excess of the 1 % that belongs there; as the quantiles are those of the
bulk, the share is put in and the fit repeated until it stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError

Floats = NDArray[np.float64]

MOST_STRANGERS = 0.10
FIRST_GUESS = 0.05
"""Share of strangers to begin with. From 0, a tenth of strangers would be taken for the bulk's own tail."""
NEAR, FAR, END = (0.30, 0.524401), (0.12, 1.174987), (0.01, 2.326348)
"""Upper tails of the bulk and their normal scores: the two that are fitted, and the one beyond which is counted."""
POWERS = (0.5, 2.0)
"""Least and largest power: 1 is a normal bulk, about 1.3 an exponential one."""
_ROUNDS = 60


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


def fit_bulk(values: Floats, *, floor: float = 1e-3) -> Bulk:
    """Find the bulk of (N,) values of which more is worse.

    Args:
        values: Finite, at least one.
        floor: Least distance of the bulk's upper 12 % from its median, in the values' unit, > 0.

    Raises:
        DataError: if there is no value, or one is not finite.
    """
    ordered = _ordered(values)
    found = _fitted(ordered, FIRST_GUESS, floor)
    for _ in range(_ROUNDS):
        end = found.median + found.scale * END[1] ** found.power
        beyond = 1 - np.searchsorted(ordered, end, side="right") / len(ordered)
        share = min(max((float(beyond) - END[0]) / (1 - END[0]), 0.0), MOST_STRANGERS)
        if abs(share - found.strangers) < 1e-4:
            return _fitted(ordered, share, floor)
        found = _fitted(ordered, (found.strangers + share) / 2, floor)  # half of the way: no swinging to and fro
    return found


def linear_scores(values: Floats, *, floor: float) -> Floats:
    """Distance from the median, at the scale where the upper 12 % of the bulk has its normal score.

    For values that are nearly all the same but for some that are far off: they have no middle to fit a tail to.

    Args:
        values: (N,) finite, at least one.
        floor: Least distance of the bulk's upper 12 % from its median, in the values' unit, > 0.

    Raises:
        DataError: if there is no value, or one is not finite.
    """
    ordered = _ordered(values)
    median = float(np.median(ordered))
    far = max(_upper(ordered, FIRST_GUESS, FAR[0]) - median, floor)
    return np.asarray((values - median) / far * FAR[1])


def _ordered(values: Floats) -> Floats:
    if not len(values) or not np.isfinite(values).all():
        raise DataError("A bulk needs values, all of them finite", got=f"{len(values)} values")
    return np.sort(values)


def _fitted(ordered: Floats, strangers: float, floor: float) -> Bulk:
    median = _upper(ordered, strangers, 0.5)
    far = max(_upper(ordered, strangers, FAR[0]) - median, floor)
    near = max(_upper(ordered, strangers, NEAR[0]) - median, far * 1e-3)
    power = float(np.clip(np.log(far / near) / np.log(FAR[1] / NEAR[1]), *POWERS))
    return Bulk(median, far / FAR[1] ** power, power, strangers)


def _upper(values: Floats, strangers: float, tail: float) -> float:
    return float(np.quantile(values, 1 - (strangers + tail * (1 - strangers))))
