"""Counts of hashed character n-grams, all rows of a block at once, for statistics of bounded size.

    texts -> one array of code points -> every window of n of them, hashed -> sorted, counted a row

A window never reaches over a blank into another word (scikit-learn's `char_wb`), nor over the end of a row. Two n-grams
may share a bucket: with 2**20 buckets and the 100,000 n-grams of a usual set, one in ten does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BUCKETS = 1 << 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_BLANK = np.uint32(32)


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

    def sums(self, values: Floats) -> Floats:
        """(N,) the sum of `values` (M,) over each row; 0 for a row without n-grams."""
        return np.bincount(self.row_of(), weights=values, minlength=len(self))


def count_ngrams(texts: Sequence[str], sizes: Sequence[int]) -> Counts:
    """The n-grams of each text, of each length in `sizes`.

    Args:
        texts: Normalised texts; blanks are what separates words.
        sizes: Lengths in code points, each >= 1.
    """
    codes, row = _codes(texts)
    keys = []
    for size in sizes:
        count = len(codes) - size + 1
        if count <= 0:
            continue
        mixed = np.full(count, size, dtype=np.uint64)
        good = row[:count] == row[size - 1 :]
        for place in range(size):
            window = codes[place : place + count]
            mixed = (mixed ^ window) * _MULTIPLIER
            mixed ^= mixed >> np.uint64(29)
            if 0 < place < size - 1 or size == 1:
                good &= window != _BLANK
        bucket = (mixed * _MULTIPLIER) >> np.uint64(64 - BUCKETS.bit_length() + 1)
        keys.append(row[:count][good] * BUCKETS + bucket[good].astype(np.int64))
    found, times = np.unique(np.concatenate(keys) if keys else np.zeros(0, np.int64), return_counts=True)
    start = np.searchsorted(found, np.arange(len(texts) + 1) * BUCKETS)
    return Counts(start, found % BUCKETS, times)


def _codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Ints]:
    """Code points of all texts, a blank before and behind each, and the row of each code point."""
    joined = "".join(f" {text} " for text in texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = np.fromiter((len(text) + 2 for text in texts), dtype=np.int64, count=len(texts))
    return codes, np.repeat(np.arange(len(texts)), lengths)
