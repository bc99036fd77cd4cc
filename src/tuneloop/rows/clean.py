"""Basic cleaning of training rows: what is broken is mended, what is there twice is dropped.

    rows + bad rows, in file order --each stage--> the same places, each now a Row, a BadRow or a Dropped

A stage is a function (items, Known) -> (items, repairs) that returns as many items as it got, in their order, so
that a row can be mended or dropped but never lost. A new stage is one more such function and its line in CLEANERS.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tuneloop.records import BadRow, Dropped, Repair, Row
from tuneloop.rows.labels import repair_labels
from tuneloop.rows.layout import Layout
from tuneloop.rows.read import source_place
from tuneloop.rows.repair_columns import repair_columns
from tuneloop.rows.repair_encoding import mended_text, repair_encoding
from tuneloop.rows.repair_html import plain_text, repair_html
from tuneloop.rows.repair_json import repair_json
from tuneloop.rows.repair_roles import in_order, repair_roles
from tuneloop.rows.repair_think import repair_think
from tuneloop.rows.split import raw_key
from tuneloop.rows.stage import Item, Known, Stage, dropped_bad, dropped_row
from tuneloop.sections import Clean


@dataclass(frozen=True)
class Cleaned:
    """What cleaning gave; kept and dropped add up to the rows and bad rows that went in.

    Attributes:
        kept: The rows to train on.
        dropped: The others, each with its reason.
        repairs: What was mended.
    """

    kept: list[Row]
    dropped: list[Dropped]
    repairs: list[Repair]


def clean_rows(
    rows: list[Row], bad: list[BadRow], *, clean: Clean, parse: Layout, held_out: Iterable[Row] = ()
) -> Cleaned:
    """Run the stages that the recipe switches on; what is still bad at the end is dropped.

    Args:
        rows: Training rows.
        bad: Training rows that could not be read as they stand.
        clean: Which stages.
        parse: (record, source) -> Row or BadRow, as the rows were read.
        held_out: The rows of validation and test; only their labels are looked at, and nothing of them changes.
    """
    order: dict[str, int] = {}
    given: list[Row | BadRow] = [*rows, *bad]
    for item in given:
        order.setdefault(item.source.rpartition(":")[0], len(order))
    given.sort(key=lambda item: source_place(item.source, order))
    known = Known(parse, Counter(label for row in held_out for label in row.labels))
    items: list[Item] = list(given)
    lineage: list[tuple[str, ...]] = [item.lineage if isinstance(item, Row) else () for item in given]
    repairs: list[Repair] = []
    for name, stage in CLEANERS.items():
        if getattr(clean, name):
            before = items
            items, mended = stage(before, known)
            repairs += mended
            if len(items) != len(before):
                raise AssertionError(f"the cleaning stage {name} took {len(before)} rows and gave {len(items)}")
            for place, (old, new) in enumerate(zip(before, items, strict=True)):
                if new is not old:
                    lineage[place] = (*lineage[place], name)
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for one, item, through in zip(given, items, lineage, strict=True):
        if isinstance(item, Row):
            kept.append(item if item.lineage == through else replace(item, lineage=through))
        elif isinstance(item, BadRow):  # a stage may have changed its line: what is kept is the one of the file
            raw = one.raw if isinstance(one, BadRow) else item.raw
            dropped.append(dropped_bad(replace(item, raw=raw), stage=through[-1] if through else "read"))
        else:
            dropped.append(item)
    ids = {row.source: row.id for row in kept}  # a row that was mended twice has the id of its last content
    return Cleaned(kept, dropped, [replace(r, row=ids[r.source]) for r in repairs if r.source in ids])


# -- duplicates -----------------------------------------------------------------------------------------------


def exact_duplicates(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Drop rows whose normalised content and label stand in an earlier row. The same text with another label stays."""
    first: dict[str, str] = {}
    done: list[Item] = []
    for item in items:
        if isinstance(item, Row):
            original = first.setdefault(content_key(item), item.source)
            if original != item.source:
                done.append(dropped_row(item, "exact_duplicates", f"says the same as {original}"))
                continue
        done.append(item)
    return done, []


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


CLEANERS: dict[str, Stage] = {
    "repair_json": repair_json,
    "repair_columns": repair_columns,
    "repair_roles": repair_roles,
    "repair_html": repair_html,
    "repair_encoding": repair_encoding,
    "repair_think": repair_think,
    "repair_labels": repair_labels,
    "exact_duplicates": exact_duplicates,
}
"""Every basic cleaning stage, by its key in the recipe's section `clean`, in their order."""
