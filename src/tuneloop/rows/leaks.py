"""Leaks: training rows that stand on a held-out side too, word for word, nearly, or by their group.

    train, validation, test  ->  the training rows that stay, and those that go, each naming what it repeats

A model is not tested by what it was taught. Held-out rows are never taken out: they are what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import DataError
from tuneloop.records import Dropped, Row, Split
from tuneloop.rows.clean import asked_key, normalised
from tuneloop.rows.digests import digests, numbered
from tuneloop.rows.read import Reading
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.split import Splits, group_of, raw_key
from tuneloop.rows.stage import dropped_row
from tuneloop.shelf import Store, select


@dataclass(frozen=True)
class Sealed:
    """Training rows of which none stands on a held-out side, and those that did; both add up to what went in."""

    rows: Sequence[Row]
    dropped: Sequence[Dropped]


def without_leaks(
    train: Sequence[Row], splits: Splits, readings: dict[Split, Reading], group_by: str | None, room: Room = MEMORY
) -> Sealed:
    """Take out training rows that ask what a validation or test row asks, or are of a group that stands there.

    Compared are normalised questions; of held-out rows also as the repairs would write them, which training rows went
    through.

    Args:
        train: The cleaned training rows.
        splits: All sides.
        readings: What the sides came from.
        group_by: As in the recipe.
        room: Where dropped rows are kept.
    """
    held_out = _HeldOut(splits)
    where = _asked_in(train, held_out)
    groups: dict[str, str] = {}
    of_train = group_of(readings["train"], group_by) if group_by else None
    for split, rows in held_out.sides:
        group = _group_of_side(split, readings, group_by) if of_train else None
        if group is not None:
            groups |= {value: split for row in rows if (value := group(row)) is not None}
    stay: list[int] = []
    leaked: Store[Dropped] = room.store()
    for place, (row, twin) in enumerate(zip(train, where.tolist(), strict=True)):
        value = of_train(row) if of_train else None
        if twin >= 0:
            source = held_out[twin].source
            reason = f"its text also stands in {held_out.split(twin)} ({source})"
            leaked.append(dropped_row(row, "leak", reason, source))
        elif value is not None and value in groups:
            leaked.append(dropped_row(row, "leak", f"its group ({group_by}) also stands in {groups[value]}"))
        else:
            stay.append(place)
    return Sealed(select(train, np.array(stay, dtype=np.int64)), leaked)


class _HeldOut(Sequence[Row]):
    """The validation and the test rows, one behind the other."""

    def __init__(self, splits: Splits) -> None:
        self.sides: tuple[tuple[Split, Sequence[Row]], ...] = (
            ("validation", splits.validation), ("test", splits.test),
        )  # fmt: skip

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.sides)

    def __iter__(self) -> Iterator[Row]:
        return (row for _, rows in self.sides for row in rows)

    def __getitem__(self, place: Any) -> Any:
        split, rest = self._find(place)
        return dict(self.sides)[split][rest]

    def split(self, place: int) -> Split:
        """The side of a row."""
        return self._find(place)[0]

    def _find(self, place: int) -> tuple[Split, int]:
        first = len(self.sides[0][1])
        return (self.sides[0][0], place) if place < first else (self.sides[1][0], place - first)


def _asked_in(train: Sequence[Row], held_out: _HeldOut) -> NDArray[np.int64]:
    """(N,) the place of the last held-out row that asks the same, -1 where none does."""
    there = digests(written for row in held_out for written in (normalised(raw_key(row)), asked_key(row)))
    ours, theirs = numbered(digests(normalised(raw_key(row)) for row in train), there)
    last = np.full(int(max(ours.max(initial=-1), theirs.max(initial=-1))) + 1, -1, dtype=np.int64)
    np.maximum.at(last, theirs, np.arange(len(theirs)) // 2)
    return last[ours]


def _group_of_side(
    split: Split, readings: dict[Split, Reading], group_by: str | None
) -> Callable[[Row], str | None] | None:
    """The group function of a held-out side; None where its file has no such column."""
    try:
        return group_of(readings.get(split, readings["train"]), group_by or "")
    except DataError:
        return None


def without_near_leaks(
    train: Sequence[Row], splits: Splits, threshold: float, *, workers: int | None = None, room: Room = MEMORY
) -> Sealed:
    """Take out training rows that ask nearly what a validation or test row asks.

    Args:
        train: Training rows, exact leaks out already.
        splits: All sides.
        threshold: Jaccard over character n-grams of the normalised questions from which two ask the same.
        workers: Threads; None: as many as there are cores.
        room: Where texts and dropped rows are kept.
    """
    from tuneloop.rows.near import jaccards
    from tuneloop.rows.near_duplicates import near_in

    held_out = _HeldOut(splits)
    texts: Store[str] = room.store()
    texts.extend(asked_key(row) for rows in (train, held_out) for row in rows)
    nearest: dict[int, tuple[float, int]] = {}
    for members in near_in(texts, threshold, workers=workers, room=room).clusters:
        here = [place for place in members if place < len(train)]
        there = [place for place in members if place >= len(train)]
        if not here or not there:
            continue
        pairs = np.array([(one, other) for one in here for other in there], dtype=np.int64)
        similar = jaccards(texts, pairs[:, 0], pairs[:, 1], workers=workers).tolist()
        for (one, other), jaccard in zip(pairs.tolist(), similar, strict=True):
            if jaccard >= threshold and jaccard > nearest.get(one, (0.0, 0))[0]:
                nearest[one] = (jaccard, other - len(train))
    leaked: Store[Dropped] = room.store()
    for place in sorted(nearest):
        jaccard, other = nearest[place]
        twin = held_out[other].source
        reason = f"nearly the same stands in {held_out.split(other)} ({twin}; Jaccard {min(jaccard, 0.99):.2f})"
        leaked.append(dropped_row(train[place], "near_leak", reason, twin))
    stay = np.ones(len(train), dtype=bool)
    stay[list(nearest)] = False
    return Sealed(select(train, np.flatnonzero(stay)), leaked)
