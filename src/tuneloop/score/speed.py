"""What an answer costs: latency of single queries, throughput."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tuneloop.errors import DataError


def query_seconds(answer: Callable[[int], Any], count: int, *, warmup: int = 3) -> list[float]:
    """Seconds of each of `count` single queries, by the monotonic clock.

    Args:
        answer: Answers query i of 0 to count - 1; it must wait for its device before it returns.
        count: Queries to time.
        warmup: Queries answered before the clock counts (the first ones again).

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
    return seconds


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """{"p50", "p95", "p99"} in milliseconds, linear between neighbours."""
    p50, p95, p99 = np.percentile(np.asarray(seconds, dtype=np.float64) * 1000, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


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
