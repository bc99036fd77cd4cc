"""Who tells whether a row that augmentation changed keeps its label: the floor, taught the training rows as they stand.

    training rows --every k-th, FIT_ROWS at most--> TF-IDF -> LinearSVC     texts in, labels out

It has read the originals and none of the new texts. So it is lenient: of 770 rows of banking77 with synonyms and slips
all keep their label at the default rates, and 98 % at rates of 0.5. To judges that learnt from the other half of these
rows it is 93 % and 80 % (a trial by hand): they know too little, and would warn of what is right. So a low share of
kept labels is a fault, and a high one no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuneloop.augment.report import Judge
from tuneloop.errors import DataError
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.score.floor import fit_floor

FIT_ROWS = 10_000
"""Rows that the judge learns from at most; 10 s for 77 classes on a busy core."""
FEWEST_ROWS = 50
"""Of fewer, a single one that loses its label would be more than is allowed."""
FEWEST_OF_A_CLASS = 5
"""Rows that a class needs on average."""
KEPT_FROM = 0.97
"""Share of the rows that must keep their label, or the run warns."""


def judge_of(recipe: Recipe, rows: Sequence[Row]) -> Judge | None:
    """Who tells whether augmented rows keep their label; None where nothing is augmented, or nobody can tell.

    Args:
        recipe: Its task and its section augment decide.
        rows: The training rows.
    """
    asked = recipe.task.type == "classification" and (recipe.augment.drawn or recipe.augment.made)
    return label_judge(rows) if asked else None


def label_judge(rows: Sequence[Row]) -> Judge | None:
    """A judge of labels that learnt from training rows; None where they are too few to learn from.

    Args:
        rows: Training rows; those without a single label do not count.
    """
    labelled = [row for row in rows if isinstance(row.label, str)]
    labels = {str(row.label) for row in labelled}
    if len(labelled) < max(FEWEST_ROWS, FEWEST_OF_A_CLASS * len(labels)):
        return None
    some = labelled[:: -(-len(labelled) // FIT_ROWS)]
    try:
        floor = fit_floor([row.question for row in some], [str(row.label) for row in some])
    except DataError:  # one class, or no words: augmentation never stops a run
        return None
    return lambda texts: floor(list(texts)).texts


def labels_told(found: dict[str, Any]) -> str:
    """What the judge says, in a sentence.

    Args:
        found: From `augment.report.label_preservation`.
    """
    judge = "a judge (TF-IDF and a linear classifier that learnt from the rows as they stand)"
    if not found["judged"]:
        return f"{judge} gets no original right, so whether labels are kept is not known"
    return (
        f"of {found['judged']:,} rows whose original {judge} gets right, {found['kept']:,} ({found['share']:.1%}) keep "
        f"their label in other words; of the {found['changed']:,} that differ, {found['changed_kept']:,}"
    )
