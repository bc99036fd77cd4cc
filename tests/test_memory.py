"""What nothing holds any more does not count in the next peak."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from tuneloop.memory import give_back_memory, peak_memory_mb, reset_peak_memory


@pytest.mark.parametrize("megabytes", [1, 64], ids=["kept by the allocator", "held in a circle"])
def test_a_peak_after_giving_back_is_without_what_was_freed(megabytes: int):
    blocks: list[Any] = [np.ones(megabytes * 2**17) for _ in range(256 // megabytes)]
    above = np.ones(2**16)  # a block that lives on above them keeps the heap from shrinking by itself
    blocks.append(blocks)
    if not reset_peak_memory():
        pytest.skip("this system cannot reset the peak of a process")
    held = peak_memory_mb()
    gc.disable()
    try:
        del blocks
        give_back_memory()
    finally:
        gc.enable()
    reset_peak_memory()
    assert held - peak_memory_mb() > 200
    assert above.any()
