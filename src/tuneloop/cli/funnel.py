"""The funnel of rows in the terminal: what came, what was repaired, each reason out, what waits, what is kept.

train                    798
  repaired                31   repair_json 16, repair_encoding 15
  - near_duplicates       30   ██
  - exact_duplicates      24   █▋
  to review                4   near_duplicates 4
  kept                   709   ███████████████████████████▌
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

BAR = 24
REASONS = 14
"""Reasons of a side that are named; the others are counted."""
NAME = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def funnel_table(report: Mapping[str, Any], *, bars: bool) -> Table:
    """The funnel of every side; one that lost nothing is a single line.

    Args:
        report: The data report.
        bars: Whether to draw them; without, it is plain text.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=NAME, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for split, side in report["counts"].items():
        table.add_row(Text(split, "bold"), Text(f"{side['in']:,}", "bold"), Text("rows in", "bright_black"))
        if not side["dropped"] and not side["repaired"] and not side.get("to review"):
            _line(table, side, "kept", side["kept"], "green", bars=bars)
            continue
        if side["repaired"]:
            _line(table, side, "repaired", side["repaired"], "cyan", bars=False, note=_listed(report["repairs"]))
        reasons = list(side["dropped"].items())
        for reason, count in reasons[:REASONS]:
            _line(table, side, f"- {reason}", count, "red", bars=bars)
        if rest := reasons[REASONS:]:
            _line(table, side, f"- {len(rest)} more reasons", sum(count for _, count in rest), "red", bars=bars)
        if waits := side.get("to review"):
            _line(table, side, "- to review", waits, "yellow", bars=bars, note=_listed(report.get("waiting", {})))
        _line(table, side, "kept", side["kept"], "green", bars=bars)
    return table


def _line(
    table: Table, side: Mapping[str, Any], name: str, count: int, style: str, *, bars: bool, note: str = ""
) -> None:
    """One line: its name, its rows, and its part of all rows as a bar or in words."""
    beside = Text()
    if bars:
        beside.append(_bar(count / max(side["in"], 1)) + ("\n" if note else ""), style)
    beside.append(note, "bright_black")
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in name)  # a column may be called anything
    table.add_row(Padding(Text(shown, style), (0, 0, 0, 2)), Text(f"{count:,}", style), beside)


def _bar(share: float) -> str:
    """A bar of eighths of a character; what is there at all has one."""
    eighths = max(round(8 * BAR * share), 1 if share else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
