"""Decisions on rows: what may be trained on, what goes, and what still waits.

rows + doubts + log of decisions --apply_decisions--> kept | dropped | waiting, each row in exactly one of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tuneloop.records import Doubt, Dropped, Row, row_json
from tuneloop.review.content import content_of, edited
from tuneloop.review.log import Decision, in_force
from tuneloop.shelf import Store


@dataclass(frozen=True)
class Reviewed:
    """Rows after the decisions; the three add up to the rows that went in.

    Attributes:
        kept: Rows to train on, in their order: those that nobody doubts, and those that somebody let in.
        dropped: Rows that somebody dropped, with the reviewer's name.
        waiting: Rows with a doubt that nobody has settled; they are not trained on.
        deeds: What people did to how many rows: "let in" (a doubted row as it is), "changed", "dropped".
        edited: Places in `kept` of rows that somebody changed.
    """

    kept: Store[Row]
    dropped: Store[Dropped]
    waiting: Store[Row]
    deeds: Counter[str] = field(default_factory=Counter)
    edited: list[int] = field(default_factory=list)


def apply_decisions(
    rows: Iterable[Row], doubts: Sequence[Doubt], decisions: Iterable[Decision], *, into: Reviewed | None = None
) -> Reviewed:
    """Let in, change, drop or withhold each row.

    A decision is about content: it holds for every row with the text and label that it was made on, also when a later
    cleaning no longer doubts that row. A row whose content changed is another row, and waits if it is doubted.

    Args:
        rows: The cleaned rows.
        doubts: Why some of them wait.
        decisions: The whole log, oldest first.
        into: Where the rows are put, empty; None: lists.
    """
    doubted = {doubt.row for doubt in doubts}
    standing = in_force(decisions)
    found = into or Reviewed([], [], [])
    for row in rows:
        judged = judge(row, doubted, standing)
        if judged is None:
            found.waiting.append(row)
        elif isinstance(judged, Dropped):
            found.dropped.append(judged)
            found.deeds["dropped"] += 1
        else:
            found.kept.append(judged)
            if judged is not row:
                found.deeds["changed"] += 1
                found.edited.append(len(found.kept) - 1)
            elif row.id in doubted:
                found.deeds["let in"] += 1
    return found


def judge(row: Row, doubted: Collection[str], standing: Mapping[str, Decision]) -> Row | Dropped | None:
    """What becomes of one row, for a caller that streams: the row to train on, the dropped one, or None if it waits.

    Args:
        row: The cleaned row.
        doubted: Ids of the rows with a doubt.
        standing: Row -> the decision that holds for it, of `in_force`.
    """
    decision = standing.get(row.id)
    if decision is None or not decision.settles or decision.before != content_of(row):
        return None if row.id in doubted else row
    if decision.kind == "drop":
        why = f"dropped by {decision.reviewer}" + (f": {decision.comment}" if decision.comment else "")
        return Dropped(row.source, "review", why, row_json(row))
    return edited(row, decision.after) if decision.kind == "edit" else row
