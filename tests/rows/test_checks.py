"""Whether the labels of the sides make a task; held-out labels and single classes are tested in test_prepare.py."""

from __future__ import annotations

from tuneloop.records import Row
from tuneloop.rows.checks import listed, thin_classes


def rows(*labels: str | tuple[str, ...]) -> list[Row]:
    return [Row(id=str(place), source=f"a:{place}", text=f"t{place}", label=one) for place, one in enumerate(labels)]


def test_classes_with_one_training_row_are_named() -> None:
    (said,) = thin_classes(rows("b", "a", "c", "c", ("c", "d")))
    assert said == "3 of 4 classes have one training row, too few to learn from; slips? 'a', 'b', 'd'"
    assert thin_classes(rows("a", "a", "b", "b")) == [] == thin_classes([])
    (said,) = thin_classes(rows(*(f"{place:02}" for place in range(12))))
    assert said.startswith("12 of 12 classes") and said.endswith("'09', ...")


def test_counts_are_listed_the_most_frequent_first() -> None:
    assert listed({"a": 1, "b": 3, "c": 1}) == "b (3), a (1), c (1)"
    assert listed({f"{place:02}": 1 for place in range(11)}).endswith("09 (1), ...")
