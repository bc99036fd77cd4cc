"""A random generator for each (seed, epoch, row, method): nothing else decides what is drawn.

So the order of rows, the number of workers and a resumed run change nothing, and adding a method leaves the draws of
the others as they were. Only `Random.random()` is drawn from: it is the one method whose stream Python keeps the same
between versions (Python library reference, "random", notes on reproducibility).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def generator(seed: int, epoch: int, row: str, method: str) -> Random:
    """The generator of one method on one row in one epoch.

    Args:
        seed: The recipe's.
        epoch: 0 for the first; what is made once before training takes the number of the copy.
        row: The row's id.
        method: The method's name.
    """
    key = f"{seed}:{epoch}:{row}:{method}".encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little"))


def below(random: Random, limit: int) -> int:
    """A whole number in 0 <= n < limit."""
    return int(random.random() * limit)


def one_of(random: Random, items: Sequence[T]) -> T:
    """One of the items, each as likely as the others."""
    return items[int(random.random() * len(items))]


def some_of(random: Random, items: Sequence[T], count: int) -> list[T]:
    """`count` different items (all, where there are fewer), in an order that is drawn too."""
    left = list(items)
    chosen: list[T] = []
    for _ in range(min(count, len(left))):
        chosen.append(left.pop(int(random.random() * len(left))))
    return chosen


def rounded(random: Random, value: float) -> int:
    """`value` rounded up or down at random so that the mean is `value`: a short text keeps its share too."""
    return int(value + random.random())
