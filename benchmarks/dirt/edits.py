"""A twin of a row: one to three words dropped, swapped, put in or replaced; for Chinese, words as jieba cuts them."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence

HAN = re.compile(r"[\u3400-\u9fff]")
LEAST_WORDS = 4
"""A row of fewer words has no near twin: an edit would make it another row."""


def words_of(text: str) -> list[str]:
    """The words of a text; joined by `joined` they give it back but for its white space."""
    if not HAN.search(text):
        return text.split()
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return [word for word in jieba.lcut(text) if word.strip()]


def joined(words: Sequence[str], like: str) -> str:
    """Words as a text, with blanks between them where `like` writes blanks."""
    return ("" if HAN.search(like) else " ").join(words)


def near_twin(text: str, vocabulary: Sequence[str], chance: random.Random) -> tuple[str, int] | None:
    """(twin, number of edits), or None where the text is too short to have one.

    At most a third of the words change, and the twin is never the text itself.

    Args:
        text: The original.
        vocabulary: Words that are put in.
        chance: The source of chance.
    """
    words = words_of(text)
    if len(words) < LEAST_WORDS:
        return None
    for _ in range(20):
        edits = min(chance.randint(1, 3), max(1, len(words) // 3))
        twin = list(words)
        for _ in range(edits):
            _edit(twin, vocabulary, chance)
        if twin != words:
            return joined(twin, text), edits
    return None


def _edit(words: list[str], vocabulary: Sequence[str], chance: random.Random) -> None:
    place = chance.randrange(len(words))
    how = chance.choice(("drop", "swap", "put in", "replace"))
    if how == "drop" and len(words) > LEAST_WORDS - 1:
        del words[place]
    elif how == "swap":
        other = place + 1 if place + 1 < len(words) else place - 1
        words[place], words[other] = words[other], words[place]
    elif how == "put in":
        words.insert(place, chance.choice(vocabulary))
    else:
        words[place] = chance.choice(vocabulary)
