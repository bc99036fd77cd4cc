"""MinHash: minima agree as often as sets overlap, bands find what they promise, bits rarely say no to a near pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.rows.near.reference import edited_pairs, jaccard, words

from tuneloop.rows.near.minhash import Bands, Sketches, bands_of, least_equal, sketch

BANDS = Bands(40, 5)


def sketches(pairs: list[tuple[str, str]], threshold: float = 0.7, bands: Bands = BANDS, workers: int = 2) -> Sketches:
    return sketch([text for pair in pairs for text in pair], threshold, bands, workers=workers)


def test_minima_agree_as_often_as_sets_overlap() -> None:
    pairs = edited_pairs(400)
    single = sketches(pairs, bands=Bands(200, 1))
    agree = (single.keys[:, 0::2] == single.keys[:, 1::2]).mean(axis=0)  # (400,)
    true = np.array([jaccard(*pair) for pair in pairs])
    spread = np.sqrt(true * (1 - true) / 200)
    scores = (agree - true)[spread > 0] / spread[spread > 0]
    assert abs(scores.mean()) < 0.25 and 0.8 < scores.std() < 1.2  # unbiased, and as noisy as independent draws
    assert (agree[true == 1.0] == 1.0).all()


def test_pairs_share_a_band_as_often_as_the_formula_says() -> None:
    pairs = edited_pairs(1500)
    found = sketches(pairs, bands=Bands(8, 4))
    shared = (found.keys[:, 0::2] == found.keys[:, 1::2]).any(axis=0)
    expected = np.array([Bands(8, 4).chance(jaccard(*pair)) for pair in pairs])
    spread = math.sqrt(float((expected * (1 - expected)).sum()))
    assert abs(float(shared.sum()) - float(expected.sum())) < 4 * spread


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95, 1.0])
@pytest.mark.parametrize("rows", [4, 5, 8])
def test_as_few_bands_as_find_a_pair_at_the_threshold(threshold: float, rows: int) -> None:
    bands = bands_of(threshold, rows)
    assert bands.rows == rows and bands.chance(threshold) >= 0.99
    assert bands.bands == 1 or Bands(bands.bands - 1, rows).chance(threshold) < 0.99


def test_bits_let_near_pairs_through_and_few_others() -> None:
    pairs = edited_pairs(400)
    found = sketches(pairs)
    even = np.arange(0, 2 * len(pairs), 2)
    alike = found.alike(even, even + 1, BANDS.minima)
    true = np.array([jaccard(*pair) for pair in pairs])
    assert alike[true >= 0.7].all() and (true >= 0.7).sum() > 20
    assert found.alike(even[:-1], even[1:], BANDS.minima).mean() < 0.01  # texts that have nothing in common


def test_equal_bits_follow_the_binomial() -> None:
    assert least_equal(1.0, 130) == 130
    least = least_equal(0.7, 130)
    tail = sum(math.comb(130, n) * 0.85**n * 0.15 ** (130 - n) for n in range(least))
    assert tail <= 1e-6 < tail + math.comb(130, least) * 0.85**least * 0.15 ** (130 - least)


def test_long_texts_and_workers_change_nothing() -> None:
    vocabulary = words(3000, 2)
    long = " ".join(vocabulary)  # many columns; its halves are other texts in the same batch
    texts = [long, "ab", long[: len(long) // 2], "", long[:200], "我要贷款"] * 3
    one, many = (sketch(texts, 0.7, BANDS, workers=workers) for workers in (1, 4))
    alone = [sketch([text], 0.7, BANDS, workers=1) for text in texts]
    assert (one.keys == many.keys).all() and (one.bits == many.bits).all()
    assert (one.keys == np.concatenate([each.keys for each in alone], axis=1)).all()
    assert (one.bits == np.concatenate([each.bits for each in alone])).all()
