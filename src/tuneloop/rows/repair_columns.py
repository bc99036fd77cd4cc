"""Rows whose columns have other names than those of their set: `query` where the others have `question`, `Label ` ...

A row without a column that the set's format needs is a bad row; if exactly one of its own columns has another name for
it, that column is meant. Never touched: a row that has the column, and one with two candidates; never taken: a column
that other rows have beside the one that is missing, since there it says something else. Names only: what stands in the
columns is not looked at. So held-out rows are read by the same rule (held_out.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tuneloop.records import BadRow, Repair, Row
from tuneloop.rows.layout import ALIASES, Layout, plain_name
from tuneloop.rows.stage import Change, Item, Known
from tuneloop.rows.values import has

STAGE = "repair_columns"
MISSING = "no such column"
"""`BadRow.got` of a row that lacks a column."""
_SAME = {"text": "prompt", "prompt": "text", "messages": "conversations", "conversations": "messages"}
"""Columns of ours that say the same, what a row asks or its turns: a set has the one or the other."""


def repair_columns(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Rename the columns of bad rows that have another name; a row that is bad in another way too stays a bad row."""
    done: list[Item] = []
    repairs: list[Repair] = []
    for item in items:
        found, changes = renamed(item, known.parse, known.beside) if isinstance(item, BadRow) else (item, [])
        done.append(found.through(STAGE) if changes and isinstance(found, Row) else found)
        name = found.id if isinstance(found, Row) else ""
        repairs += [Repair(name, item.source, STAGE, *change) for change in changes]
    return done, repairs


def columns_beside(rows: Iterable[Row]) -> frozenset[str]:
    """The columns that rows have beside those of their format."""
    return frozenset(key for row in rows for key in row.meta)


def renamed(bad: BadRow, parse: Layout, beside: Collection[str]) -> tuple[Row | BadRow, list[Change]]:
    """A bad row read with its columns renamed, and (the set's name, the row's name, the set's name) of each.

    Args:
        bad: A row that could not be read.
        parse: How the set is read.
        beside: What `columns_beside` says of the set's other rows.
    """
    if bad.got != MISSING:
        return bad, []
    try:
        record = json.loads(bad.raw)
    except (ValueError, RecursionError):  # a line of a CSV file, whose columns are named in its header
        return bad, []
    if not isinstance(record, dict):
        return bad, []
    names = other_names(record, parse, beside)
    if not names:
        return bad, []
    found = parse({names.get(key, key): value for key, value in record.items()}, bad.source)
    if isinstance(found, BadRow) and (found.field, found.got) == (bad.field, bad.got):
        return bad, []
    return found, [(theirs, key, theirs) for key, theirs in names.items()]


def other_names(record: Mapping[str, Any], parse: Layout, beside: Collection[str]) -> dict[str, str]:
    """The row's name -> the set's name, for each column that the row lacks and has under exactly one other name.

    Args:
        record: The row.
        parse: How the set is read.
        beside: Columns that are never taken.
    """
    taken = {*parse.columns.values(), *beside}
    found: dict[str, str] = {}
    for ours, theirs in parse.columns.items():
        if has(record, theirs):
            continue
        words = ALIASES.get(ours, ())
        if ours in _SAME and _SAME[ours] not in parse.columns:
            words += ALIASES[_SAME[ours]]
        meant = {plain_name(name) for name in (theirs, *words)}
        keys = [key for key in record if key not in taken and key not in found and plain_name(key) in meant]
        if len(keys) == 1:
            found[keys[0]] = theirs
    return found


def read_under_other_names(
    bad: Sequence[BadRow], parse: Layout, beside: Collection[str]
) -> tuple[list[Row], list[BadRow]]:
    """The bad rows that are whole under other names, and those that stay bad.

    Args:
        bad: Rows that could not be read.
        parse: How their set is read.
        beside: Columns that are never taken.
    """
    rows: list[Row] = []
    rest: list[BadRow] = []
    for item in bad:
        found, _ = renamed(item, parse, beside)
        if isinstance(found, Row):
            rows.append(found.through(STAGE))
        else:
            rest.append(item)
    return rows, rest
