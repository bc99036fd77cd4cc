"""The one parser of R1 reasoning: training, prediction, chat and scores all read answers through it.

    "<think>\\nwhy\\n</think>\\n\\nanswer"  ->  Thought("why", "answer", opened=True, closed=True)

No torch, no tokenizer: only text.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"


@dataclass(frozen=True, slots=True)
class Thought:
    """An answer taken apart.

    Attributes:
        thought: The reasoning without its tags and outer white space; "" for an empty block, None for none at all.
        answer: What follows the reasoning, without leading white space; the text as it stands if there is none;
            "" while the reasoning is not closed.
        opened: The reasoning was opened, by the text itself or by the prompt.
        closed: The reasoning was closed.
    """

    thought: str | None
    answer: str
    opened: bool
    closed: bool


def split_think(text: str, *, opened_by_prompt: bool = False) -> Thought:
    """Split an assistant's text into its reasoning and its answer.

    The answer starts behind the *last* `</think>`, as in the official R1 templates
    (`content.split('</think>')[-1]`), so that a history that they shorten and our answers never
    differ. A `<think>` that is not closed counts only at the start of the text: an answer may
    name the tag. Text before an opening tag belongs to the reasoning, since the templates drop it.

    Args:
        text: What the assistant wrote, without what the prompt held.
        opened_by_prompt: The prompt ended with an open `<think>`; a second one at the start of `text` is ignored.
    """
    before, close, after = text.rpartition(CLOSE)
    if not close:
        before, after = text, ""
    leading = before.lstrip().startswith(OPEN)
    opened = opened_by_prompt or leading or (bool(close) and OPEN in before)
    if not close and not opened:
        return Thought(None, text, opened=False, closed=False)
    if leading or not opened_by_prompt:
        before = before.replace(OPEN, "", 1)
    return Thought(before.strip(), after.lstrip(), opened=opened, closed=bool(close))
