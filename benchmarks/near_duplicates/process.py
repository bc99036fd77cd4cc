"""One measured process: `python -m benchmarks.near_duplicates.process JOB`: texts -> a system -> result.json.

It runs in the peers' environments: nothing of tuneloop, nor numpy, is imported here.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.near_duplicates.systems import SYSTEMS


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        system: A key of SYSTEMS.
        texts: The file of texts, one a line.
        first: How many of them; 0: all.
        threshold: Jaccard.
        folder: Where result.json goes.
    """

    system: str
    texts: str
    first: int
    threshold: float
    folder: str


def main(job: Job) -> None:
    """Run the job; seconds are of the system's work alone, the peak is of the whole process and its children."""
    with open(job.texts, encoding="utf-8", newline="\n") as file:
        texts = [line.removesuffix("\n") for line in islice(file, job.first or None)]
    spent: dict[str, float] = {}

    @contextlib.contextmanager
    def timed() -> Iterator[None]:
        spent["before_mb"], start, cpu = peak_mb(), time.perf_counter(), time.process_time()
        yield
        spent["seconds"], spent["cpu_seconds"] = time.perf_counter() - start, time.process_time() - cpu

    found = SYSTEMS[job.system](texts, job.threshold, timed)
    result: dict[str, Any] = {"texts": len(texts), **spent, "peak_mb": peak_mb(), **found}
    Path(job.folder, "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


def peak_mb() -> float:
    """Peak memory of this process and the largest of its children, MB (2**20 bytes)."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(sum(resource.getrusage(one).ru_maxrss for one in who) / 1024, 1)


def write_job(job: Job) -> Path:
    """Write job.json into the job's folder."""
    path = Path(job.folder) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main(Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
