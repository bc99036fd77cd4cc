"""What an answer costs: latency of single queries, throughput, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuneloop.errors import DataError

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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


def time_queries(answer: Callable[[int], Any], count: int, *, warmup: int = 3) -> dict[str, float]:
    """Latency of single queries (batch 1): {"p50", "p95", "p99"} in milliseconds.

    Args:
        answer: Answers query i of 0 to count - 1.
        count: Queries to time.
        warmup: Queries answered before the clock counts.

    Raises:
        DataError: if there is no query.
    """
    return percentiles(query_seconds(answer, count, warmup=warmup))


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


def reset_peak_memory(device: str = "cpu") -> bool:
    """Forget the peak so far, so that the next peak belongs to what runs next; False where the system cannot."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        CLEAR.write_text("5", encoding="ascii")  # man 5 proc_pid_clear_refs: 5 resets VmHWM
    except OSError:
        return False
    return True


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (2**20 bytes): the accelerator's tensors for "cuda", else this process's resident set.

    The resident peak is since the process began, or since `reset_peak_memory` said True.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
