"""The part of speech of an English word in its place: by the words beside it, else by what WordNet counted.

A small tagger for one question, whether a word may be replaced as a noun, verb, adjective or adverb. Where neither its
neighbours nor the counts decide, it says so, and the word stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from tuneloop.augment.tables import word_list

_DETERMINERS = word_list("determiners")
_SUBJECTS = word_list("subjects")
_SINGULAR = word_list("singular_subjects")
_AUXILIARIES = word_list("auxiliaries")
_BE = word_list("forms_of_be")
_HAVE = word_list("forms_of_have")
_PREPOSITIONS = word_list("prepositions")
_DEGREE = word_list("degree_words")

CERTAIN = 0.8
"""Share of a word's counted uses that one part of speech must have where the neighbours say nothing."""
POSSIBLE = 0.1
"""Share that the part of speech which the neighbours ask for must have."""

Reading = tuple[str, str]
"""(part of speech, form): ("v", "ed")."""


def expected(before: str, after: str) -> frozenset[Reading]:
    """What may stand between two words, as (part, form); empty where they do not tell.

    Args:
        before: The word before, lower case; "" at the start of a sentence.
        after: The word after, lower case; "" at the end.
    """
    if before in _DETERMINERS:
        # Before another content word a noun would be half of a compound.
        return _NOUN if not after or after in _CLOSING else _ADJECTIVE
    if before in _AUXILIARIES:
        return _VERB if before != "to" else _AFTER_TO
    if before in _SUBJECTS:
        return _FINITE
    if before in _SINGULAR:
        return _THIRD
    if before in _BE:
        return _AFTER_BE
    if before in _HAVE:
        return _AFTER_HAVE
    if before in _PREPOSITIONS:
        return _AFTER_PREPOSITION
    if before in _DEGREE:
        return _AFTER_DEGREE
    return _FREE


_NOUN = frozenset({("n", ""), ("n", "s"), ("a", "est")})  # the easiest of them
_ADJECTIVE = frozenset({("a", ""), ("a", "er"), ("a", "est")})
_NOMINAL = _NOUN | _ADJECTIVE
_VERB = frozenset({("v", "")})
_AFTER_TO = _VERB | {("n", "s")}
_FINITE = frozenset({("v", ""), ("v", "ed"), ("r", "")})
_THIRD = frozenset({("v", "s"), ("v", "ed"), ("r", "")})
_AFTER_BE = frozenset({("v", "ing"), ("v", "ed"), ("r", "")}) | _ADJECTIVE
_AFTER_HAVE = frozenset({("v", "ed"), ("r", "")}) | _NOMINAL
_AFTER_PREPOSITION = _NOMINAL | {("v", "ing")}
_AFTER_DEGREE = _ADJECTIVE | {("r", "")}
_FREE: frozenset[Reading] = frozenset()
_CLOSING = word_list("stop_words")
"""Function words: before one a noun phrase has ended, so what stands there is its noun."""


def reading(counts: Mapping[Reading, int], before: str, after: str) -> Reading | None:
    """The reading of a word between two others; None where it is not sure enough.

    Args:
        counts: How often each reading was counted; all that the word may be.
        before: The word before, lower case; "" at the start of a sentence.
        after: The word after, lower case; "" at the end.
    """
    total = sum(counts.values())
    asked = expected(before, after)
    fitting = [found for found in counts if found in asked] if asked else []
    if fitting:
        best = max(fitting, key=counts.__getitem__)
        return best if counts[best] >= POSSIBLE * total else None
    best = max(counts, key=counts.__getitem__)
    return best if not asked and counts[best] >= CERTAIN * total else None
