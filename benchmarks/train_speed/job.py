"""What one process is asked to train: written by the harness, read in the system's own environment."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROCESSES = "processes"
"""The option of a row that says how many processes torchrun starts, with the threads shared out among them."""


@dataclass(frozen=True)
class Job:
    """A short training.

    Attributes:
        system: A module of systems/, or any by its dotted name.
        model: Folder of the base model (bfloat16 safetensors, computed in float32).
        tokens: The token file.
        start: The start weights (start.py).
        folder: The process's own; result.json goes there.
        steps: Optimiser steps to do.
        horizon: Steps that the linear schedule is made for: the same for every row of a set.
        options: The row's own settings, in the system's own words.
        order: Documents of each step, for the reference and tuneloop; None: as they stand in the file.
        documents_per_step: Documents of an optimiser step.
        rank: LoRA's r.
        alpha: LoRA's alpha.
        learning_rate: Of AdamW, betas 0.9 and 0.999, no decay; the gradient's norm is clipped to 1.
    """

    system: str
    model: str
    tokens: str
    start: str
    folder: str
    steps: int
    horizon: int
    options: dict[str, Any] = field(default_factory=dict)
    order: list[list[int]] | None = None
    documents_per_step: int = 16
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 2e-4


def job_of_this_process() -> Job:
    """The job that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def write_job(job: Job) -> Path:
    """Write job.json into the job's folder."""
    path = Path(job.folder) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return path


def write_result(job: Job, result: dict[str, Any]) -> None:
    """Write the one JSON line that a system gives."""
    (Path(job.folder) / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
