"""Slips as people and machines make them: fingers, scanners, sound-alikes; for Chinese, input methods and shapes.

    keyboard   a letter replaced by its neighbour, left out, doubled, or swapped with the next
    ocr        what a scanner mistakes: rn for m, 0 for o, 1 for l
    homophone  their for there; also common misspellings
    pinyin     a character with the same reading (without the tone)
    shape      a character that looks alike

Inside a word only: its first and last letter stay, as people read by them (Pruthi, Dhingra & Lipton 2019,
arXiv:1905.11268, section 3). A Chinese word has two characters or more, for a slip in a single one leaves nothing to
read it by, and its slip is no other word of the dictionary.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Collection
from random import Random

from tuneloop.augment.draws import below, one_of, rounded, some_of
from tuneloop.augment.lexicon import Lexicon
from tuneloop.augment.synonyms import edited
from tuneloop.augment.tables import table_lines
from tuneloop.augment.words import (
    NOTHING,
    STOP_WORDS,
    Protected,
    in_case_of,
    is_chinese,
    is_negation,
    is_number,
    jieba_tokenizer,
    stays,
    words,
)
from tuneloop.sections import KINDS, Kind

SHORTEST = 4
"""Letters of the shortest word that the keyboard or a scanner spoils: a slip in a shorter one makes another word."""

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SCANNED = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("vv", "w"), ("w", "vv"), ("o", "0"), ("l", "1"), ("i", "l"),
    ("l", "i"), ("e", "c"), ("c", "e"), ("h", "b"), ("b", "h"), ("s", "5"), ("g", "q"), ("u", "v"), ("v", "u"),
    ("t", "f"), ("f", "t"), ("n", "r"), ("ri", "n"), ("in", "m"), ("B", "8"), ("S", "5"), ("O", "0"), ("I", "l"),
)  # fmt: skip


@functools.cache
def keyboard() -> dict[str, str]:
    """Letter -> its neighbours on a QWERTY keyboard (half a key's offset between rows)."""
    found: dict[str, str] = {}
    for line, row in enumerate(_ROWS):
        for place, letter in enumerate(row):
            near = [row[place - 1 : place], row[place + 1 : place + 2]]
            near += [_ROWS[line - 1][place : place + 2]] if line else []
            near += [_ROWS[line + 1][max(place - 1, 0) : place + 1]] if line + 1 < len(_ROWS) else []
            found[letter] = "".join(near)
    return found


@functools.cache
def _groups(name: str) -> dict[str, tuple[str, ...]]:
    """Member -> the others of its group, from a table of groups (of words, or of single characters)."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in table_lines(name):
        group = line.split() if name == "homophones.txt" else list(line.rpartition("\t")[2])
        for member in group:
            found[member] += [other for other in group if other != member]
    return {member: tuple(dict.fromkeys(others)) for member, others in found.items()}


@functools.cache
def same_reading() -> dict[str, tuple[str, ...]]:
    """Character -> the ten most frequent others of its reading: what an input method offers first."""
    return {sign: others[:10] for sign, others in _groups("pinyin.txt").items()}


def noise(
    text: str, random: Random, *, rate: float, kinds: Collection[Kind] = KINDS, lexicon: Lexicon,
    protected: Protected = NOTHING,
) -> str:  # fmt: skip
    """`text` with a slip in about `rate` of its words; itself where none may have one.

    Numbers, URLs, code, placeholders, names, negations and `protected` words never have one. No slip makes a negation,
    a number, a protected word or (but for homophones) another word.

    Args:
        text: English or Chinese, or both.
        random: What draws.
        rate: Share of the words, 0 to 1, of all words of the text; rounded at random, as in `synonyms`.
        kinds: Which slips; of those that a word can have, one is drawn.
        lexicon: Tells what is another word.
        protected: Words that stay.
    """
    found = words(text)
    count = rounded(random, rate * len(found))
    if count == 0:
        return text
    edits: list[tuple[tuple[int, int], str]] = []
    for place in some_of(random, range(len(found)), len(found)):
        if len(edits) == count:
            break
        start, end, word = found[place]
        if stays(text, found, place, protected):
            continue
        slip = _slip(word, random, kinds, lexicon, protected)
        if slip is not None:
            edits.append(((start, end), slip))
    return edited(text, edits)


def _slip(
    word: str, random: Random, kinds: Collection[Kind], lexicon: Lexicon, protected: Protected
) -> str | None:  # fmt: skip
    """The word with one slip of one of the kinds; None where it can have none."""
    chinese = is_chinese(word)
    for kind in some_of(random, [kind for kind in KINDS if kind in kinds], len(kinds)):
        if chinese != (kind in ("pinyin", "shape")):
            continue
        slip = _MAKERS[kind](word, random) if not chinese else _character(word, random, kind, lexicon)
        if slip is None or slip == word or slip in protected or is_negation(slip) or is_number(slip):
            continue
        low = slip.lower()
        if kind in ("keyboard", "ocr") and low.isalpha() and (low in STOP_WORDS or lexicon.known(low)):
            continue
        return slip
    return None


def _keyboard(word: str, random: Random) -> str | None:
    if len(word) < SHORTEST or not word.isascii():
        return None
    place = 1 + below(random, len(word) - 2)
    letter = word[place]
    near = keyboard().get(letter.lower())
    if near is None:
        return None
    way = below(random, 4)
    if way == 0:
        other = one_of(random, near)
        return word[:place] + (other.upper() if letter.isupper() else other) + word[place + 1 :]
    if way == 1:
        return word[:place] + word[place + 1 :]
    if way == 2:
        return word[:place] + letter + word[place:]
    if place + 2 >= len(word):  # the last letter stays
        place -= 1
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :] if place else None


def _ocr(word: str, random: Random) -> str | None:
    if len(word) < SHORTEST:
        return None
    places = [
        (place, seen, read)
        for seen, read in _SCANNED
        for place in range(1, len(word) - len(seen))
        if word.startswith(seen, place)
    ]
    if not places:
        return None
    place, seen, read = one_of(random, places)
    return word[:place] + read + word[place + len(seen) :]


def _homophone(word: str, random: Random) -> str | None:
    others = _groups("homophones.txt").get(word.lower().replace("’", "'"))
    return in_case_of(word, one_of(random, others)) if others else None


def _character(word: str, random: Random, kind: Kind, lexicon: Lexicon) -> str | None:
    """A Chinese word with one character replaced; another word only where it means the same (账户, 帐户)."""
    if len(word) < 2:
        return None
    table = same_reading() if kind == "pinyin" else _groups("shapes.txt")
    listed = jieba_tokenizer().FREQ
    for place in some_of(random, range(len(word)), len(word)):
        for other in some_of(random, table.get(word[place], ()), 10):
            slip = word[:place] + other + word[place + 1 :]
            if not listed.get(slip) or slip in lexicon.chinese.get(word, ()):
                return slip
    return None


_MAKERS: dict[Kind, Callable[[str, Random], str | None]] = {
    "keyboard": _keyboard, "ocr": _ocr, "homophone": _homophone,
}  # fmt: skip
"""Each kind of slip of English: (word, generator) -> the word with it, or None."""
