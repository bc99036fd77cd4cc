"""Drawings as inline SVG: no script, no font, colours from the page's style sheet so that dark mode holds.

Figures of one line (bars, differences) are drawn in per cent of their width, so that they follow the page;
charts with axes have a view box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tuneloop.report.html import Html, join, tag
from tuneloop.score.overlap import CJK

WIDTH, HEIGHT = 560.0, 256.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 14.0, 20.0, 38.0
NUMBERS_UP_TO = 16
LABELS_UP_TO = 30


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: What it is.
        points: (x, y) by x.
        style: Class of the style sheet that colours it.
        dots: Mark every point, and tell its value on hover.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """What a line chart says beside its lines.

    Attributes:
        title: For readers that do not see it.
        x_label: Under the x axis.
        stages: (x, name) where each stage begins; fewer than two draw nothing.
        mark: (x, name) of a vertical mark, or None.
        x_range: Ends of the x axis; None: those of the points.
    """

    title: str
    x_label: str
    stages: Sequence[tuple[float, str]] = field(default_factory=tuple)
    mark: tuple[float, str] | None = None
    x_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bins:
    """What a histogram says beside its counts. Places are in bins: 0 is the left edge of the first, B the right of all.

    Attributes:
        title: For readers that do not see it.
        x_label: Under the x axis.
        told: B texts, one for each bar, shown on hover before its count.
        labels: (place, text) under the x axis.
        mark: (place, text) of a vertical mark, or None; bars left of it have another colour.
        logarithmic: Whether the heights are, so that a few rows are seen beside many.
    """

    title: str
    x_label: str
    told: Sequence[str]
    labels: Sequence[tuple[float, str]]
    mark: tuple[float, str] | None = None
    logarithmic: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span [low, high], about `count` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def short_number(value: float) -> str:
    """A number for an axis: 1.2k, 0.5, 2.0e-5."""
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1_000:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if size >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")


def line_chart(lines: Sequence[Line], chart: Chart) -> Html:
    """Lines over a common x axis, with stages as bands.

    Args:
        lines: Those without a point are left out.
        chart: Labels, stages and mark.

    Returns:
        An SVG element; "" when there is no point at all.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return Html("")
    x_low, x_high = chart.x_range or (min(x for x, _ in points), max(x for x, _ in points))
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    pad = (y_high - y_low) * 0.06 or abs(y_high) * 0.1 or 1.0
    y_low, y_high = max(y_low - pad, 0.0 if y_low >= 0 else -math.inf), y_high + pad
    x_high = x_high if x_high > x_low else x_low + 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [_bands(chart, place, x_high), *_axes(chart.x_label, place, (x_low, x_high), (y_low, y_high))]
    told: list[Html] = []
    if chart.mark is not None:
        x = place(chart.mark[0], y_low)[0]
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark"))
        end = x > WIDTH * 0.75
        anchor, x = ("end", x - 6) if end else ("start", x + 6)
        told.append(tag("text", chart.mark[1], class_="halo", x=x, y=HEIGHT - BOTTOM - 8, text_anchor=anchor))
    for line in lines:
        placed = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(tag("polyline", points=path, class_=f"line {line.style}"))
        for (x, y), (at, value) in zip(placed, line.points, strict=True):
            if line.dots:
                title = tag("title", f"{line.name}: {value:.4g} ({chart.x_label} {at:g})")
                parts.append(tag("circle", title, cx=x, cy=y, r=3.2, class_=f"dot {line.style}"))
    return _svg(WIDTH, HEIGHT, chart.title, *parts, *told)


