"""Easy data augmentation: words swapped, left out, or put in (Wei & Zou 2019, arXiv:1901.11196, section 2).

As in the paper, a text gets one operation, each of the switched-on ones as likely, on a share of its words. Its fourth
operation, synonym replacement, is `synonyms`. Unlike the paper's, none touches a protected word, a name, a number with
what it counts, a negation, a particle or a word that gives direction or order (turn off, from, before), and no word
moves across one that orders or negates, or out of its clause: each of these would turn the meaning.

In Chinese the order of words is the grammar, and hardly a word may be missing. So there is no swap, only words that say
little (请, 一下, 非常) are left out, and a synonym is put in right before its word.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from random import Random

from tuneloop.augment.draws import one_of, rounded, some_of
from tuneloop.augment.lexicon import PARTICLES, Lexicon
from tuneloop.augment.synonyms import edited, options
from tuneloop.augment.tables import word_list
from tuneloop.augment.words import (
    NOTHING,
    Protected,
    Word,
    is_chinese,
    is_negation,
    is_number,
    mostly_chinese,
    stays,
    words,
)

Edit = tuple[tuple[int, int], str]
_BREAK = re.compile(r"[.!?;:,。！？；：，、\n]")
_ORDER = word_list("order_words")
_LIGHT = word_list("light_words")
_FIXED = PARTICLES | _ORDER
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
            of the text, rounded at random. A text that is mostly Chinese has no swap.
        delete: Share of the words that are left out; 0 switches it off.
        insert: Share of the words a synonym of which is put in; 0 switches it off.
        lexicon: Of the synonyms.
        protected: Words that stay where they are.
    """
    ways = [(name, rate) for name, rate in (("swap", swap), ("delete", delete), ("insert", insert)) if rate > 0]
    if swap > 0 and mostly_chinese(text):
        ways = ways[1:]
    if not ways:
        return text
    way, rate = one_of(random, ways)
    found = words(text)
    count = rounded(random, rate * len(found))
    if count == 0:
        return text
    if way == "insert":
        return _insert(text, found, count, random, lexicon, protected)
    drawn = some_of(random, range(len(found)), len(found))
    free = (place for place in drawn if _free(text, found, place, protected))
    if way == "delete":
        gone = itertools.islice(free, min(count, max(len(found) - KEPT, 0)))
        return edited(text, [_without(text, found[place]) for place in gone])
    return _swap(text, found, (place for place in free if not is_chinese(found[place][2])), max(1, count // 2))


def _free(text: str, found: list[Word], place: int, protected: Protected) -> bool:
    """Whether a word may be left out or, where it is no Chinese one, move."""
    word = found[place][2]
    if is_chinese(word):
        return word in _LIGHT and _light(found, place) and word not in protected
    if mostly_chinese(text) or word.lower() in _FIXED or _counted(text, found, place):
        return False
    return not stays(text, found, place, protected)


def _light(found: list[Word], place: int) -> bool:
    """Whether a Chinese word that says little does so here, not at the end of a clause or behind 得 or a negation.

    好得很 and 不很 lose their sense without it.
    """
    start, end, _ = found[place]
    if place + 1 == len(found) or found[place + 1][0] != end:
        return False
    _, before, word = found[place - 1] if place else (0, -1, "")
    return before != start or not (word.endswith("得") or is_negation(word))


def _counted(text: str, found: list[Word], place: int) -> bool:
    """Whether a word stands right behind a number: what the number counts."""
    start = found[place][0]
    if text[max(start - 2, 0) : start].rstrip(" ")[-1:].isdigit():
        return True
    return place > 0 and is_number(found[place - 1][2]) and start - found[place - 1][1] < 2


def _without(text: str, word: Word) -> Edit:
    """A word and one of the blanks beside it."""
    start, end, _ = word
    if text[end : end + 1] == " ":
        end += 1
    elif start and text[start - 1] == " ":
        start -= 1
    return (start, end), ""


def _swap(text: str, found: list[Word], drawn: Iterable[int], count: int) -> str:
    """`count` pairs of the drawn words swapped, each with the next that was drawn of its stretch.

    Words that order or negate, and ends of clauses, part a text into stretches.
    """
    stretch = [0]
    for (_, end, word), (start, _, _) in itertools.pairwise(found):
        parted = word.lower() in _ORDER or is_negation(word) or is_chinese(word) or _parted(text, end, start)
        stretch.append(stretch[-1] + parted)
    waiting: dict[int, int] = {}
    edits: list[Edit] = []
    for other in drawn:
        if len(edits) == 2 * count:
            break
        one = waiting.pop(stretch[other], None)
        if one is None:
            waiting[stretch[other]] = other
        else:
            edits += [(found[one][:2], found[other][2]), (found[other][:2], found[one][2])]
    return edited(text, edits)


def _parted(text: str, end: int, start: int) -> bool:
    """Whether a clause ends between two words."""
    return text[end:start] != " " and _BREAK.search(text, end, start) is not None


def _insert(
    text: str, found: list[Word], count: int, random: Random, lexicon: Lexicon, protected: Protected
) -> str:  # fmt: skip
    """Synonyms of `count` words, each put before a word that is drawn; a Chinese one before its own."""
    chosen = some_of(random, options(text, found, lexicon, protected), count)
    free = [
        place for place, (_, _, word) in enumerate(found)
        if not (is_chinese(word) or _counted(text, found, place) or (place and is_negation(found[place - 1][2])))
    ]  # fmt: skip
    places: dict[int, str] = {}
    for (start, _, own), others in chosen:
        word = one_of(random, others)
        if is_chinese(own):
            places[start] = word
        elif free:
            places[found[one_of(random, free)][0]] = f"{word} "
    return edited(text, [((start, start), word) for start, word in places.items()])
