"""Which texts are equal, among very many."""

from __future__ import annotations

import random

from tuneloop.rows.digests import among, digests, first_places, numbered


def test_equal_texts_have_equal_numbers_in_all_sets() -> None:
    chance = random.Random(1)
    one = [chance.choice("abcdefg退") * chance.randrange(4) for _ in range(300)]
    other = [chance.choice("efgh退款") * chance.randrange(4) for _ in range(200)]
    ours, theirs = numbered(digests(one), digests(other))
    texts, numbers = [*one, *other], [*ours.tolist(), *theirs.tolist()]
    both = list(zip(texts, numbers, strict=True))
    assert all((a == b) == (m == n) for a, m in both for b, n in both)
    assert sorted(set(numbers)) == list(range(len(set(texts))))


def test_the_first_of_equals() -> None:
    texts = ["b", "a", "b", "c", "a", "b"]
    (numbers,) = numbered(digests(texts))
    assert first_places(numbers).tolist() == [0, 1, 0, 3, 1, 0]


def test_among_others() -> None:
    assert among(["a", "b", "a", "\ud800"], ["a", "c", "\ud800"]) == [True, False, True, True]
    assert among([], ["a"]) == []
    assert among(["a"], []) == [False]
    (none,) = numbered(digests([]))
    assert first_places(none).tolist() == []
