"""Rows far longer or shorter than the rest of their set: by the median and the median deviation of the log length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneloop.errors import RecipeError
from tuneloop.records import Doubt, Row
from tuneloop.rows.texts import row_text

STAGE = "lengths"
LEAST_DEVIATION = 0.25
"""Of the log length: in a set whose rows are all about as long, a row a quarter longer is still an ordinary one."""
NORMAL = 1.4826
"""What turns a median deviation into a standard deviation of a normal distribution."""
SHORTEST_LONG = 200
"""Characters: no row below this is called too long."""


def length_doubts(rows: Sequence[Row], *, deviations: float = 5.0) -> list[Doubt]:
    """Rows whose log length is more than `deviations` robust standard deviations from the set's median.

    Lengths are in Unicode code points of the whole row. The score is `deviations` by how many there were, so below 1.

    Args:
        rows: All rows of the set.
        deviations: > 0; at 5, one normal row in a million is doubted.

    Raises:
        RecipeError: if `deviations` is not above 0.
    """
    if not deviations > 0:
        raise RecipeError("lengths: deviations must be above 0", got=str(deviations))
    if not rows:
        return []
    lengths = np.array([len(row_text(row)) for row in rows])
    logs = np.log1p(lengths)
    median = np.median(logs)
    deviation = max(NORMAL * float(np.median(np.abs(logs - median))), LEAST_DEVIATION)
    away = (logs - median) / deviation
    usual, found = round(float(np.expm1(median))), list[Doubt]()
    for place in np.flatnonzero(np.abs(away) > deviations).tolist():
        length = int(lengths[place])
        if away[place] > 0 and length < SHORTEST_LONG:
            continue
        what = "long" if away[place] > 0 else "short"
        reason = f"very {what}: {length:,} characters, {usual:,} are usual in this set"
        row, score = rows[place], deviations / abs(float(away[place]))
        found.append(Doubt(row.id, row.source, STAGE, reason, score))
    return found