def _axes(label: str, place: Any, x_range: tuple[float, float], y_range: tuple[float, float]) -> list[Html]:
    parts = []
    for value in ticks(*y_range, 4):
        y = place(x_range[0], value)[1]
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", short_number(value), x=LEFT - 7, y=y + 4, text_anchor="end"))
    for value in ticks(*x_range, 6):
        x = place(value, y_range[0])[0]
        parts.append(tag("text", short_number(value), x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"))
    parts.append(tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, text_anchor="middle", class_="label"))
    return parts


def _bands(chart: Chart, place: Any, x_high: float) -> Html:
    if len(chart.stages) < 2:
        return Html("")
    parts = []
    ends = [*(x for x, _ in chart.stages[1:]), x_high]
    for index, ((start, name), end) in enumerate(zip(chart.stages, ends, strict=True)):
        left, right = place(start, 0.0)[0], place(end, 0.0)[0]
        box = {"x": left, "width": max(right - left, 0.0), "y": TOP, "height": HEIGHT - TOP - BOTTOM}
        parts.append(tag("rect", class_=f"band{index % 2}", **box))
        parts.append(tag("text", name, x=left + 4, y=TOP - 7, class_="label"))
    return join(*parts)


def bar(value: float, interval: tuple[float, float] | None, style: str, *, top: float = 1.0) -> Html:
    """One horizontal bar with its interval, as wide as its place.

    Args:
        value: Its length, 0 to `top`.
        interval: Ends of the error bar, or None.
        style: Class that colours it.
        top: The value at the full width, > 0.
    """

    def across(number: float) -> str:
        return f"{100 * min(max(number / top, 0.0), 1.0):.2f}%"

    parts = [
        tag("rect", x=0, y=3, width="100%", height=14, rx=4, class_="track"),
        tag("rect", x=0, y=3, width=across(value), height=14, rx=4, class_=f"fill {style}"),
    ]
    if interval is not None:
        low, high = (across(edge) for edge in interval)
        parts.append(tag("line", x1=low, x2=high, y1=10, y2=10, class_="whisker"))
        parts += [tag("line", x1=edge, x2=edge, y1=5.5, y2=14.5, class_="whisker") for edge in (low, high)]
    return tag("svg", *parts, class_="bar", width="100%", height=20, aria_hidden="true")


def difference_bar(value: float, low: float, high: float, reach: tuple[float, float], style: str) -> Html:
    """A difference with its interval beside a line at 0.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end.
        reach: Values at the left and right edge, around 0.
        style: Class that colours it.
    """

    def across(number: float) -> str:
        return f"{2 + 96 * (number - reach[0]) / ((reach[1] - reach[0]) or 1.0):.2f}%"

    return tag(
        "svg",
        tag("line", x1=across(0.0), x2=across(0.0), y1=0, y2=20, class_="axis"),
        tag("line", x1=across(low), x2=across(high), y1=10, y2=10, class_=f"span {style}"),
        tag("circle", cx=across(value), cy=10, r=5, class_=f"dot {style}"),
        class_="bar", width="100%", height=20, aria_hidden="true",
    )  # fmt: skip


def stacked_bar(parts: Sequence[tuple[str, float, str]]) -> Html:
    """Parts of a whole side by side, each (name, size, style), its size told on hover."""
    total = sum(size for _, size, _ in parts) or 1.0
    drawn, at = [], 0.0
    for name, size, style in parts:
        width = 100 * size / total
        told = tag("title", f"{name}: {size:,.0f}")
        place = {"x": f"{at:.2f}%", "width": f"{width:.2f}%"}
        drawn.append(tag("rect", told, class_=f"fill {style}", y=0, height=22, **place))
        at += width
    return tag("svg", *drawn, class_="bar stack", width="100%", height=22, aria_hidden="true")


def flow_bar(start: float, end: float, style: str) -> Html:
    """The part from `start` to `end` of a whole, as shares in [0, 1], where it stands in the whole; one row is seen.

    Args:
        start: Its left end.
        end: Its right end.
        style: Class that colours it.
    """
    left, width = 100 * start, max(100 * (end - start), 0.35)
    place = {"x": f"{min(left, 100 - width):.2f}%", "width": f"{width:.2f}%"}
    return tag(
        "svg",
        tag("rect", x=0, y=3, width="100%", height=14, rx=3, class_="track"),
        tag("rect", y=3, height=14, rx=2, class_=f"fill {style}", **place),
        class_="bar", width="100%", height=20, aria_hidden="true",
    )  # fmt: skip


def kept_bar(kept: float, before: float, style: str, *, top: float) -> Html:
    """What is left of a number of rows, full, over what there was, pale.

    Args:
        kept: What is left.
        before: What there was.
        style: Class that colours both.
        top: The number at the full width, > 0.
    """
    parts = [
        tag("rect", x=0, y=3, height=14, rx=3, width=f"{100 * count / top:.2f}%", class_=f"fill {style}", **more)
        for count, more in ((before, {"fill_opacity": 0.3}), (kept, {}))
    ]
    return tag("svg", *parts, class_="bar", width="100%", height=20, aria_hidden="true")


def histogram(counts: Sequence[int], bins: Bins) -> Html:
    """Bars side by side, all as wide.

    Args:
        counts: B numbers of rows.
        bins: What stands on the axis, and where it is marked.

    Returns:
        An SVG element; "" when there is no row at all.
    """
    most = max(counts, default=0)
    if most == 0:
        return Html("")
    scaled = math.log1p if bins.logarithmic else float
    floor, high, step = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP, (WIDTH - LEFT - RIGHT) / len(counts)
    parts = []
    for value in _count_ticks(most, logarithmic=bins.logarithmic):
        y = floor - high * scaled(value) / scaled(most)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", short_number(value), x=LEFT - 7, y=y + 4, text_anchor="end"))
    for place, (count, told) in enumerate(zip(counts, bins.told, strict=True)):
        if count:
            tall = max(high * scaled(count) / scaled(most), 1.5)
            style = "c-floor" if bins.mark is not None and place + 0.5 < bins.mark[0] else "c-tuned"
            box = {"x": LEFT + step * (place + 0.06), "y": floor - tall, "width": 0.88 * step, "height": tall}
            parts.append(tag("rect", tag("title", f"{told}: {count:,}"), class_=f"fill {style}", **box))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"))
    for at, text in bins.labels:
        parts.append(tag("text", text, x=LEFT + step * at, y=floor + 16, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", bins.x_label, x=middle, y=HEIGHT - 5, text_anchor="middle", class_="label"))
    if bins.mark is not None:
        x = LEFT + step * bins.mark[0]
        parts.append(tag("line", x1=x, x2=x, y1=TOP - 8, y2=floor, class_="mark"))
        anchor, x = ("end", x - 6) if x > WIDTH * 0.6 else ("start", x + 6)
        parts.append(tag("text", bins.mark[1], class_="halo", x=x, y=TOP - 2, text_anchor=anchor))
    return _svg(WIDTH, HEIGHT, bins.title, *parts)


def _count_ticks(most: int, *, logarithmic: bool) -> list[float]:
    """Whole numbers up to `most` for an axis of counts."""
    if logarithmic:
        return [float(10**power) for power in range(len(str(most)))]
    return [value for value in ticks(0, most, 4) if value == int(value)]


def heat_map(labels: Sequence[str], counts: Any, title: str, axes: tuple[str, str]) -> Html:
    """A confusion matrix: lines are expected, columns predicted; right answers blue, confusions orange.

    Each line's shade is the share of its class. More than LABELS_UP_TO classes are drawn small, names on hover.

    Args:
        labels: C names.
        counts: (C, C) whole numbers.
        title: For readers that do not see it.
        axes: Names of the lines' and the columns' meaning.
    """
    count = len(labels)
    named = count <= LABELS_UP_TO
    cell = min(30.0, max(5.5, (440.0 if named else 520.0) / count))
    margin = min(170.0, 12 + max(text_width(label) for label in labels)) if named else 22.0
    size = cell * count
    parts = [tag("rect", x=margin, y=margin, width=size, height=size, class_="track")]
    for line in range(count):
        total = sum(int(n) for n in counts[line])
        for column in range(count):
            number = int(counts[line][column])
            if number:
                told = f"{labels[line]} → {labels[column]}: {number} / {total}"
                corner = (margin + column * cell, margin + line * cell)
                number_shown = str(number) if count <= NUMBERS_UP_TO else None
                parts += _cell(corner, cell, number / total, told, number_shown, right=line == column)
    parts += _names(labels, margin, cell) if named else _meanings(axes, margin + size / 2)
    drawn = _svg(margin + size + 2, margin + size + 2, title, *parts)
    return tag("div", drawn, class_="heat", style=f"max-width:{margin + size + 2:.0f}px")


def _cell(
    corner: tuple[float, float], side: float, share: float, told: str, number: str | None, *, right: bool
) -> list[Html]:
    """One cell of a heat map; rare confusions stay visible."""
    x, y = corner
    shade = 0.2 + 0.8 * share if right else 0.38 + 0.62 * share
    box = tag(
        "rect", tag("title", told), class_="right" if right else "wrong", fill_opacity=shade,
        x=x, y=y, width=side - 0.6, height=side - 0.6,
    )  # fmt: skip
    if number is None:
        return [box]
    ink = "ink strong" if shade > 0.55 else "ink"
    return [box, tag("text", number, text_anchor="middle", class_=ink, x=x + side / 2, y=y + side / 2 + 4)]


def _names(labels: Sequence[str], margin: float, cell: float) -> list[Html]:
    """Every class beside its line and above its column."""
    parts = []
    for index, label in enumerate(labels):
        middle, name = margin + (index + 0.5) * cell, shortened(label, 26)
        parts.append(tag("text", name, x=margin - 6, y=middle + 4, text_anchor="end"))
        turn = f"rotate(-90 {middle + 4:.1f} {margin - 6:.1f})"
        parts.append(tag("text", name, x=middle + 4, y=margin - 6, transform=turn))
    return parts


def _meanings(axes: tuple[str, str], middle: float) -> list[Html]:
    """What lines and columns are, where there is no room for their names."""
    turn = f"rotate(-90 14 {middle:.1f})"
    return [
        tag("text", axes[0], x=14, y=middle, transform=turn, text_anchor="middle", class_="label"),
        tag("text", axes[1], x=middle, y=14, text_anchor="middle", class_="label"),
    ]


def reliability(bins: Sequence[dict[str, Any]], title: str, axes: tuple[str, str], style: str) -> Html:
    """A calibration diagram: the share that was right against the confidence, dot area by rows.

    Args:
        bins: Each {"confidence", "accuracy", "n"}.
        title: For readers that do not see it.
        axes: Names of x and y.
        style: Class that colours it.
    """
    side, edge = 320.0, 44.0
    span = side - edge - 24
    most = max((one["n"] for one in bins), default=1)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = edge + value * span, side - edge - value * span
        parts.append(tag("line", x1=edge, x2=edge + span, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{value:.0%}", x=edge - 6, y=y + 4, text_anchor="end"))
        parts.append(tag("text", f"{value:.0%}", x=x, y=side - edge + 15, text_anchor="middle"))
    parts.append(tag("line", x1=edge, y1=side - edge, x2=edge + span, y2=side - edge - span, class_="mark"))
    for one in bins:
        told = tag("title", f"{one['confidence']:.1%} → {one['accuracy']:.1%} (n {one['n']})")
        x, y = edge + one["confidence"] * span, side - edge - one["accuracy"] * span
        parts.append(tag("circle", told, cx=x, cy=y, r=3 + 8 * math.sqrt(one["n"] / most), class_=f"dot soft {style}"))
    parts.append(tag("text", axes[0], x=edge + span / 2, y=side - 6, text_anchor="middle", class_="label"))
    parts.append(tag("text", axes[1], x=edge, y=12, class_="label"))
    return tag("div", _svg(side, side, title, *parts), class_="heat", style="max-width:320px")


def text_width(text: str) -> float:
    """Roughly the width of a 12-pixel text; CJK characters are as wide as they are high."""
    return sum(12.0 if CJK.match(character) else 6.4 for character in text)


def shortened(text: str, count: int) -> str:
    """`text`, cut to `count` characters with an ellipsis."""
    return text if len(text) <= count else text[: count - 1] + "…"


def _svg(width: float, height: float, title: str, *parts: Html) -> Html:
    box = {"viewBox": f"0 0 {width:.0f} {height:.0f}"}
    return tag("svg", tag("title", title), *parts, class_="chart", role="img", **box)
