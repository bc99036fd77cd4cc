"""A word's part of speech by its neighbours, else by its counts, else none."""

from __future__ import annotations

import pytest

from tuneloop.augment.tagger import reading

CHARGE = {("n", ""): 40, ("v", ""): 50}
CHARGES = {("n", "s"): 40, ("v", "s"): 50}


@pytest.mark.parametrize(
    ("counts", "before", "after", "expected"),
    [
        (CHARGE, "the", "is", ("n", "")), (CHARGE, "to", "my", ("v", "")), (CHARGE, "you", "me", ("v", "")),
        (CHARGE, "can't", "it", ("v", "")), (CHARGE, "of", "", ("n", "")), (CHARGE, "", "", None),
        (CHARGES, "he", "me", ("v", "s")), (CHARGES, "my", "are", ("n", "s")),
        ({("a", ""): 50, ("n", ""): 50}, "the", "of", ("n", "")),
        ({("n", ""): 99, ("v", ""): 1}, "", "", ("n", "")), ({("n", ""): 99, ("v", ""): 1}, "to", "", None),
        ({("v", "ed"): 20, ("a", ""): 2}, "have", "", ("v", "ed")), ({("a", ""): 20, ("r", ""): 10}, "very",
        "", ("a", "")),
        ({("v", "ing"): 20, ("n", ""): 10}, "is", "", ("v", "ing")),
    ],
)  # fmt: skip
def test_readings(counts: dict, before: str, after: str, expected: tuple[str, str] | None):
    assert reading(counts, before, after) == expected
