"""What an answer costs: latency of single queries, throughput."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tuneloop.errors import DataError

ENOUGH = {50: 1, 95: 20, 99: 100}
"""Percentile -> timed queries from which on it says more than the slowest of them."""


def query_seconds(
    answer: Callable[[int], Any], count: int, *, warmup: int = 3, at_most: float = math.inf
) -> list[float]:
    """Seconds of each of `count` single queries, by the monotonic clock.

    Args:
        answer: Answers query i of 0 to count - 1; it must wait for its device before it returns.
        count: Queries to time.
        warmup: Queries answered before the clock counts (the first ones again).
        at_most: Seconds after which no further query is begun; the first is always timed.

    Raises:
        DataError: if there is no query.
    """
    if count < 1:
        raise DataError("There is no query to time", fix="Give at least one test row")
    for index in range(warmup):
        answer(index % count)
    seconds = []
    for index in range(count):
        began = time.perf_counter()
        answer(index)
        seconds.append(time.perf_counter() - began)
        if sum(seconds) >= at_most:
            break
    return seconds


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """{"p50", "p95", "p99"} in milliseconds, linear between neighbours; those that ENOUGH queries were timed for.

    Args:
        seconds: One a query, at least one.
    """
    milliseconds = np.asarray(seconds, dtype=np.float64) * 1000
    return {f"p{p}": float(np.percentile(milliseconds, p)) for p, count in ENOUGH.items() if len(seconds) >= count}


def throughput(queries: int, seconds: float, *, tokens: int | None = None) -> dict[str, float]:
    """Batched throughput: {"queries_per_second"} and, where tokens were counted, {"tokens_per_second"}.

    Args:
        queries: Queries answered.
        seconds: Wall time that they took together, > 0.
        tokens: Tokens that went through; None leaves the figure out.
    """
    found = {"queries_per_second": queries / seconds}
    if tokens is not None:
        found["tokens_per_second"] = tokens / seconds
    return found
