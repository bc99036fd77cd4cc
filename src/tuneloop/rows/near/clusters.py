"""Clusters of near duplicates, each held together by pairs whose true Jaccard was computed.

candidates of each band --sketches alike?--> pending pairs --true Jaccard--> near pairs --connected--> clusters
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import RecipeError
from tuneloop.rows.digests import digests, first_places, numbered
from tuneloop.rows.engine import threads
from tuneloop.rows.near.candidates import Candidates, candidates, choose_bands
from tuneloop.rows.near.jaccard import jaccards
from tuneloop.rows.near.minhash import Bands, sketch
from tuneloop.shelf import select

LOWEST_THRESHOLD = 0.5
"""Texts less alike than this are no duplicates, and need so many bands that nothing is gained by them."""
_PENDING = 1 << 22
"""Pairs that wait to be compared, at most: 32 MB."""
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class NearDuplicates:
    """What stands near what.

    Attributes:
        left: (P,) positions of the first text of each near pair that was compared, the pairs in order.
        right: (P,) positions of the second, each behind its first.
        jaccard: (P,) their true Jaccard, at least the threshold.
        clusters: The positions of each cluster, rising; the clusters by their first. Every member has a near pair with
            another one, and those pairs connect them all. Texts without a near one are in none.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    clusters: list[tuple[int, ...]]


def near_duplicates(texts: Sequence[str], threshold: float, *, workers: int | None = None) -> NearDuplicates:
    """Find the texts that are near another one: Jaccard of their shingles >= threshold.

    Nothing is called near that is not: each pair is compared by its true Jaccard. A pair at the threshold is looked at
    with a chance of at least 99 %, a nearer one with more, unless more than 17 texts share all their bands: then texts
    are compared until they hang together, not each with each. Texts that are equal are paired with the first of them.
    The result is the same on every machine and for any number of workers.

    Args:
        texts: Normalised, or compared as they are; as many as 2**32.
        threshold: From LOWEST_THRESHOLD to 1.
        workers: Threads; None: as many as there are cores.

    Raises:
        RecipeError: if the threshold is out of range.
    """
    if not LOWEST_THRESHOLD <= threshold <= 1.0:
        raise RecipeError(
            "The threshold of near duplicates is out of range", got=f"{threshold}",
            allowed=f"a Jaccard similarity from {LOWEST_THRESHOLD} to 1",
            fix="0.85 finds long rows with a word or two changed, 0.7 short ones",
        )  # fmt: skip
    first = first_places(numbered(digests(texts))[0])
    places = np.arange(len(texts))
    distinct = np.flatnonzero(first == places)
    some = texts if len(distinct) == len(texts) else select(texts, distinct)
    search = _Search(some, threshold, workers or threads())
    left, right, similar = search.run()
    copies = np.flatnonzero(first != places)
    left = np.concatenate((distinct[left], first[copies]))
    right = np.concatenate((distinct[right], copies))
    similar = np.concatenate((similar, np.ones(len(copies))))
    order = np.lexsort((right, left))
    left, right, similar = left[order], right[order], similar[order]
    return NearDuplicates(left, right, similar, _clusters(components(len(texts), left, right), left, right))


def components(count: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the same number for all positions that pairs connect.

    Args:
        count: N.
        left: (P,) positions.
        right: (P,) positions.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


class _Search:
    """Compares the candidates of distinct texts, band by band, in bounded memory."""

    def __init__(self, texts: Sequence[str], threshold: float, workers: int) -> None:
        self.texts, self.threshold, self.workers = texts, threshold, workers
        self.bands: Bands = choose_bands(texts, threshold, workers=workers)
        self.sketches = sketch(texts, threshold, self.bands, workers=workers)
        self.pending: list[NDArray[np.uint64]] = []
        self.waiting = 0
        self.codes = np.zeros(0, dtype=np.uint64)  # of the near pairs so far, rising: left << 32 | right
        self.similar = np.zeros(0)

    def run(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(left, right, Jaccard) of the near pairs, in order."""
        for band in range(self.bands.bands):
            component: NDArray[np.int64] | None = None
            for step, found in enumerate(candidates(self.sketches, band)):
                if step < 2 and found.large.any():  # what hangs together already in a large bucket is left alone
                    self._compare()
                    component = components(len(self.texts), *_split(self.codes))
                self._add(found, component)
        self._compare()
        return *_split(self.codes), self.similar

    def _add(self, found: Candidates, component: NDArray[np.int64] | None) -> None:
        wanted = self.sketches.alike(found.left, found.right, self.bands.minima)
        if component is not None:
            wanted &= ~(found.large & (component[found.left] == component[found.right]))
        left, right = found.left[wanted], found.right[wanted]
        low, high = np.minimum(left, right).astype(np.uint64), np.maximum(left, right).astype(np.uint64)
        self.pending.append((low << np.uint64(32)) | high)
        self.waiting += len(low)
        if self.waiting > _PENDING:
            self._compare()

    def _compare(self) -> None:
        """Compare the pending pairs, and keep those that are near."""
        if not self.waiting:
            return
        codes = np.setdiff1d(np.concatenate(self.pending), self.codes)
        self.pending, self.waiting = [], 0
        similar = jaccards(self.texts, *_split(codes), workers=self.workers)
        near = similar >= self.threshold
        codes = np.concatenate((self.codes, codes[near]))
        order = np.argsort(codes)
        self.codes, self.similar = codes[order], np.concatenate((self.similar, similar[near]))[order]


def _split(codes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return (codes >> np.uint64(32)).astype(np.int64), (codes & _LOW).astype(np.int64)


def _clusters(component: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> list[tuple[int, ...]]:
    """The members of each component that has a pair."""
    members = np.unique(np.concatenate((left, right)))
    if not len(members):
        return []
    order = np.argsort(component[members], kind="stable")
    members = members[order]
    cuts = np.flatnonzero(np.diff(component[members])) + 1
    return sorted(tuple(part.tolist()) for part in np.split(members, cuts))
