"""Test rows as users misspell and reword them: fixed functions, of another seed and other words than training's.

Training's slips know the keyboard, and end before and after a word's first and last letter; these take any letter at
any place. Training's synonyms come from WordNet and the project's tables; these from the list below, none of whose
replacements stands there (a test holds it), and for Chinese from Cilin, which is read from ../shared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from random import Random

from tuneloop.augment.words import is_chinese, words

SEED = 20_001
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[A-Za-z]{4,}")

OTHER_WORDS = {
    "problem": "hiccup", "issue": "hiccup", "mistake": "slip-up", "error": "glitch", "money": "dough",
    "phone": "handset", "help": "give a hand", "want": "would love", "need": "must have", "show": "bring up",
    "tell": "let know", "find": "track down", "buy": "pick up", "purchase": "acquisition", "fix": "sort out",
    "start": "kick off", "stop": "halt", "wrong": "off", "quickly": "in a hurry", "fast": "in no time",
    "soon": "before long", "stolen": "nicked", "lost": "gone missing", "broken": "kaput", "happened": "went on",
    "explain": "walk through", "understand": "make sense of", "know": "figure out", "think": "reckon",
    "country": "land", "abroad": "out of the country", "received": "was handed", "arrived": "turned up",
    "arrive": "turn up", "verify": "prove", "change": "switch", "exchange": "swap", "cancel": "call off",
    "charged": "billed", "charge": "bill", "fee": "surcharge", "fees": "surcharges", "song": "number",
    "songs": "numbers", "movie": "feature", "movies": "features", "restaurant": "eatery", "book": "arrange",
    "reserve": "hold", "play": "put on", "weather": "sky", "add": "tack on", "rate": "mark", "film": "flick",
    "album": "LP", "artist": "performer", "music": "tunes", "table": "spot", "people": "folks", "please": "kindly",
    "near": "close to", "tomorrow": "the day after today", "using": "with", "use": "work with", "cash": "notes",
    "still": "to this day", "waiting": "hanging on", "long": "ages", "declined": "turned down", "account": "profile",
    "pending": "in limbo", "refund": "money back", "transfer": "wire", "payment": "settlement", "card": "plastic",
    "cards": "plastic", "app": "program", "identity": "ID", "fiat": "ordinary",
}  # fmt: skip
"""Word -> what another user writes."""


def hit_by_typos(text: str, *, share: float = 0.25) -> str:
    """`text` with a wrong, lost, doubled or swapped letter in a quarter of its words of four letters and more.

    One word at least. In Chinese, one character in eight (one at least) becomes another of the text's own.

    Args:
        text: A test row's.
        share: Of the words.
    """
    random = Random(f"{SEED}:{text}")
    found = list(_WORD.finditer(text))
    if not found:
        return _hit_characters(text, random)
    chosen = random.sample(found, max(1, round(share * len(found))))
    for match in sorted(chosen, key=lambda match: -match.start()):
        text = text[: match.start()] + _misspelt(match.group(), random) + text[match.end() :]
    return text


def _misspelt(word: str, random: Random) -> str:
    place = random.randrange(len(word) - 1)
    way = random.randrange(4)
    if way == 0:
        return word[:place] + random.choice(LETTERS) + word[place + 1 :]
    if way == 1:
        return word[:place] + word[place + 1 :]
    if way == 2:
        return word[:place] + word[place] + word[place:]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _hit_characters(text: str, random: Random) -> str:
    places = [place for place, sign in enumerate(text) if is_chinese(sign)]
    if len(places) < 2:
        return text
    signs = list(text)
    for place in random.sample(places, max(1, len(places) // 8)):
        signs[place] = text[random.choice(places)]
    return "".join(signs)


def hit_by_synonyms(text: str, cilin: Mapping[str, str] | None = None) -> str:
    """`text` with every word of the list in its other wording, or every second word that Cilin knows.

    Args:
        text: A test row's.
        cilin: Chinese word -> another of its group.
    """
    random = Random(f"{SEED + 1}:{text}")
    for start, end, word in reversed(words(text)):
        other = OTHER_WORDS.get(word.lower())
        if other is None and cilin and is_chinese(word) and len(word) > 1 and random.random() < 0.5:
            other = cilin.get(word)
        if other is not None:
            text = text[:start] + (other.capitalize() if word[0].isupper() else other) + text[end:]
    return text


def read_cilin(path: Path) -> dict[str, str]:
    """Word -> the next of its "=" group."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        code, *group = line.split()
        if code.endswith("="):
            for word, other in zip(group, group[1:] + group[:1], strict=True):
                found.setdefault(word, other)
    return found
