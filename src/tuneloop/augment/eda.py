"""Easy data augmentation: words swapped, left out, or put in (Wei & Zou 2019, arXiv:1901.11196, section 2).

As in the paper, a text gets one operation, each of the switched-on ones as likely, on a share of its words. Its fourth
operation, synonym replacement, is `synonyms`. Unlike the paper's, none touches a protected word, a name, a number or a
negation, and no word moves across a negation or out of its sentence, which would turn the meaning.
"""

from __future__ import annotations

import itertools
import re
from random import Random

from tuneloop.augment.draws import below, one_of, rounded, some_of
from tuneloop.augment.lexicon import Lexicon
from tuneloop.augment.synonyms import edited, options
from tuneloop.augment.words import NEGATIONS, NOTHING, Protected, Word, is_chinese, is_name, words

Edit = tuple[tuple[int, int], str]
_BREAK = re.compile(r"[.!?;:。！？；：\n]")
KEPT = 4
"""Words that a text keeps at least; a shorter one loses none."""


def eda(
    text: str, random: Random, *, swap: float, delete: float, insert: float, lexicon: Lexicon,
    protected: Protected = NOTHING,
) -> str:  # fmt: skip
    """`text` after one of the operations; itself where that one has nothing to do.

    Args:
        text: English or Chinese, or both.
        random: What draws.
        swap: Share of the words that are swapped in pairs; 0 switches the operation off. All shares are of all words
            of the text, rounded at random.
        delete: Share of the words that are left out; 0 switches it off.
        insert: Share of the words a synonym of which is put in somewhere; 0 switches it off.
        lexicon: Of the synonyms.
        protected: Words that stay where they are.
    """
    ways = [(name, rate) for name, rate in (("swap", swap), ("delete", delete), ("insert", insert)) if rate > 0]
    if not ways:
        return text
    way, rate = one_of(random, ways)
    found = words(text)
    count = rounded(random, rate * len(found))
    if count == 0:
        return text
    if way == "insert":
        return _insert(text, found, count, random, lexicon, protected)
    usable = [
        place
        for place, (start, _, word) in enumerate(found)
        if word.lower() not in NEGATIONS
        and "n't" not in word.lower().replace("’", "'")
        and word not in protected
        and not is_name(text, start, word)
    ]
    if way == "delete":
        gone = some_of(random, usable, min(count, max(len(found) - KEPT, 0)))
        return edited(text, [_without(text, found[place]) for place in gone])
    return _swap(text, found, usable, max(1, count // 2), random)


def _without(text: str, word: Word) -> Edit:
    """A word and one of the blanks beside it."""
    start, end, _ = word
    if text[end : end + 1] == " ":
        end += 1
    elif start and text[start - 1] == " ":
        start -= 1
    return (start, end), ""


def _swap(text: str, found: list[Word], usable: list[int], count: int, random: Random) -> str:
    """`count` pairs of words swapped, both of one stretch between negations and ends of sentences."""
    stretch = [0]
    for (_, end, word), (start, _, _) in itertools.pairwise(found):
        parted = word.lower() in NEGATIONS or "n't" in word.lower().replace("’", "'") or _BREAK.search(text[end:start])
        stretch.append(stretch[-1] + bool(parted))
    for place, (_, _, word) in enumerate(found):  # what follows a negation is not what stands before it
        if word.lower() in NEGATIONS:
            stretch[place] = -1 - place
    left = list(usable)
    edits: list[Edit] = []
    for _ in range(count):
        firsts = [place for place in left if sum(stretch[other] == stretch[place] for other in left) > 1]
        if not firsts:
            break
        one = one_of(random, firsts)
        other = one_of(random, [place for place in left if place != one and stretch[place] == stretch[one]])
        left = [place for place in left if place not in (one, other)]
        edits += [(found[one][:2], found[other][2]), (found[other][:2], found[one][2])]
    return edited(text, edits)


def _insert(
    text: str, found: list[Word], count: int, random: Random, lexicon: Lexicon, protected: Protected
) -> str:  # fmt: skip
    """Synonyms of `count` words, each put before a word that is drawn."""
    chosen = some_of(random, options(text, found, lexicon, protected), count)
    places: dict[int, str] = {}
    for _, others in chosen:
        before = found[below(random, len(found))]
        word = one_of(random, others)
        places[before[0]] = word if is_chinese(before[2]) else f"{word} "
    return edited(text, [((start, start), word) for start, word in places.items()])
