"""The training rows as examples: as they stand, joined by wordings of their own, and as each epoch draws them.

rows --encode--> examples + wordings that are rows --without those that teach nothing--> Training
                                                      epoch --augmentation--> fresh examples
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.augment.augmentation import Augmentation, augmentation_of
from tuneloop.augment.fresh import FreshExamples, encoded_rows
from tuneloop.augment.report import Judge, label_preservation, report
from tuneloop.augment.variants import Variants, appended, origin_of
from tuneloop.examples.encode import IGNORED, Example, check_trained
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.rows.prepare import Prepared

Encode = Callable[[Sequence[Row]], list[Example]]
"""N rows -> N examples, in their order."""
LOOKED_AT = 1000
"""Training rows whose first epoch is looked at, to say what augmentation does to them."""


@dataclass(frozen=True)
class Training:
    """What a model is trained on.

    Attributes:
        examples: Of the rows that teach something, wordings that are rows of their own last.
        facts: What `check_trained` counted, over all rows.
        fresh: (indexes of examples, epoch) -> the examples as this epoch shows them; None: as they stand.
        augment: What augmentation does (`augment.report.report` of the first rows), `added`, the wordings that are
            rows of their own, and with a judge `labels` (`label_figures`); {} where there is none.
    """

    examples: list[Example]
    facts: dict[str, Any]
    fresh: Callable[[Sequence[int], int], list[Example]] | None
    augment: dict[str, Any]


def training_examples(
    recipe: Recipe, prepared: Prepared, encode: Encode, home: Path, variants: Variants | None = None,
    judge: Judge | None = None,
) -> Training:  # fmt: skip
    """Encode the training rows and what augmentation makes of them.

    A wording that cannot be encoded, or that the cut at max_length takes an end from which the original keeps, is no
    row of its own: augmentation never stops a run and never cuts an answer.

    Args:
        recipe: Its sections task and augment, and the seed.
        prepared: The rows.
        encode: How rows are encoded.
        home: Where the recipe's relative paths start.
        variants: The wordings that were made once; None before.
        judge: Tells whether a row keeps its label in other words; None: not measured.

    Raises:
        DataError: if nothing would be trained, or the user's table of synonyms cannot be read.
    """
    rows, examples = list(prepared.train), encode(prepared.train)
    made, not_used = (variants.rows, dict(variants.skipped)) if variants else ([], {})
    whole = {example.row_id for example in examples if not example.truncated}
    more = appended([], made, recipe.augment)
    for row, example in zip(more, encoded_rows(more, encode), strict=True):
        method, origin = origin_of(row) or ("", "")
        if example is None or (example.truncated and origin in whole):
            why = "longer than data.max_length" if example else "cannot be written for this model"
            not_used[method, why] = not_used.get((method, why), 0) + 1
        else:
            rows.append(row)
            examples.append(example)
    wordings = rows[len(prepared.train) :]
    facts = check_trained(examples, recipe.task.type)

    def teaches(example: Example) -> bool:
        return recipe.task.type == "classification" or any(label != IGNORED for label in example.labels[1:])

    kept = [place for place, example in enumerate(examples) if teaches(example)]
    rows, examples = [rows[place] for place in kept], [examples[place] for place in kept]
    augment = recipe.augment
    if not (augment.drawn or augment.made):
        return Training(examples, facts, None, {})
    how = augmentation_of(
        augment, task=recipe.task.type, seed=recipe.seed, labels=prepared.labels, variants=made, folder=home
    )
    fresh = FreshExamples(rows, examples, how, encode, teaches=teaches) if augment.dynamic else None
    told = report(prepared.train[:LOOKED_AT], how, variants=made, skipped=not_used) | {"added": len(wordings)}
    if judge is not None:
        told["labels"] = label_figures(prepared.train, wordings, how, judge)
    return Training(examples, facts, fresh, told)


def label_figures(
    rows: Sequence[Row], wordings: Sequence[Row], augmentation: Augmentation, judge: Judge
) -> dict[str, Any]:
    """How many of the first LOOKED_AT rows keep their label as the first epoch shows them (see `label_preservation`).

    Args:
        rows: The training rows.
        wordings: Those that are rows of their own; each is held against the row that it was made of.
        augmentation: What changes them all.
        judge: Texts -> labels.
    """
    looked = {row.id: row for row in rows[:LOOKED_AT]}
    pairs = [(row, augmentation.augmented(row, 0)) for row in looked.values()]
    for wording in wordings:
        _, origin = origin_of(wording) or ("", "")
        if origin in looked:
            pairs.append((looked[origin], augmentation.augmented(wording, 0)))
    return label_preservation(pairs, judge)
