"""What a cleaning stage takes and gives, and how it walks over the texts of a row.

(items, Known) --stage--> (as many items in their order, repairs): a row is mended or dropped, never lost
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuneloop.records import BadRow, Dropped, Message, Repair, Row, Split, row_json
from tuneloop.rows.layout import Layout

Item = Row | BadRow | Dropped
Change = tuple[str, str, str]
"""(field, before, after) of a text that was mended."""


@dataclass(frozen=True)
class Known:
    """What a stage knows beside the rows that it cleans.

    Attributes:
        parse: (record, source) -> Row or BadRow, as the rows were read.
        held_out: Label -> rows of validation and test that have it.
        labels: Label -> training rows that have it, as they were read.
        beside: Columns that training rows have beside those of their format.
        html: Sides of a row, "asked" and "answered", that most training rows write in HTML.
    """

    parse: Layout
    held_out: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    beside: frozenset[str] = frozenset()
    html: frozenset[str] = frozenset()


Stage = Callable[[Sequence[Item], Known], tuple[list[Item], list[Repair]]]
Mend = Callable[[str, str], str]
"""(text, what it is: text, meta, chosen, rejected or a turn's role) -> the text as it should be."""


def quiet(_: str) -> None:
    """Takes a sentence that nobody listens to."""


def dropped_bad(bad: BadRow, split: Split = "train", stage: str = "read") -> Dropped:
    """A bad row as a dropped one, its line whole."""
    reason = f"{bad.field}: expected {bad.expected}" if bad.field else f"expected {bad.expected}"
    if bad.field and bad.got in ("empty", "blank", "null", "no such column", "an empty list"):
        reason = f"{bad.field} is {bad.got}" if bad.got != "no such column" else f"{bad.field} is missing"
    return Dropped(bad.source, stage, reason, bad.raw, split)


def dropped_row(row: Row, stage: str, reason: str, twin: str = "") -> Dropped:
    """A row as a dropped one, all its columns as JSON; `twin` is the source of the row that it repeats."""
    return Dropped(row.source, stage, reason, row_json(row), twin=twin)


def mend_texts(items: Sequence[Item], stage: str, mend: Mend) -> tuple[list[Item], list[Repair]]:
    """Mend every text of every row; a row of which nothing is left is dropped.

    Args:
        items: As a stage takes them.
        stage: Its name.
        mend: Called for each text; the same text means nothing is wrong with it.
    """
    done: list[Item] = []
    repairs: list[Repair] = []
    for item in items:
        if not isinstance(item, Row):
            done.append(item)
            continue
        parts, changes = mended_parts(item, mend)
        blank = [name for name, before, after in changes if before.strip() and not after.strip()]
        if any(name not in item.meta for name in blank):
            done.append(dropped_row(item, stage, f"{blank[0]} is empty after the repair"))
            continue
        row = item.through(stage, **parts) if changes else item
        done.append(row)
        repairs += [Repair(row.id, row.source, stage, *change) for change in changes]
    return done, repairs


def mended_parts(row: Row, mend: Mend) -> tuple[dict[str, Any], list[Change]]:
    """A row's texts as `mend` leaves them, to put in their places, and what changed.

    Args:
        row: Any row.
        mend: Called for each text.
    """
    changes: list[Change] = []

    def put(value: str, kind: str, name: str) -> str:
        after = mend(value, kind)
        if after != value:
            changes.append((name, value, after))
        return after

    parts: dict[str, Any] = {"text": put(row.text, "text", "text")}
    parts["messages"] = tuple(
        Message(turn.role, put(turn.content, turn.role, f"messages.{place}")) for place, turn in enumerate(row.messages)
    )
    for name, value in (("chosen", row.chosen), ("rejected", row.rejected)):
        parts[name] = None if value is None else put(value, name, name)
    parts["meta"] = {
        key: put(value, "meta", key) if isinstance(value, str) else value for key, value in row.meta.items()
    }
    return parts, changes
