"""The funnel of a cleaning: how many rows came, what was mended, what went and why, what waits, what is left.

came = kept + dropped + to review, on every side, always
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuneloop.errors import DataError
from tuneloop.records import Doubt, Dropped, Repair, Row

COUNTED_WHOLE = ("exact_duplicates", "near_duplicates", "leak", "near_leak", "relevance")
"""Stages that count as one reason, since each of their reasons names another row, or a score."""
NAMED = 5
"""Reasons that a short line names; the others are counted."""


def reason_of(item: Dropped) -> str:
    """What a dropped row counts under: its stage and reason; a reviewer's own words do not count."""
    if item.stage in COUNTED_WHOLE:
        return item.stage
    reason = item.reason.partition(": ")[0] if item.stage == "review" else item.reason
    return f"{item.stage}: {reason}"


def reasons_of(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Reason -> rows, the most frequent first."""
    return dict(Counter(map(reason_of, dropped)).most_common())


def mended_by_stage(repairs: Iterable[Repair]) -> dict[str, int]:
    """Stage -> rows that it mended, however many fields of each."""
    return dict(Counter(stage for stage, _ in dict.fromkeys((one.stage, one.source) for one in repairs)).most_common())


def waiting_by_stage(waiting: Iterable[Row], doubts: Iterable[Doubt]) -> dict[str, int]:
    """Stage -> waiting rows that it doubts; a row that several doubt counts for each of them."""
    why: dict[str, dict[str, None]] = defaultdict(dict)
    for doubt in doubts:
        why[doubt.row][doubt.stage] = None
    return dict(Counter(stage for row in waiting for stage in why[row.id]).most_common())


def check_funnel(counts: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse counts of which a row is missing, or stands twice.

    Args:
        counts: Side -> "in", "kept", "dropped" (reason -> rows) and, where rows can wait, "to review".

    Raises:
        DataError: naming the side and its numbers.
    """
    for split, side in counts.items():
        came, kept, lost = side["in"], side["kept"], sum(side["dropped"].values())
        waits = side.get("to review", 0)
        if came != kept + lost + waits:
            raise DataError(
                f"The {split} rows do not add up: a stage lost rows, or counted some twice",
                got=f"{came} in, but {kept} kept + {lost} dropped + {waits} to review = {kept + lost + waits}",
                allowed="in = kept + dropped + to review",
                fix="This is a fault of tuneloop, not of your rows: please report it with the recipe",
            )


def short_funnel(report: Mapping[str, Any]) -> list[str]:
    """The funnel of the training rows in one or two lines.

    Args:
        report: The data report.
    """
    side = report["counts"]["train"]
    dropped: Mapping[str, int] = side["dropped"]
    figures = [(side["repaired"], "repaired"), (sum(dropped.values()), "dropped")]
    figures += [(side["to review"], "to review"), (side["kept"], "kept")]
    told = ", ".join(f"{count:,} {what}" for count, what in figures)
    lines = [f"rows: {side['in']:,} to train on came in: {told}"]
    if dropped:
        named = _named([f"{reason} {count:,}" for reason, count in dropped.items()])
        lines.append(f"rows: dropped: {named}")
    return lines


def _named(parts: Sequence[str]) -> str:
    more = len(parts) - NAMED
    return ", ".join(parts[:NAMED]) + (f" and {more} more reasons" if more > 0 else "")
