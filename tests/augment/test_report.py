"""The report counts what changed, marks it, and asks a judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.augment.made import labelled

from tuneloop.augment.augmentation import augmentation_of
from tuneloop.augment.report import changed_words, label_preservation, marked, report
from tuneloop.sections import Augment

ROWS = [labelled(f"the problem with the phone is {'abcdefgh'[place]}", "x") for place in range(8)]


def test_marks():
    assert marked("the big card", "the small red card") == ("the [[big]] card", "the [[small red]] card")
    assert marked("查询价格", "查看价格") == ("查[[询]]价格", "查[[看]]价格")
    assert marked("same", "same") == ("same", "same")


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [("a b c", "a b c", 0), ("aa bb cc", "aa xx cc", 1), ("aa bb cc", "aa cc", 1),
     ("aa bb", "aa xx bb", 1), ("aa", "xx yy zz", 1)],
)  # fmt: skip
def test_changed_words(before: str, after: str, count: int):
    assert changed_words(before, after) == (count, len(before.split()))


def test_report_counts():
    augmentation = augmentation_of(Augment.model_validate({"synonyms": {"rate": 0.5}}), task="classification", seed=0)
    found = report(ROWS, augmentation, epochs=3, skipped={("paraphrase", "empty"): 2})
    pairs = [(row, augmentation.augmented(row, epoch)) for epoch in range(3) for row in ROWS]
    differing = sum(a != b for row, shown in pairs for a, b in zip(row.text.split(), shown.text.split(), strict=True))
    assert found["changed"] == sum(row is not shown for row, shown in pairs) / 24 and found["changed"] > 0.5
    assert found["changed_words"] == pytest.approx(differing / sum(len(row.text.split()) for row, _ in pairs), abs=1e-6)
    assert found["methods"] == {"synonyms": round(found["changed"] * 24)} and found["skipped"] == {
        "paraphrase: empty": 2
    }
    assert all("[[" in sample["before"] and "[[" in sample["after"] for sample in found["samples"]) and found["samples"]
    assert "labels" not in found
    json.dumps(found)


def test_variants_are_counted_and_sampled_beside_what_an_epoch_changes():
    variants = [replace(row, text=f"so {row.text}").through(f"paraphrase:{row.id}") for row in ROWS]
    gone = replace(ROWS[0], text="of a row that is not looked at").through("paraphrase:other")
    augment = Augment.model_validate({"paraphrase": {"use": "append"}})
    augmentation = augmentation_of(augment, task="classification", seed=0, variants=variants)
    found = report(ROWS, augmentation, variants=[*variants, gone])
    assert found["variants"] == {"paraphrase": 9} and found["methods"] == {} and found["changed"] == 0
    assert [sample["after"] for sample in found["samples"]] == [f"[[so ]]{row.text}" for row in ROWS]
    assert {sample["method"] for sample in found["samples"]} == {"paraphrase"}


def test_label_preservation_counts_only_what_the_judge_can_read():
    pairs = [(labelled(a, label), labelled(b, label)) for a, b, label in (
        ("card a", "card b", "card"), ("card c", "fee d", "card"), ("mystery", "card e", "card"),
        ("fee f", "fee g", "fee"), ("card z", "card z", "card"),
    )]  # fmt: skip

    def judge(texts: Sequence[str]) -> list[str]:
        return [text.split()[0] for text in texts]

    found = label_preservation(pairs, judge)
    assert (found["judged"], found["kept"], found["share"]) == (4, 3, 0.75)
    assert (found["changed"], found["changed_kept"], found["changed_share"]) == (3, 2, 0.666667)
    assert found["lost"] == [{"label": "card", "before": "card c", "after": "fee d", "judge": "fee"}]
    assert label_preservation([], judge)["share"] is None
