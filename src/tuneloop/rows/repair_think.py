"""Reasoning whose tags are broken, in answers: `<think>` that is never closed, opened twice, or closed unopened.

    <think><think>why</think>a   -> <think>why</think>a       why</think>a          -> <think>\\nwhy</think>a
    <think>why</ think>a         -> <think>why</think>a       <think>why<think>a    -> <think>why</think>a
    <think>why\\n\\nAnswer: a     -> <think>why\\n</think>\\n\\nAnswer: a   only where that ends it
    <think>why                   -> a person decides (unclosed): where the answer begins, if there is one, nobody knows

Never touched: questions, answers that only name the tag, other tags (<thinking>, <answer>), whole reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuneloop.records import Doubt, Repair, Row
from tuneloop.rows.stage import Item, Known, mend_texts

STAGE = "repair_think"
UNCLOSED = "unclosed_think"
"""The stage of the doubts."""
OPEN, CLOSE = "<think>", "</think>"
LONGEST_ANSWER = 600
"""Characters that may follow a heading of the final answer; reasoning that goes on there is longer."""

_TWICE_OPEN = re.compile(r"^(\s*<think>)(?:\s*<think>)+")
_TWICE_CLOSED = re.compile(r"(</think>)(?:\s*</think>)+")
_MISSPELT = re.compile(r"<\s*[/\\]\s*think(?:ing)?\s*(?:>|(?=\n|$))", re.IGNORECASE)
_ON_ITS_LINE = re.compile(r"\n[ \t]*<think>[ \t]*\n")
_CLOSED_UNOPENED = re.compile(r"(?:^|\n)[ \t]*</think>|[^`'\"\s]\s?</think>\s*\n")
_HEADING = re.compile(
    r"\n[ \t]*\n(?=[ \t]*(?:\*\*|#{1,6} )?(?:(?:the )?final answer\b|最终答案|最终回答"
    r"|(?:answer|答案|回答)(?:\*\*)?[ \t]*[:：]))",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"(?<![a-z])(?:wait|hmm+|let me|let's|but|however|alternatively|okay|so,? i|maybe|perhaps|i think|i should|i need"
    r"|double-check|verify)(?![a-z])|等等|等一下|不过|但是|让我|再检查|可能",
    re.IGNORECASE,
)
_ENDED = re.compile(r"[.!?。！？)\]}】）*$`\d\"”]\s*$")


def repair_think(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Mend the tags of reasoning in every answer of a conversation, the preferred and the rejected one too."""
    sides = ("assistant", "chosen", "rejected")
    return mend_texts(items, STAGE, lambda text, kind: mended_answer(text) if kind in sides else text)


def mended_answer(text: str) -> str:
    """An answer with whole tags, where it is evident how they stood; the same object where nothing is to be mended."""
    if "think" not in text.lower():
        return text
    after = _TWICE_OPEN.sub(r"\1", text)
    if is_unclosed(after):
        after = _closed(after)
    if CLOSE in after:
        after = _TWICE_CLOSED.sub(r"\1", after)
        if OPEN not in after and after.count(CLOSE) == 1 and after.partition(CLOSE)[0].strip():
            after = f"{OPEN}\n{after.lstrip()}" if _CLOSED_UNOPENED.search(after) else after
    return after


def is_unclosed(text: str) -> bool:
    """Whether an answer opens reasoning, at its start or on a line of its own, and never closes it."""
    return CLOSE not in text and (text.lstrip().startswith(OPEN) or _ON_ITS_LINE.search(text) is not None)


def _closed(text: str) -> str:
    """Unclosed reasoning, closed where it evidently ends; else as it is."""
    misspelt = list(_MISSPELT.finditer(text))
    if len(misspelt) == 1 and text[misspelt[0].end() :].strip():
        return text[: misspelt[0].start()] + CLOSE + text[misspelt[0].end() :]
    before, second, answer = text.rpartition(OPEN)
    if second and OPEN in before and before.count(OPEN) == 1 and answer.strip():
        return before + CLOSE + answer
    headings = list(_HEADING.finditer(text))
    answer = text[headings[-1].end() :] if headings else ""
    if not answer or len(answer) > LONGEST_ANSWER or not _ENDED.search(answer) or _GOES_ON.search(answer):
        return text
    return f"{text[: headings[-1].start()]}\n{CLOSE}\n\n{answer}"


def unclosed_doubts(rows: Sequence[Row]) -> list[Doubt]:
    """Rows with reasoning that is never closed: what would be learnt is to reason and never to answer. The score is 0.

    Args:
        rows: Any rows, their tags mended.
    """
    found = []
    for row in rows:
        answers = [turn.content for turn in row.messages if turn.role == "assistant"]
        answers += [answer for answer in (row.chosen, row.rejected) if answer]
        if any(map(is_unclosed, answers)):
            reason = "an answer opens <think> and never closes it: it seems cut off, and has no answer"
            found.append(Doubt(row.id, row.source, UNCLOSED, reason, 0.0))
    return found
