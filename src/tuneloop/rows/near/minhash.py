"""MinHash: k numbers of a text that agree between two texts as often as their shingles overlap, kept as few bits.

    hashes (S,) --k multiplications, the least of each text--> minima (K, N) --bands--> keys (B, N) uint32
                                                                             `--a bit of each--> sketches (N, W) uint64

Sources: Broder 1997, "On the resemblance and containment of documents", section 4 (minima); Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", section 3.4 (bands); Li & Koenig 2010, "b-bit minwise hashing", section 2 (a bit).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.rows.near.shingles import Shingles, constants, shingles, spans

FOUND = 0.99
"""The least chance that two texts just as similar as the threshold share a band."""
LOST = 1e-6
"""The chance that the sketches of two texts just as similar as the threshold look unlike."""
BATCH = 1 << 19
"""Characters that are hashed at once: some 50 MB of working memory a thread."""
_BLOCK, _COLUMN = 1 << 16, 256  # numbers that a multiplication takes at once, to stay in the cache; of one column


@dataclass(frozen=True)
class Bands:
    """How minima are cut into bands.

    Attributes:
        bands: How many, b.
        rows: Minima of each, r.
    """

    bands: int
    rows: int

    @property
    def minima(self) -> int:
        """Minima of a text, k."""
        return self.bands * self.rows

    def chance(self, jaccard: float) -> float:
        """The chance that two texts of this Jaccard share a band: 1 - (1 - J**r)**b."""
        return 1.0 - (1.0 - jaccard**self.rows) ** self.bands


def bands_of(threshold: float, rows: int) -> Bands:
    """The fewest bands of so many rows that find a pair at the threshold with a chance of FOUND.

    Args:
        threshold: Jaccard, over 0 and at most 1.
        rows: Minima of a band: with more of them fewer unlike texts meet, and more bands are needed.
    """
    share = threshold**rows
    return Bands(1 if share >= FOUND else math.ceil(math.log(1.0 - FOUND) / math.log1p(-share)), rows)


@dataclass(frozen=True)
class Sketches:
    """What is kept of the texts while pairs are looked for.

    Attributes:
        keys: (B, N) uint32; two texts with the same minima in a band have the same key there.
        bits: (N, W) uint64; a bit of each minimum, zeros behind the last.
        least: Equal bits, of the first k, below which two texts are taken to be under the threshold.
    """

    keys: NDArray[np.uint32]
    bits: NDArray[np.uint64]
    least: int

    def alike(self, left: NDArray[np.int64], right: NDArray[np.int64], minima: int) -> NDArray[np.bool_]:
        """(P,) whether the bits of two texts allow that they are near.

        Args:
            left: (P,) positions.
            right: (P,) positions.
            minima: k.
        """
        unequal = np.zeros(len(left), dtype=np.int64)
        for word in range(self.bits.shape[1]):
            unequal += np.bitwise_count(self.bits[left, word] ^ self.bits[right, word])
        return unequal <= minima - self.least


def sketch(texts: Sequence[str], threshold: float, bands: Bands, *, workers: int) -> Sketches:
    """Sketch every text; the same whatever the number of workers.

    Args:
        texts: (N,) texts.
        threshold: Jaccard of a near pair.
        bands: How the minima are cut.
        workers: Threads.
    """
    keys = np.zeros((bands.bands, len(texts)), dtype=np.uint32)
    bits = np.zeros((len(texts), -(-bands.minima // 64)), dtype=np.uint64)
    multipliers = (constants(bands.minima, seed=3) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)

    def fill(span: tuple[int, int]) -> None:
        first, stop = span
        minima = _minima(shingles(texts[first:stop]), multipliers)
        keys[:, first:stop] = _band_keys(minima, bands)
        bits[first:stop] = _bits(minima, bits.shape[1])

    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill, spans(lengths, BATCH)):
            pass
    return Sketches(keys, bits, least_equal(threshold, bands.minima))


def least_equal(threshold: float, minima: int) -> int:
    """The most bits of `minima` that two texts of this Jaccard have equal with a chance of 1 - LOST, or more.

    A minimum is the same with chance J, and where it is not, its bit still is every second time.
    """
    same, below = (1.0 + threshold) / 2.0, 0.0
    for equal in range(minima + 1):
        below += math.comb(minima, equal) * same**equal * (1.0 - same) ** (minima - equal)
        if below > LOST:
            return equal
    return minima


def _minima(found: Shingles, multipliers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """(K, N) the least of each text's hashes after each multiplication modulo 2**32.

    The hashes of a text stand in a column, so that the least of many texts is taken row by row: long texts have several
    columns, and short ones repeat their last hash up to the height of their block, which changes no minimum.
    """
    hashes = (found.hashes >> np.uint64(32)).astype(np.uint32)
    counts = np.diff(found.offsets)
    each = -(-counts // _COLUMN)
    first = np.cumsum(each) - each  # a text's first column
    nth = np.arange(int(each.sum())) - np.repeat(first, each)
    starts = np.repeat(found.offsets[:-1], each) + nth * _COLUMN
    heights = np.minimum(np.repeat(counts, each) - nth * _COLUMN, _COLUMN)
    order = np.argsort(heights, kind="stable")
    starts, heights = starts[order], heights[order]
    least = np.empty((len(multipliers), len(order)), dtype=np.uint32)
    for left, right in _blocks(heights):
        rows = np.minimum(np.arange(heights[right - 1])[:, None], heights[left:right] - 1)
        block = hashes[starts[left:right] + rows]  # (height, columns)
        product = np.empty_like(block)
        for number, multiplier in enumerate(multipliers):
            np.multiply(block, multiplier, out=product)
            np.minimum.reduce(product, axis=0, out=least[number, left:right])
    back = np.empty_like(least)
    back[:, order] = least
    return back if len(order) == len(counts) else np.minimum.reduceat(back, first, axis=1)


def _blocks(heights: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of columns, by rising height, that fill a block."""
    first = 0
    while first < len(heights):
        stop = min(first + max(1, _BLOCK // int(heights[first])), len(heights))
        while (stop - first) * int(heights[stop - 1]) > 2 * _BLOCK and stop - first > 1:
            stop = first + max(1, (stop - first) // 2)
        yield first, stop
        first = stop


def _band_keys(minima: NDArray[np.uint32], bands: Bands) -> NDArray[np.uint32]:
    """(B, N) a band's minima, mixed into one number."""
    cut = minima.reshape(bands.bands, bands.rows, -1)
    keys = np.zeros((bands.bands, minima.shape[1]), dtype=np.uint64)
    for row, weight in enumerate(constants(bands.rows, seed=4)):
        keys = (keys ^ cut[:, row]) * weight
        keys ^= keys >> np.uint64(32)
    return (keys * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(32)).astype(np.uint32)


def _bits(minima: NDArray[np.uint32], words: int) -> NDArray[np.uint64]:
    """(N, W) bit 15 of each minimum: the high bits of a minimum are nearly always 0, and low ones differ too little."""
    packed = np.packbits((minima >> np.uint32(15)).astype(np.uint8) & np.uint8(1), axis=0)  # (K / 8, N)
    filled = np.zeros((minima.shape[1], words * 8), dtype=np.uint8)
    filled[:, : len(packed)] = packed.T
    return filled.view(np.uint64)
