"""Texts as sets of character n-grams (shingles), hashed to 64 bits, many texts at a time.

    texts --join, UTF-32--> code points (T,) uint32 --windows--> hashes (S,) uint64, each text's lie end to end

One shingle starts at every character: that character and the four behind it, or the one behind it where the character
is Chinese, Japanese or Korean. A text of one script thus has the usual 5-grams (or 2-grams), a mixed one changes over
where its script does, and one more word of English in a Chinese text changes no shingle elsewhere. Shingles that would
reach past the end are left out, but for the first of them where the one before it does not end with the text: it is cut
off there, so that each character stands in a shingle ("是35个人" has "35个人", a text too short for any has itself).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTH = 5
"""Characters of a shingle."""
CJK_LENGTH = 2
"""Characters of a shingle that starts with a Chinese, Japanese or Korean one: two are about a word, as five are."""
_PAST_THE_END = 0x110000
"""Stands behind each text; no character has this code point."""
_CJK = ((0x2E80, 0xA000), (0xAC00, 0xD7B0), (0xF900, 0xFB00), (0x20000, 0x40000))
"""Radicals, kana, unified ideographs with extension A; Hangul syllables; compatibility; the further extensions."""


@dataclass(frozen=True)
class Shingles:
    """The shingles of some texts, with repetitions.

    Attributes:
        hashes: (S,) uint64; equal shingles have equal hashes, and two that differ meet with a chance of about 2**-60.
        offsets: (N + 1,) int64; text i has hashes[offsets[i] : offsets[i + 1]], at least one.
    """

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.int64]


def constants(count: int, seed: int) -> NDArray[np.uint64]:
    """`count` odd numbers of 64 random bits, the same on every machine and with every version of numpy.

    Args:
        count: How many.
        seed: Another seed, other numbers.

    Source: splitmix64, Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number Generators", figure 17.
    """
    found, state, mask = [], seed, (1 << 64) - 1
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        found.append((mixed ^ (mixed >> 31)) | 1)
    return np.array(found, dtype=np.uint64)


_WEIGHTS = constants(LENGTH + CJK_LENGTH, seed=1)
_MIX = constants(1, seed=2)[0]


def shingles(texts: Sequence[str]) -> Shingles:
    """Hash the shingles of each text.

    A shingle's hash is the sum of its code points, each times a random number of its place, mixed (multilinear
    hashing: Lemire & Kaser 2014, arXiv:1202.4961, section 3).

    Args:
        texts: Normalised, or compared as they are.
    """
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(sizes + LENGTH, out=starts[1:])
    windows = int(starts[-1])  # one at each character, and at each mark behind a text
    points, ascii_only = _code_points(texts, starts, sizes)
    reach = np.full(windows, LENGTH, dtype=np.int64)
    hashes = _weighted(points, _WEIGHTS[:LENGTH], windows)
    if not ascii_only:
        cjk = np.zeros(windows, dtype=bool)
        for low, high in _CJK:
            cjk |= (points[:windows] >= low) & (points[:windows] < high)
        hashes = np.where(cjk, _weighted(points, _WEIGHTS[LENGTH:], windows), hashes)
        reach[cjk] = CJK_LENGTH
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX
    hashes ^= hashes >> np.uint64(29)
    places = np.arange(windows)
    reach += places
    ends = starts[:-1] + sizes
    whole = reach <= np.repeat(ends, sizes + LENGTH)
    if len(texts):
        cut = np.minimum.reduceat(np.where(whole, windows, places), starts[:-1])  # filled up with the marks behind it
        whole[cut[(cut == starts[:-1]) | (reach[cut - 1] < ends)]] = True
    counted = np.zeros(windows + 1, dtype=np.int64)
    np.cumsum(whole, out=counted[1:])
    return Shingles(hashes[whole], counted[starts])


def spans(lengths: NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Cut a row of texts into (first, one past the last), each of at most `limit` characters or of one text.

    Args:
        lengths: (N,) characters of each text.
        limit: Characters.
    """
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        before = ends[first - 1] if first else 0
        stop = max(int(np.searchsorted(ends, before + limit, side="right")), first + 1)
        yield first, stop
        first = stop


def _code_points(
    texts: Sequence[str], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], bool]:
    """(T + 4,) code points of all texts, five marks behind each and four behind all; whether all are ASCII."""
    joined = ("\0" * LENGTH).join(texts) + "\0" * (2 * LENGTH - 1)
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
    for behind in range(LENGTH):
        points[starts[:-1] + sizes + behind] = _PAST_THE_END
    points[starts[-1] :] = _PAST_THE_END
    return points, joined.isascii()


def _weighted(points: NDArray[np.uint32], weights: NDArray[np.uint64], windows: int) -> NDArray[np.uint64]:
    """(W,) for each window, the sum of its code points by their weights."""
    total: NDArray[np.uint64] = points[:windows] * weights[0]
    for place, weight in enumerate(weights[1:], 1):
        total += points[place : place + windows] * weight
    return total
