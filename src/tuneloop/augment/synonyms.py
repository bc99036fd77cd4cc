"""Words replaced by synonyms: the most frequent sense, in the same form and the same case.

text --words--> eligible words with what may stand for each --generator--> some of them replaced
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tuneloop.augment.draws import one_of, rounded, some_of
from tuneloop.augment.lexicon import PARTICLES, Lexicon
from tuneloop.augment.tables import word_list
from tuneloop.augment.tagger import reading
from tuneloop.augment.words import (
    NOTHING,
    STOP_WORDS,
    Protected,
    Word,
    ends_name,
    english,
    in_case_of,
    is_chinese,
    is_name,
    is_negation,
    is_number,
    words,
)

_SUFFIXES = word_list("suffixes")
_INDIRECT = ("me", "us")
"""Behind a verb of two objects (find me a film), where its synonym often takes only one."""
_SOUNDS_VOWEL = ("hour", "honest", "honour", "honor", "heir")
_SOUNDS_CONSONANT = ("uni", "use", "usa", "usu", "util", "euro", "one", "once", "u-")


def synonyms(text: str, random: Random, *, rate: float, lexicon: Lexicon, protected: Protected = NOTHING) -> str:
    """`text` with about `rate` of its words replaced by synonyms; itself where none may be.

    The number of replaced words is rate x (all words of the text), rounded at random so that the mean is right, and
    at most as many as are eligible; numbers, URLs, code and placeholders are no words. So over many texts the share
    of changed words is `rate` where enough are eligible, and less where not (the report says how much).

    Args:
        text: English or Chinese, or both.
        random: What draws.
        rate: Share of the words, 0 to 1.
        lexicon: The tables.
        protected: Words that stay.
    """
    found = words(text)
    count = rounded(random, rate * len(found))
    if count == 0:
        return text
    eligible = options(text, found, lexicon, protected)
    if not eligible:
        return text
    chosen = some_of(random, eligible, count) if count < len(eligible) else eligible
    edits = [((start, end), in_case_of(word, one_of(random, others))) for (start, end, word), others in chosen]
    return edited(text, edits)


def edited(text: str, edits: Sequence[tuple[tuple[int, int], str]]) -> str:
    """`text` with spans replaced; they must not overlap."""
    parts: list[str] = []
    place = 0
    for (start, end), instead in sorted(edits):
        parts += [text[place:start], instead]
        place = end
    return "".join([*parts, text[place:]])


def options(
    text: str, found: Sequence[Word], lexicon: Lexicon, protected: Protected
) -> list[tuple[Word, tuple[str, ...]]]:
    """The words that may be replaced, each with what may stand for it, in lower case.

    Args:
        text: The text.
        found: Its words.
        lexicon: The tables.
        protected: Words that stay, and that are put in nowhere.
    """
    result: list[tuple[Word, tuple[str, ...]]] = []
    reads_english: bool | None = None
    for place, (start, end, word) in enumerate(found):
        low = word.lower()
        if low in STOP_WORDS or is_negation(word) or is_number(word):
            continue
        others = lexicon.own.get(low, ())
        if is_chinese(word):
            if not others and word in lexicon.chinese and _stands_alone(found, place):
                others = lexicon.chinese[word]
        elif not others and lexicon.entry(low) is not None:
            if reads_english is None:
                reads_english = english(list(found))
            others = _english_options(text, found, place, lexicon) if reads_english else ()
        if not others or word in protected or (not is_chinese(word) and is_name(text, start, word)):
            continue  # a word of a Chinese table is no name, though the dictionary may call it one
        others = tuple(other for other in others if other not in protected)
        if others:
            result.append(((start, end, word), others))
    return result


def _stands_alone(found: Sequence[Word], place: int) -> bool:
    """Whether a Chinese word is no part of a longer one, as in 付款 码, or of a name, and is not negated."""
    _, end, _ = found[place]
    if place + 1 < len(found) and found[place + 1][0] == end and found[place + 1][2] in _SUFFIXES:
        return False
    start, (_, before, word) = found[place][0], found[place - 1] if place else (0, -1, "")
    return not (before == start and is_negation(word)) and not ends_name(found, place)


def _english_options(text: str, found: Sequence[Word], place: int, lexicon: Lexicon) -> tuple[str, ...]:
    """What may stand for an English word in its place."""
    start, end, word = found[place]
    before = found[place - 1] if place else None
    after = found[place + 1] if place + 1 < len(found) else None
    # A word behind another sign than a blank (a comma, a number) is no neighbour.
    left = before[2].lower() if before and text[before[1] : start].isspace() else ""
    right = after[2].lower() if after and text[end : after[0]].isspace() else ""
    low = word.lower()
    entry = lexicon.entry(low)
    if entry is None:
        return ()
    how = reading(entry.counts, left, right)
    if how is None or how not in entry.synonyms:
        return ()
    if how[0] == "v" and (right in PARTICLES or right in _INDIRECT):
        return ()
    plain = entry.plain[how]
    if lexicon.expression(left, low, plain, right) or right not in lexicon.only_before.get((how[0], plain), (right,)):
        return ()
    found_words = entry.synonyms[how]
    if left in ("a", "an"):
        found_words = tuple(other for other in found_words if takes_an(other) == (left == "an"))
    return found_words


def takes_an(word: str) -> bool:
    """Whether the article before a word is "an": by its sound, as far as the spelling tells."""
    if word.startswith(_SOUNDS_VOWEL):
        return True
    return word[0] in "aeiou" and not word.startswith(_SOUNDS_CONSONANT)
