"""All methods combined: seed, epoch and row decide, and nothing but inputs changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.augment.made import labelled, talk

from tuneloop.augment.augmentation import Augmentation, augmentation_of
from tuneloop.errors import DataError
from tuneloop.records import Row
from tuneloop.sections import Augment

ALL = {"synonyms": {"rate": 0.3}, "noise": {"rate": 0.2}, "eda": {}}
TEXTS = [
    "the problem with the phone is big",
    "I want to buy the film in another shop",
    "我想查询一下手机的价格",
    "{{x}} 20",
]
ROWS = [labelled(f"{text} {'abcdefgh'[place]}", "shop") for place in range(8) for text in TEXTS]


def made(methods: dict, **options: object) -> Augmentation:
    return augmentation_of(Augment.model_validate(methods), **({"task": "classification", "seed": 1} | options))


def test_order_and_what_was_done_before_change_nothing():
    one, other = made(ALL), made(ALL)
    forward = [one.augmented(row, epoch) for epoch in range(3) for row in ROWS]
    backward = [other.augmented(row, epoch) for epoch in reversed(range(3)) for row in reversed(ROWS)]
    assert forward == backward[::-1]
    assert len({row.text for row in forward}) > len(ROWS) * 1.5


def test_epochs_seeds_and_rows_draw_apart():
    same = labelled("the problem with the phone is that the film in the shop is big", "x")
    twin = replace(same, id="another")
    one, two = made(ALL), made(ALL, seed=2)
    by_epoch = {one.augmented(same, epoch).text for epoch in range(20)}
    assert len(by_epoch) > 10
    assert any(one.augmented(same, e).text != two.augmented(same, e).text for e in range(5))
    assert any(one.augmented(same, e).text != one.augmented(twin, e).text for e in range(5))


def test_a_method_more_leaves_the_others_draws():
    alone, more = made({"synonyms": {"rate": 0.3}}), made({"synonyms": {"rate": 0.3}, "noise": {"probability": 0.01}})
    shown = [(alone.augmented(row, 0), more.augmented(row, 0)) for row in ROWS]
    assert sum(a.text == b.text for a, b in shown) >= len(ROWS) - 3


def test_only_inputs_change_and_the_lineage_says_it():
    row = talk(("system", "the problem is big"), ("user", "the problem is big"), ("assistant", "the phone is big"),
               ("user", "and the film in the shop"), ("assistant", "good"))  # fmt: skip
    row = replace(row, meta={"kept": 1}, weight=2.0, time="now", lineage=("repair_json",))
    augmentation = made({"synonyms": {"rate": 1.0}}, task="generation")
    shown = augmentation.augmented(row, 0)
    assert [turn.content for turn in shown.messages] == [
        "the problem is big", "the issue is big", "the phone is big", "and the movie in the store", "good",
    ]  # fmt: skip
    assert shown.id == row.id and shown.lineage == ("repair_json", "synonyms")
    assert replace(shown, messages=row.messages, lineage=row.lineage) == row


def test_what_is_all_answer_or_has_nothing_to_change_is_the_very_same_row():
    assert made({"synonyms": {"rate": 1.0}}, task="generation").augmented(ROWS[0], 0) is ROWS[0]
    assert made(ALL).augmented(ROWS[3], 0) is ROWS[3] or "{{x}}" in made(ALL).augmented(ROWS[3], 0).text
    nothing = labelled("{{x}} 20", "y")
    assert made(ALL).augmented(nothing, 0) is nothing


def test_label_words_stay_for_all_but_slips():
    row = labelled("the transfer problem and the shop phone", "transfer_problem")
    augmentation = made(
        {"synonyms": {"rate": 1.0}, "eda": {"probability": 1.0, "delete": 0.5}}, labels=["transfer_problem"]
    )
    for epoch in range(50):
        assert {"transfer", "problem"} <= set(augmentation.augmented(row, epoch).text.split())
    slips = made({"noise": {"rate": 1.0, "probability": 1.0}}, labels=["transfer_problem"])
    assert any("transfer" not in slips.augmented(row, epoch).text for epoch in range(20))


def test_words_that_the_answer_repeats_stay():
    row = talk(("user", "note that the phone is broken in the shop"), ("assistant", '{"thing": "phone"}'))
    augmentation = made({"synonyms": {"rate": 1.0}, "noise": {"rate": 1.0, "probability": 1.0}}, task="generation")
    for epoch in range(50):
        assert "phone" in augmentation.augmented(row, epoch).messages[0].content.split()


@pytest.mark.parametrize("chance", [0.25, 0.75])
def test_a_method_is_applied_to_its_share_of_rows(chance: float):
    augmentation = made({"noise": {"rate": 1.0, "probability": chance}})
    row = ROWS[0]
    share = sum(augmentation.augmented(row, epoch) is not row for epoch in range(2000)) / 2000
    assert share == pytest.approx(chance, abs=0.04)


def test_variants_are_swapped_in_by_epoch():
    row = ROWS[0]
    other = [replace(row, text=f"said otherwise {n}").through(f"paraphrase:{row.id}") for n in "ab"]
    augmentation = made({"paraphrase": {"probability": 0.6}}, variants=other)
    seen = Counter(augmentation.augmented(row, epoch).text for epoch in range(2000))
    assert seen[row.text] / 2000 == pytest.approx(0.4, abs=0.04)
    assert seen["said otherwise a"] / 2000 == pytest.approx(0.3, abs=0.04)
    shown = next(s for e in range(20) if (s := augmentation.augmented(row, e)) is not row)
    assert shown.id == row.id and shown.lineage == (f"paraphrase:{row.id}",) and shown.label == row.label
    assert augmentation.augmented(ROWS[1], 0) is ROWS[1]


def test_the_users_own_table(tmp_path: Path):
    (tmp_path / "own.txt").write_text(
        "# mine\nphone blower\nAa01A01= 手机 终端\nAa01A02# 价格 邮票\n", encoding="utf-8"
    )
    augmentation = made({"synonyms": {"rate": 1.0, "table": "own.txt"}}, folder=tmp_path)
    assert "blower" in augmentation.augmented(ROWS[0], 0).text
    shown = augmentation.augmented(ROWS[2], 0).text
    assert "终端" in shown and "邮票" not in shown
    with pytest.raises(DataError, match=r"no\.txt cannot be read"):
        made({"synonyms": {"table": "no.txt"}}, folder=tmp_path)
    (tmp_path / "empty.txt").write_text("alone\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no group"):
        made({"synonyms": {"table": "empty.txt"}}, folder=tmp_path)


@given(st.text(max_size=80), st.integers(0, 50))
def test_any_row(text: str, epoch: int):
    row = Row(id="r", source="f:1", text=text, label="a")
    augmentation = ANY
    shown = augmentation.augmented(row, epoch)
    assert shown == augmentation.augmented(row, epoch)
    assert replace(shown, text=text, lineage=()) == row


ANY = made(ALL)
