"""Broken tags of reasoning: what is mended, what waits for a person, what is never touched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rows.conftest import CleanThese, Write

from tuneloop.recipe import Recipe
from tuneloop.records import Message, Row
from tuneloop.rows.prepare import prepare_rows
from tuneloop.rows.repair_think import UNCLOSED, is_unanswered, is_unclosed, mended_answer, unclosed_doubts

FIRST = {"prompt": "p", "completion": "a"}
MENDED = {
    "<think><think>why</think>a": "<think>why</think>a",
    "<think>\n<think>\nwhy\n</think>\n\na": "<think>\nwhy\n</think>\n\na",
    "<think>why</think>\n</think>\n\na": "<think>why</think>\n\na",
    "why\n</think>\n\na": "<think>\nwhy\n</think>\n\na",
    "\nwhy.</think>\n\na": "<think>\nwhy.</think>\n\na",
    "<think>why</ think>a": "<think>why</think>a",
    "<think>why<\\think>a": "<think>why</think>a",
    "<think>why</Think>a": "<think>why</think>a",
    "<think>why</thinking>a": "<think>why</think>a",
    "<think>why\n</think\n\na": "<think>why\n</think>\n\na",
    "<think>why<think>a": "<think>why</think>a",
    "<think>\nwhy\n<think>\n\na": "<think>\nwhy\n</think>\n\na",
}


@pytest.mark.parametrize("text", MENDED)
def test_tags_are_mended_where_it_is_evident_how_they_stood(cleaned: CleanThese, text: str) -> None:
    found = cleaned({"prompt": "q", "completion": text}, task="generation", first=FIRST)
    row = found.kept[1]
    assert row.answer == MENDED[text] and row.lineage == ("repair_think",)
    assert [(r.row, r.field, r.before, r.after) for r in found.repairs] == [(row.id, "messages.1", text, MENDED[text])]
    assert mended_answer(MENDED[text]) == MENDED[text] and unclosed_doubts([row]) == []


WHOLE = [
    "a", "<think>why</think>a", "<think>\nwhy\n</think>\n\na", "<think>\n\n</think>\n\na", "use the <think> tag",
    "R1 writes <think> and </think> round it", "the `</think>` tag\nends it", "I think so", "<thinking>why</thinking>a",
    "<answer>5</answer>", "<think>a </think> b </think> c", "<think>is <think> nested?</think>a",
    "</think>\n\na", "it ends with `</think>\nand goes on",
]  # fmt: skip


@pytest.mark.parametrize("text", WHOLE)
def test_whole_answers_are_never_touched(cleaned: CleanThese, text: str) -> None:
    assert mended_answer(text) == text and not is_unclosed(text)
    found = cleaned({"prompt": "q", "completion": text}, task="generation", first=FIRST)
    assert found.repairs == [] and unclosed_doubts(found.kept) == []


UNCERTAIN = [
    "<think>\nhm", "<think>why. So the answer is 5.", "<think>\nwhy\n\nFinal answer: 5. Wait, let me check.",
    "<think>\nwhy\n\n**Final Answer**\n\\boxed{5}", "<think>\n想一想\n\n答案：五。",
    "Sure.\n<think>\nwhy", "<think>why</think ", "<think>\nwhy\n\nSo the answer to the question: 5.", "<think>",
]  # fmt: skip


@pytest.mark.parametrize("text", UNCERTAIN)
def test_reasoning_that_never_closes_waits_for_a_person(cleaned: CleanThese, text: str) -> None:
    found = cleaned({"prompt": "q", "completion": text}, task="generation", first=FIRST)
    row = found.kept[1]
    assert row.answer == text and found.repairs == []
    (doubt,) = unclosed_doubts(found.kept)
    assert (doubt.row, doubt.source, doubt.stage, doubt.score) == (row.id, "a.jsonl:2", UNCLOSED, 0.0)
    assert "never closes" in doubt.reason


@pytest.mark.parametrize(
    "text", ["<think>想</think>", "<think>\nwhy\n</think>\n\n", "<think>why</think>\u200b", "</think>"]
)
def test_reasoning_without_an_answer_waits_for_a_person(cleaned: CleanThese, text: str) -> None:
    found = cleaned({"prompt": "q", "completion": text}, task="generation", first=FIRST)
    assert found.kept[1].answer == text and found.repairs == []
    doubts = unclosed_doubts(found.kept)
    assert [(doubt.row, doubt.stage) for doubt in doubts] == [(found.kept[1].id, UNCLOSED)] * (text != "</think>")
    assert all("nothing stands behind" in doubt.reason for doubt in doubts)


def test_questions_are_never_touched(cleaned: CleanThese) -> None:
    found = cleaned({"prompt": "<think><think>x\n</think>\n", "completion": "b"}, task="generation", first=FIRST)
    assert found.repairs == [] and unclosed_doubts(found.kept) == []


def test_earlier_and_rejected_answers_count() -> None:
    ask, cut = Message("user", "q"), Message("assistant", "<think>hm")
    early = Row(id="1", source="a:1", messages=(ask, cut, ask, Message("assistant", "b")))
    told = Row(id="2", source="a:2", messages=(ask, Message("assistant", "b")), chosen="b", rejected="<think>hm")
    text = Row(id="3", source="a:3", text="<think>hm", label="x")
    assert [doubt.row for doubt in unclosed_doubts([early, told, text])] == ["1", "2"]


@pytest.mark.parametrize("on", [True, False])
def test_they_are_not_trained_on_silently(
    tmp_path: Path, write: Write, recipe: Callable[..., Recipe], on: bool
) -> None:
    rows = [{"prompt": f"question {n}", "completion": "<think>\nhm" if n < 3 else "yes"} for n in range(20)]
    write("v.jsonl", {"prompt": "v", "completion": "a"})
    data = {"train": write("a.jsonl", *rows), "validation": "v.jsonl", "test": "v.jsonl"}
    clean = {"repair_think": on, "near_duplicates": False}
    prepared = prepare_rows(recipe("generation", clean=clean, **data), tmp_path)
    counts = prepared.report["counts"]["train"]
    assert counts["in"] == 20 == counts["kept"] + counts["to review"] + sum(counts["dropped"].values())
    assert counts["to review"] == (3 if on else 0) and len(prepared.train) == 20 - counts["to review"]
    assert prepared.report["doubts"] == ({UNCLOSED: 3} if on else {})
    assert any("never close it" in line for line in prepared.report["warnings"]) is not on


def test_no_real_trace_is_touched_and_every_cut_one_waits(shared_data: Path) -> None:
    lines = (shared_data / "r1_traces" / "traces.jsonl").read_text(encoding="utf-8").split("\n")
    answers = [json.loads(line)["response"] for line in lines if line]
    assert [text for text in answers if mended_answer(text) != text] == []
    assert not any(map(is_unanswered, answers))
    assert sum(map(is_unclosed, answers)) == 226 and sum("</think>" in text for text in answers) == 284


def test_a_heading_does_not_say_where_reasoning_ends(shared_data: Path) -> None:
    """What the module says of R1: it works its answer out before the heading."""
    lines = (shared_data / "r1_traces" / "traces.jsonl").read_text(encoding="utf-8").split("\n")
    parts = [json.loads(line)["response"].partition("</think>") for line in lines if line]
    answers = [answer.strip() for _, close, answer in parts if close]
    heading = re.compile(r"(\*\*|#+ )?((the )?final answer|(\*\*)?answer\W)", re.IGNORECASE)
    assert sum(heading.match(answer) is not None for answer in answers) < 0.05 * len(answers)
