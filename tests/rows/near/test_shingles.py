"""Shingles and their Jaccard against sets of plain strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rows.near.reference import jaccard, shingle_set

from tuneloop.rows.near import jaccards, shingles
from tuneloop.rows.near.shingles import constants, spans

TEXT = st.text(st.sampled_from("ab é中文한\0\U00020000\ud800"), max_size=12)


def test_the_rule_by_example() -> None:
    assert shingle_set("abcdef") == {"abcde", "bcdef"}
    assert shingle_set("我要贷款") == {"我要", "要贷", "贷款"}
    assert shingle_set("用app贷") == {"用a", "app贷"}  # what starts at p, p would reach past the end too
    assert shingle_set("是35个人") == {"是3", "35个人", "个人"}
    assert shingle_set("价格E0123") == {"价格", "格E", "E0123"}
    assert shingle_set("ab中文") == {"ab中文", "中文"}
    assert shingle_set("abcd") == {"abcd"} and shingle_set("中") == {"中"} and shingle_set("") == {""}


@given(st.lists(TEXT, max_size=12))
def test_equal_shingles_have_equal_hashes_and_others_differ(texts: list[str]) -> None:
    found = shingles(texts)
    assert len(found.offsets) == len(texts) + 1 and found.offsets[-1] == len(found.hashes)
    sets = [set(found.hashes[a:b].tolist()) for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
    assert [len(one) for one in sets] == [len(shingle_set(text)) for text in texts]
    every = set().union(*map(shingle_set, texts))
    assert len(set(found.hashes.tolist())) == len(every)


@given(TEXT)
def test_every_character_stands_in_a_shingle(text: str) -> None:
    for place in range(len(text)):
        other = f"{text[:place]}\U0001f600{text[place + 1 :]}"
        assert shingle_set(other) != shingle_set(text)


@given(st.lists(TEXT, min_size=2, max_size=12))
def test_jaccard_is_that_of_the_sets(texts: list[str]) -> None:
    left, right = map(np.array, zip(*((a, b) for a in range(len(texts)) for b in range(len(texts))), strict=True))
    wanted = [jaccard(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
    assert jaccards(texts, left, right, workers=1).tolist() == pytest.approx(wanted, abs=1e-12)


def test_pairs_of_very_different_lengths_in_many_chunks() -> None:
    words = [f"word{number} " for number in range(4000)]
    texts = ["".join(words[:size]).strip() for size in (1, 3, 3900, 4000, 2, 50, 60)]
    left, right = np.array([0, 2, 5, 4, 0]), np.array([1, 3, 6, 4, 3])
    wanted = [jaccard(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
    for workers in (1, 3):
        assert jaccards(texts, left, right, workers=workers).tolist() == pytest.approx(wanted, abs=1e-12)


def test_no_text_and_no_pair() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert len(shingles([]).hashes) == 0 and len(jaccards([], nothing, nothing)) == 0


def test_constants_stay_what_they_are() -> None:
    assert constants(2, seed=0).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F5]  # splitmix64's first two, made odd
    assert len(set(constants(500, seed=3).tolist())) == 500


def test_spans_cover_all_and_keep_the_limit() -> None:
    lengths = np.array([3, 3, 9, 0, 0, 4, 1, 5])
    found = list(spans(lengths, 6))
    assert found == [(0, 2), (2, 3), (3, 7), (7, 8)]
