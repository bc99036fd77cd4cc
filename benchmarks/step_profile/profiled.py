"""A system of train_speed under torch.profiler, for its last steps: the seconds of each operator go into its result."""

from __future__ import annotations

import importlib
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_speed.job import Job, job_of_this_process

SYSTEM, STEPS = "profiled system", "profiled steps"
"""The options that name the system that trains, and say how many of its last steps are profiled."""


def main(job: Job) -> None:
    """Train as the job says, the last steps under the profiler."""
    options = dict(job.options)
    profiled = options.pop(STEPS)
    system = importlib.import_module(f"benchmarks.train_speed.systems.{options.pop(SYSTEM)}")
    profiler, done, clock = profile(activities=[ProfilerActivity.CPU]), Counter[str](), list[float]()

    def ended(*_: Any) -> None:
        done["steps"] += 1
        if done["steps"] == job.steps - profiled:
            profiler.start()
            clock.append(time.perf_counter())
        if done["steps"] == job.steps:
            clock.append(time.perf_counter())
            profiler.stop()

    register_optimizer_step_post_hook(ended)
    system.main(replace(job, options=options))
    told = Path(job.folder) / "result.json"
    operators = {one.key: one.self_cpu_time_total / 1e6 for one in profiler.key_averages()}
    result = json.loads(told.read_text(encoding="utf-8")) | {"operators": operators, "profiled": profiled}
    result["profiled_seconds"] = clock[1] - clock[0]
    told.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(job_of_this_process())
