"""Near duplicates against comparing every pair, in small, crowded and hostile sets."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rows.near.reference import edited_pairs, jaccard, words

from tuneloop.errors import RecipeError
from tuneloop.rows.near import NearDuplicates, near_duplicates
from tuneloop.rows.near.candidates import WINDOW, candidates, choose_bands
from tuneloop.rows.near.minhash import Bands, sketch


def all_pairs(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    found = {}
    for right in range(len(texts)):
        for left in range(right):
            similar = jaccard(texts[left], texts[right])
            if similar >= threshold:
                found[left, right] = similar
    return found


def pairs_of(found: NearDuplicates) -> dict[tuple[int, int], float]:
    places = zip(found.left.tolist(), found.right.tolist(), strict=True)
    return dict(zip(places, found.jaccard.tolist(), strict=True))


def check(texts: list[str], threshold: float, found: NearDuplicates) -> None:
    """What always holds: true pairs in order, and clusters that are just what the pairs connect."""
    pairs = pairs_of(found)
    assert list(pairs) == sorted(pairs) and len(pairs) == len(found.left)
    for (left, right), similar in pairs.items():
        assert left < right and similar == pytest.approx(jaccard(texts[left], texts[right])) and similar >= threshold
    group = {place: {place} for pair in pairs for place in pair}
    for left, right in pairs:
        joined = group[left] | group[right]
        group.update(dict.fromkeys(joined, joined))
    assert found.clusters == sorted({tuple(sorted(members)) for members in group.values()})


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85])
def test_nearly_every_near_pair_is_found(threshold: float) -> None:
    texts = [text for pair in edited_pairs(150) for text in pair]
    found = near_duplicates(texts, threshold)
    check(texts, threshold, found)
    wanted = all_pairs(texts, threshold)
    assert len(wanted) > 20 and len(set(wanted) - set(pairs_of(found))) <= 1


@settings(max_examples=60)
@given(st.lists(st.text("ab中 ", max_size=9), max_size=25), st.sampled_from([0.5, 0.75, 1.0]))
def test_short_texts_of_few_characters(texts: list[str], threshold: float) -> None:
    found = near_duplicates(texts, threshold, workers=1)
    check(texts, threshold, found)
    if threshold == 1.0:  # equal sets share every band, so that none can be missed
        group = {place: members for members in found.clusters for place in members}
        for left, right in all_pairs(texts, threshold):
            assert group[left] == group[right]


def test_equal_texts_are_paired_with_the_first() -> None:
    found = near_duplicates(["x", "same text", "same text", "y", "same text"], 0.9)
    assert pairs_of(found) == {(1, 2): 1.0, (1, 4): 1.0} and found.clusters == [(1, 2, 4)]


def test_chinese() -> None:
    texts = ["我想查询一下我的信用卡账单金额", "我想查询一下我的信用卡账单金额呢", "怎么申请贷款", "今天天气怎么样"]
    assert near_duplicates(texts, 0.8).clusters == [(0, 1)]


@pytest.mark.parametrize("family", [WINDOW + 1, 40, 600])
def test_a_large_family_is_one_cluster_and_costs_no_square(family: int) -> None:
    vocabulary = words(family + 40, 5)
    template = " ".join(vocabulary[:40])
    texts = [f"{template} {word}" for word in vocabulary[40:]]
    found = near_duplicates(texts, 0.85)
    check(texts, 0.85, found)
    assert found.clusters == [tuple(range(family))]
    assert len(found.left) < 60 * family
    if family == WINDOW + 1:
        assert len(found.left) == family * (family - 1) // 2  # every pair of a bucket that is not large


def test_large_buckets_give_neighbours_and_the_first() -> None:
    sketches = sketch(["abcdefgh" * (2 + n) for n in range(50)], 0.7, Bands(2, 2), workers=1)  # one set of shingles
    steps = list(candidates(sketches, 0))
    assert len(steps) == WINDOW + 1 and all(step.large.all() for step in steps)
    assert set(steps[0].left.tolist()) == {0} and sorted(steps[0].right.tolist()) == list(range(1, 50))
    assert [len(step.left) for step in steps[1:]] == [50 - distance for distance in range(1, WINDOW + 1)]


def test_the_result_does_not_depend_on_workers_or_on_when_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for pair in edited_pairs(200) for text in pair] + ["a text of no use"] * 3
    chance = random.Random(0)
    chance.shuffle(texts)
    one = near_duplicates(texts, 0.6, workers=1)
    monkeypatch.setattr("tuneloop.rows.near.clusters._PENDING", 10)
    monkeypatch.setattr("tuneloop.rows.near.minhash.BATCH", 1000)
    many = near_duplicates(texts, 0.6, workers=4)
    assert pairs_of(one) == pairs_of(many) and one.clusters == many.clusters


def test_texts_that_meet_by_accident_get_longer_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    chance, vocabulary = random.Random(0), words(3000, 3)
    plain, crowded = ([" ".join(chance.choices(vocabulary[:size], k=8)) for _ in range(3000)] for size in (3000, 30))
    monkeypatch.setattr("tuneloop.rows.near.candidates.ACCIDENTS", 1.0)
    rows = [choose_bands(texts, 0.8, workers=1).rows for texts in (plain, crowded)]
    assert rows[0] == 5 < rows[1]
    monkeypatch.setattr("tuneloop.rows.near.candidates.ACCIDENTS", 1e9)
    assert choose_bands(crowded, 0.8, workers=1).rows == 5


@pytest.mark.parametrize("threshold", [0.49, 1.01, 0.0, float("nan")])
def test_a_threshold_out_of_range_is_an_error(threshold: float) -> None:
    with pytest.raises(RecipeError, match="Allowed: a Jaccard similarity"):
        near_duplicates(["a", "b"], threshold)


def test_no_texts() -> None:
    found = near_duplicates([], 0.7)
    assert found.clusters == [] and len(found.left) == 0
    assert np.array_equal(near_duplicates(["a"], 0.7).jaccard, np.zeros(0))
