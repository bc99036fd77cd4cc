"""Timing counts what it says, and nothing else."""

import time

import numpy as np
import pytest

from tuneloop.errors import DataError
from tuneloop.memory import give_back_memory, peak_memory_mb, reset_peak_memory
from tuneloop.score.speed import percentiles, query_seconds, throughput


def test_warmup_is_answered_and_not_counted():
    asked = []

    def answer(index):
        asked.append(index)
        time.sleep(0.05 if len(asked) <= 3 else 0.001)

    found = percentiles(query_seconds(answer, 5))
    assert asked == [0, 1, 2, 0, 1, 2, 3, 4]
    assert 1.0 <= found["p50"] < 50.0  # the median: a busy machine may hold one query up


def test_each_query_has_its_time():
    assert len(query_seconds(lambda index: index, 4, warmup=1)) == 4
    with pytest.raises(DataError):
        query_seconds(lambda index: index, 0)


def test_no_query_is_begun_after_the_seconds_are_used_up():
    assert len(query_seconds(lambda index: time.sleep(0.02), 100, warmup=0, at_most=0.05)) == 3
    assert len(query_seconds(lambda index: time.sleep(0.02), 100, warmup=0, at_most=0.0)) == 1


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ["p50"]), (19, ["p50"]), (20, ["p50", "p95"]), (99, ["p50", "p95"]), (100, ["p50", "p95", "p99"])],
)
def test_a_percentile_of_too_few_queries_is_absent(count, names):
    assert list(percentiles([0.5] * count)) == names


def test_percentiles_are_milliseconds():
    assert percentiles([0.001 * k for k in range(1, 102)]) == pytest.approx({"p50": 51.0, "p95": 96.0, "p99": 100.0})


def test_throughput_leaves_out_uncounted_tokens():
    assert throughput(100, 4.0) == {"queries_per_second": 25.0}
    assert throughput(100, 4.0, tokens=800) == {"queries_per_second": 25.0, "tokens_per_second": 200.0}


def test_peak_memory_sees_an_array_and_forgets_it():
    give_back_memory()  # or the array may lie where earlier tests left room
    reset_peak_memory()
    before = peak_memory_mb()
    block = np.ones(80 * 2**17)  # 80 MB
    held = peak_memory_mb()
    assert held - before > 60
    del block
    give_back_memory()  # it may lie in that room now, inside the heap, which free() alone does not return
    if not reset_peak_memory():
        pytest.skip("this system cannot reset the peak of a process")
    assert held - peak_memory_mb() > 60
