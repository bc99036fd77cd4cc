"""Drawings are well-formed, in place, and say their numbers."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tuneloop.report.html import Html
from tuneloop.report.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Bins,
    Chart,
    Line,
    bar,
    difference_bar,
    flow_bar,
    heat_map,
    histogram,
    kept_bar,
    line_chart,
    reliability,
    short_number,
    shortened,
    stacked_bar,
    ticks,
)


def xml(markup: Html) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.31, 0.36, [0.31, 0.32, 0.33, 0.34, 0.35, 0.36]),
        (0, 180, [0, 50, 100, 150]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_nothing():
    assert ticks(2.0, 2.0) == [2.0]
    assert ticks(0.0, float("nan")) == [0.0]


def test_axis_numbers_are_short():
    assert [short_number(value) for value in (0, 12000, 2.5, 0.00002)] == ["0", "12k", "2.5", "2.0e-5"]
    assert [short_number(value) for value in (999, 1000, -1500)] == ["999", "1k", "-1.5k"]  # not 1e+03


def test_line_chart_puts_the_highest_value_highest():
    drawn = xml(
        line_chart([Line("loss", [(0, 3.0), (50, 1.0), (100, 2.0)], "c-tuned", dots=True)], Chart("Loss", "step"))
    )
    points = [tuple(map(float, p.split(","))) for p in drawn.find("polyline").get("points").split()]
    assert points[0][1] < points[2][1] < points[1][1]
    assert points[0][0] < points[1][0] < points[2][0]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert [c.find("title").text for c in drawn.iter("circle")] == [
        "loss: 3 (step 0)",
        "loss: 1 (step 50)",
        "loss: 2 (step 100)",
    ]


def test_stages_are_bands_and_the_best_is_marked():
    lines = [Line("loss", [(0, 1.0), (90, 0.5)], "c-tuned")]
    chart = Chart("Loss", "step", [(0, "stage 1"), (60, "stage 2")], (90, "best 0.5"), (0, 90))
    texts = [node.text for node in xml(line_chart(lines, chart)).iter("text")]
    assert {"stage 1", "stage 2", "best 0.5"} <= set(texts)
    alone = line_chart(lines, Chart("Loss", "step", [(0, "stage 1")]))
    assert "stage 1" not in alone


def test_no_point_draws_nothing_and_one_point_draws():
    assert line_chart([Line("loss", [], "c-tuned")], Chart("Loss", "step")) == ""
    assert (
        xml(line_chart([Line("loss", [(1, 0.0)], "c-tuned", dots=True)], Chart("Loss", "step"))).find("circle")
        is not None
    )


def test_bar_is_as_long_as_its_value_and_stays_inside():
    drawn = xml(bar(0.25, (0.2, 1.3), "c-tuned"))
    assert [rect.get("width") for rect in drawn.iter("rect")] == ["100%", "25.00%"]
    whisker = next(iter(drawn.iter("line")))
    assert (whisker.get("x1"), whisker.get("x2")) == ("20.00%", "100.00%")
    assert not list(xml(bar(0.25, None, "c-tuned")).iter("line"))


def test_differences_share_their_zero():
    zero = [
        next(iter(xml(difference_bar(v, v - 1, v + 1, (-2.0, 8.0), "c-bad")).iter("line"))).get("x1") for v in (0, 7)
    ]
    assert zero[0] == zero[1]
    point = xml(difference_bar(0.0, -1, 1, (-2.0, 8.0), "c-bad")).find("circle").get("cx")
    assert point == zero[0]
    assert "nan" not in difference_bar(0.0, 0.0, 0.0, (0.0, 0.0), "c-bad")


def test_stacked_bar_fills_its_width():
    widths = re.findall(r'width="([\d.]+\.\d\d)%"', stacked_bar([("a", 3, "x"), ("b", 1, "y")]))
    assert sorted(widths) == ["25.00", "75.00"]


def test_a_flow_bar_stands_where_its_rows_go_away():
    _, part = xml(flow_bar(0.5, 0.75, "c-bad")).iter("rect")
    assert (part.get("x"), part.get("width"), part.get("class")) == ("50.00%", "25.00%", "fill c-bad")
    _, last = xml(flow_bar(0.999999, 1.0, "c-bad")).iter("rect")
    assert float(last.get("width")[:-1]) > 0.3  # one row of a million is seen
    assert float(last.get("x")[:-1]) + float(last.get("width")[:-1]) <= 100


def test_what_is_left_is_drawn_over_what_there_was():
    before, kept = xml(kept_bar(3, 4, "c-tuned", top=8)).iter("rect")
    assert (before.get("width"), kept.get("width")) == ("50.00%", "37.50%")
    assert before.get("fill-opacity") and not kept.get("fill-opacity")


BINS = {"title": "Score", "x_label": "score", "told": ["low", "middle", "high"], "labels": [(0, "0"), (3, "1")]}


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_histogram_has_a_bar_for_each_bin_that_has_rows(logarithmic: bool):
    counts = [1, 0, 100]
    drawn = xml(histogram(counts, Bins(**BINS, mark=(1.2, "line"), logarithmic=logarithmic)))
    low, high = drawn.iter("rect")
    assert [bar.find("title").text for bar in (low, high)] == ["low: 1", "high: 100"]
    assert [bar.get("class") for bar in (low, high)] == [
        "fill c-floor",
        "fill c-tuned",
    ]  # left of the mark, right of it
    tall = [float(bar.get("height")) for bar in (low, high)]
    assert 1 < tall[0] < tall[1] <= HEIGHT
    assert (tall[0] / tall[1] > 0.1) == logarithmic
    assert all(
        float(bar.get("y")) + float(bar.get("height")) == pytest.approx(HEIGHT - BOTTOM, abs=0.02)
        for bar in (low, high)
    )
    assert {"line", "score", "0", "1"} <= {node.text for node in drawn.iter("text")}
    mark = next(line for line in drawn.iter("line") if line.get("class") == "mark")
    assert float(mark.get("x1")) == pytest.approx(LEFT + 0.4 * (WIDTH - LEFT - RIGHT), abs=0.01)


def test_a_histogram_of_nothing_is_nothing():
    assert histogram([], Bins("a", "b", [], [])) == ""
    assert histogram([0, 0, 0], Bins(**BINS)) == ""


def test_heat_map_names_cells_and_colours_right_and_wrong():
    drawn = xml(heat_map(["a", "<b>"], np.array([[3, 1], [0, 2]]), "Confusions", ("expected", "predicted")))
    cells = {
        rect.find("title").text: rect.get("class") for rect in drawn.iter("rect") if rect.find("title") is not None
    }
    assert cells == {"a → a: 3 / 4": "right", "a → <b>: 1 / 4": "wrong", "<b> → <b>: 2 / 2": "right"}
    assert {"3", "1", "2", "a", "<b>"} <= {node.text for node in drawn.iter("text")}


def test_many_classes_are_drawn_small_with_names_on_hover():
    labels = [f"class {i}" for i in range(77)]
    drawn = xml(heat_map(labels, np.eye(77, dtype=int), "Confusions", ("expected", "predicted")))
    assert [node.text for node in drawn.iter("text")] == ["expected", "predicted"]
    assert sum(rect.find("title") is not None for rect in drawn.iter("rect")) == 77


def test_reliability_stands_where_it_should():
    drawn = xml(reliability([{"confidence": 0.5, "accuracy": 0.5, "n": 9}], "Calibration", ("x", "y"), "c-tuned"))
    circle = drawn.find(".//circle")
    x, y = float(circle.get("cx")), float(circle.get("cy"))
    diagonal = next(line for line in drawn.iter("line") if line.get("class") == "mark")
    middle = [(float(diagonal.get(a)) + float(diagonal.get(b))) / 2 for a, b in (("x1", "x2"), ("y1", "y2"))]
    assert [x, y] == pytest.approx(middle, abs=0.02)


def test_long_names_are_cut():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"
