"""Which of two near rows goes, which stays, and what is reported instead."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rows.near.reference import edited_pairs, jaccard

from tuneloop.errors import RecipeError
from tuneloop.records import Message, Row
from tuneloop.rows import near_duplicates
from tuneloop.rows.near_duplicates import LabelConflict, content_text, keep_best, without_twins

LONG = "please tell me how i can find the payment that i made to the shop on monday"
"""Rows that end in one more word have a Jaccard of about 0.9 with it."""


def row(place: int, text: str = "", label: object = "a", **columns: object) -> Row:
    return Row(id=f"{place:016x}", source=f"a.jsonl:{place}", text=text, label=label, **columns)  # type: ignore[arg-type]


def talk(place: int, question: str, answer: str) -> Row:
    return row(place, label=None, messages=(Message("user", question), Message("assistant", answer)))


def run(*rows: Row, threshold: float = 0.8) -> tuple[list[str], dict[str, str], list[LabelConflict]]:
    """Sources that stay, reason of each that went, conflicts."""
    found = without_twins(rows, threshold, workers=1)
    stay, gone = [row.source for row in found.rows], {item.source: item.reason for item in found.dropped}
    assert [row.source for row in rows if row.source not in gone] == stay
    assert [row.source for row in rows if row.source in gone] == list(gone)
    return stay, gone, found.conflicts


def test_the_longer_row_stays_and_is_named() -> None:
    stay, gone, conflicts = run(row(1, LONG), row(2, LONG + " again"), row(3, "something else"))
    near = jaccard(LONG, LONG + " again")
    assert stay == ["a.jsonl:2", "a.jsonl:3"] and conflicts == []
    assert gone == {"a.jsonl:1": f"near duplicate of a.jsonl:2 (Jaccard {near:.2f})"} and 0.8 < near < 0.99


def test_a_dropped_row_is_whole() -> None:
    found = without_twins([row(1, LONG), row(2, LONG.upper() + "  ")], 0.8)
    (twin,) = found.dropped
    assert twin.stage == "near_duplicates" and twin.source == "a.jsonl:2"
    assert json.loads(twin.raw) == {"text": LONG.upper() + "  ", "label": "a"}
    assert twin.reason == "near duplicate of a.jsonl:1 (Jaccard 1.00)"


def test_only_equal_shingles_are_called_a_jaccard_of_1() -> None:
    words = " ".join(f"word{number}" for number in range(900))
    _, gone, _ = run(row(1, words), row(2, words + " x"))
    assert gone == {"a.jsonl:1": "near duplicate of a.jsonl:2 (Jaccard 0.99)"}


@pytest.mark.parametrize(
    ("best", "other"),
    [
        (row(2, LONG), row(1, LONG + " again", label=None)),
        (talk(2, LONG, "<think>a</think>b"), talk(1, LONG, "<think>a</think >b, and so on and so on")),
        (row(2, LONG, chosen="yes it is"), row(1, LONG + " again")),
        (row(2, LONG + " again"), row(1, LONG)),
        (row(1, LONG + " again"), row(2, LONG + " again")),
    ],
    ids=["a label", "closed reasoning", "columns", "length", "the first"],
)
def test_the_best_row(best: Row, other: Row) -> None:
    order = sorted([best, other], key=lambda one: one.source)
    assert order[keep_best(order)] is best


def test_a_row_without_a_label_goes_before_one_with_a_label() -> None:
    stay, gone, conflicts = run(row(1, LONG + " again", label=None), row(2, LONG, label="a"))
    assert stay == ["a.jsonl:2"] and list(gone) == ["a.jsonl:1"] and conflicts == []


def test_different_labels_stay_and_are_reported_with_their_votes() -> None:
    stay, gone, conflicts = run(
        row(1, LONG, "a"), row(2, LONG + " now", "b"), row(3, "good day"), row(4, LONG + " now", "a"), row(5, LONG, "b")
    )  # fmt: skip
    assert stay == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"] and sorted(gone) == ["a.jsonl:1", "a.jsonl:5"]
    assert conflicts == [LabelConflict(("a.jsonl:2", "a.jsonl:4"), ("b", "a"), (2, 2), 1.0)]


def test_the_order_of_several_labels_says_nothing() -> None:
    stay, _, conflicts = run(row(1, LONG, ("x", "y")), row(2, LONG, ("y", "x")), row(3, LONG, ("x",)))
    assert stay == ["a.jsonl:1", "a.jsonl:3"]
    assert [one.labels for one in conflicts] == [(("x", "y"), ("x",))]


def test_a_chain_whose_ends_are_not_near_keeps_both_ends() -> None:
    words = [f"word{number:02}" for number in range(40)]
    chain = [" ".join(words[start : start + 30]) for start in (0, 3, 6)]  # the middle one is near both
    threshold = 0.75
    assert jaccard(chain[0], chain[2]) < threshold < min(jaccard(chain[1], end) for end in (chain[0], chain[2]))
    longest_first = [chain[0] + " x", chain[1], chain[2]]
    stay, gone, _ = run(*(row(place, text) for place, text in enumerate(longest_first)), threshold=threshold)
    assert stay == ["a.jsonl:0", "a.jsonl:2"] and "a.jsonl:0" in gone["a.jsonl:1"]


def test_questions_with_different_answers_are_no_twins() -> None:
    assert run(talk(1, LONG, "yes"), talk(2, LONG, "no"))[0] == ["a.jsonl:1", "a.jsonl:2"]
    assert run(talk(1, LONG, "no"), talk(2, LONG + " now", "No"))[0] == ["a.jsonl:2"]
    preference = {"chosen": "yes", "rejected": "no"}
    other = {"chosen": "no", "rejected": "yes"}
    assert len(run(row(1, LONG, None, **preference), row(2, LONG, None, **other))[0]) == 2
    assert len(run(row(1, LONG, None, **preference), row(2, LONG, None, **preference))[0]) == 1


def test_other_media_are_other_rows() -> None:
    rows = [row(place, LONG, None, images=(f"{place // 2}.png",)) for place in range(6)]
    stay, gone, _ = run(*rows)
    assert stay == ["a.jsonl:0", "a.jsonl:2", "a.jsonl:4"] and len(gone) == 3


def test_roles_count_and_labels_do_not() -> None:
    one, other = (row(1, label=None, messages=(Message(role, "hi"),)) for role in ("user", "system"))
    assert content_text(one) != content_text(other) and content_text(row(1, "T", "a")) == content_text(row(1, "t", "b"))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text("ab ", min_size=3, max_size=9), st.sampled_from(["x", "y", None])), max_size=14))
def test_no_two_rows_that_stay_are_twins_and_every_dropped_one_has_its_twin(given_rows: list[tuple[str, str]]) -> None:
    rows = [row(place, text, label) for place, (text, label) in enumerate(given_rows)]
    found = without_twins(rows, 1.0, workers=1)  # at 1 nothing is left to chance
    stay = {row.source: row for row in found.rows}
    kept = list(stay.values())
    near = [(a, b) for a in kept for b in kept if a.source < b.source and content_near(a, b)]
    told = {source for one in found.conflicts for source in one.sources}
    assert all(a.label != b.label and {a.source, b.source} <= told for a, b in near)
    for item in found.dropped:
        twin = stay[item.reason.removeprefix("near duplicate of ").partition(" ")[0]]
        gone = rows[int(item.source.rpartition(":")[2])]
        assert content_near(gone, twin) and gone.label in (twin.label, None)


def content_near(one: Row, other: Row) -> bool:
    return jaccard(content_text(one), content_text(other)) == 1.0


def test_after_many_rounds_the_rest_is_judged_by_the_pairs_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(place, text) for place, text in enumerate(text for pair in edited_pairs(60) for text in pair)]
    random.Random(0).shuffle(rows)
    plain = run(*rows, threshold=0.6)
    monkeypatch.setattr(near_duplicates, "ROUNDS", 0)
    assert run(*rows, threshold=0.6) == plain and len(plain[1]) > 10


def test_a_threshold_out_of_range_is_an_error() -> None:
    with pytest.raises(RecipeError, match="threshold"):
        without_twins([row(1, LONG)], 0.2)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("锅炉的压力表读数是{}", ("1.2", "1.8", "12")),
        ("设备面板报警代码是{}", ("E01", "E02", "E25")),
        ("目标价{}元", ("3", "3.6")),
    ],
)
def test_chinese_rows_that_end_in_other_numbers_are_no_twins(text: str, numbers: tuple[str, ...]):
    rows = [row(place, text.format(number)) for place, number in enumerate(numbers)]
    assert run(*rows, threshold=0.95) == ([one.source for one in rows], {}, [])


def test_chinese_answers_that_end_in_other_numbers_are_no_twins():
    question = "一台水泵每小时抽水15吨，连续工作了若干个小时之后又修理了一次，请问最后一共抽了多少吨水？"
    rows = [talk(place, question, f"答案是{number}") for place, number in enumerate((35, 36, 3.5))]
    assert run(*rows) == ([one.source for one in rows], {}, [])
