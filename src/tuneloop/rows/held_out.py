"""Held-out rows under the names that training rows have for columns and labels. Nothing else of them ever changes.

A row of validation or test whose column is called `query` where the others have `question`, or whose label is written
`Refund ` where training has `refund`, would not be read, or could only count as wrong. Names are no content: they are
read as the training rows' repairs read them, learnt there, and counted. Texts are never repaired: what the model is
scored on is what it will meet.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from tuneloop.records import Repair, Row, Split
from tuneloop.rows.labels import STAGE as LABELS
from tuneloop.rows.labels import reader_of, renamed
from tuneloop.rows.personal_data import holds_personal_data
from tuneloop.rows.read import Reading, source_place
from tuneloop.rows.repair_columns import columns_beside, read_under_other_names
from tuneloop.rows.repair_html import STAGE as HTML
from tuneloop.rows.repair_html import remains
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.split import Splits
from tuneloop.sections import Clean
from tuneloop.shelf import Store

HELD_OUT: tuple[Split, ...] = ("validation", "test")


def named_columns(
    splits: Splits, readings: Mapping[Split, Reading], clean: Clean, room: Room = MEMORY
) -> tuple[Splits, list[str]]:
    """The sides with the held-out rows that only had other names for their columns, and a line for each side.

    Args:
        splits: As the rows were split.
        readings: Side -> what its rows came from; a share comes from the training rows' one.
        clean: Whether columns are repaired.
        room: Where sides are kept.
    """
    said: list[str] = []
    for split in HELD_OUT if clean.repair_columns else ():
        reading = readings.get(split, readings["train"])
        rows, bad = read_under_other_names(splits.bad[split], reading.parse, columns_beside(reading.rows))
        if rows:
            side = _side(splits, split)
            order = {file: place for place, file in enumerate(dict.fromkeys(map(_file, chain(side, rows))))}
            both: Store[Row] = room.store()
            both.extend(heapq.merge(side, rows, key=lambda row: source_place(row.source, order)))
            splits = replace(_with(splits, split, both), bad=splits.bad | {split: bad})
            said.append(f"{len(rows)} {split} rows have another name for a column, and are read by it")
    return splits, said


def named_labels(
    splits: Splits, train: Iterable[Row], repairs: Iterable[Repair], clean: Clean, room: Room = MEMORY
) -> tuple[Splits, list[str]]:
    """The sides with held-out labels written as the training rows write them, and a line for each side.

    Args:
        splits: As the rows were split.
        train: The cleaned training rows.
        repairs: What was mended in them.
        clean: Whether labels are repaired.
        room: Where sides are kept.
    """
    said: list[str] = []
    known = training_names(train, repairs, clean)
    for split in HELD_OUT:
        if known is None:
            break
        new, told = with_labels(_side(splits, split), split, known, room)
        if told:
            splits = _with(splits, split, new)
            said.append(told)
    return splits, said


def training_names(train: Iterable[Row], repairs: Iterable[Repair], clean: Clean) -> Callable[[str], str] | None:
    """A function from a label to the training rows' spelling of it; None where labels are not repaired, or are none.

    Args:
        train: The cleaned training rows.
        repairs: What was mended in them.
        clean: Whether labels are repaired.
    """
    labels = {label for row in train for label in row.labels}
    if not (clean.repair_labels and labels):
        return None
    return reader_of(labels, {repair.before: repair.after for repair in repairs if repair.stage == LABELS})


def with_labels(
    rows: Sequence[Row], name: str, known: Callable[[str], str], room: Room = MEMORY
) -> tuple[Sequence[Row], str]:
    """Rows with labels as training rows write them, and a line that says what was read otherwise; "" where nothing was.

    Args:
        rows: Not of training.
        name: What they are called.
        known: Label -> the training rows' spelling.
        room: Where changed rows are kept.
    """
    given = {label for row in rows for label in row.labels}
    other = {one: spelt for one in given if (spelt := known(one)) != one}
    changed = Counter(label for row in rows for label in row.labels if label in other)
    if not changed:
        return rows, ""
    new: Store[Row] = room.store()
    new.extend(
        row.through(LABELS, label=renamed(row.label, other)) if any(one in other for one in row.labels) else row
        for row in rows
    )
    told = ", ".join(f"{one!r} as {other[one]!r} ({count})" for one, count in changed.most_common(10))
    return new, f"{sum(changed.values())} {name} labels are written otherwise in training, and read so: {told}"


def left_alone(splits: Splits, repairs: Iterable[Repair], clean: Clean) -> list[str]:
    """A line for each held-out side with HTML remains or personal data that training rows no longer have.

    Args:
        splits: As the rows were split.
        repairs: What was mended in training rows.
        clean: Whether personal data is masked.
    """
    said: list[str] = []
    html = any(repair.stage == HTML for repair in repairs)
    for split in HELD_OUT:
        side = _side(splits, split)
        if html and (count := sum(map(remains, side))):
            said.append(f"{split} rows with HTML remains, which are taken out of training rows alone: {count}")
        if clean.personal_data and (count := sum(map(holds_personal_data, side))):
            said.append(f"{split} rows with personal data, which is masked in training rows alone: {count}")
    return said


def _side(splits: Splits, split: Split) -> Sequence[Row]:
    return splits.validation if split == "validation" else splits.test


def _with(splits: Splits, split: Split, rows: Sequence[Row]) -> Splits:
    return replace(splits, validation=rows) if split == "validation" else replace(splits, test=rows)


def _file(row: Row) -> str:
    return row.source.rpartition(":")[0]
