from __future__ import annotations

import numpy as np
import pytest

from tuneloop.errors import RecipeError
from tuneloop.records import Row
from tuneloop.rows.lengths import length_doubts


def rows(*lengths: int) -> list[Row]:
    return [Row(id=str(place), source=f"a:{place}", text="x" * length) for place, length in enumerate(lengths)]


def usual(count: int = 200) -> list[int]:
    return [int(n) for n in np.exp(np.random.default_rng(1).normal(4.6, 0.4, count))]


def test_ordinary_rows_are_not_doubted_and_extreme_ones_are():
    found = length_doubts(rows(*usual(), 40_000, 1))
    assert [one.row for one in found] == ["200", "201"]
    assert found[0].stage == "lengths" and found[0].reason.startswith("very long: 40,000 characters, ")
    assert found[1].reason.startswith("very short: 1 characters")
    assert all(0 < one.score < 1 for one in found)


def test_the_median_does_not_move_for_a_tenth_of_monsters():
    found = length_doubts(rows(*usual(), *[50_000] * 20))
    assert len(found) == 20


def test_short_sets_have_no_long_rows_before_the_floor():
    assert length_doubts(rows(*[5] * 100, 199)) == []
    assert [one.row for one in length_doubts(rows(*[5] * 100, 200))] == ["100"]


def test_rows_of_one_length_leave_room():
    assert length_doubts(rows(*[1000] * 100, 3000, 400)) == []
    assert len(length_doubts(rows(*[1000] * 100, 4000, 200))) == 2


def test_the_limit_is_counted_in_deviations():
    lengths = [*[99] * 50, *[199] * 50, 799]  # the median is 199, the median deviation log 2, and log(800 / 200) is two
    limit = 2 / 1.4826
    (found,) = length_doubts(rows(*lengths), deviations=limit - 0.01)
    assert found.row == "100" and found.score == pytest.approx((limit - 0.01) / limit)
    assert length_doubts(rows(*lengths), deviations=limit + 0.01) == []


def test_no_rows_no_doubts():
    assert length_doubts([]) == []


@pytest.mark.parametrize("deviations", [0.0, -1.0, float("nan")])
def test_deviations_must_be_above_0(deviations: float):
    with pytest.raises(RecipeError, match="above 0"):
        length_doubts([], deviations=deviations)
