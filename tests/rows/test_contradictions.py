"""Doubts of rows that contradict each other, and how `prepare_rows` withholds and lets them in again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneloop.recipe import Recipe
from tuneloop.records import Row, content_id
from tuneloop.review.log import Decision
from tuneloop.rows.contradictions import doubts_of_conflicts
from tuneloop.rows.near_duplicates import LabelConflict
from tuneloop.rows.prepare import Prepared, prepare_rows

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "omega", "iota", "kappa", "lambda", "sigma"]
TEXT = "Where can I see the list of all payments that I made with my card in the last month"


def row(number: int, label: str) -> Row:
    made = Row(id="", source=f"a.jsonl:{number}", text=f"{TEXT} {number}", label=label)
    return Row(id=content_id(made), source=made.source, text=made.text, label=label)


def test_the_label_that_most_rows_give_is_suggested_to_the_others():
    rows = [row(1, "a"), row(2, "b")]
    conflict = LabelConflict(("a.jsonl:1", "a.jsonl:2"), ("a", "b"), (3, 1), 0.9)
    first, second = doubts_of_conflicts(rows, [conflict])
    assert (first.row, first.source, first.suggestion, first.twins) == (rows[0].id, "a.jsonl:1", "", ("a.jsonl:2",))
    assert (second.suggestion, second.score, second.stage) == ("a", 0.9, "near_duplicates")
    assert "a.jsonl:1" in second.reason and "'a'" in second.reason


def test_no_label_is_suggested_where_votes_are_even():
    conflict = LabelConflict(("a.jsonl:1", "a.jsonl:2"), ("a", "b"), (2, 2), 0.9)
    assert {doubt.suggestion for doubt in doubts_of_conflicts([row(1, "a"), row(2, "b")], [conflict])} == {""}


def test_a_conflict_whose_other_side_is_gone_is_none():
    conflict = LabelConflict(("a.jsonl:1", "a.jsonl:2"), ("a", "b"), (1, 1), 0.9)
    assert doubts_of_conflicts([row(1, "a")], [conflict]) == []


@pytest.fixture
def prepared(tmp_path: Path):
    """A function from decisions to what a set with one contradiction becomes."""
    lines = [json.dumps({"text": f"{word} " * 9, "label": "ab"[n % 2]}) for n, word in enumerate(WORDS)]
    clash = [json.dumps({"text": TEXT, "label": "a"}), json.dumps({"text": f"{TEXT}?", "label": "b"})]
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, *clash]), encoding="utf-8")
    for name, label in (("v", "a"), ("t", "b")):
        line = json.dumps({"text": "nothing like any of them", "label": label})
        (tmp_path / f"{name}.jsonl").write_text(line, encoding="utf-8")
    tree = {
        "name": "x", "task": {"type": "classification"}, "model": {"name_or_path": "m"},
        "data": {"train": "train.jsonl", "validation": "v.jsonl", "test": "t.jsonl"},
    }  # fmt: skip

    def made(*decisions: Decision) -> Prepared:
        return prepare_rows(Recipe.model_validate(tree), tmp_path, decisions)

    return made


def test_contradicting_rows_wait_until_somebody_decides(prepared):
    first = prepared()
    assert first.report["counts"]["train"]["to review"] == 2
    assert not any(kept.text.startswith(TEXT) for kept in first.train)
    one, other = [row for row in first.clean if row.text.startswith(TEXT)]
    before = [{"text": row.text, "label": row.label} for row in (one, other)]
    decided = [
        Decision(1, one.id, "keep", "me", "2026-11-25T00:00:00Z", before[0], {}),
        Decision(2, other.id, "edit", "me", "2026-11-25T00:00:00Z", before[1], {"label": "a"}),
    ]
    second = prepared(*decided)
    counts = second.report["counts"]["train"]
    assert counts["to review"] == 0
    assert [row.label for row in second.train if row.text.startswith(TEXT)] == ["a", "a"]


@pytest.mark.parametrize("kind", ["none", "drop"])
def test_what_goes_in_is_kept_dropped_or_waits(prepared, kind: str):
    rows = [row for row in prepared().clean if row.text.startswith(TEXT)]
    before = {"text": rows[0].text, "label": rows[0].label}
    decisions = [Decision(1, rows[0].id, "drop", "me", "2026-11-25T00:00:00Z", before, {})] if kind == "drop" else []
    found = prepared(*decisions)
    counts = found.report["counts"]["train"]
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()) + counts["to review"]
    assert counts["to review"] == (1 if kind == "drop" else 2)
    if kind == "drop":
        assert "review: dropped by me" in counts["dropped"]
