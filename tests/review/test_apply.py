"""Decisions on rows: in = kept + dropped + waiting, by content, whatever a later cleaning doubts."""

from __future__ import annotations

import functools
import json
import operator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.review.conftest import doubt, row

from tuneloop.records import Message, Row, content_id
from tuneloop.review.apply import apply_decisions
from tuneloop.review.content import content_of, edited, label_from, label_text
from tuneloop.review.log import Decision

A, B, C = row("a", "x", 1), row("b", "y", 2), row("c", "x", 3)


def decided(of: Row, kind: str, number: int = 1, comment: str = "", **after: object) -> Decision:
    return Decision(number, of.id, kind, "ann", "2026-01-01T00:00:00+00:00", content_of(of), after, comment)


def test_a_doubted_row_waits_and_the_others_are_kept():
    found = apply_decisions([A, B], [doubt(A)], [])
    assert (found.kept, found.dropped, found.waiting) == ([B], [], [A])


@pytest.mark.parametrize("kind", ["skip", "undo"])
def test_a_skip_or_an_undo_lets_nothing_in(kind: str):
    log = [decided(A, "skip")] if kind == "skip" else [decided(A, "keep"), replace(decided(A, "undo", 2), undoes=1)]
    assert apply_decisions([A], [doubt(A)], log).waiting == [A]


def test_keep_lets_the_row_in_as_it_is():
    assert apply_decisions([A], [doubt(A), doubt(A, "language")], [decided(A, "keep")]).kept == [A]


def test_an_edit_changes_the_row_and_its_id_and_leaves_its_mark():
    (changed,) = apply_decisions([A], [doubt(A)], [decided(A, "edit", text="new", label="y")]).kept
    assert (changed.text, changed.label, changed.lineage) == ("new", "y", ("review",))
    assert changed.id == content_id(changed) != A.id
    assert changed.source == A.source


def test_a_dropped_row_says_who_dropped_it_and_why():
    found = apply_decisions([A], [doubt(A)], [decided(A, "drop", comment="广告")])
    (gone,) = found.dropped
    assert (gone.source, gone.stage, gone.reason, gone.split) == (A.source, "review", "dropped by ann: 广告", "train")
    assert json.loads(gone.raw) == {"text": "a", "label": "x"}
    assert found.kept == found.waiting == []


def test_what_people_did_is_counted():
    log = [decided(A, "keep"), decided(B, "edit", 2, label="x"), decided(C, "drop", 3)]
    found = apply_decisions([A, B, C], [doubt(A), doubt(B), doubt(C)], log)
    assert found.deeds == {"let in": 1, "changed": 1, "dropped": 1}
    assert apply_decisions([A, B, C], [], log[:1]).deeds == {}  # nobody doubts it: it is in anyway
    assert apply_decisions([A, B, C], [doubt(A)], [decided(A, "skip")]).deeds == {}


def test_a_decision_holds_when_a_later_cleaning_doubts_nothing():
    found = apply_decisions(
        [A, B, C], [], [decided(A, "drop"), decided(B, "edit", 2, label="x"), decided(C, "keep", 3)]
    )
    assert [each.source for each in found.dropped] == [A.source]
    assert [(each.text, each.label) for each in found.kept] == [("b", "x"), ("c", "x")]


def test_a_row_whose_content_changed_is_asked_about_again():
    changed = row("a!", "x", 1)
    assert apply_decisions([changed], [doubt(changed)], [decided(A, "keep")]).waiting == [changed]


def test_an_id_that_two_contents_share_does_not_carry_a_decision_over():
    other = replace(B, id=A.id)
    assert apply_decisions([other], [doubt(A)], [decided(A, "drop")]).waiting == [other]


def test_a_decision_holds_for_every_copy():
    copy = row("a", "x", 9)
    assert len(apply_decisions([A, copy], [doubt(A)], [decided(A, "drop")]).dropped) == 2


KINDS = st.sampled_from(["keep", "edit", "drop", "skip"])


@given(st.lists(st.integers(0, 5), max_size=12), st.sets(st.integers(0, 5)), st.dictionaries(st.integers(0, 5), KINDS))
def test_every_row_comes_out_once_and_in_order(which: list[int], doubted: set[int], kinds: dict[int, str]):
    rows = [row(f"t{n}", "x", place) for place, n in enumerate(which)]
    doubts = [doubt(row(f"t{n}", "x")) for n in doubted]
    log = [
        decided(row(f"t{n}", "x"), kind, place, **({"text": "edited"} if kind == "edit" else {}))
        for place, (n, kind) in enumerate(kinds.items(), 1)
    ]
    found = apply_decisions(rows, doubts, log)
    sides = [[each.source for each in side] for side in (found.kept, found.dropped, found.waiting)]
    assert sorted(functools.reduce(operator.iadd, sides, [])) == sorted(each.source for each in rows)
    for side in sides:
        assert side == [each.source for each in rows if each.source in side]
    for each, n in zip(rows, which, strict=True):
        kind = kinds.get(n)
        waits = n in doubted and kind in (None, "skip")
        assert (each.source in sides[2]) == waits
        assert (each.source in sides[1]) == (kind == "drop")


# -- what may be changed -------------------------------------------------------------------------------------------

TALK = row(
    "", None, 1,
    messages=(Message("system", "be kind"), Message("user", "hello"), Message("assistant", "hi"),
              Message("user", "why?"), Message("assistant", "because")),
)  # fmt: skip


def test_a_conversation_shows_its_last_question_and_answer():
    assert content_of(TALK) == {"text": "why?", "label": "because"}
    changed = edited(TALK, {"text": "how?", "label": "so"})
    assert [turn.content for turn in changed.messages] == ["be kind", "hello", "hi", "how?", "so"]
    assert (changed.text, changed.label) == ("", None)
    assert changed.id == content_id(changed) != TALK.id


def test_several_classes_stay_several():
    both = row("t", ("x", "y"))
    assert content_of(both)["label"] == ["x", "y"]
    assert edited(both, {"label": ["y"]}).label == ("y",)
    assert label_from("x | y", ["q"]) == label_from('["x", "y"]', ["q"]) == ["x", "y"]
    assert label_from(label_text(["a | b", "c"]), ["q"]) == ["a | b", "c"]


def test_the_label_of_a_row_with_a_class_and_an_answer_is_the_class():
    joint = replace(TALK, label="greeting")
    assert content_of(joint)["label"] == "greeting"
    assert edited(joint, {"label": "question"}).label == "question"
    assert edited(joint, {"label": "question"}).messages == TALK.messages
