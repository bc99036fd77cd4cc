"""The words of a text, and those that are never touched.

    text --words--> [(start, end, word)]        Chinese runs are cut by jieba

What is no word is left out and so never changed: numbers, URLs, mail addresses, code, placeholders such as {{order}},
{name}, <EMAIL>, [NAME], $VAR and %s, mentions, file paths, 《titles》, and words that hold a digit. Of the words, those
stay (`stays`) that are a negation, a number or a name, or that the caller protects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.augment.tables import word_list

Word = tuple[int, int, str]
"""(start, end, word): text[start:end] is the word."""

_LATIN = r"[A-Za-z\u00c0-\u024f]"
_WORD = rf"{_LATIN}+(?:['’\u002d]{_LATIN}+)*"
_HAN = r"[\u3400-\u4dbf\u4e00-\u9fff]+"
_PLAIN = re.compile(rf"{_WORD}|{_HAN}")
_MARKS = re.compile(r"[0-9`{}<>\[\]@#$%/\\_《]|www\.")
"""A text without any of these holds words and punctuation only, which are found faster."""
_FULL = re.compile(
    r"(?P<kept>```.*?(?:```|\Z)|`[^`\n]+`"
    r"|(?:https?|ftp|file)://[^\s\u3000-\u9fff\uff00-\uffef]+|www\.[^\s\u3000-\u9fff\uff00-\uffef]+"
    r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+|\{\{.*?\}\}|\{[^{}\n]*\}|<[^<>\s][^<>\n]{0,80}>|《[^《》\n]{0,40}》|\[[^\[\]\n]{0,40}\]"
    r"|\$\{?\w+\}?|%(?:\(\w+\))?\w*|[@#]\w+"
    r"|[A-Za-z\u00c0-\u024f'’.,:+-]*[0-9][A-Za-z0-9\u00c0-\u024f'’.,:%/+_-]*"
    r"|[A-Za-z0-9._~-]*[/\\_][A-Za-z0-9._~/\\-]*)"
    rf"|{_WORD}|{_HAN}",
    re.DOTALL,
)

NEGATIONS = word_list("negations")
"""Words that turn a sentence round; they are never touched, moved or made. `is_negation` knows more of them."""

STOP_WORDS = word_list("stop_words")
"""Function words and the like: a synonym of one is another sentence."""

NUMBERS = word_list("numbers")
"""Number words of English."""

_NEGATING = frozenset("不没沒無无非别勿莫未否")
_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万亿半几")
_NEITHER = word_list("neither")
"""Chinese words that hold one of these signs, and are neither negation nor number."""

_SENTENCE_START = frozenset('.!?:;"“”‘(（。！？：；\n…-*•')


def words(text: str) -> list[Word]:
    """The words of a text in their order; what must not be touched is not among them."""
    if _MARKS.search(text):
        found = [(m.start(), m.end(), m.group()) for m in _FULL.finditer(text) if m.lastgroup is None]
    else:
        found = [(m.start(), m.end(), m.group()) for m in _PLAIN.finditer(text)]
    if text.isascii():
        return found
    return [part for word in found for part in (_cut(word) if is_chinese(word[2]) else (word,))]


def kept_spans(text: str) -> list[str]:
    """The numbers, URLs, placeholders and so on of a text, that any other wording must hold too."""
    return [m.group().strip(".,:") for m in _FULL.finditer(text) if m.lastgroup == "kept"]


def is_chinese(word: str) -> bool:
    """Whether a word is of Chinese characters."""
    return "\u3400" <= word[0] <= "\u9fff"


def mostly_chinese(text: str) -> bool:
    """Whether a text has more Chinese characters than half its Latin letters."""
    han = sum("\u3400" <= sign <= "\u9fff" for sign in text)
    return han > 0 and 2 * han > sum("a" <= sign.lower() <= "z" for sign in text) / 2


def _cut(word: Word) -> list[Word]:
    start, _, run = word
    parts = [run] if len(run) == 1 else jieba_tokenizer().lcut(run, HMM=False)
    found = []
    for part in parts:
        found.append((start, start + len(part), part))
        start += len(part)
    return found


@functools.cache
def jieba_tokenizer() -> Any:
    """jieba with its own dictionary, apart from the global one, which others may add words to."""
    import jieba

    jieba.setLogLevel("WARNING")
    return jieba.Tokenizer()


@functools.cache
def _chinese_names() -> frozenset[str]:
    """What jieba's dictionary marks as the name of a person, a place, a firm or a product; read once (0.5 s, 13 MB).

    Of single characters nouns too: 酷 狗 is how a name looks that the dictionary lacks.
    """
    import jieba

    with open(Path(jieba.__file__).with_name("dict.txt"), encoding="utf-8") as file:
        lines = (line.split() for line in file)
        return frozenset(
            word for word, _, tag in lines
            if tag.startswith(("nr", "ns", "nt", "nz")) or (len(word) == 1 and tag == "n")
        )  # fmt: skip


def stays(text: str, found: Sequence[Word], place: int, protected: Protected) -> bool:
    """Whether no method may touch a word: a negation, a number, a name or part of one, or a protected word.

    Args:
        text: The text.
        found: Its words.
        place: Which of them.
        protected: Words that stay.
    """
    start, _, word = found[place]
    if is_negation(word) or is_number(word):
        return True
    if not word.islower() and (is_name(text, start, word) or ends_name(found, place)):  # Chinese has no case
        return True
    return word in protected


@functools.lru_cache(maxsize=65536)
def is_negation(word: str) -> bool:
    """Whether a word turns a sentence round: not, can't, without, 没有, 不足, 无效."""
    if is_chinese(word):
        return word in NEGATIONS or (not _NEGATING.isdisjoint(word) and word not in _NEITHER)
    low = word.lower().replace("’", "'")
    return low in NEGATIONS or "n't" in low


