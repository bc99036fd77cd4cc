"""Whether rows can teach what a recipe asks.

splits, cleaned rows --> an error, where they never could
Prepared --untrainable--> an error for whoever wants to train now; rows that wait or were dropped are written all the
    same, so that people can look at them and decide
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuneloop.errors import DataError
from tuneloop.recipe import Recipe
from tuneloop.records import Row, Split
from tuneloop.rows.split import SPLITS, Splits
from tuneloop.sections import STAGES

if TYPE_CHECKING:
    from tuneloop.rows.prepare import Prepared

FIXES = {
    "leak": "Name other files for validation and test: these hold the training rows",
    "near_leak": "Name other files for validation and test, or see clean.near_duplicates: these nearly hold the "
    "training rows",
    "read": "Mend the rows in their file",
    "review": "Take decisions back with `tuneloop review {name}`, or bring more rows",
}
"""Stage that drops rows and is no key of `clean` -> what to do where it drops too many."""


def refuse_empty_split(splits: Splits, recipe: Recipe) -> None:
    """Refuse a split that leaves a side without a row.

    Args:
        splits: As the rows were split; bad training rows count, since they may be mended.
        recipe: What asked for it.

    Raises:
        DataError: naming the side.
    """
    rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    total = sum(map(len, rows.values())) + sum(map(len, splits.bad.values()))
    for split in SPLITS:
        if rows[split] or (split == "train" and splits.bad[split]):
            continue
        bad = len(splits.bad[split])
        got = f"{split} = {getattr(recipe.data, split)}, of {total} rows" + (f", {bad} of them bad rows" if bad else "")
        fix = f"Make the share data.{split} larger, or name a file of its own"
        if split == "train":
            fix = "Make data.validation and data.test smaller"
        raise DataError(f"The {split} side of the split has no row", got=got, fix=fix)


def refuse_one_class(rows: Sequence[Row]) -> set[str]:
    """The labels of cleaned training rows, of which nobody took any out yet.

    Raises:
        DataError: if there is but one.
    """
    labels = {label for row in rows for label in row.labels}
    if len(labels) == 1:
        raise DataError(
            "The training rows have one class only", got=f"{labels.pop()!r} in all {len(rows)} rows",
            allowed="two classes or more", fix="Check data.columns.label and data.where",
        )  # fmt: skip
    return labels


def unknown_labels(sides: Mapping[Split, Sequence[Row]], labels: Sequence[str]) -> list[str]:
    """One warning for each held-out side with labels that training lacks."""
    warnings: list[str] = []
    for split, unknown, rows in _unknown(sides, labels):
        if rows:
            warnings.append(
                f"{rows} of {len(sides[split])} {split} rows have a label that the training rows lack, "
                f"and count as wrong: {listed(unknown)}"
            )
    return warnings


def lacking(sides: Mapping[Split, Sequence[Row]], labels: Sequence[str]) -> DataError | None:
    """The error where most rows of a held-out side have a label that training lacks, else None."""
    for split, unknown, rows in _unknown(sides, labels):
        if rows > len(sides[split]) / 2:
            trained = ", ".join(map(repr, labels[:8])) + (", ..." if len(labels) > 8 else "")
            return DataError(
                f"Training lacks the labels of {rows} of the {len(sides[split])} {split} rows",
                got=f"{listed(unknown)} in {split}, {trained} in train",
                fix=f"Check that data.columns.label names the right column, and that data.{split} is of the same task",
            )
    return None


def _unknown(sides: Mapping[Split, Sequence[Row]], labels: Sequence[str]) -> list[tuple[Split, Counter[str], int]]:
    """(side, unknown label -> rows, rows that have one) of the held-out sides."""
    known, held_out = set(labels), [split for split in SPLITS if split != "train"]
    return [
        (
            split,
            Counter(label for row in sides[split] for label in row.labels if label not in known),
            sum(any(label not in known for label in row.labels) for row in sides[split]),
        )
        for split in held_out
    ]


def thin_classes(train: Sequence[Row]) -> list[str]:
    """A warning that names the classes with one training row; [] where there are none.

    Args:
        train: The training rows.
    """
    counts = Counter(label for row in train for label in row.labels)
    thin = sorted(label for label, count in counts.items() if count == 1)
    warnings: list[str] = []
    if thin:
        shown = ", ".join(map(repr, thin[:10])) + (", ..." if len(thin) > 10 else "")
        warnings.append(
            f"{len(thin)} of {len(counts)} classes have one training row, too few to learn from; slips? {shown}"
        )
    return warnings


def untrainable(prepared: Prepared, recipe: Recipe) -> DataError | None:
    """Why the rows cannot be trained on as they are now, with the way out; None where they can.

    Args:
        prepared: The rows.
        recipe: What they were made for.
    """
    side = prepared.report["counts"]["train"]
    waiting, lost = int(side["to review"]), dict(side["dropped"])
    fault: DataError | None = None
    if not prepared.train:
        fault = DataError("No row is left to train on", got=f"{side['in']} rows to train on came in")
    elif recipe.task.type == "classification" and len(prepared.labels) < 2:
        got = f"{', '.join(map(repr, prepared.labels))} in all {len(prepared.train)} rows"
        fault = DataError("The rows that are left to train on have one class only", got=got)
    elif recipe.task.type == "classification":
        fault = lacking({"validation": prepared.validation, "test": prepared.test}, prepared.labels)
    if fault is None:
        return None
    got = fault.got + (f"; dropped: {listed(lost)}" if lost else "")
    got += f"; waiting for review: {waiting}" if waiting else ""
    fix = f"Decide about the rows that wait: tuneloop review {recipe.name}"
    if not waiting:
        fix = _fix(next(iter(lost), ""), recipe.name)
    return DataError(fault.what, got=got, fix=fix)


def _fix(reason: str, name: str) -> str:
    """What to do where most rows were dropped for a reason of the funnel."""
    stage = reason.partition(":")[0]
    if stage in STAGES:
        return f"See clean.{stage} in the recipe, which dropped the most rows, and its examples in the report"
    return FIXES.get(stage, "Bring more rows").format(name=name)


def listed(counts: Mapping[str, int]) -> str:
    """The ten most frequent names with their counts."""
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} ({count})" for name, count in most[:10]) + (", ..." if len(most) > 10 else "")
