"""Who answers, and how; `python -m benchmarks.generation.systems JOB` is one measured process.

Both get the prompts longest first, in float32, with the attention and the threads that they choose themselves under
the same environment. A system's clock runs from a loaded model to the last token: copying weights is part of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FEW = 5


@dataclass(frozen=True)
class System:
    """One line of the table.

    Attributes:
        name: Unique.
        kind: A key of ANSWER.
        batch: Prompts at once; 0: the system's own affair.
        cache: transformers' cache_implementation.
        few: Only FEW prompts, of all lengths; its time is extrapolated.
    """

    name: str
    kind: str = "transformers"
    batch: int = 0
    cache: str = "dynamic"
    few: bool = False


SYSTEMS = [
    System("tuneloop", "tuneloop"),
    System("transformers, 1 at once", batch=1, few=True),
    *(
        System(
            f"transformers, {batch} at once{', static cache' if cache == 'static' else ''}", batch=batch, cache=cache
        )
        for batch in (8, 16, 25, 50)
        for cache in ("dynamic", "static")
    ),
]
REFERENCE = "transformers, 50 at once"
"""Whose tokens count."""
SHORT = [one for one in SYSTEMS if one.batch in (0, 1, 50)]
"""Each kind of row once."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        system: Who answers.
        model: Folder of the model.
        prompts: Path of the prompts.
        budget: New tokens of each answer.
        stop: Whether the model's end tokens end an answer; else each has `budget` tokens.
        result: Path to write to.
        profiled: Whether the answering goes under torch.profiler: its figure is the seconds of each operator.
    """

    system: System
    model: str
    prompts: str
    budget: int
    stop: bool
    result: str
    profiled: bool = False


def chosen(system: System, prompts: Sequence[list[int]]) -> list[int]:
    """The places of the prompts that it answers, longest first."""
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    if not system.few or len(order) <= FEW:
        return order
    return [order[round((part + 0.5) * len(order) / FEW - 0.5)] for part in range(FEW)]


def by_tuneloop(model: Any, prompts: Sequence[list[int]], job: Job, stops: Sequence[int]) -> list[list[int]]:
    """Our engine, as `generate` drives it."""
    from tuneloop.infer.engine import choose_engine

    engine = choose_engine(model, fast=True)
    if engine is None:
        raise ValueError("the engine does not apply")
    requests = [engine.submit(one, max_new_tokens=job.budget, stops=frozenset(stops)) for one in prompts]
    while engine.busy:
        engine.step()
    return [request.tokens for request in requests]


def by_transformers(model: Any, prompts: Sequence[list[int]], job: Job, stops: Sequence[int]) -> list[list[int]]:
    """Left-padded batches of prompts of like length."""
    import torch

    pad, size = model.config.pad_token_id, job.system.batch
    options: dict[str, Any] = {"cache_implementation": "static", "disable_compile": True}
    found = []
    for start in range(0, len(prompts), size):
        some = prompts[start : start + size]
        width = max(map(len, some))
        ids = torch.tensor([[pad] * (width - len(one)) + one for one in some])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in some])
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=job.budget, do_sample=False, num_beams=1,
                eos_token_id=list(stops) or None, pad_token_id=pad, use_cache=True,
                **(options if job.system.cache == "static" else {}),
            )  # fmt: skip
        for row in output[:, width:].tolist():
            end = next((place for place, token in enumerate(row) if token in stops), len(row))
            found.append(row[: end + 1])
    return found


ANSWER: dict[str, Callable[[Any, Sequence[list[int]], Job, Sequence[int]], list[list[int]]]] = {
    "tuneloop": by_tuneloop,
    "transformers": by_transformers,
}


def measure(job: Job) -> dict[str, Any]:
    """Answer, after a small warm-up; what was said, how long it took, and the process's peak memory."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.train_speed.watch import busy_seconds, memory_mb, versions

    model, stops = load(job.model)
    stops = stops if job.stop else []
    model.generation_config.eos_token_id = stops or None
    prompts = json.loads(Path(job.prompts).read_text(encoding="utf-8"))
    places = chosen(job.system, prompts)
    answer = ANSWER[job.system.kind]
    answer(model, [prompts[place] for place in places[-2:]], replace(job, budget=3), stops)
    busy, load_before, began = busy_seconds(), os.getloadavg()[0], time.perf_counter()
    profiler = profile(activities=[ProfilerActivity.CPU]) if job.profiled else None
    with profiler or contextlib.nullcontext():
        said = answer(model, [prompts[place] for place in places], job, stops)
        seconds = time.perf_counter() - began
    found = (
        {"operators": {one.key: one.self_cpu_time_total / 1e6 for one in profiler.key_averages()}} if profiler else {}
    )
    return found | {
        "seconds": seconds, "places": places, "tokens": said, "peak_mb": round(memory_mb("VmHWM"), 1),
        "threads": torch.get_num_threads(), "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2), "others": round(max(0.0, busy_seconds() - busy) / seconds, 3),
        "versions": versions(),
    }  # fmt: skip


def load(folder: str) -> tuple[Any, list[int]]:
    """The model in float32, and the tokens that end its answers."""
    from tuneloop.infer.generate import stop_tokens
    from tuneloop.model.load import load_model
    from tuneloop.model.source import resolve

    loaded = load_model(resolve(folder))
    if loaded.tokenizer.chat_template is None:  # the short form's: without a turn to end
        return loaded.model, [loaded.tokenizer.eos_token_id]
    return loaded.model, stop_tokens(loaded.model, loaded.tokenizer)


def write_job(job: Job, path: Path) -> None:
    """Write it for `main`."""
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")


def main(path: str) -> None:
    """Do the job in this process."""
    asked = json.loads(Path(path).read_text(encoding="utf-8"))
    job = Job(**(asked | {"system": System(**asked["system"])}))
    Path(job.result).write_text(json.dumps(measure(job)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
