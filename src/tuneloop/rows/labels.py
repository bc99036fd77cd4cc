"""Labels that are written in more than one way, and labels that look like a typing slip of another.

    Refund_Status (2 rows), refund status (1), refund_status (300)   ->  refund_status       repaired, recorded
    refnud_status (1 row)                                            ->  a person decides, refund_status is suggested
    退款 申请 (1), 「退款申请」 (1), 退款申请 (300)                      ->  退款申请            repaired, recorded
    退款申情 (1)                                                     ->  a person decides, 退款申请 is suggested

Two labels are one *spelling* apart where they differ in case, white space, full-width signs, hyphens and underscores
between words, HTML entities, signs that nobody sees, quotes around them, or signs at the end; in Chinese, blanks or
none. The rarer spelling becomes the most frequent one only where it is rare beside it, in training and among the
held-out rows: labels that are both frequent are two labels, whatever they look like (AA and Aa are two ratings).
Spellings are learnt from training rows alone; held-out rows are read by them, since a label is a name, and one that no
training row has could only count as wrong (held_out.py).

Never touched: signs at the front (-1 is not 1), signs inside words, the word itself.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tuneloop.records import Doubt, Repair, Row
from tuneloop.rows.layout import WIDE
from tuneloop.rows.mojibake import in_a_word
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.values import UNSEEN
from tuneloop.shelf import Store

STAGE = "repair_labels"
FEW, SHARE = 2, 0.2
"""A spelling is rare beside another where it has at most so many rows, or at most this share of the other's rows."""
LEAST_LETTERS, LEAST_HAN = 5, 3
"""Of a label that may be a slip of another: shorter ones are too often one letter apart by right."""
SLIP_SHARE = 0.1
"""A label is a slip of another one only where it has at most this share of its rows."""

_UNSEEN = re.compile(f"[{UNSEEN}]")
_QUOTED = re.compile(r"「([^」]+)」|『([^』]+)』|“([^”]+)”|‘([^’]+)’|\"([^\"]+)\"|'([^']+)'")
_BETWEEN = r"[\s_‐‑–—-]+"
_HAN = r"[\u3400-\u9fff]"

Label = str | tuple[str, ...]


@dataclass(frozen=True)
class Respelt:
    """Rows whose labels are written in one way; as many as went in."""

    rows: Sequence[Row]
    repairs: list[Repair]


def respelt(rows: Sequence[Row], held_out: Mapping[str, int], room: Room = MEMORY) -> Respelt:
    """Give rare spellings of a label its most frequent one.

    Args:
        rows: All training rows.
        held_out: Label -> rows of validation and test.
        room: Where the rows are kept.
    """
    counts = Counter(label for row in rows for label in row.labels)
    names = spellings(counts, held_out)
    if not names:
        return Respelt(rows, [])
    done: Store[Row] = room.store()
    repairs: list[Repair] = []
    for row in rows:
        after = row
        if any(label in names for label in row.labels):
            after = row.through(STAGE, label=renamed(row.label, names))
            repairs.append(Repair(after.id, row.source, STAGE, "label", shown(row.label), shown(after.label)))
        done.append(after)
    return Respelt(done, repairs)


def spelling(label: str) -> str:
    """What all spellings of a label have in common; the label itself where nothing else is left of it."""
    text = _UNSEEN.sub("", html.unescape(label).translate(WIDE)).strip().rstrip(" .,;:!。，、；：！").casefold()
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[quoted.lastindex or 0].strip()
    text = re.sub(rf"(?<={_HAN}){_BETWEEN}(?={_HAN})", "", text)  # Chinese has no blanks between words
    return re.sub(rf"(?<=\w){_BETWEEN}(?=\w)", " ", text) or label


