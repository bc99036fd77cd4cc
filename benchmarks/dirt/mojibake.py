"""Text whose UTF-8 bytes were read as Windows-1252 or Latin-1; English text gets accents and curly quotes first."""

from __future__ import annotations

import random
import re

ACCENTS = str.maketrans("aeioucnAEIOU", "àéîöüçñÀÉÎÖÜ")
_WORD = re.compile(r"[A-Za-z]{3,}")


def with_accents(text: str, chance: random.Random) -> str:
    """The text with one to three words accented, straight apostrophes curled, and a word in curly quotes."""
    text = text.replace("'", "\u2019")
    words = list(_WORD.finditer(text))
    if not words:
        return f"\u201c{text}\u201d"
    for word in sorted(chance.sample(words, min(len(words), chance.randint(1, 3))), key=lambda one: -one.start()):
        letters = word[0]
        places = [place for place, letter in enumerate(letters) if letter in "aeioucnAEIOU"]
        if places:
            place = chance.choice(places)
            letters = letters[:place] + letters[place].translate(ACCENTS) + letters[place + 1 :]
        if chance.random() < 0.4:
            letters = f"\u201c{letters}\u201d"
        text = text[: word.start()] + letters + text[word.end() :]
    return text if not text.isascii() else f"\u201c{text}\u201d"


def mojibake(text: str, encoding: str) -> str:
    """What a reader sees who takes the UTF-8 bytes for `encoding`.

    Args:
        text: With at least one sign that is not ASCII.
        encoding: "cp1252", where its five unused bytes stay as Latin-1 has them (as browsers do), or "latin-1".
    """
    raw = text.encode("utf-8")
    return "".join(bytes([byte]).decode(encoding, "replace").replace("\ufffd", chr(byte)) for byte in raw)
