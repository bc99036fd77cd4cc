"""Rows that a person edited, held to what every training row is held to: an edit may say what a test row says.

kept rows --edited ones alone: leaks--near leaks--personal data--exact duplicates--> kept rows, those dropped, repairs

A row that is masked here does not wait again: whoever edited it has decided about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tuneloop.recipe import Recipe
from tuneloop.records import Dropped, Repair, Row, Split
from tuneloop.review.apply import Reviewed
from tuneloop.rows.clean import content_key, said_before
from tuneloop.rows.leaks import without_leaks, without_near_leaks
from tuneloop.rows.personal_data import mask_rows
from tuneloop.rows.read import Reading
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.split import Splits
from tuneloop.shelf import Store


@dataclass(frozen=True)
class Checked:
    """Kept and dropped add up to the rows that people let in.

    Attributes:
        kept: The rows to train on, in their order.
        dropped: Edited ones that may not be trained on, each with its reason.
        repairs: What was masked in edited rows.
    """

    kept: Sequence[Row]
    dropped: Sequence[Dropped]
    repairs: Sequence[Repair]


def check_edits(
    reviewed: Reviewed, splits: Splits, readings: dict[Split, Reading], recipe: Recipe, room: Room = MEMORY
) -> Checked:
    """Put the rows that people edited through the stages that an edit can get around, where the recipe has them on.

    Of an edited row and another one that says the same the edited one goes; of two edited ones the later.

    Args:
        reviewed: The rows after the decisions.
        splits: All sides, under the names that training rows have.
        readings: What the sides came from.
        recipe: Its sections data and clean decide.
        room: Where rows are kept; the edited ones, which somebody wrote one by one, are in memory.
    """
    clean, kept = recipe.clean, reviewed.kept
    if not reviewed.edited:
        return Checked(kept, [], [])
    rows: Sequence[Row] = [kept[place] for place in reviewed.edited]
    sealed = without_leaks(rows, splits, readings, recipe.data.group_by, room)
    rows, dropped, repairs = sealed.rows, list(sealed.dropped), list[Repair]()
    if clean.near_duplicates:
        sealed = without_near_leaks(rows, splits, clean.near_duplicates.threshold, room=room)
        rows, dropped = sealed.rows, dropped + list(sealed.dropped)
    if clean.personal_data:
        masked = mask_rows(rows, room)
        rows, repairs = masked.rows, list(masked.repairs)
    edited, left = set(reviewed.edited), {row.source: row for row in rows}
    if clean.exact_duplicates:
        others = (row for place, row in enumerate(kept) if place not in edited)
        for row, original in _repeated(rows, others):
            dropped.append(said_before(row, original))
            del left[row.source]
    into: Store[Row] = room.store()
    into.extend(_in_place(kept, edited, left))
    return Checked(into, dropped, repairs)


def _repeated(rows: Sequence[Row], others: Iterator[Row]) -> Iterator[tuple[Row, str]]:
    """The edited rows that say what another row says, each with that row's source."""
    keys = [content_key(row) for row in rows]
    said: dict[str, str] = {}
    wanted = set(keys)
    for other in others:
        if (key := content_key(other)) in wanted:
            said.setdefault(key, other.source)
    for row, key in zip(rows, keys, strict=True):
        if said.setdefault(key, row.source) != row.source:
            yield row, said[key]


def _in_place(kept: Sequence[Row], edited: set[int], left: Mapping[str, Row]) -> Iterator[Row]:
    """The kept rows in their order, of the edited ones those that are left, as they are now."""
    for place, row in enumerate(kept):
        if place not in edited:
            yield row
        elif row.source in left:
            yield left[row.source]
