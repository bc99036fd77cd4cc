"""In = kept + dropped + to review: counted as it should be, and never broken in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneloop.errors import DataError
from tuneloop.records import Doubt, Dropped, Repair, Row
from tuneloop.rows.funnel import (
    check_funnel,
    mended_by_stage,
    reason_of,
    reasons_of,
    short_funnel,
    waiting_by_stage,
)
from tuneloop.rows.prepare import prepare_rows

COUNTS: dict[str, dict[str, Any]] = {
    "train": {"in": 10, "repaired": 2, "dropped": {"leak": 1, "read: text is empty": 2}, "kept": 6, "to review": 1},
    "validation": {"in": 3, "repaired": 0, "dropped": {}, "kept": 3},
    "test": {"in": 4, "repaired": 0, "dropped": {"read: expected an object": 1}, "kept": 3},
}


@pytest.mark.parametrize(
    ("stage", "reason", "counted"),
    [
        ("read", "text is empty", "read: text is empty"),
        ("exact_duplicates", "says the same as a.jsonl:1", "exact_duplicates"),
        ("near_duplicates", "near duplicate of a.jsonl:1 (Jaccard 0.91)", "near_duplicates"),
        ("leak", "its text also stands in test (a.jsonl:1)", "leak"),
        ("near_leak", "nearly the same stands in test (a.jsonl:1; Jaccard 0.91)", "near_leak"),
        ("review", "dropped by ann: an advertisement", "review: dropped by ann"),
        ("later", "why: so", "later: why: so"),
    ],
)
def test_a_row_counts_under_its_reason(stage: str, reason: str, counted: str) -> None:
    assert reason_of(Dropped("a:2", stage, reason, "{}")) == counted


def test_reasons_come_with_the_most_frequent_first() -> None:
    dropped = [Dropped(f"a:{n}", "read", reason, "") for n, reason in enumerate("xyyzyz")]
    assert list(reasons_of(dropped).items()) == [("read: y", 3), ("read: z", 2), ("read: x", 1)]


def test_a_row_that_was_mended_in_two_fields_is_one_row() -> None:
    repairs = [Repair("i", "a:1", "encoding", field, "", "") for field in ("text", "label")]
    assert mended_by_stage([*repairs, Repair("i", "a:1", "json", "", "", "")]) == {"encoding": 1, "json": 1}


def test_a_row_that_two_stages_doubt_counts_for_both_and_a_settled_one_for_none() -> None:
    rows = [Row(id=name, source=f"a:{name}") for name in "abb"]  # two with the same content
    doubts = [Doubt("a", "a:a", "lengths", "", 0.5), Doubt("a", "a:a", "outliers", "", 0.1)]
    doubts += [Doubt("b", "a:b", "outliers", "", 0.1), Doubt("b", "a:b", "outliers", "", 0.1)]
    doubts += [Doubt("c", "a:c", "language", "", 0.1)]
    assert waiting_by_stage(rows, doubts) == {"outliers": 3, "lengths": 1}


def test_counts_that_add_up_pass() -> None:
    check_funnel(COUNTS)


@pytest.mark.parametrize(
    ("split", "change", "numbers"),
    [
        ("train", {"in": 11}, "11 in, but 6 kept + 3 dropped + 1 to review = 10"),
        ("train", {"to review": 0}, "10 in, but 6 kept + 3 dropped + 0 to review = 9"),
        ("validation", {"kept": 4}, "3 in, but 4 kept + 0 dropped + 0 to review = 4"),
        ("test", {"dropped": {}}, "4 in, but 3 kept + 0 dropped + 0 to review = 3"),
    ],
)
def test_counts_that_do_not_add_up_are_an_error_with_the_numbers(
    split: str, change: dict[str, Any], numbers: str
) -> None:
    with pytest.raises(DataError, match="do not add up") as error:
        check_funnel(COUNTS | {split: COUNTS[split] | change})
    assert split in error.value.what and error.value.got == numbers


@pytest.mark.parametrize("change", ["lost", "twice"])
def test_a_stage_that_loses_a_row_or_gives_it_twice_stops_the_cleaning(
    tmp_path: Path, write: Callable[..., str], recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    from tuneloop.rows import prepare

    real = prepare.without_leaks

    def broken(*given: Any) -> Any:
        found = real(*given)
        return replace(found, rows=found.rows[1:] if change == "lost" else [*found.rows, found.rows[0]])

    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(40)]
    made = recipe(train=write("a.jsonl", *rows), validation=0.2, test=0.2, clean={"near_duplicates": False})
    came = prepare_rows(made, tmp_path).report["counts"]["train"]["in"]
    monkeypatch.setattr(prepare, "without_leaks", broken)
    with pytest.raises(DataError, match=f"{came} in, but {came + (1 if change == 'twice' else -1)} kept"):
        prepare_rows(made, tmp_path)


def test_the_short_funnel_names_a_few_reasons_and_counts_the_rest() -> None:
    assert short_funnel({"counts": COUNTS}) == [
        "rows: 10 to train on came in: 2 repaired, 3 dropped, 1 to review, 6 kept",
        "rows: dropped: leak 1, read: text is empty 2",
    ]
    side = COUNTS["train"] | {"in": 12_007, "dropped": {f"reason {n}": 1000 for n in range(12)}}
    told = short_funnel({"counts": {"train": side}})
    assert told[0].startswith("rows: 12,007 to train on came in: 2 repaired, 12,000 dropped")
    assert told[1].endswith("reason 4 1,000 and 7 more reasons")
    assert len(short_funnel({"counts": {"train": side | {"dropped": {}}}})) == 1
