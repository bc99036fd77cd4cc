"""Counts of hashed character n-grams, all rows of a block at once, for statistics of bounded size.

    texts -> Codes: one array of code points -> every window of n of them, hashed -> Counts: sorted, counted a row

A window never reaches over a blank into another word (scikit-learn's `char_wb`), nor over the end of a row. Two n-grams
may share a bucket: with 2**22 buckets and the 100,000 n-grams of a usual set, one in forty does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CodePoints = NDArray[np.uint32]

BUCKETS = 1 << 22
CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3134F))
"""First and last code point of the blocks whose scripts write no blanks between words (and hangul)."""
_BLANK = np.uint32(32)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Codes:
    """The texts of N rows, a blank before and behind each.

    Attributes:
        points: (L,) code points of all texts.
        row: (L,) the row of each.
        rows: N.
    """

    points: CodePoints
    row: Ints
    rows: int


@dataclass(frozen=True)
class Counts:
    """The n-grams of N rows, row after row.

    Attributes:
        start: (N + 1,) where each row begins in the two others.
        bucket: (M,) in [0, BUCKETS), each once a row.
        times: (M,) how often it stands in its row.
    """

    start: Ints
    bucket: Ints
    times: Ints

    def __len__(self) -> int:
        return len(self.start) - 1

    def row_of(self) -> Ints:
        """(M,) the row of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def sums(self, values: NDArray[np.float64] | Ints) -> Floats:
        """(N,) the sum of `values` (M,) over each row; 0 for a row without n-grams."""
        return np.asarray(np.bincount(self.row_of(), weights=values, minlength=len(self)), dtype=np.float64)


def codes_of(texts: Sequence[str]) -> Codes:
    """The texts as code points."""
    joined = "".join(f" {text} " for text in texts)
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = np.fromiter((len(text) + 2 for text in texts), dtype=np.int64, count=len(texts))
    return Codes(points, np.repeat(np.arange(len(texts)), lengths), len(texts))


def count_ngrams(codes: Codes, sizes: Sequence[int]) -> Counts:
    """The n-grams of each text, of each length in `sizes`.

    Chinese, Japanese and Korean characters stand only in n-grams of 1 and 2, and there never beside a blank: a word has
    one or two of them, and longer n-grams are hardly ever seen twice.

    Args:
        codes: Normalised texts; blanks are what separates words.
        sizes: Lengths in code points, each >= 1.
    """
    cjk, blank = is_cjk(codes.points), codes.points == _BLANK
    keys = [np.zeros(0, np.int64)]
    for size in sizes:
        count = len(codes.points) - size + 1
        if count <= 0:
            continue
        mixed = np.full(count, size, dtype=np.uint64)
        blanks, ideographs = np.zeros(count, bool), np.zeros(count, bool)
        good = codes.row[:count] == codes.row[size - 1 :]
        for place in range(size):
            here = slice(place, place + count)
            mixed = (mixed ^ codes.points[here]) * _MULTIPLIER
            mixed ^= mixed >> np.uint64(29)
            blanks |= blank[here]
            ideographs |= cjk[here]
            if 0 < place < size - 1 or size == 1:
                good &= ~blank[here]
        good &= ~ideographs if size > 2 else ~(ideographs & blanks)
        if size == 2:
            good &= ~(blank[:count] & blank[1 : count + 1])  # a text without a sign has no n-gram
        bucket = (mixed * _MULTIPLIER) >> np.uint64(64 - BUCKETS.bit_length() + 1)
        keys.append(codes.row[:count][good] * BUCKETS + bucket[good].astype(np.int64))
    found, times = np.unique(np.concatenate(keys), return_counts=True)
    start = np.searchsorted(found, np.arange(codes.rows + 1) * BUCKETS)
    return Counts(start, found % BUCKETS, times)


def is_cjk(points: CodePoints) -> NDArray[np.bool_]:
    """Which code points are Han characters, kana or hangul."""
    found = np.zeros(len(points), bool)
    for first, last in CJK:
        found |= (points >= first) & (points <= last)
    return found
