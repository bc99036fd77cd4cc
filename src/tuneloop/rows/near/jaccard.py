"""The true Jaccard similarity of pairs of texts, over their sets of shingles.

pairs of like length --shingles of both--> (P, 2L) sorted together --equal neighbours--> shared (P,) --> shared / all
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tuneloop.rows.engine import threads
from tuneloop.rows.near.shingles import LENGTH, shingles

_CHUNK = 1 << 18
"""Characters of the pairs that are compared at once, filled up to the longest text among them."""
_NONE = np.uint64((1 << 64) - 1)  # fills a row of the table; as likely as any other hash


def jaccards(
    texts: Sequence[str], left: NDArray[np.int64], right: NDArray[np.int64], *, workers: int | None = None
) -> NDArray[np.float64]:
    """(P,) float64 in [0, 1]: shingles in both texts of a pair by shingles in either, each counted once.

    Exact but for two different shingles with the same 64 bits. Memory does not grow with the number of pairs.

    Args:
        texts: Normalised, or compared as they are.
        left: (P,) positions.
        right: (P,) positions.
        workers: Threads; None: as many as there are cores. The result does not depend on it.
    """
    found = np.zeros(len(left))
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    longest = np.fromiter((max(len(texts[a]), len(texts[b])) for a, b in pairs), dtype=np.int64, count=len(left))
    order = np.argsort(longest, kind="stable")

    def fill(span: tuple[int, int]) -> None:
        places = order[span[0] : span[1]]
        both = [texts[place] for place in (*left[places].tolist(), *right[places].tolist())]
        found[places] = _of_pairs(both)

    with ThreadPoolExecutor(workers or threads()) as pool:
        for _ in pool.map(fill, _chunks(longest[order])):
            pass
    return found


def _chunks(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of pairs, by rising length, that are compared at once."""
    first = 0
    while first < len(lengths):
        stop = min(first + max(1, _CHUNK // (2 * int(lengths[first]) + LENGTH)), len(lengths))
        while stop - first > 1 and (stop - first) * 2 * int(lengths[stop - 1]) > 2 * _CHUNK:
            stop = first + (stop - first) // 2
        yield first, stop
        first = stop


def _of_pairs(texts: Sequence[str]) -> NDArray[np.float64]:
    """(P,) of 2P texts: the first with the P-th behind it, and so on."""
    pairs = len(texts) // 2
    sets = _sets(texts)
    sizes = (sets != _NONE).sum(axis=1)
    both = np.sort(np.concatenate((sets[:pairs], sets[pairs:]), axis=1), axis=1)  # (P, 2L)
    shared = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != _NONE)).sum(axis=1)
    similar: NDArray[np.float64] = shared / (sizes[:pairs] + sizes[pairs:] - shared)
    return similar


def _sets(texts: Sequence[str]) -> NDArray[np.uint64]:
    """(N, L) each text's hashes once, and _NONE in the other places."""
    found = shingles(texts)
    counts = np.diff(found.offsets)[:, None]
    columns = np.arange(int(counts.max()))
    places = np.minimum(found.offsets[:-1, None] + columns, len(found.hashes) - 1)
    table = np.where(columns < counts, found.hashes[places], _NONE)
    table.sort(axis=1)
    again = table[:, 1:] == table[:, :-1]
    table[:, 1:][again] = _NONE
    return table
