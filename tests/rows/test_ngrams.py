from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.rows.ngrams import BUCKETS, codes_of, count_ngrams

TEXTS = st.text(alphabet="ab c国好é", max_size=12)


def plain(text: str, sizes: tuple[int, ...]) -> Counter[str]:
    """The n-grams of one text, window by window."""
    padded = f" {text} "
    found: Counter[str] = Counter()
    for size in sizes:
        for start in range(len(padded) - size + 1):
            window = padded[start : start + size]
            han = any(sign in "国好" for sign in window)
            if " " in window[1:-1] or not window.strip() or (han and (size > 2 or " " in window)):
                continue
            found[window] += 1
    return found


@given(st.lists(TEXTS, max_size=6), st.sampled_from([(1,), (2,), (2, 3, 4), (1, 3)]))
def test_every_row_has_the_ngrams_that_its_windows_show(texts: list[str], sizes: tuple[int, ...]):
    counts = count_ngrams(codes_of(texts), sizes)
    assert len(counts) == len(texts) and counts.start[-1] == len(counts.bucket)
    bucket_of: dict[str, set[int]] = {}
    for row, text in enumerate(texts):
        inside = slice(counts.start[row], counts.start[row + 1])
        expected = plain(text, sizes)
        assert sorted(counts.times[inside]) == sorted(expected.values())
        for window in expected:
            bucket_of.setdefault(window, set()).update(counts.bucket[inside].tolist())
    assert counts.sums(counts.times).tolist() == [sum(plain(text, sizes).values()) for text in texts]


def test_the_same_ngram_has_the_same_bucket_wherever_it_stands_and_another_one_has_another():
    buckets = count_ngrams(codes_of(["ab", "xaby", "ba", "国好", "好国"]), (2,))
    rows = [set(buckets.bucket[buckets.start[i] : buckets.start[i + 1]].tolist()) for i in range(5)]
    assert len(rows[0] & rows[1]) == 1  # "ab"; the blanks stand beside other letters
    assert not rows[0] & rows[2] and len(rows[3]) == len(rows[4]) == 1 and rows[3] != rows[4]
    assert all(0 <= bucket < BUCKETS for row in rows for bucket in row)


def test_buckets_are_spread_evenly():
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    found = np.unique(count_ngrams(codes_of(words), (3,)).bucket)
    assert len(found) >= 0.995 * len({window for word in words for window in plain(word, (3,))})
    assert abs(found.mean() / BUCKETS - 0.5) < 0.05


@pytest.mark.parametrize("texts", [[], [""], ["", " "], ["\ud800"]])
def test_nothing_to_count_is_no_fault(texts: list[str]):
    counts = count_ngrams(codes_of(texts), (2, 3, 4))
    assert len(counts) == len(texts) == len(counts.sums(counts.times))
