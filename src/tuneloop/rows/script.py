"""Which script a text is written in, and the kind of each of its signs."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

SCRIPTS = ("latin", "cjk", "cyrillic", "arabic", "greek", "hebrew", "devanagari", "thai", "hangul")
_NAMES = {
    "LATIN": "latin", "CJK": "cjk", "HIRAGANA": "cjk", "KATAKANA": "cjk", "HANGUL": "hangul", "CYRILLIC": "cyrillic",
    "ARABIC": "arabic", "GREEK": "greek", "HEBREW": "hebrew", "DEVANAGARI": "devanagari", "THAI": "thai",
    "FULLWIDTH": "latin", "HALFWIDTH": "cjk", "IDEOGRAPHIC": "cjk", "BOPOMOFO": "cjk",
}  # fmt: skip
CJK_WEIGHT = 3
"""How many letters of other scripts one Chinese or Japanese character counts for: it says about as much."""
_KIND = {script: chr(0xE000 + place) for place, script in enumerate((*SCRIPTS, "other"))}
"""A sign of the private use area for each script: no text has them."""
_NO_LETTERS = {code: None for code in range(128) if chr(code).isalpha()}


@lru_cache(maxsize=1 << 16)
def script_of_sign(sign: str) -> str:
    """The script of a letter, "other" for a letter of a rarer one, "" for what is no letter."""
    if sign.isascii():
        return "latin" if sign.isalpha() else ""
    if not sign.isalpha():
        return ""
    return _NAMES.get(unicodedata.name(sign, "?").split(" ")[0].split("-")[0], "other")


def script_of(text: str) -> str:
    """The script that most of a text's letters have; "" for a text without letters."""
    counts = letters_by_script(text)
    return max(counts, key=lambda script: (counts[script], script)) if counts else ""


def letters_by_script(text: str) -> Counter[str]:
    """Script -> letters, a Chinese or Japanese character counted CJK_WEIGHT times."""
    if text.isascii():  # counted at C's speed
        letters = len(text) - len(text.translate(_NO_LETTERS))
        return Counter(latin=letters) if letters else Counter()
    counts = Counter(map(script_of_sign, text))
    del counts[""]
    if "cjk" in counts:
        counts["cjk"] *= CJK_WEIGHT
    return counts


@lru_cache(maxsize=1 << 16)
def kind_of_sign(sign: str) -> str:
    """One sign for all letters of a script, "0" for all digits and "a" for plain Latin letters; others as they are."""
    if sign.isascii():
        return "a" if sign.isalpha() else "0" if sign.isdigit() else sign
    script = script_of_sign(sign)
    if script:
        return _KIND[script]
    return "0" if sign.isnumeric() else sign


def shape(text: str) -> str:
    """The text with every sign replaced by its kind; as long as the text."""
    return "".join(map(kind_of_sign, text))