@functools.lru_cache(maxsize=65536)
def is_number(word: str) -> bool:
    """Whether a word is or holds a number: three, 五百元, 星期三, 第一."""
    if is_chinese(word):
        return not _NUMERALS.isdisjoint(word) and word not in _NEITHER
    return word.lower() in NUMBERS


def ends_name(found: Sequence[Word], place: int) -> bool:
    """Whether a Chinese word stands right behind a name, and so is likely part of a longer one: 网易云 音乐."""
    if place == 0:
        return False
    (_, end, before), (start, _, word) = found[place - 1 : place + 1]
    return end == start and is_chinese(word) and before in _chinese_names()


def is_name(text: str, start: int, word: str) -> bool:
    """Whether a word is a name: a Chinese one that the dictionary lists, or a Latin one that is written like one.

    Latin: a capital in mid sentence, iPhone, PIN, but not I and I'm. A capital at the start of a sentence says nothing;
    in a text all in capitals none does.
    """
    if word.islower() or word.startswith(("I'", "I’")):
        return False
    if is_chinese(word):
        return len(word) > 1 and word in _chinese_names()
    if not word[1:].islower():
        return not (text.isupper() or (len(word) == 1 and word in "IA"))
    before = text[:start].rstrip(" \t")
    return bool(before) and before[-1] not in _SENTENCE_START


def in_case_of(model: str, word: str) -> str:
    """`word` in the case of `model`: all capitals, a capital first, or as it is."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word


def english(found: list[Word]) -> bool:
    """Whether Latin words are to be read as English: fewer than five of them, or a function word among them."""
    latin = [word for _, _, word in found if not is_chinese(word)]
    return len(latin) < 5 or any(word.lower() in STOP_WORDS for word in latin)


@dataclass(frozen=True)
class Protected:
    """Words that a text must keep as they stand: those of labels, and those that the answer repeats.

    Attributes:
        words: Lower-case words; English ones also in their plain forms.
        chinese: The Chinese texts that they came from: no word that stands in one is touched.
    """

    words: frozenset[str] = frozenset()
    chinese: str = ""

    def __contains__(self, word: str) -> bool:
        """Whether a word (as it stands in the text) is protected, in any inflection."""
        if is_chinese(word):
            return word in self.words or (len(word) > 1 and word in self.chinese)
        low = word.lower()
        return low in self.words or (bool(self.words) and any(form in self.words for form in plain_forms(low)))

    def __or__(self, other: Protected) -> Protected:
        """The words of both."""
        if not other.words and not other.chinese:
            return self
        return Protected(self.words | other.words, self.chinese + "\n" + other.chinese)


NOTHING = Protected()
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def protect(texts: Iterable[str]) -> Protected:
    """The words of labels or answers as words to protect; stop words are left out, except negations.

    Args:
        texts: Labels such as "card_arrival", "AddToPlaylist" or "退款申请", or whole answers.
    """
    found: set[str] = set()
    chinese: list[str] = []
    for text in texts:
        spread = _CAMEL.sub(" ", text).replace("_", " ")
        if not spread.isascii():
            chinese.append(spread)
        for match in _PLAIN.finditer(spread):
            for _, _, word in _cut(match_word(match)) if is_chinese(match.group()) else [match_word(match)]:
                found.update(part for part in _parts(word.lower()) if part not in STOP_WORDS and len(part) > 1)
    return Protected(frozenset(found), "\n".join(chinese))


def match_word(match: re.Match[str]) -> Word:
    """A match as a word."""
    return match.start(), match.end(), match.group()


def _parts(word: str) -> set[str]:
    pieces = {word, *re.split("['’-]", word)} if not is_chinese(word) else {word}
    return {form for piece in pieces if piece for form in (piece, *plain_forms(piece))}


@functools.lru_cache(maxsize=65536)
def plain_forms(word: str) -> tuple[str, ...]:
    """What an English word may be an inflection of, by its ending alone: too many rather than too few.

    cards -> card; deliveries -> deliver(y); stopped -> stopp, stop; pending -> pend, pende.
    """
    found: list[str] = []
    for ending, instead in (
        ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("d", ""), ("ing", ""), ("ing", "e"), ("'s", ""),
        ("er", ""), ("r", ""), ("est", ""), ("st", ""),
    ):  # fmt: skip
        stem = word.removesuffix(ending)
        short = ending in ("d", "r", "st") and not stem.endswith("e")  # card is no form of "car"
        if stem != word and len(stem) >= 3 and not short and not (ending == "s" and stem.endswith("s")):
            found.append(stem + instead)
            if ending in ("ed", "ing", "er", "est") and not instead and stem[-1] == stem[-2]:
                found.append(stem[:-1])
    return tuple(found)
