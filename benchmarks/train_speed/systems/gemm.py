"""The machine's matrix products at the model's shapes, in float32: what the limit of floor.py is made of."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch

from benchmarks.train_speed.floor import shapes
from benchmarks.train_speed.job import Job, job_of_this_process, write_result

ROWS = (256, 512, 768, 1024)


def rate(rows: int, inside: int, out: int, seconds: float) -> float:
    """FLOP/s of (rows, inside) @ (inside, out), the weight stored as (out, inside); the median of many calls."""
    left, weight = torch.randn(rows, inside), torch.randn(out, inside)
    result = torch.empty(rows, out)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(left, weight.T, out=result)
        times.append(time.perf_counter() - began)
    return 2.0 * rows * inside * out / statistics.median(times)


def main(job: Job) -> None:
    """Measure each shape for `options.seconds`, at several numbers of rows; the best one counts."""
    config = json.loads((Path(job.model) / "config.json").read_text(encoding="utf-8"))
    found = {}
    for name, (inside, out) in shapes(config).items():
        found[name] = max(rate(rows, inside, out, job.options["seconds"]) for rows in ROWS)
    write_result(job, {"flops": found, "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main(job_of_this_process())
