"""The think parser: known cases, and laws that hold for any text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.examples.think import EMPTY_BLOCK, Thought, split_think

texts = st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "why", "<", "think>", "答"])).map("".join)


@pytest.mark.parametrize(
    ("text", "opened_by_prompt", "expected"),
    [
        ("<think>\nwhy\n</think>\n\nanswer ", False, Thought("why", "answer ", True, True)),
        ("why\n</think>\n\nanswer", True, Thought("why", "answer", True, True)),
        ("<think>\nwhy</think>answer", True, Thought("why", "answer", True, True)),
        ("  answer", False, Thought(None, "  answer", False, False)),
        (EMPTY_BLOCK + "answer", False, Thought("", "answer", True, True)),
        ("<think>\nnever done", False, Thought("never done", "", True, False)),
        ("never done", True, Thought("never done", "", True, False)),
        ("why</think>answer", False, Thought("why", "answer", False, True)),
        ("Hm. <think>why</think>answer", False, Thought("Hm. why", "answer", True, True)),
        ("the tag <think> opens", False, Thought(None, "the tag <think> opens", False, False)),
        ("<think>a</think>b</think>c", False, Thought("a</think>b", "c", True, True)),
        ("so <think> opens</think>yes", True, Thought("so <think> opens", "yes", True, True)),
        ("", False, Thought(None, "", False, False)),
        ("", True, Thought("", "", True, False)),
    ],
)
def test_known_texts(text: str, opened_by_prompt: bool, expected: Thought) -> None:
    assert split_think(text, opened_by_prompt=opened_by_prompt) == expected


@given(texts, st.booleans())
def test_the_answer_is_what_official_templates_leave(text: str, opened: bool) -> None:
    found = split_think(text, opened_by_prompt=opened)
    assert found.closed == ("</think>" in text)
    if found.closed:
        assert found.answer == text.split("</think>")[-1].lstrip()
    assert "</think>" not in found.answer


@given(st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "why", "答"])).map("".join), st.booleans())
def test_nothing_is_lost_but_tags_and_white_space(text: str, opened: bool) -> None:
    def bare(piece: str) -> str:
        return "".join(re.sub("</?think>", "", piece).split())

    found = split_think(text, opened_by_prompt=opened)
    assert bare(found.thought or "") + bare(found.answer) == bare(text)
    assert (found.thought is None) == (not found.opened and not found.closed)


@given(st.text(), st.text())
def test_written_and_read_is_the_same(thought: str, answer: str) -> None:
    if "think>" in thought + answer:
        return
    found = split_think(f"<think>\n{thought}\n</think>\n\n{answer}")
    assert found == Thought(thought.strip(), answer.lstrip(), True, True)
    assert split_think(found.answer).answer == found.answer
