"""Which of very many texts are equal, with 16 bytes in memory for each.

texts --BLAKE2b, 128 bits--> Digests --numbered--> a number for each text, the same for equal ones
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SIZE = 16
"""Bytes: among 10**10 different texts, two meet with a chance of 10**-19."""


Digests = NDArray[np.uint64]
"""(N, 2): two words for each text, in their order."""


def digests(texts: Iterable[str]) -> Digests:
    """The digests of texts, which are read once."""
    found = bytearray()
    for text in texts:
        found += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SIZE).digest()
    return np.frombuffer(found, dtype=np.uint64).reshape(-1, 2)


def numbered(*sets: Digests) -> list[NDArray[np.int64]]:
    """(N,) for each set: numbers from 0 on, equal for texts that are equal, whichever set they stand in."""
    words = np.concatenate(sets)
    order = np.lexsort((words[:, 1], words[:, 0]))
    ranked = words[order]
    new = np.ones(len(ranked), dtype=bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    numbers = np.empty(len(ranked), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return np.split(numbers, np.cumsum([len(one) for one in sets])[:-1])


def first_places(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) for each place, the first one that has the same number."""
    first = np.full(int(numbers.max(initial=-1)) + 1, len(numbers), dtype=np.int64)
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    return first[numbers]


def among(texts: Iterable[str], others: Iterable[str]) -> list[bool]:
    """Whether each text is equal to one of the others; both are read once."""
    ours, theirs = numbered(digests(texts), digests(others))
    found: list[bool] = np.isin(ours, theirs).tolist()
    return found
