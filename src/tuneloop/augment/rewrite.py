"""Rows said in other words by a teacher: paraphrase, and translation there and back. Made once, before training.

    text --ask--> another wording --accepted?--> kept, or skipped with the reason

Back-translation: Sennrich, Haddow & Birch 2016, arXiv:1511.06709; as augmentation Yu et al. 2018, arXiv:1804.09541.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tuneloop.augment.endpoint import Answer, Question
from tuneloop.augment.words import kept_spans, mostly_chinese
from tuneloop.rows.clean import normalised

Ask = Callable[[Sequence[Question]], list[Answer]]
"""Questions -> answers in their order; `Endpoint.ask` is one."""

LONGEST, SHORTEST = 3.0, 1 / 3
"""Length of a wording by that of the text, in characters (a text under 12 counts as 12)."""

_ONLY = "Write the result alone: no quotes, no explanation, no answer to the text."
_KEEP = "Keep numbers, names, URLs, code and placeholders such as {{order}} or <EMAIL> exactly as they are."

_REFUSAL = re.compile(
    r"(?:i'?m|i am|we(?:'re| are)) (?:very |so |really )?sorry,? (?:but )?(?:i|we) (?:can|am|are|do)"
    r"|(?:sorry,? (?:but )?)?i (?:can'?t|can ?not|am unable to|won'?t) (?:assist|help you|help with|comply|fulfil)"
    r"|as an ai|(?:(?:很|非常)?抱歉|对不起)[，,]?\s*我(?:无法|不能|没有办法)"
    r"|作为(?:一个|一名)?(?:ai|人工智能(?:助手)?|语言模型)[，,]",
    re.IGNORECASE,
)
"""How models begin where they will not do what they were asked."""
_TALK = re.compile(
    r"(?:sure|certainly|of course|here (?:is|are)|here's|好的|当然|以下是).{0,80}[:：]", re.IGNORECASE | re.DOTALL
)
"""How models begin that talk about the result before they give it."""


def paraphrase(texts: Sequence[str], ask: Ask, *, copy: int = 0) -> list[Answer]:
    """Each text in other words of its own language; an Answer with a fault where there are none that may be used.

    Args:
        texts: N texts.
        ask: The teacher.
        copy: Another number gives other wordings.
    """
    task = f"Say the user's text in other words, in the same language, with the same meaning. {_KEEP} {_ONLY}"
    answers = ask([Question(task, text, copy) for text in texts])
    return [_checked(text, answer) for text, answer in zip(texts, answers, strict=True)]


def back_translation(texts: Sequence[str], ask: Ask, *, through: str, copy: int = 0) -> list[Answer]:
    """Each text translated into another language and back; an Answer with a fault where that failed.

    Args:
        texts: N texts, Chinese or English.
        ask: The teacher.
        through: The language in the middle.
        copy: Another number gives other wordings.
    """
    there = ask([Question(f"Translate the user's text into {through}. {_KEEP} {_ONLY}", t, copy) for t in texts])
    reached = [place for place, answer in enumerate(there) if answer.text.strip()]
    questions = []
    for place in reached:
        home = "Chinese" if mostly_chinese(texts[place]) else "English"
        task = f"Translate the user's text from {through} into {home}. {_KEEP} {_ONLY}"
        questions.append(Question(task, there[place].text, copy))
    back = dict(zip(reached, ask(questions), strict=True))
    nothing = [Answer("", answer.fault or "empty") for answer in there]
    return [_checked(text, back[place]) if place in back else nothing[place] for place, text in enumerate(texts)]


def _checked(text: str, answer: Answer) -> Answer:
    if answer.fault:
        return answer
    wording = answer.text.strip()
    if wording[:1] in "\"“「'" and wording[-1:] in "\"”」'" and text.strip()[:1] not in "\"“「'":
        wording = wording[1:-1].strip()
    fault = why_not(text, wording)
    return Answer("", fault) if fault else Answer(wording)


def why_not(text: str, wording: str) -> str:
    """Why a wording may not stand for a text, in a few words that name nothing of the row; "" where it may."""
    if not wording:
        return "empty"
    if normalised(wording) == normalised(text):
        return "the same text"
    size = max(len(text), 12)
    if len(wording) > LONGEST * size:
        return "far too long"
    if len(wording) < SHORTEST * len(text):
        return "far too short"
    if mostly_chinese(text) != mostly_chinese(wording):
        return "another language"
    plain = wording.replace("\u2019", "'")
    if _REFUSAL.match(plain) and not _REFUSAL.match(text):
        return "refused"
    if (_TALK.match(plain) and not _TALK.match(text)) or ("\n" in wording and "\n" not in text):
        return "talk around the result"
    lost = any(span not in wording for span in kept_spans(text))
    return "lost a number, link or placeholder" if lost else ""
