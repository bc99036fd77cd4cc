"""What a person should look at: the stages that doubt rows, in order.

cleaned rows --contradictions--lost signs--unclosed reasoning--slips in labels--> doubts; a row may have several
             --outliers--label errors--lengths--language-->           where the recipe asks for them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tuneloop.records import Doubt, Row
from tuneloop.rows.contradictions import doubts_of_conflicts
from tuneloop.rows.labels import slip_doubts
from tuneloop.rows.near_duplicates import LabelConflict
from tuneloop.rows.repair_encoding import lost_doubts
from tuneloop.rows.repair_think import unclosed_doubts
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.stage import quiet
from tuneloop.sections import Clean


def doubts_of(
    rows: Sequence[Row], conflicts: Sequence[LabelConflict], *, clean: Clean, seed: int,
    figures: dict[str, Any] | None = None, tell: Callable[[str], None] = quiet, room: Room = MEMORY,
) -> list[Doubt]:  # fmt: skip
    """The doubts of all stages that the recipe switches on, stage after stage.

    Args:
        rows: The cleaned training rows, duplicates gone: they would vouch for each other.
        conflicts: From the search for near duplicates.
        clean: Which stages.
        seed: Of the folds that label errors are judged by.
        figures: Where stages put what they measured, for the report; None: nobody asks.
        tell: Takes what a stage has to say about the set as a whole.
        room: Keeps what a long stage found.
    """
    found = doubts_of_conflicts(rows, conflicts)
    if clean.repair_encoding:
        found += lost_doubts(rows)
    if clean.repair_think:
        found += unclosed_doubts(rows)
    if clean.repair_labels:
        found += slip_doubts(rows)
    if clean.outliers is not None:
        from tuneloop.rows.outliers import NoiseScores, noise_doubts, noise_figures, noise_scores_of_blocks
        from tuneloop.rows.texts import blocks_of, row_text

        blocks = lambda: blocks_of(row_text(row) for row in rows)  # noqa: E731
        scores = NoiseScores(**room.arrays("noise", lambda: dict(vars(noise_scores_of_blocks(blocks)))))
        found += noise_doubts(rows, scores, review_below=clean.outliers.review_below)
        if 0 < (few := int((~scores.judged).sum())) < len(rows):
            tell(f"outliers: {few} rows are in scripts that too few others have to tell noise from them; none waits")
        if figures is not None:
            figures["noise"] = noise_figures(scores, review_below=clean.outliers.review_below)
    if clean.label_errors:
        from tuneloop.rows.label_errors import label_doubts

        found += label_doubts(rows, seed=seed, tell=tell)
    if clean.lengths:
        from tuneloop.rows.lengths import length_doubts

        found += length_doubts(rows)
    if clean.language:
        from tuneloop.rows.language import language_doubts

        found += language_doubts(rows)
    return found
