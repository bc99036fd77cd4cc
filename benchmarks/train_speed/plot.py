"""table lines -> speed.svg: a bar a row, its length the tokens a second, its whisker the range over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.train_speed.table import Line, middle

WIDTH, LABEL, ROW, HEAD = 860, 300, 22, 34
OURS, THEIRS = "#1f6f54", "#9aa5b1"


def plot(sections: Mapping[str, Sequence[Line]]) -> str:
    """The whole of speed.svg.

    Args:
        sections: Title -> the lines of a set.
    """
    parts, y = [], 10
    for title, lines in sections.items():
        ranked = sorted((line for line in lines if line.ranks), key=middle, reverse=True)
        if not ranked:
            continue
        parts.append(f'<text x="10" y="{y + 16}" font-weight="bold">{escape(title)}: tokens/s, real ones</text>')
        y += HEAD
        longest = max(max(line.tokens_per_second) for line in ranked)
        for line in ranked:
            parts.append(bar(line, y, (WIDTH - LABEL - 170) / longest))
            y += ROW
        y += 16
    style = "font-family:sans-serif;font-size:12px;background:white"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" style="{style}">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def bar(line: Line, y: int, scale: float) -> str:
    """One row at height `y`, `scale` pixels a token/s."""
    speed, low, high = middle(line), min(line.tokens_per_second), max(line.tokens_per_second)
    colour = OURS if line.system == "tuneloop" else THEIRS
    name = escape(f"{line.system} {line.variant}")
    told = f"{speed:.0f}; {statistics.median(line.limit_share):.2f} of the limit; {max(line.peak_mb) / 1024:.1f} GB"
    centre = y + ROW / 2 - 2
    return (
        f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
        f'<rect x="{LABEL}" y="{y}" width="{speed * scale:.1f}" height="{ROW - 5}" fill="{colour}"/>'
        f'<line x1="{LABEL + low * scale:.1f}" x2="{LABEL + high * scale:.1f}" y1="{centre}" y2="{centre}" '
        f'stroke="#222"/>'
        f'<text x="{LABEL + high * scale + 6:.1f}" y="{y + 13}" fill="#444">{told}</text>'
    )
