"""Leaks: training rows that stand on a held-out side too, word for word, nearly, or by their group.

    train, validation, test  ->  the training rows that stay, and those that go, each naming what it repeats

A model is not tested by what it was taught. Held-out rows are never taken out: they are what is scored.
"""

from __future__ import annotations

from collections.abc import Callable

from tuneloop.errors import DataError
from tuneloop.records import Dropped, Row, Split
from tuneloop.rows.clean import dropped_row, mended_text, normalised
from tuneloop.rows.read import Reading
from tuneloop.rows.split import Splits, group_of, raw_key


def without_leaks(
    train: list[Row], splits: Splits, readings: dict[Split, Reading], group_by: str | None
) -> tuple[list[Row], list[Dropped]]:
    """Take out training rows that ask what a validation or test row asks, or are of a group that stands there.

    Compared are normalised questions; of held-out rows also as the encoding repair would write them, which training
    rows went through.

    Args:
        train: The cleaned training rows.
        splits: All sides.
        readings: What the sides came from.
        group_by: As in the recipe.

    Returns:
        The rows that stay, and those that go.
    """
    asked: dict[str, tuple[str, str]] = {}
    groups: dict[str, str] = {}
    of_train = group_of(readings["train"], group_by) if group_by else None
    held_out: tuple[tuple[Split, list[Row]], ...] = (("validation", splits.validation), ("test", splits.test))
    for split, rows in held_out:
        for row in rows:
            key = raw_key(row)
            asked[normalised(key)] = asked[normalised(mended_text(key))] = split, row.source
        group = _group_of_side(split, readings, group_by) if of_train else None
        if group is not None:
            groups |= {value: split for row in rows if (value := group(row)) is not None}
    stay: list[Row] = []
    leaked: list[Dropped] = []
    for row in train:
        where = asked.get(normalised(raw_key(row)))
        value = of_train(row) if of_train else None
        if where is not None:
            side, twin = where
            leaked.append(dropped_row(row, "leak", f"its text also stands in {side} ({twin})", twin))
        elif value is not None and value in groups:
            leaked.append(dropped_row(row, "leak", f"its group ({group_by}) also stands in {groups[value]}"))
        else:
            stay.append(row)
    return stay, leaked


def _group_of_side(
    split: Split, readings: dict[Split, Reading], group_by: str | None
) -> Callable[[Row], str | None] | None:
    """The group function of a held-out side; None where its file has no such column."""
    try:
        return group_of(readings.get(split, readings["train"]), group_by or "")
    except DataError:
        return None


def without_near_leaks(
    train: list[Row], splits: Splits, threshold: float, *, workers: int | None = None
) -> tuple[list[Row], list[Dropped]]:
    """Take out training rows that ask nearly what a validation or test row asks.

    Args:
        train: Training rows, exact leaks out already.
        splits: All sides.
        threshold: Jaccard over character n-grams of the normalised questions from which two ask the same.
        workers: Threads; None: as many as there are cores.

    Returns:
        The rows that stay, and those that go.
    """
    import numpy as np

    from tuneloop.rows.near import jaccards, near_duplicates

    held_out = [("validation", row) for row in splits.validation] + [("test", row) for row in splits.test]
    texts = [normalised(mended_text(raw_key(row))) for row in [*train, *(row for _, row in held_out)]]
    nearest: dict[int, tuple[float, int]] = {}
    for members in near_duplicates(texts, threshold, workers=workers).clusters:
        here = [place for place in members if place < len(train)]
        there = [place for place in members if place >= len(train)]
        if not here or not there:
            continue
        pairs = np.array([(one, other) for one in here for other in there], dtype=np.int64)
        similar = jaccards(texts, pairs[:, 0], pairs[:, 1], workers=workers).tolist()
        for (one, other), jaccard in zip(pairs.tolist(), similar, strict=True):
            if jaccard >= threshold and jaccard > nearest.get(one, (0.0, 0))[0]:
                nearest[one] = (jaccard, other - len(train))
    stay: list[Row] = []
    leaked: list[Dropped] = []
    for place, row in enumerate(train):
        if place not in nearest:
            stay.append(row)
            continue
        jaccard, other = nearest[place]
        split, twin = held_out[other]
        reason = f"nearly the same stands in {split} ({twin.source}; Jaccard {min(jaccard, 0.99):.2f})"
        leaked.append(dropped_row(row, "near_leak", reason, twin.source))
    return stay, leaked
