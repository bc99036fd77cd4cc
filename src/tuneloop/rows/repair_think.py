"""Reasoning whose tags are broken, in answers: `<think>` that is never closed, opened twice, or closed unopened.

    <think><think>why</think>a   -> <think>why</think>a       why</think>a          -> <think>\\nwhy</think>a
    <think>why</ think>a         -> <think>why</think>a       <think>why<think>a    -> <think>why</think>a
    <think>why                   -> a person decides (unclosed): where the answer begins, if there is one, nobody knows
    <think>why</think>           -> a person decides: there is no answer

A heading such as "Final answer" is no sign of where reasoning ends: R1 works its answer out again before it. In 284
whole traces, their </think> taken out, the last such heading stood where the answer began in 1 of 53.

Never touched: questions, answers that only name the tag, other tags (<thinking>, <answer>), whole reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuneloop.records import Doubt, Repair, Row
from tuneloop.rows.stage import Item, Known, mend_texts
from tuneloop.rows.values import BLANK

STAGE = "repair_think"
UNCLOSED = "unclosed_think"
"""The stage of the doubts."""
OPEN, CLOSE = "<think>", "</think>"

_TWICE_OPEN = re.compile(r"^(\s*<think>)(?:\s*<think>)+")
_TWICE_CLOSED = re.compile(r"(</think>)(?:\s*</think>)+")
_MISSPELT = re.compile(r"<[ \t]*[/\\][ \t]*think(?:ing)?[ \t]*(?:>|(?=\n|$))", re.IGNORECASE)
_ON_ITS_LINE = re.compile(r"\n[ \t]*<think>[ \t]*\n")
_CLOSED_UNOPENED = re.compile(r"(?:^|\n)[ \t]*</think>|[^`'\"\s]\s?</think>\s*\n")


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


def is_unanswered(text: str) -> bool:
    """Whether an answer is whole reasoning with nothing behind it."""
    _, close, answer = text.rpartition(CLOSE)
    return bool(close) and text.lstrip().startswith(OPEN) and BLANK.fullmatch(answer) is not None


def _closed(text: str) -> str:
    """Unclosed reasoning, closed where a closing tag is misspelt, or opened a second time instead; else as it is."""
    misspelt = list(_MISSPELT.finditer(text))
    if len(misspelt) == 1 and text[misspelt[0].end() :].strip():
        return text[: misspelt[0].start()] + CLOSE + text[misspelt[0].end() :]
    before, second, answer = text.rpartition(OPEN)
    if second and OPEN in before and before.count(OPEN) == 1 and answer.strip():
        return before + CLOSE + answer
    return text


def unclosed_doubts(rows: Sequence[Row]) -> list[Doubt]:
    """Rows with reasoning and no answer: what would be learnt is to reason and never to answer. The score is 0.

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
        elif any(map(is_unanswered, answers)):
            found.append(Doubt(row.id, row.source, UNCLOSED, "nothing stands behind the reasoning of an answer", 0.0))
    return found
