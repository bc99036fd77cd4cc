"""Chinese text that was read in the wrong encoding: GBK as Latin-1, and UTF-8 as GBK.

    ¿ìµÝÊ²Ã´Ê±ºòµ½       -> 快递什么时候到        鐢垫満杞存壙杩囩儹      -> 电机轴承过热
    ¿ìµÝÊ²Ã´Ê±ºòµ        -> lost                 锟斤拷订单, 工�和知识    -> lost: what stood there is gone

A text is read anew only where Chinese comes of it: neighbouring characters that stand so in words of jieba's
dictionary, and more of them than before.
"""

from __future__ import annotations

import contextlib
import functools
import re
from pathlib import Path

from tuneloop.rows.text_file import is_encoded

LEAST_SHARE = 0.15
"""Of the pairs of neighbouring Han characters, in words of the dictionary. Of pairs by chance, about 0.01 are."""
LOST = "\ufffd"
"""Stands where a sign could not be decoded."""

_HAN = r"\u3400-\u9fff"
_HAN_PAIR = re.compile(rf"(?=([{_HAN}]{{2}}))")
_STRANGE = re.compile(rf"(?![{_HAN}\u3000-\u312f\uff00-\uffef])[^\W\d_a-zA-Z]")
"""A letter that Chinese text is not made of."""
_WINDOWS = bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
_LATIN_RUN = re.compile(rf"[\x00-\xff{_WINDOWS}]+")
_LATIN_PAIR = re.compile(rf"[\x80-\xff{_WINDOWS}]{{4}}")
"""Two Chinese characters of GBK, read as Latin-1: no language that is written in Latin letters has such."""
_LEADS = re.compile(
    "[" + "".join(bytes((lead, trail)).decode("gbk") for lead in range(0xE4, 0xEA) for trail in range(0x80, 0xC0)) + "]"
)  # fmt: skip
"""The first two bytes of a Chinese character in UTF-8, read as GBK: a third of the signs of such a text, all rare."""


def reread(text: str) -> str:
    """A Chinese text as it was before it was read in a wrong encoding, with LOST where signs are gone; else the same.

    Args:
        text: Any.
    """
    if text.isascii():
        return text
    if _LATIN_PAIR.search(text):
        return _LATIN_RUN.sub(lambda run: _chinese(run[0], _from_latin(run[0])), text)
    if 4 * len(_LEADS.findall(text)) >= sum(not sign.isascii() for sign in text):
        return _chinese(text, [text.encode("gb18030", "replace").decode("utf-8", "replace")])
    return text


def is_lost(text: str) -> bool:
    """Whether signs of a text are gone: U+FFFD, what it becomes in GBK, or a wrong encoding that does not go back."""
    return LOST in text or "锟斤拷" in text or LOST in reread(text)


def may_be_gbk(text: str) -> bool:
    """Whether a text is GBK read as Latin-1 as far as its bytes tell, and not UTF-8, though here and there it seems so.

    Args:
        text: Any.
    """
    runs = [run.encode("latin-1", "replace") for run in _LATIN_RUN.findall(text) if _LATIN_PAIR.search(run)]
    return any(is_encoded(run, "gb2312") and not is_encoded(run, "utf-8") for run in runs)


def _from_latin(text: str) -> list[str]:
    """What a run of Latin-1 signs says in GBK, where it is long enough for Chinese."""
    import ftfy.bad_codecs  # noqa: F401  knows sloppy-windows-1252

    found = []
    for encoding in ("latin-1", "sloppy-windows-1252") if _LATIN_PAIR.search(text) else ():
        with contextlib.suppress(UnicodeEncodeError):
            found.append(text.encode(encoding).decode("gb18030", "replace"))
    return found


def _chinese(text: str, readings: list[str]) -> str:
    """The first reading that is Chinese, and more so than the text; else the text."""
    for found in readings:
        if not _STRANGE.search(found) and share_of_words(found) >= max(LEAST_SHARE, share_of_words(text)):
            return found
    return text


def share_of_words(text: str) -> float:
    """The share of neighbouring Han characters that stand so in a word of jieba's dictionary; 0 for none."""
    pairs: list[str] = _HAN_PAIR.findall(text)
    return sum(pair[0] != pair[1] and pair in _known_pairs() for pair in pairs) / max(1, len(pairs))


def in_a_word(text: str, place: int) -> bool:
    """Whether a word of jieba's dictionary has the character at `place` beside the one before or behind it."""
    return any(text[start : start + 2] in _known_pairs() for start in (place - 1, place) if start >= 0)


def pairs_of_words() -> set[str]:
    """Every two neighbouring characters of every word of jieba's dictionary that are not both ASCII."""
    import jieba

    with open(Path(jieba.__file__).with_name("dict.txt"), encoding="utf-8") as file:
        words = [line.split(" ", 1)[0] for line in file]
    pairs = {word[place : place + 2] for word in words for place in range(len(word) - 1)}
    return {pair for pair in pairs if not pair.isascii()}


_known_pairs = functools.lru_cache(maxsize=1)(pairs_of_words)
