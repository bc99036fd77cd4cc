"""What a teacher writes is used only where it may stand for the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tuneloop.augment.endpoint import Answer, Question
from tuneloop.augment.rewrite import back_translation, paraphrase, why_not

LOST = "lost a number, link or placeholder"


class Teacher:
    """Answers by a function of the question; keeps what was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [self.answer(question) for question in questions]


@pytest.mark.parametrize(
    ("text", "wording", "fault"),
    [
        ("Where is my card?", "Where has my card got to?", ""), ("Where is my card?", "  where is  my card? ",
        "the same text"),
        ("Where is my card?", "", "empty"), ("Where is my card?", "x " * 60, "far too long"),
        ("Where is the card that I ordered last week?", "Card?", "far too short"),
        ("Where is order 1234?", "Where is my order now?", LOST), ("Pay {{sum}} now", "Pay now, please", LOST),
        ("我的卡在哪里？", "Where is my card?", "another language"), ("我的卡在哪里？", "我的银行卡去哪儿了？", ""),
        ("Where is my card?", "I’m sorry, but I can’t assist with that.", "refused"),
        ("Where is my card?", "As an AI I have no card.", "refused"),
        ("我的卡在哪里？", "很抱歉，我无法回答。", "refused"),
        ("I'm sorry, I can't find my card", "I am sorry, I cannot find my card", ""),
        ("I cannot pay with my card", "I can't pay by card", ""),
        ("Where is my card?", "Sure! Here it is: where has my card got to?", "talk around the result"),
        ("我的卡在哪里？", "以下是改写：我的银行卡去哪了？", "talk around the result"),
        ("Where is my card?", "1. Where has it gone?\n2. Is it lost?", "talk around the result"),
        ("Where is it?\nMy card", "Where has it gone?\nMy card", ""),
    ],
)  # fmt: skip
def test_which_wordings_may_be_used(text: str, wording: str, fault: str):
    assert why_not(text, wording) == fault


def test_paraphrase_takes_quotes_off_and_passes_faults_on():
    said = {
        "one row here": Answer('"a row in this place"'),
        "two rows here": Answer("", "HTTP 500"),
        "three": Answer("three"),
    }
    teacher = Teacher(lambda question: said[question.user])
    assert paraphrase(list(said), teacher, copy=2) == [
        Answer("a row in this place"), Answer("", "HTTP 500"), Answer("", "the same text"),
    ]  # fmt: skip
    assert {question.copy for question in teacher.asked} == {2} and "same language" in teacher.asked[0].system


def test_back_translation_goes_there_and_back_into_the_rows_own_language():
    def answer(question: Question) -> Answer:
        if question.system.startswith("Translate the user's text into French"):
            return Answer("", "HTTP 400") if question.user == "refused" else Answer(f"fr({question.user})")
        return Answer("我的银行卡去哪儿了" if "into Chinese" in question.system else "where has the card gone")

    teacher = Teacher(answer)
    found = back_translation(["我的卡在哪里啊", "refused", "where is my card"], teacher, through="French")
    assert [answer.text for answer in found] == ["我的银行卡去哪儿了", "", "where has the card gone"]
    assert found[1].fault == "HTTP 400" and len(teacher.asked) == 5
    assert [q.user for q in teacher.asked[3:]] == ["fr(我的卡在哪里啊)", "fr(where is my card)"]
