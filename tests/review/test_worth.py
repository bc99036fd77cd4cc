"""The order of the queue: worth lies in [0, 1] and rises with what an answer settles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.review.conftest import Reclean, doubt, row

from tuneloop.review.worth import OTHER, WEIGHTS, rarest, values, worth_of

VALUE = st.floats(0, 1)


def test_the_formula_by_hand():
    # Two doubts of 0.5 and 0.2, one twin, class of 4 rows: 1 - (0.5 * 0.8) ** (2 * 1.5)
    assert worth_of([0.5, 0.2], settles=2, class_rows=4) == pytest.approx(1 - 0.4**3)
    assert worth_of([0.5], settles=1, class_rows=0) == pytest.approx(0.5)
    assert worth_of([], settles=5, class_rows=1) == 0


@given(st.lists(VALUE, max_size=4), VALUE, st.integers(1, 50), st.integers(0, 10_000))
def test_worth_is_a_share_and_never_falls_with_more_reasons(doubts: list[float], more: float, settles: int, rows: int):
    plain = worth_of(doubts, settles=settles, class_rows=rows)
    assert 0 <= plain <= 1
    assert worth_of([*doubts, more], settles=settles, class_rows=rows) >= plain - 1e-12
    assert worth_of(doubts, settles=settles + 1, class_rows=rows) >= plain - 1e-12
    if rows > 1:
        assert worth_of(doubts, settles=settles, class_rows=rows - 1) >= plain - 1e-12


def test_ranks_rise_or_fall_with_the_score_as_the_stage_says():
    rows = [row(str(n)) for n in range(3)]
    rising = values([doubt(each, "outliers", score) for each, score in zip(rows, (0.2, 0.9, 0.9), strict=True)])
    share = WEIGHTS["outliers"].share
    assert rising == pytest.approx([share * (0.5 + 0.5 / 3), share * (0.5 + 0.5 * 2.5 / 3), rising[1]])
    assert rising[1] == rising[2]
    falling = values([doubt(each, "lengths", score) for each, score in zip(rows, (100, 200, 300), strict=True)])
    assert falling == sorted(falling, reverse=True) and len(set(falling)) == 3


def test_an_unknown_stage_and_a_score_that_is_no_number_count_too():
    assert values([doubt(row("a"), "plugin", 3.0)]) == [OTHER.share]
    assert values([doubt(row("a"), "plugin", math.nan), doubt(row("b"), "plugin", 1.0)])[0] == OTHER.share * 0.75


def test_the_rarest_of_several_classes_counts():
    assert rarest(["a", "b"], {"a": 10, "b": 3}) == 3
    assert rarest(None, {"a": 10}) == rarest("an answer", {"a": 10}) == 0


def test_the_queue_is_in_that_order(reclean: Reclean):
    rows = [row(f"common {n}", "common", n) for n in range(20)] + [row("rare one", "rare", 20)]
    rows += [row("twin", "a", 21), row("twin!", "b", 22), row("label error", "common", 23)]
    twins = ("train.jsonl:21", "train.jsonl:22")
    doubts = [
        doubt(rows[0], score=0.1), doubt(rows[1], score=0.29), doubt(rows[20], score=0.1),
        doubt(rows[21], "near_duplicates", 0.9, twins=twins[1:]),
        doubt(rows[22], "near_duplicates", 0.9, twins=twins[:1]),
        doubt(rows[23], "label_errors", 0.8, suggestion="rare"),
    ]  # fmt: skip
    items = reclean(rows, doubts).items()
    assert [item.text for item in items] == ["twin", "twin!", "label error", "rare one", "common 1", "common 0"]
    assert [item.settles for item in items] == [2, 2, 1, 1, 1, 1]
    assert [item.worth for item in items] == sorted((item.worth for item in items), reverse=True)
    assert [twin.text for twin in items[0].twins] == ["twin!"]
