"""Inflection is right or refused."""

from __future__ import annotations

import pytest

from tuneloop.augment.lexicon import Lexicon


@pytest.mark.parametrize(
    ("part", "word", "form", "expected"),
    [
        ("n", "purchase", "s", "purchases"), ("n", "company", "s", "companies"), ("n", "day", "s", "days"),
        ("n", "box", "s", "boxes"), ("n", "child", "s", "children"), ("n", "video", "s", "videos"),
        ("n", "advice", "s", None), ("n", "information", "s", None), ("n", "basis", "s", "bases"),
        ("v", "try", "ed", "tried"), ("v", "stop", "ed", "stopped"), ("v", "stop", "ing", "stopping"),
        ("v", "buy", "ed", "bought"), ("v", "give", "ed", None), ("v", "put", "ed", None), ("v", "come", "ed", None),
        ("v", "visit", "ed", "visited"), ("v", "offer", "ing", "offering"), ("v", "transfer", "ed", "transferred"),
        ("v", "admit", "ing", "admitting"), ("v", "lie", "ing", "lying"), ("v", "make", "ing", "making"),
        ("v", "agree", "ing", "agreeing"), ("v", "agree", "ed", "agreed"), ("v", "travel", "ed", None),
        ("v", "watch", "s", "watches"), ("v", "carry", "s", "carries"), ("v", "play", "ed", "played"),
        ("v", "fix", "ed", "fixed"), ("v", "assist", "ing", "assisting"), ("v", "equip", "ed", "equipped"),
        ("a", "big", "er", "bigger"), ("a", "easy", "est", "easiest"), ("a", "large", "er", "larger"),
        ("a", "difficult", "er", None), ("a", "simple", "er", "simpler"), ("a", "expensive", "est", None),
        ("a", "quick", "est", "quickest"), ("a", "gray", "er", "grayer"), ("r", "soon", "", "soon"),
    ],
)  # fmt: skip
def test_forms(lexicon: Lexicon, part: str, word: str, form: str, expected: str | None):
    assert lexicon.forms.inflect(part, word, form) == expected


@pytest.mark.parametrize(
    ("word", "reading"),
    [
        ("payments", ("n", "payment", "s")), ("charges", ("v", "charge", "s")), ("charges", ("n", "charge", "s")),
        ("stopped", ("v", "stop", "ed")), ("bought", ("v", "buy", "ed")), ("companies", ("n", "company", "s")),
        ("making", ("v", "make", "ing")), ("easier", ("a", "easy", "er")), ("cancelled", ("v", "cancel", "ed")),
        ("canceled", ("v", "cancel", "ed")), ("children", ("n", "child", "s")), ("lying", ("v", "lie", "ing")),
        ("biggest", ("a", "big", "est")), ("agreed", ("v", "agree", "ed")), ("card", ("n", "card", "")),
    ],
)  # fmt: skip
def test_forms_are_read(lexicon: Lexicon, word: str, reading: tuple[str, str, str]):
    assert reading in lexicon.forms.analyses(word)


def test_what_the_rules_make_they_read(lexicon: Lexicon):
    checked = 0
    for part, word in list(lexicon.counts)[::7]:
        for form in {"n": ("s",), "v": ("s", "ed", "ing"), "a": ("er", "est"), "r": ()}[part]:
            made = lexicon.forms.inflect(part, word, form)
            if made is not None:
                checked += 1
                assert (part, word, form) in lexicon.forms.analyses(made), (part, word, form, made)
    assert checked > 3000
