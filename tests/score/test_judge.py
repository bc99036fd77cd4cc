"""The judge of augmented rows: who it learns from, when there is none, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.dirt.sets import made_up
from tests.augment.made import labelled

from tuneloop.records import Row
from tuneloop.score import judge as module
from tuneloop.score.judge import FEWEST_OF_A_CLASS, FEWEST_ROWS, label_judge, labels_told

BANK = [labelled(one["text"], one["label"]) for one in made_up(200)]


def test_it_knows_the_rows_it_learnt_from_and_reads_others():
    judge = label_judge(BANK)
    assert judge is not None
    assert list(judge([row.text for row in BANK])) == [row.label for row in BANK]
    others = made_up(300)[200:]
    right = sum(a == b["label"] for a, b in zip(judge([one["text"] for one in others]), others, strict=True))
    assert right > 90


def test_it_learns_from_a_bounded_number_of_rows_that_stand_apart(monkeypatch: pytest.MonkeyPatch):
    taught = list[str]()
    fit = module.fit_floor

    def seen(texts: list[str], labels: list[str]) -> module.Judge:
        taught.extend(texts)
        return fit(texts, labels)

    monkeypatch.setattr(module, "fit_floor", seen)
    monkeypatch.setattr(module, "FIT_ROWS", 70)
    assert label_judge(BANK) is not None
    assert taught == [row.text for row in BANK[::3]]


@pytest.mark.parametrize(
    "rows",
    [
        BANK[: FEWEST_ROWS - 1],
        [replace(row, label=None) for row in BANK],
        [replace(row, label=("a", "b")) for row in BANK],
        [replace(row, label="a") for row in BANK],
        [replace(row, label=str(place // (FEWEST_OF_A_CLASS - 1))) for place, row in enumerate(BANK)],
        [replace(row, text="?") for row in BANK],
    ],
    ids=["few", "no label", "several labels", "one class", "few of a class", "no words"],
)
def test_there_is_none_where_rows_say_too_little(rows: list[Row]):
    assert label_judge(rows) is None


def test_it_says_what_it_saw_and_who_it_is():
    found = {"judged": 1000, "kept": 940, "share": 0.94, "changed": 600, "changed_kept": 540}
    told = labels_told(found)
    assert told.startswith(
        "of 1,000 rows whose original a judge (TF-IDF and a linear classifier that learnt from the rows"
    )
    assert told.endswith("gets right, 940 (94.0%) keep their label in other words; of the 600 that differ, 540")
    assert "is not known" in labels_told(found | {"judged": 0, "share": None})
