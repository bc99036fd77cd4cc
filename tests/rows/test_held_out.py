"""Held-out rows: names are read as the training rows have them, content is never changed, and all of it is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rows.conftest import Write

from tuneloop.errors import DataError
from tuneloop.recipe import Recipe
from tuneloop.rows.prepare import Prepared, prepare_rows

LABELS = ["refund_status", "order_late"]


@pytest.fixture
def prepared(tmp_path: Path, write: Write, recipe: Callable[..., Recipe]) -> Callable[..., Prepared]:
    """prepared(train, test, **clean): 20 clean training rows and these; test rows of their own."""

    def run(train: list[Any], test: list[Any], **clean: Any) -> Prepared:
        rows = [{"text": f"text {n}", "label": LABELS[n % 2]} for n in range(20)]
        write("v.jsonl", {"text": "v", "label": LABELS[0]})
        data = {"train": write("a.jsonl", *rows, *train), "validation": "v.jsonl", "test": write("t.jsonl", *test)}
        made = prepare_rows(recipe(clean={"near_duplicates": False} | clean, **data), tmp_path)
        counts = made.report["counts"]["test"]
        assert counts["in"] == len(test) == counts["kept"] + sum(counts["dropped"].values())
        return made

    return run


HELD_OUT = [
    {"text": "one", "label": "refund_status"}, {"text": "two", "label": "Refund Status"},
    {"text": "three", "label": "new"},
    {"text": "four", "label": "Refund Status"},
]  # fmt: skip


@pytest.mark.parametrize("train", [[], [{"text": "x", "label": "Refund Status"}]])
def test_a_label_in_another_spelling_is_no_unknown_one(prepared: Callable[..., Prepared], train: list[Any]) -> None:
    found = prepared(train, HELD_OUT)
    assert [row.label for row in found.test] == ["refund_status", "refund_status", "new", "refund_status"]
    assert [row.lineage for row in found.test] == [(), ("repair_labels",), (), ("repair_labels",)]
    said = "2 test labels are written otherwise in training, and read so: 'Refund Status' as 'refund_status' (2)"
    assert found.labels == sorted(LABELS) and said in found.report["warnings"]
    assert any("1 of 4 test rows have a label that the training rows lack" in line for line in found.report["warnings"])
    assert all(repair.source.startswith("a.jsonl") for repair in found.repairs), "repairs are those of training rows"


def test_spellings_are_learnt_from_training_rows_alone(prepared: Callable[..., Prepared]) -> None:
    with pytest.raises(DataError, match="Training lacks the labels of 3 of the 4 test rows"):
        prepared([], HELD_OUT, repair_labels=False)
    test = [{"text": f"t{n}", "label": "New_Label"} for n in range(9)] + [{"text": "u", "label": "new label"}]
    test += [{"text": f"w{n}", "label": LABELS[0]} for n in range(11)]
    assert [row.label for row in prepared([], test).test][8:10] == ["New_Label", "new label"], "neither is known"


def test_labels_that_are_both_frequent_in_the_test_rows_stay_two(prepared: Callable[..., Prepared]) -> None:
    train = [{"text": f"x{n}", "label": "Order_Late"} for n in range(2)]
    test = [{"text": f"t{n}", "label": label} for n, label in enumerate(["order_late", "Order_Late"] * 5)]
    found = prepared(train, test)
    assert [row.label for row in found.test] == ["order_late", "Order_Late"] * 5 and "Order_Late" in found.labels
    found = prepared(train, test[:1] * 1 + [{"text": "z", "label": "refund_status"}])
    assert "Order_Late" not in found.labels


def test_a_label_that_looks_like_a_slip_waits_for_a_person(prepared: Callable[..., Prepared]) -> None:
    train = [{"text": f"more {n}", "label": "refund_status"} for n in range(10)]
    train.append({"text": "x", "label": "refund_statsu"})
    test = [{"text": "one", "label": "refund_status"}]
    found = prepared(train, test)
    assert found.report["doubts"] == {"repair_labels": 1} and found.labels == ["order_late", "refund_status"]
    (doubt,) = found.doubts
    assert (doubt.source, doubt.suggestion) == ("a.jsonl:31", "refund_status")
    assert prepared(train, test, repair_labels=False).report["doubts"] == {}


def test_a_column_under_another_name_is_read(prepared: Callable[..., Prepared]) -> None:
    test = [
        {"text": "one", "label": LABELS[0]},
        {"Sentence": "two", "label": LABELS[1]},
        {"text": "three", "label": LABELS[0]},
    ]
    found = prepared([], test)
    assert [(row.text, row.source) for row in found.test] == [
        ("one", "t.jsonl:1"),
        ("two", "t.jsonl:2"),
        ("three", "t.jsonl:3"),
    ]
    assert "1 test rows have another name for a column, and are read by it" in found.report["warnings"]
    off = prepared([], test, repair_columns=False)
    assert len(off.test) == 2 and [item.reason for item in off.dropped] == ["text is missing"]


def test_content_is_never_changed(prepared: Callable[..., Prepared]) -> None:
    test = [{"text": text, "label": LABELS[0]} for text in ("a &amp; b<br>", "cafÃ©", "<think><think>")]
    test.append("{'text': 'x', 'label': 'y'}")
    train = [{"text": "x &amp; y", "label": LABELS[0]}]
    found = prepared(train, test)
    assert [row.text for row in found.test] == [row["text"] for row in test[:3]]
    assert "test rows with HTML remains, which are taken out of training rows alone: 1" in found.report["warnings"]
    said = prepared([], test).report["warnings"]
    assert not any("HTML" in line for line in said), "the training rows had none"


def test_personal_data_in_held_out_rows_is_counted_and_kept(prepared: Callable[..., Prepared]) -> None:
    test = [{"text": f"电话{number}", "label": LABELS[0]} for number in ("13800138000", "13800138001", "没填")]
    found = prepared([], test, personal_data=True)
    assert [row.text for row in found.test] == [row["text"] for row in test]
    said = "test rows with personal data, which is masked in training rows alone: 2"
    assert said in found.report["warnings"] and not any("validation rows" in line for line in found.report["warnings"])
    assert said not in prepared([], test).report["warnings"]


def test_the_report_names_bad_rows_without_personal_data(prepared: Callable[..., Prepared]) -> None:
    lines = '{"text": ["电话13800138000"], "label": "a"}', {"text": "t", "label": LABELS[0]}
    masked = prepared([lines[0]], list(lines), personal_data=True).report
    assert len(masked["bad"]) == 2 and all("<PHONE>" in line for line in masked["bad"])
    assert "13800138000" not in str(masked), "neither in the warnings"
    assert str(prepared([lines[0]], list(lines)).report).count("13800138000") == 3


def test_a_row_that_only_the_repair_makes_equal_leaks(prepared: Callable[..., Prepared]) -> None:
    test = [{"text": "Tom &amp; I<br>waited", "label": LABELS[0]}]
    found = prepared(
        [{"text": "Tom & I\nwaited", "label": LABELS[0]}, {"text": "<p>Tom &#38; I</p>waited", "label": LABELS[0]}],
        test,
    )
    assert {item.source: item.stage for item in found.dropped} == {
        "a.jsonl:21": "leak",
        "a.jsonl:22": "exact_duplicates",
    }


def test_turns_in_another_order_leak(tmp_path: Path, write: Write, recipe: Callable[..., Recipe]) -> None:
    def talk(*contents: str) -> dict[str, Any]:
        return {
            "messages": [
                *({"role": "user", "content": text} for text in contents),
                {"role": "assistant", "content": "a"},
            ]
        }

    write("t.jsonl", talk("one", "two"))
    data = {"train": write("a.jsonl", talk("one", "two"), talk("three")), "validation": "t.jsonl", "test": "t.jsonl"}
    found = prepare_rows(recipe("generation", clean={"near_duplicates": False}, **data), tmp_path)
    assert [item.stage for item in found.dropped] == ["leak"] and len(found.test[0].messages) == 3