def spellings(counts: Mapping[str, int], held_out: Mapping[str, int]) -> dict[str, str]:
    """Rare spelling -> the most frequent one.

    Args:
        counts: Label -> training rows.
        held_out: Label -> rows of validation and test.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[spelling(label)].append(label)
    found: dict[str, str] = {}
    for group in groups.values():
        first, *others = sorted(group, key=lambda label: (-counts[label], label))
        for other in others:
            there = held_out.get(other, 0), held_out.get(first, 0)
            two = min(there) > 0 and there[0] > FEW and not rare(*there)
            if rare(counts[other], counts[first]) and not two:
                found[other] = first
    return found


def rare(rows: int, beside: int) -> bool:
    """Whether a spelling of `rows` rows is rare beside one of `beside` rows; never where they are as many."""
    return rows < beside and rows <= max(FEW, SHARE * beside)


def reader_of(labels: Collection[str], names: Mapping[str, str]) -> Callable[[str], str]:
    """A function from a held-out row's label to the training rows' spelling of it.

    It gives the label itself where training rows have it, or have none of its spellings, or several.

    Args:
        labels: Those of the training rows, after the repair.
        names: What the repair renamed.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[spelling(label)].append(label)

    def read(label: str) -> str:
        if label in labels:
            return label
        found = alike.get(spelling(label), [])
        return names.get(label) or (found[0] if len(found) == 1 else label)

    return read


def renamed(label: Label | None, names: Mapping[str, str]) -> Label | None:
    """A label, or several, by their new names, each once."""
    if isinstance(label, tuple):
        return tuple(dict.fromkeys(names.get(one, one) for one in label))
    return None if label is None else names.get(label, label)


def shown(label: Label | None) -> str:
    """A label as a record of a repair holds it: several as a JSON list."""
    return json.dumps(label, ensure_ascii=False) if isinstance(label, tuple) else label or ""


# -- typing slips -----------------------------------------------------------------------------------------------


def slip_doubts(rows: Sequence[Row]) -> list[Doubt]:
    """Rows whose label is rare and one letter away from a frequent one, which is suggested.

    The score is the label's rows by the suggested one's. Labels with other digits are never doubted.

    Args:
        rows: All rows of the set, spellings mended.
    """
    counts = Counter(label for row in rows for label in row.labels)
    slips = typing_slips(counts)
    found = []
    for row in rows:
        for label in row.labels:
            if label in slips:
                other = slips[label]
                reason = f"label {label!r} ({counts[label]} rows) may be a slip of {other!r} ({counts[other]} rows)"
                suggestion = other if isinstance(row.label, str) else ""
                found.append(Doubt(row.id, row.source, STAGE, reason, counts[label] / counts[other], suggestion))
    return found


def typing_slips(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare label -> the most frequent label that is one letter away: left out, put in, another, or two swapped.

    Args:
        counts: Label -> rows.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        for shorter in _shorter(spelling(label)):
            places[shorter].append(label)
    found: dict[str, str] = {}
    for label, count in counts.items():
        word = spelling(label)
        near = {other for shorter in _shorter(word) for other in places[shorter] if other != label}
        likely = [
            other for other in near
            if count <= min(FEW, SLIP_SHARE * counts[other]) and is_slip(word, spelling(other))
        ]  # fmt: skip
        if likely:
            found[label] = min(likely, key=lambda other: (-counts[other], other))
    return found


def is_slip(word: str, other: str) -> bool:
    """Whether a word may be the other one, written wrongly.

    A Latin word of LEAST_LETTERS is, one letter away. A Chinese one of LEAST_HAN is with one wrong character, where no
    word of the dictionary has this character beside a neighbour and one has the right character so: 消化外科 is no
    slip of 消化内科.
    """
    if re.search(r"[a-z]", word):
        return len(word) >= LEAST_LETTERS and one_letter_away(word, other)
    places = [place for place, (one, two) in enumerate(zip(word, other, strict=False)) if one != two]
    if len(word) != len(other) or len(places) != 1 or len(re.findall(_HAN, word)) < LEAST_HAN:
        return False
    (place,) = places
    return in_a_word(other, place) and re.match(_HAN, word[place]) is not None and not in_a_word(word, place)


def _shorter(word: str) -> set[str]:
    """The word, and the word without any one of its signs: words one letter apart have one of these in common."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


def one_letter_away(one: str, other: str) -> bool:
    """Whether one edit makes a word the other: a letter left out, put in, replaced, or two neighbours swapped.

    Words with other digits are other words.
    """
    if one == other or re.findall(r"\d", one) != re.findall(r"\d", other):
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    left, right = one[start:], other[start:]
    swapped = left[:2] == right[:2][::-1] and left[2:] == right[2:] and len(left) >= 2
    return left[1:] == right or left == right[1:] or left[1:] == right[1:] or swapped
