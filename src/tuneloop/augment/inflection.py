"""English inflection, only where it is sure: a word that might be wrong is None, and is then not used.

Rules of spelling, and WordNet's own lists of exceptions (*.exc), which name what the rules get wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Literal

from tuneloop.augment.tables import word_list

Form = Literal["", "s", "ed", "ing", "er", "est"]
"""What was added to the plain word: "" nothing; "s" plural or third person; "ed" past and past participle."""
FORMS: dict[str, tuple[Form, ...]] = {
    "n": ("", "s"), "v": ("", "s", "ed", "ing"), "a": ("", "er", "est"), "r": ("",)
}  # fmt: skip

UNCHANGED = word_list("unchanged_verbs")
"""Verbs whose past or participle is the plain word, which WordNet's exceptions do not tell: they get no -ed."""

MASS = word_list("mass_nouns")
"""Nouns that have no plural, or nothing but one: they stand for no other noun's plural."""

_VOWELS = "aeiou"
_VOWEL_GROUP = re.compile("[aeiouy]+")


class Inflections:
    """Forms of English words by rule and exception.

    Args:
        exceptions: (part of speech, form, plain word) of the irregular ones.
    """

    def __init__(self, exceptions: list[tuple[str, str, str]]) -> None:
        self._forms: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._plain: dict[tuple[str, str], list[str]] = defaultdict(list)
        for part, form, plain in exceptions:
            self._forms[part, plain].append(form)
            self._plain[part, form].append(plain)

    def inflect(self, part: str, word: str, form: Form) -> str | None:
        """The form of a plain word; None where it is not sure.

        Args:
            part: n, v, a or r.
            word: The plain word, lower case.
            form: Which form; "" gives the word itself.
        """
        if not form:
            return word
        if part == "v" and " " in word:
            return None  # "take out" has its ending in its first word
        listed = self._forms.get((part, word), [])
        if part == "n":
            return None if word in MASS else self._only(listed) if listed else _with_s(word)
        if part == "v":
            return self._verb(word, form, listed)
        if part == "a":
            known = [other for other in listed if other.endswith("st") == (form == "est")]
            return self._only(known) if listed else _compared(word, form)
        return None

    def _verb(self, word: str, form: Form, listed: list[str]) -> str | None:
        if form == "s":
            return _with_s(word)
        if form == "ing":
            known = [other for other in listed if other.endswith("ing") and other != word]
            return None if _doubtful(word) else self._only(known) if known else _with_ing(word)
        known = [other for other in listed if not other.endswith("ing") and not other.endswith("s")]
        if word in UNCHANGED or _doubtful(word):
            return None
        return self._only(known) if known else None if listed else _with_ed(word)

    @staticmethod
    def _only(forms: list[str]) -> str | None:
        return forms[0] if len(set(forms)) == 1 else None

    def analyses(self, word: str) -> list[tuple[str, str, Form]]:
        """Every (part, plain word, form) that a lower-case word may be, whether or not there is such a word."""
        found: list[tuple[str, str, Form]] = [(part, word, "") for part in FORMS]
        for part, forms in FORMS.items():
            irregular = self._plain.get((part, word), [])
            found += [(part, plain, _form_of(part, word)) for plain in irregular if plain != word]
            for form in forms:
                if form and word.endswith("s" if form == "s" else {"ed": "d", "ing": "g", "er": "r", "est": "t"}[form]):
                    found += [
                        (part, plain, form) for plain in _stems(word, form) if self._makes(part, plain, form, word)
                    ]
        return list(dict.fromkeys(found))

    def _makes(self, part: str, plain: str, form: Form, word: str) -> bool:
        """Whether the rules write `word` for that form (British doubling of l is read, though never written)."""
        if self.inflect(part, plain, form) == word:
            return True
        doubled = form in ("ed", "ing") and part == "v" and plain.endswith("l")
        return doubled and word in (plain + form, plain + "l" + form)


def _form_of(part: str, word: str) -> Form:
    if part == "n":
        return "s"
    if part == "v":
        return "ing" if word.endswith("ing") else "ed"
    return "est" if word.endswith("st") else "er"


def _stems(word: str, form: Form) -> list[str]:
    """Plain words that the rules may have made `word` from."""
    stem = word[: -len(form)] if word.endswith(form) else word
    found = [stem, stem + "e"]
    if form == "s":
        found = [stem] + ([stem[:-1]] if stem.endswith("e") else [])
    if len(stem) > 2 and stem[-1] == stem[-2]:
        found.append(stem[:-1])
    if stem.endswith(("ie", "i")):
        found.append(stem.rstrip("e").removesuffix("i") + "y")
    return [plain for plain in found if len(plain) >= 2]


def _with_s(word: str) -> str | None:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    if word.endswith("o") and word[-2:-1] not in _VOWELS:
        return {"go": "goes", "do": "does", "photo": "photos", "video": "videos"}.get(word)
    return None if word.endswith(("man", "fe", "us", "is")) else word + "s"


def _with_ing(word: str) -> str:
    if word.endswith("ie"):
        return word[:-2] + "ying"
    if word.endswith("e") and not word.endswith(("ee", "oe", "ye")):
        return word[:-1] + "ing"
    return word + (word[-1] if _doubles(word) else "") + "ing"


def _with_ed(word: str) -> str:
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ied"
    return word + (word[-1] if _doubles(word) else "") + "ed"


def _compared(word: str, form: Form) -> str | None:
    """-er and -est for words of one syllable, and of two in -y or -le; the others take more and most."""
    count = len(_VOWEL_GROUP.findall(word.removesuffix("e")))
    if word.endswith("y") and count <= 2 and word[-2:-1] not in _VOWELS:
        return word[:-1] + "i" + form
    if count > 1 and not (word.endswith("le") and len(_VOWEL_GROUP.findall(word)) == 2):
        return None
    if word.endswith("e"):
        return word + form[1:]
    return word + (word[-1] if _doubles(word) else "") + form


def _ends_short(word: str) -> bool:
    """Whether a word ends consonant, single vowel, consonant other than w, x, y."""
    return (len(word) >= 3 and word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS) or (
        len(word) >= 4 and word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-4:-2] == "qu"
    )


def _doubles(word: str) -> bool:
    """Whether the last consonant of a word of one syllable is doubled; of longer ones the exceptions tell."""
    return _ends_short(word) and len(_VOWEL_GROUP.findall(word.replace("qu", "q"))) == 1


def _doubtful(word: str) -> bool:
    """Whether British and American spelling part: travel, cancel."""
    return word.endswith("l") and _ends_short(word) and len(_VOWEL_GROUP.findall(word)) > 1
