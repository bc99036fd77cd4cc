"""Basic cleaning of training rows: what is broken is mended, what is there twice is dropped.

    rows + bad rows, in file order --repairs, block by block--> kept, dropped --labels, duplicates of the whole set-->

A repair is a function (items, Known) -> (items, repairs) that returns as many items as it got, in their order, so
that a row can be mended or dropped but never lost; it looks at no other row than the one it mends. A new repair is one
more such function and its line in REPAIRS.
"""

from __future__ import annotations

import heapq
import json
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tuneloop.records import BadRow, Dropped, Repair, Row
from tuneloop.rows.digests import digests, first_places, numbered
from tuneloop.rows.labels import respelt
from tuneloop.rows.layout import Layout
from tuneloop.rows.read import source_place
from tuneloop.rows.repair_columns import repair_columns
from tuneloop.rows.repair_encoding import mended_text, repair_encoding
from tuneloop.rows.repair_html import Usual, plain_text, repair_html
from tuneloop.rows.repair_json import repair_json
from tuneloop.rows.repair_roles import in_order, repair_roles
from tuneloop.rows.repair_think import repair_think
from tuneloop.rows.room import MEMORY, Room, kept
from tuneloop.rows.split import raw_key
from tuneloop.rows.stage import Item, Known, Stage, dropped_bad, dropped_row
from tuneloop.sections import Clean
from tuneloop.shelf import Range, Shelf, Store, read_range, select, writing

REPAIRS: dict[str, Stage] = {
    "repair_json": repair_json,
    "repair_columns": repair_columns,
    "repair_roles": repair_roles,
    "repair_html": repair_html,
    "repair_encoding": repair_encoding,
    "repair_think": repair_think,
}
"""Every repair of single rows, by its key in the recipe's section `clean`, in their order."""
WHOLE_SET = ("repair_labels", "exact_duplicates")
"""The keys of what is done behind them, and looks at all rows."""


@dataclass(frozen=True)
class Cleaned:
    """What cleaning gave; kept and dropped add up to the rows and bad rows that went in.

    Attributes:
        kept: The rows to train on.
        dropped: The others, each with its reason.
        repairs: What was mended, of dropped rows too.
    """

    kept: Sequence[Row]
    dropped: Sequence[Dropped]
    repairs: Sequence[Repair]


def clean_rows(
    rows: Sequence[Row], bad: Sequence[BadRow], *, clean: Clean, parse: Layout, held_out: Iterable[Row] = (),
    room: Room = MEMORY,
) -> Cleaned:  # fmt: skip
    """Run the stages that the recipe switches on; what is still bad at the end is dropped.

    Args:
        rows: Training rows, in the order of their files.
        bad: Training rows that could not be read as they stand, in the same order.
        clean: Which stages.
        parse: (record, source) -> Row or BadRow, as the rows were read.
        held_out: The rows of validation and test; only their labels are looked at, and nothing of them changes.
        room: Where rows are kept.
    """
    labels: Counter[str] = Counter()
    order: dict[str, int] = {}
    beside: set[str] = set()
    usual = Usual()
    for row in rows:  # what the repairs know of all rows: they themselves may see but a block
        labels.update(row.labels)
        beside.update(row.meta)
        if clean.repair_html:
            usual.add(row)
        order.setdefault(row.source.rpartition(":")[0], len(order))
    for line in bad:
        order.setdefault(line.source.rpartition(":")[0], len(order))
    told = Counter(label for row in held_out for label in row.labels)
    known = Known(parse, told, labels, frozenset(beside), usual.sides)
    if isinstance(rows, Shelf) and isinstance(bad, Shelf):
        mended = _repaired_on_disk(rows, bad, order, known, clean, room)
    else:
        mended = repaired(list(_in_order(rows, bad, order)), known, clean)
    if clean.repair_labels:
        mended = _one_spelling(mended, known.held_out, room)
    return _once(mended, room) if clean.exact_duplicates else mended


def repaired(given: Sequence[Row | BadRow], known: Known, clean: Clean) -> Cleaned:
    """Mend rows one by one.

    Args:
        given: Rows and bad rows.
        known: What the repairs know of all rows.
        clean: Which repairs.
    """
    items: list[Item] = list(given)
    lineage: list[tuple[str, ...]] = [item.lineage if isinstance(item, Row) else () for item in given]
    ids = [item.id if isinstance(item, Row) else "" for item in given]
    repairs: list[Repair] = []
    for name, stage in REPAIRS.items():
        if getattr(clean, name):
            before = items
            items, mended = stage(before, known)
            repairs += mended
            if len(items) != len(before):
                raise AssertionError(f"the cleaning stage {name} took {len(before)} rows and gave {len(items)}")
            for place, (old, new) in enumerate(zip(before, items, strict=True)):
                if new is not old:
                    lineage[place] = (*lineage[place], name)
                    ids[place] = new.id if isinstance(new, Row) else ids[place]
    stay: list[Row] = []
    dropped: list[Dropped] = []
    for one, item, through in zip(given, items, lineage, strict=True):
        if isinstance(item, Row):
            stay.append(item if item.lineage == through else replace(item, lineage=through))
        elif isinstance(item, BadRow):  # a stage may have changed its line: what is kept is the one of the file
            raw = one.raw if isinstance(one, BadRow) else item.raw
            dropped.append(dropped_bad(replace(item, raw=raw), stage=through[-1] if through else "read"))
        else:
            dropped.append(item)
    # Of a line that stays bad nothing was mended: it is kept as it stood.
    places = {item.source: place for place, item in enumerate(items) if ids[place] and not isinstance(item, BadRow)}
    # A row that was mended twice has the id of its last content, a dropped one too.
    found = [replace(one, row=ids[places[one.source]]) for one in repairs if one.source in places]
    found.sort(key=lambda one: places[one.source])  # by row, then by stage: so blocks of any size give the same table
    return Cleaned(stay, dropped, found)


