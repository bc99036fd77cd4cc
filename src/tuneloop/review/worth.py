"""How much a decision is worth, so that a reviewer who has an hour spends it on the right rows.

    value of a doubt   v = weight of its stage x (1/2 + 1/2 rank of its score among the stage's doubts, in (0, 1])
    value of a row     V = 1 - product of (1 - v) over its doubts: what two stages doubt is doubted more
    worth              1 - (1 - V) ^ (rows that the answer settles x (1 + 1 / sqrt(rows of its class)))

All lie in [0, 1]. The exponent counts rows as if each were a chance of its own to mend the set: an answer about twins
settles all of them, and a row of a class of n is missed by 1/sqrt(n) more, so that rare classes come earlier.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuneloop.records import Doubt


@dataclass(frozen=True)
class Weight:
    """How a stage's doubts count.

    Attributes:
        share: About how often a person changes or drops the row, in [0, 1].
        rising: Whether a higher score makes the answer worth more. Outliers are scored below a boundary, so the
            higher ones are the less certain: a person decides those best. Extreme lengths and the plausibility of
            labels fall: the farther out, the surer.
    """

    share: float
    rising: bool = True


WEIGHTS: dict[str, Weight] = {
    "label_errors": Weight(0.9, rising=False),
    "near_duplicates": Weight(0.8),
    "personal_data": Weight(0.6),
    "outliers": Weight(0.4),
    "relevance": Weight(0.4),
    "language": Weight(0.3, rising=False),
    "lengths": Weight(0.3, rising=False),
}
"""By stage; what is not listed counts as `OTHER`."""

OTHER = Weight(0.5)


def values(doubts: Sequence[Doubt]) -> list[float]:
    """The value of each doubt, in (0, 1); equal scores of a stage share the middle of their ranks.

    Args:
        doubts: All doubts of a set: the ranks are among them. A score that is no number counts as the middle.
    """
    scores: dict[str, list[float]] = {}
    for doubt in doubts:
        if not math.isnan(doubt.score):
            scores.setdefault(doubt.stage, []).append(doubt.score)
    for ranked in scores.values():
        ranked.sort()
    found: list[float] = []
    for doubt in doubts:
        ranked, weight, rank = scores.get(doubt.stage, []), WEIGHTS.get(doubt.stage, OTHER), 0.5
        if not math.isnan(doubt.score):
            below, upto, count = bisect_left(ranked, doubt.score), bisect_right(ranked, doubt.score), len(ranked)
            middle = (below + upto + 1) / 2  # of the ranks, from 1, that equal scores share
            rank = (middle if weight.rising else count + 1 - middle) / count
        found.append(weight.share * (0.5 + 0.5 * rank))
    return found


def worth_of(doubts: Iterable[float], *, settles: int, class_rows: int) -> float:
    """What an answer about one row is worth, in [0, 1].

    Args:
        doubts: The values of the row's doubts.
        settles: Rows that the answer settles: those of the same content, and the twins that wait, at least 1.
        class_rows: Rows of the row's class, the rarest of several; 0 for a row without a class, which counts as common.
    """
    untouched = math.prod(1 - value for value in doubts)
    rare = 1 / math.sqrt(class_rows) if class_rows else 0.0
    return 1 - untouched ** (settles * (1 + rare))


def rarest(label: str | list[str] | None, counts: Mapping[str, int]) -> int:
    """Rows of a label's class, of the rarest where there are several; 0 where there is none."""
    labels = label if isinstance(label, list) else [] if label is None else [label]
    return min((counts[name] for name in labels if name in counts), default=0)
