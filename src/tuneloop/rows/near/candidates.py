"""Pairs of texts that share a band: few of all pairs, and nearly all that are near.

    keys of a band (N,) --sort--> buckets of equal keys --a window slid over each--> pairs (P,), unlike ones among them

In a bucket of up to WINDOW + 1 texts every pair is given. A larger one gives no square of pairs: its texts are put in
the order of another band's keys, and each is paired with the first and with the WINDOW behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.rows.near.jaccard import jaccards
from tuneloop.rows.near.minhash import Bands, Sketches, bands_of, sketch

WINDOW = 16
"""How many of a large bucket's texts each one is paired with."""
ACCIDENTS = 20.0
"""Unlike texts that a text may meet, on average, before bands get another row; a meeting costs 50 ns, or 4 us
where the sketches cannot tell."""
_ROWS, _MINIMA, _SAMPLE = 5, 640, 4096  # the fewest rows; the most minima that are reached for; texts that are tried


@dataclass(frozen=True)
class Candidates:
    """Pairs that share a band.

    Attributes:
        left: (P,) positions.
        right: (P,) positions, never the same as the left.
        large: (P,) whether their bucket is one that does not give all its pairs.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    large: NDArray[np.bool_]


def candidates(sketches: Sketches, band: int) -> Iterator[Candidates]:
    """The pairs of one band, the nearest neighbours of each bucket first.

    Args:
        sketches: Of all texts.
        band: Which one.
    """
    texts = np.arange(sketches.keys.shape[1], dtype=np.uint64)
    packed = (sketches.keys[band].astype(np.uint64) << np.uint64(32)) | texts
    packed.sort()  # one fast sort, by key and then by position
    keys = packed >> np.uint64(32)
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), dtype=bool)
    shared[1:] |= same
    shared[:-1] |= same
    keys, rows = keys[shared], (packed[shared] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    if not len(rows):
        return
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    sizes = np.diff(np.append(starts, len(keys)))
    large = np.repeat(sizes > WINDOW + 1, sizes)
    if large.any():
        members, other = rows[large], sketches.keys[(band + 1) % len(sketches.keys)]
        rows[large] = members[np.lexsort((members, other[members], keys[large]))]
        firsts = np.repeat(rows[starts], sizes)
        others = large & (firsts != rows)
        yield Candidates(firsts[others], rows[others], large[others])
    for distance in range(1, WINDOW + 1):
        near = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(near):
            return
        yield Candidates(rows[near], rows[near + distance], large[near])


def choose_bands(texts: Sequence[str], threshold: float, *, workers: int) -> Bands:
    """As few rows a band as keep the unlike texts that meet to ACCIDENTS a text, by a sample of the texts.

    The sample is every so many texts; who meets whom grows with the square of their number.

    Args:
        texts: (N,) texts that differ.
        threshold: Jaccard of a near pair.
        workers: Threads.
    """
    step = max(1, len(texts) // _SAMPLE)
    sample = texts[::step]
    bands = bands_of(threshold, _ROWS)
    while sample:
        sketches, met = sketch(sample, threshold, bands, workers=workers), 0
        for band in range(bands.bands):
            for found in candidates(sketches, band):
                alike = sketches.alike(found.left, found.right, bands.minima)
                similar = jaccards(sample, found.left[alike], found.right[alike], workers=workers)
                met += len(found.left) - int((similar >= threshold).sum())
        more = bands_of(threshold, bands.rows + 1)
        if 2 * met / len(sample) * (len(texts) / len(sample)) <= ACCIDENTS or more.minima > _MINIMA:
            break
        bands = more
    return bands