def _in_order(rows: Iterable[Row], bad: Iterable[BadRow], order: Mapping[str, int]) -> Iterator[Row | BadRow]:
    """Rows and bad rows as they stand in their files."""
    return heapq.merge(rows, bad, key=lambda item: source_place(item.source, order))


# -- rows on disk, block by block, by all cores -----------------------------------------------------------------


@dataclass(frozen=True)
class RepairTask:
    """A block of rows to be mended, and the files that take what comes of it."""

    rows: Range
    bad: Range
    order: Mapping[str, int]
    known: Known
    clean: Clean
    kept: Path
    dropped: Path
    repairs: Path


def repair_block(task: RepairTask) -> int:
    """Mend the rows of a block, once; gives how many are kept."""

    def work() -> int:
        found = repaired(
            list(_in_order(read_range(task.rows), read_range(task.bad), task.order)), task.known, task.clean
        )
        for path, records in ((task.kept, found.kept), (task.dropped, found.dropped), (task.repairs, found.repairs)):
            with writing(path) as shelf:
                shelf.extend(records)
        return len(found.kept)

    return kept(task.kept.with_suffix(".json"), work)


def _repaired_on_disk(
    rows: Shelf[Row], bad: Shelf[BadRow], order: Mapping[str, int], known: Known, clean: Clean, room: Room
) -> Cleaned:
    stay, dropped, repairs = room.shelf(), room.shelf(), room.shelf()
    tasks: list[RepairTask] = []
    done = 0
    spans = rows.blocks() or [(0, 0)]
    for first, stop in spans:
        upto = len(bad)
        if stop < len(rows):
            upto = bisect_left(bad, source_place(rows[stop].source, order), key=lambda b: source_place(b.source, order))
        paths = (room.path("kept"), room.path("dropped"), room.path("repairs"))
        tasks.append(RepairTask(rows.range(first, stop), bad.range(done, upto), order, known, clean, *paths))
        done = upto
    for task, _ in zip(tasks, room.engine.each(repair_block, tasks, "mending the rows"), strict=True):
        stay.adopt(task.kept)
        dropped.adopt(task.dropped)
        repairs.adopt(task.repairs)
    return Cleaned(stay, dropped, repairs)


# -- what looks at all rows -------------------------------------------------------------------------------------


def _one_spelling(mended: Cleaned, held_out: Mapping[str, int], room: Room) -> Cleaned:
    """The rows with rare spellings of a label in its most frequent one."""
    found = respelt(mended.kept, held_out, room)
    if not found.repairs:
        return mended
    ids = {repair.source: repair.row for repair in found.repairs}
    repairs: Store[Repair] = room.store()
    repairs.extend(replace(one, row=ids.get(one.source, one.row)) for one in mended.repairs)
    repairs.extend(found.repairs)
    return Cleaned(found.rows, mended.dropped, repairs)


def _once(mended: Cleaned, room: Room) -> Cleaned:
    """Drop rows whose normalised content and label stand in an earlier row. The same text with another label stays."""
    rows = mended.kept
    (numbers,) = numbered(digests(map(content_key, rows)))
    first = first_places(numbers)
    again = np.flatnonzero(first != np.arange(len(first)))
    if not len(again):
        return mended
    originals = np.unique(first[again])
    name = dict(zip(originals.tolist(), (row.source for row in select(rows, originals)), strict=True))
    dropped: Store[Dropped] = room.store()
    dropped.extend(mended.dropped)
    for row, original in zip(select(rows, again), first[again].tolist(), strict=True):
        dropped.append(said_before(row, name[original]))
    stay = np.flatnonzero(first == np.arange(len(first)))
    return Cleaned(select(rows, stay), dropped, mended.repairs)


def said_before(row: Row, original: str) -> Dropped:
    """A row as the exact duplicate of the one that `original` is the source of."""
    return dropped_row(row, "exact_duplicates", f"says the same as {original}", original)


def normalised(text: str) -> str:
    """What two texts that say the same have in common: NFKC, case folded, white space collapsed."""
    if text.isascii():  # NFKC changes no ASCII
        return " ".join(text.casefold().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def content_key(row: Row) -> str:
    """A row's whole content, normalised; labels and media count as they are."""
    turns = [[turn.role, normalised(turn.content)] for turn in row.messages]
    answers = [None if answer is None else normalised(answer) for answer in (row.chosen, row.rejected)]
    label = list(row.label) if isinstance(row.label, tuple) else row.label
    return json.dumps([normalised(row.text), turns, answers, label, list(row.images), list(row.audios)])


def asked_key(row: Row) -> str:
    """What a row asks as the repairs would write it, normalised: held-out rows, never repaired, find their twins so."""
    if row.messages:
        row = replace(row, messages=in_order(row.messages, preference=row.chosen is not None))
    return normalised(mended_text(plain_text(raw_key(row))))
