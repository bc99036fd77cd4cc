"""The distribution of the noise score, clean rows and noise, a panel for each set: plain SVG, counts on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.train_speed.raw import Record

WIDTH, PANEL, LEFT, BOTTOM, TOP = 640, 150, 56, 26, 22
LINE = 0.3
COLOURS = {"clean": "#4c78a8", "noise": "#e45756"}


def histograms(records: Sequence[Record]) -> str:
    """One panel a set, the counts of its first seed; the dashed line is where review begins.

    Args:
        records: Of the noise figure, in force.
    """
    first = {one["set"]: one["result"] for one in sorted(records, key=lambda one: -one["seed"])}
    panels = [panel(name, first[name], place * PANEL) for place, name in enumerate(sorted(first))]
    height = PANEL * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(panels)}</svg>\n'
    )


def panel(name: str, result: Record, top: int) -> str:
    """The bars of one set.

    Args:
        name: The set.
        result: Of its run.
        top: Where the panel begins.
    """
    counts = result["histogram"]
    bins = len(counts["clean"])
    most = math.log10(1 + max(max(counts["clean"]), max(counts["noise"])))
    floor, high = top + PANEL - BOTTOM, PANEL - BOTTOM - TOP
    step = (WIDTH - LEFT - 10) / bins
    parts = [f'<text x="{LEFT}" y="{top + 14}" font-weight="bold">{name}</text>']
    for place in range(bins):
        for side, kind in enumerate(COLOURS):
            tall = high * math.log10(1 + counts[kind][place]) / most
            x = LEFT + step * (place + 0.08 + 0.42 * side)
            parts.append(
                f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{0.42 * step:.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[kind]}"><title>{counts[kind][place]} {kind} rows</title></rect>'
            )
    for tenth in range(0, 11, 2):
        x = LEFT + (WIDTH - LEFT - 10) * tenth / 10
        parts.append(f'<text x="{x:.1f}" y="{floor + 14}" text-anchor="middle">{tenth / 10:.1f}</text>')
    for power in range(int(most) + 1):
        y = floor - high * math.log10(1 + 10**power) / most
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    x = LEFT + (WIDTH - LEFT - 10) * LINE
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 4}" y2="{floor}" stroke="#333" stroke-dasharray="4 3"/>')
    legend = "".join(
        f'<text x="{WIDTH - 150 + 75 * place}" y="{top + 14}" fill="{colour}">{kind}</text>'
        for place, (kind, colour) in enumerate(COLOURS.items())
    )
    return "".join(parts) + legend
