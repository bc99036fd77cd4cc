"""Rows in another language than the rest of their set: by script, and among Latin letters by little words.

A row's script is that of most of its letters. Its language, where the script is Latin, is the one of whose commonest
words it has the most, two different ones at least and two more than of the set's own language: a foreign name or
loanword is no doubt. Rows too short for that are left alone; the noise score (outliers.py) sees more of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tuneloop.records import Doubt, Row
from tuneloop.rows.script import letters_by_script, script_of
from tuneloop.rows.texts import row_text

STAGE = "language"
LEAST_LETTERS = 4
LEAD = 2
"""How many more little words of another language a row must have."""
MOST = 0.5
"""Share of the rows that must agree before there is a language to differ from."""

_WORDS = {
    "English": "the and is are was of to with for my your you i it this that what how when where why do does have has "
    "can not from will would there which be been",
    "French": "le les des une du est sont et dans pour pas que qui je vous nous il elle ce cette mon votre avec sur "
    "où au aux ne se plus",
    "German": "der das und ist nicht ich sie mit für auf ein eine einen den dem zu von wie wir mein ihre auch noch "
    "wird bei am im seit gegen",
    "Spanish": "el los las una es y en por para con mi su que no se lo está qué cómo pero más muy del al desde hay "
    "esta puede",
    "Italian": "il gli una è di che non per con mio sono un lo della del al questa quando come si dal ho può ci anche",
    "Portuguese": "o os uma é não em para com meu que do da dos das ao no na você está como mais muito pelo foi",
    "Dutch": "de het een is niet en van ik op voor met mijn dat deze wat hoe waar naar aan zijn wordt kan heb er ook",
}
LITTLE_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")


def little_words(text: str) -> Counter[str]:
    """Language -> how many different ones of its commonest words a text has."""
    words = set(_WORD.findall(text.casefold()))
    return Counter({language: found for language, known in LITTLE_WORDS.items() if (found := len(words & known))})


def language_doubts(rows: Sequence[Row]) -> list[Doubt]:
    """Rows whose script, or whose language among Latin letters, is not that of most rows.

    The score is the share of the row's letters in the set's script, or of its little words in the set's language.

    Args:
        rows: All rows of the set; their order is kept.
    """
    script = _most(script_of(row_text(row)) for row in rows)
    latin = script == "latin"
    language = _most(_leading(_little_words(row)) for row in rows) if latin else ""
    found = []
    for row in rows:
        theirs, letters = script_of(row_text(row)), letters_by_script(row_text(row))
        count = sum(letters.values())
        if script and theirs not in ("", script) and count >= LEAST_LETTERS:
            reason = f"written in {theirs} letters, the set in {script} ones"
            found.append(Doubt(row.id, row.source, STAGE, reason, letters[script] / count))
        elif language and (little := _little_words(row)):
            other = max(little, key=lambda name: (little[name], name))
            if other != language and little[other] >= max(LEAD, little[language] + LEAD):
                reason = f"reads like {other}, the set is in {language}"
                score = little[language] / (little[language] + little[other])
                found.append(Doubt(row.id, row.source, STAGE, reason, score))
    return found


def _little_words(row: Row) -> Counter[str]:
    """The little words of a row in Latin letters; none of any other."""
    text = row_text(row)
    return little_words(text) if script_of(text) == "latin" else Counter()


def _leading(words: Counter[str]) -> str:
    """The language with the most little words, "" where two share the lead or there are none."""
    first = words.most_common(2)
    if not first or (len(first) == 2 and first[0][1] == first[1][1]):
        return ""
    return first[0][0]


def _most(names: Iterable[str]) -> str:
    """What most of those rows have that have anything; "" where they do not agree."""
    counts = Counter(name for name in names if name)
    if not counts:
        return ""
    name, count = counts.most_common(1)[0]
    return name if count > MOST * sum(counts.values()) else ""
