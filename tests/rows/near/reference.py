"""The rule of shingles in plain Python, written a second time, and texts to try it on."""

from __future__ import annotations

import random
import unicodedata


def is_cjk(character: str) -> bool:
    name = unicodedata.name(character, "")
    return name.startswith(("CJK ", "HANGUL SYLLABLE", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"))


def shingle_set(text: str) -> set[str]:
    found, ends, cut = set(), 0, False
    for place, character in enumerate(text):
        length = 2 if is_cjk(character) else 5
        if place + length <= len(text):
            found.add(text[place : place + length])
            ends = place + length
        elif not cut:
            cut = True
            if ends < len(text):
                found.add(text[place:])
    return found or {text}


def jaccard(one: str, other: str) -> float:
    a, b = shingle_set(one), shingle_set(other)
    return len(a & b) / len(a | b)


def words(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("etaoinshrdlu", k=chance.randint(3, 8))) for _ in range(count)]


def edited_pairs(count: int, length: int = 14) -> list[tuple[str, str]]:
    """Pairs of sentences with none to eight words changed."""
    chance, vocabulary = random.Random(1), words(3000, 2)
    pairs = []
    for _ in range(count):
        one = chance.choices(vocabulary, k=length)
        other = list(one)
        for place in chance.sample(range(length), chance.randint(0, 8)):
            other[place] = chance.choice(vocabulary)
        pairs.append((" ".join(one), " ".join(other)))
    return pairs
