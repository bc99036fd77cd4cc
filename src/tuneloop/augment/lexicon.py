"""The synonym tables: WordNet's, the project's own everyday groups (English, Chinese), and the user's.

tables/wordnet.txt.gz    made by scripts/build_wordnet_table.py; WORDNET-LICENSE.txt is its licence
tables/english.txt       everyday and customer-service words: their groups go before WordNet's
tables/chinese.txt       the same for Chinese
the user's file          a group a line, words apart by blanks; or Cilin's own format (only its "=" groups)
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tuneloop.augment.inflection import Form, Inflections
from tuneloop.augment.tables import table_lines, word_list
from tuneloop.augment.tagger import Reading
from tuneloop.augment.words import NEGATIONS, STOP_WORDS
from tuneloop.errors import DataError

Key = tuple[str, str]  # (part of speech, plain word)
_CILIN = re.compile(r"^[A-Z][a-z]\d\d[A-Z]\d\d([=#@])$")
PARTICLES = word_list("particles")
"""A verb before one of these is half of another verb (look up, set off), and has none of its own synonyms."""

EVERYDAY = 8
"""How often WordNet must have counted what stands for another word: below it are laggard, naught and coffeehouse."""


@dataclass(frozen=True)
class Entry:
    """What an English word may be, and what may stand for it.

    Attributes:
        counts: How often each reading was counted, all readings.
        plain: The plain word of each reading.
        synonyms: Of readings that have some, in the form of the reading.
    """

    counts: Mapping[Reading, int]
    plain: Mapping[Reading, str]
    synonyms: Mapping[Reading, tuple[str, ...]]


@dataclass(frozen=True)
class Lexicon:
    """Synonyms of both languages, and what is needed to use the English ones.

    Attributes:
        english: (part, plain word) -> plain synonyms.
        counts: (part, plain word) -> how often it was counted.
        pairs: Two-word expressions, in plain words: no word of one is replaced.
        forms: English inflection.
        chinese: Word -> its synonyms.
        only_before: (part, plain word) -> the words that it must stand before to be replaced; of few.
        own: The user's, of any language, used as they are written; they go before the others.
        entries: What was looked up already.
    """

    english: Mapping[Key, tuple[str, ...]]
    counts: Mapping[Key, int]
    pairs: frozenset[tuple[str, str]]
    forms: Inflections
    chinese: Mapping[str, tuple[str, ...]]
    only_before: Mapping[Key, frozenset[str]] = field(default_factory=dict)
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    entries: dict[str, Entry | None] = field(default_factory=dict, compare=False, repr=False)

    def entry(self, word: str) -> Entry | None:
        """What a lower-case English word may be; None where no reading has a synonym."""
        try:
            return self.entries[word]
        except KeyError:
            if len(self.entries) > 500_000:  # text that is no language
                self.entries.clear()
            return self.entries.setdefault(word, self._entry(word))

    def _entry(self, word: str) -> Entry | None:
        counts: dict[Reading, int] = {}
        plain: dict[Reading, str] = {}
        synonyms: dict[Reading, tuple[str, ...]] = {}
        for part, base, form in self.forms.analyses(word):
            if (part, base) not in self.counts or (part, form) in counts:
                continue
            counts[part, form], plain[part, form] = 1 + self.counts[part, base], base
            found = self._inflected(part, base, form)
            if found:
                synonyms[part, form] = found
        return Entry(counts, plain, synonyms) if synonyms else None

    def _inflected(self, part: str, base: str, form: Form) -> tuple[str, ...]:
        made = (self.forms.inflect(part, other, form) for other in self.english.get((part, base), ()))
        return tuple(word for word in made if word is not None)

    def expression(self, before: str, word: str, plain: str, after: str) -> bool:
        """Whether a word stands in a two-word expression with a neighbour, as "credit card" or "look up"."""
        pairs = self.pairs
        return (
            (before, plain) in pairs or (before, word) in pairs or (plain, after) in pairs or (word, after) in pairs
            or (after.endswith("s") and (plain, after[:-1]) in pairs)
        )  # fmt: skip

    def known(self, word: str) -> bool:
        """Whether WordNet counts a lower-case word, in any form: a typo should not make such a word."""
        return any((part, base) in self.counts for part, base, _ in self.forms.analyses(word))


def read_table(path: Path) -> dict[str, tuple[str, ...]]:
    """The user's own groups: word -> the others of its group, as they are written.

    Args:
        path: A group a line, words apart by blanks; lines that begin with # are notes. Or Cilin's format, of which
            only the groups marked "=" hold synonyms.

    Raises:
        DataError: if the file cannot be read or holds no group.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The synonym table {path} cannot be read", got=str(error), allowed="UTF-8 text, a group of words a line",
            fix="Check augment.synonyms.table",
        ) from None  # fmt: skip
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        group = [] if line.startswith("#") else line.split()
        code = _CILIN.match(group[0]) if group else None
        if code:
            group = group[1:] if code[1] == "=" else []
        _join(found, group)
    if not any(found.values()):
        raise DataError(
            f"The synonym table {path} holds no group", got=f"{len(lines)} lines", allowed="two words a line or more",
            fix="Write the words of a group on one line, apart by blanks",
        )  # fmt: skip
    return {word: tuple(dict.fromkeys(others)) for word, others in found.items()}


