"""Turns out of order: what is put right, what is kept, and what the project's own templates make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.rows.conftest import CleanThese

from tuneloop.records import Message
from tuneloop.rows.repair_roles import in_order

WORDS = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
FIRST = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def turns(roles: str) -> list[dict[str, str]]:
    """us -> a user's turn "u0", a system turn "s1"."""
    return [{"role": WORDS[role], "content": f"{role}{place}"} for place, role in enumerate(roles)]


def shown(messages: Any) -> str:
    return " ".join(turn.content.replace("\n", "+") for turn in messages)


@pytest.mark.parametrize(
    ("roles", "after"),
    [
        ("usa", "s1 u0 a2"), ("uas", "s2 u0 a1"), ("uua", "u0+u1 a2"), ("uuua", "u0+u1+u2 a3"), ("uaa", "u0 a1+a2"),
        ("uusua", "s2 u0+u1+u3 a4"), ("suaauua", "s0 u1 a2+a3 u4+u5 a6"), ("uau", "u0 a1"), ("uauu", "u0 a1"),
        ("uuau", "u0+u1 a2"), ("suauu", "s0 u1 a2"), ("uausu", "s3 u0 a1"), ("auau", "a0 u1 a2"),
    ],
)  # fmt: skip
def test_turns_are_put_in_order(cleaned: CleanThese, roles: str, after: str) -> None:
    found = cleaned({"messages": turns(roles), "n": 1}, task="generation", first=FIRST)
    row = found.kept[1]
    assert shown(row.messages) == after and row.lineage == ("repair_roles",) and dict(row.meta) == {"n": 1}
    (repair,) = found.repairs
    assert (repair.row, repair.source, repair.stage, repair.field) == (row.id, "a.jsonl:2", "repair_roles", "messages")
    assert json.loads(repair.before) == turns(roles)
    assert [(turn["role"], turn["content"]) for turn in json.loads(repair.after)] == [
        (turn.role, turn.content) for turn in row.messages
    ]


@pytest.mark.parametrize(
    "roles",
    ["ua", "sua", "uaua", "aua", "saua", "suasua", "ssua", "usasa", "utua", "uatta", "uaata", "usata"],
)
def test_what_stands_in_order_or_has_an_order_of_its_own_is_kept(cleaned: CleanThese, roles: str) -> None:
    found = cleaned({"messages": turns(roles)}, task="generation", first=FIRST)
    assert [turn.role for turn in found.kept[1].messages] == [WORDS[role] for role in roles] and found.repairs == []


@pytest.mark.parametrize("roles", ["u", "uu", "su", "au", "uat", "us", "uatu", "suasu"])
def test_no_answer_no_row(cleaned: CleanThese, roles: str) -> None:
    found = cleaned({"messages": turns(roles)}, task="generation", first=FIRST)
    (lost,) = found.dropped
    assert "an assistant's turn at the end" in lost.reason and json.loads(lost.raw)["messages"] == turns(roles)
    assert found.repairs == []


def test_sharegpt_turns_and_turns_in_a_text_are_cut_too(cleaned: CleanThese) -> None:
    shared = [
        {"from": {"user": "human", "assistant": "gpt"}[turn["role"]], "value": turn["content"]} for turn in turns("uau")
    ]
    found = cleaned({"conversations": shared}, task="generation", first={"conversations": shared[:2]})
    assert shown(found.kept[1].messages if len(found.kept) > 1 else ()) == "" and len(found.dropped) == 1, (
        "now a duplicate"
    )
    found = cleaned({"messages": json.dumps(turns("uau"))}, task="generation", first=FIRST)
    assert shown(found.kept[1].messages) == "u0 a1"


def test_two_answers_that_both_think_are_not_joined() -> None:
    thinking = "<think>\nwhy\n</think>\n\n"
    talk = (Message("user", "q"), Message("assistant", f"{thinking}a"), Message("assistant", f"{thinking}b"))
    assert in_order(talk) is talk
    assert [turn.content for turn in in_order((*talk[:2], Message("assistant", "b")))] == ["q", f"{thinking}a\nb"]


def test_the_preferred_answer_stays_as_it_is(cleaned: CleanThese) -> None:
    first = {"messages": turns("u"), "chosen": "a", "rejected": "b"}
    found = cleaned({"messages": turns("uua"), "chosen": "c", "rejected": "d"}, task="generation", first=first)
    row = found.kept[1]
    assert shown(row.messages) == "u0+u1 a2 c" and row.answer == row.chosen == "c"


def test_a_conversation_to_classify_is_put_in_order(cleaned: CleanThese) -> None:
    found = cleaned({"messages": turns("uasuu"), "label": "x"}, first={"messages": turns("u"), "label": "y"})
    assert shown(found.kept[1].messages) == "s2 u0 a1 u3+u4"


def test_a_broken_line_with_a_question_too_many_is_mended_twice(cleaned: CleanThese) -> None:
    line = str({"messages": turns("uau")})
    row = cleaned(line, task="generation", first=FIRST).kept[1]
    assert shown(row.messages) == "u0 a1" and row.lineage == ("repair_json", "repair_roles")