def _join(found: dict[str, list[str]], group: Iterable[str]) -> None:
    """Add a group: each word gets the others."""
    members = list(dict.fromkeys(group))
    for word in members:
        found[word] += [other for other in members if other != word and other not in NEGATIONS]


def _pairs(line: str) -> Iterator[tuple[str, list[str]]]:
    """(word, what may stand for it) of a line "a b", each for the other, or "a b > c d", the first two only."""
    left, arrow, right = line.partition(" > ")
    for word in left.split():
        yield word, right.split() if arrow else [other for other in left.split() if other != word]


@functools.cache
def shipped() -> Lexicon:
    """The tables that come with tuneloop; read once (about 50 ms)."""
    english: dict[Key, tuple[str, ...]] = {}
    counts: dict[Key, int] = {}
    exceptions: list[tuple[str, str, str]] = []
    pairs: set[tuple[str, str]] = set()
    for line in table_lines("wordnet.txt.gz"):
        kind, word, *rest = line.split("\t")
        if kind == "+":
            pairs.update((word, second) for second in rest[0].split())
        elif kind[0] == "=":
            exceptions.append((kind[1], word, rest[0]))
        else:
            counts[kind, word] = int(rest[0])
            if len(rest) > 1 and word not in STOP_WORDS and word not in NEGATIONS:
                english[kind, word] = tuple(w for w in rest[1].split() if w not in STOP_WORDS and w not in NEGATIONS)
    for (part, word), others in list(english.items()):
        english[part, word] = tuple(other for other in others if counts.get((part, other), 0) >= EVERYDAY)
        if not english[part, word]:
            del english[part, word]
    only_before = _everyday(english, counts, pairs)
    return Lexicon(english, counts, frozenset(pairs), Inflections(exceptions), _chinese(), only_before)


def _everyday(
    english: dict[Key, tuple[str, ...]], counts: dict[Key, int], pairs: set[tuple[str, str]]
) -> dict[Key, frozenset[str]]:
    """Put the project's own English groups in place of WordNet's; a word alone on its line has no synonym.

    Returns:
        The words before which alone a word may be replaced: of "v+ want to", want before to.
    """
    groups: dict[Key, list[str]] = defaultdict(list)
    only_before: dict[Key, frozenset[str]] = {}
    for line in table_lines("english.txt"):
        part, _, group = line.partition(" ")
        if part.endswith("+"):
            first, *seconds = group.split()
            if part == "+":
                pairs.update((first, second) for second in seconds)
            else:
                only_before[part[0], first] = frozenset(seconds)
            continue
        for word, others in _pairs(group):
            groups[part, word] += [other.replace("_", " ") for other in others]
            counts.setdefault((part, word), 1)
    english.update({key: tuple(dict.fromkeys(others)) for key, others in groups.items()})
    return only_before


def _chinese() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in table_lines("chinese.txt"):
        for word, others in _pairs(line):
            found[word] += others
    # A single character has too many senses to be replaced; it may stand for a longer word.
    return {word: tuple(dict.fromkeys(others)) for word, others in found.items() if len(word) > 1}
