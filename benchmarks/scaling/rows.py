"""One run over a file of rows, as `tuneloop train` does it: read, clean, split, encode, attach, and a few steps.

`python -m benchmarks.scaling.rows JOB` is one measured process. `job.tokens` is the file, `options.rows` its rows.
"""

from __future__ import annotations

# ruff: noqa: E402
from tuneloop.memory import share_one_heap

share_one_heap()  # first of all, as the command does

import json
import random
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.train_speed.job import Job, job_of_this_process, write_result
from benchmarks.train_speed.watch import busy_seconds, memory_mb, own_seconds, versions
from tuneloop import stations
from tuneloop.examples.batch import epoch_order
from tuneloop.model.heads import network_of
from tuneloop.model.reader import choose_reader, halved_weights
from tuneloop.model.source import resolve
from tuneloop.recipe import Recipe
from tuneloop.rows.prepare import prepare_rows
from tuneloop.train import loop

SEED, CLASSES, WORDS = 0, 20, 5
HELD_OUT = 0.05
MOST_DROPPED = 1e-4
"""Of the rows: among 100,000 of them two or so are nearly the same by chance, and are dropped as such."""


class Enough(Exception):
    """The steps are done; the loop would go on to the end of the rows."""


def write_rows(path: Path, count: int) -> None:
    """Short texts that differ, with labels; about 20 tokens of SmolLM2 each."""
    chance, seen = random.Random(count), set[str]()
    while len(seen) < count:
        seen.add(" ".join(f"w{chance.randrange(2, 200)}" for _ in range(WORDS)))
    texts = sorted(seen)
    chance.shuffle(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"text": text, "label": f"label {number % CLASSES}"}) + "\n")


def recipe_of(job: Job) -> Recipe:
    """A classification recipe over the file, with the training benchmark's settings."""
    return Recipe.model_validate({
        "name": "scaling", "seed": SEED, "task": {"type": "classification"}, "model": {"name_or_path": job.model},
        "data": {"train": job.tokens, "validation": HELD_OUT, "test": HELD_OUT},
        "adapt": {"method": "lora", "rank": job.rank, "alpha": float(job.alpha)},
        "train": {
            "per_device_train_batch_size": job.documents_per_step, "learning_rate": job.learning_rate,
            "lr_scheduler_type": "linear", "warmup_steps": 0, "num_train_epochs": 1, "logging_steps": 10**6,
            "report_to": [],
        },
    })  # fmt: skip


def main(job: Job) -> None:
    """Prepare all rows, do the job's steps, and write what they took."""
    import_mb, recipe = memory_mb("VmRSS"), recipe_of(job)
    encoding = timed_encoding()
    began = time.perf_counter()
    prepared = prepare_rows(recipe, Path(job.folder))
    seconds = {"prepare": time.perf_counter() - began}
    ready = stations.attach(recipe, resolve(job.model), prepared, Path())
    seconds["encode"] = sum(encoding)
    data_mb = memory_mb("VmRSS")
    reader = choose_reader(network_of(ready.model), fast=True)
    if not reader.packed:
        raise ValueError(f"the fast path does not apply: {reader.reason}")
    asked = loop.Job(
        "classification", ready.train, recipe.train, SEED, ready.tokenizer.pad_token_id, Path(job.folder), "bench",
        reader,
    )  # fmt: skip
    busy, own, start = busy_seconds(), own_seconds(), time.perf_counter()
    with halved_weights(network_of(ready.model)):
        steps = steps_of(ready.model, asked, job.steps)
    took = time.perf_counter() - start
    size, order = job.documents_per_step, epoch_order(len(ready.train), SEED, 0)
    chosen = [[ready.train[place] for place in order[step * size : (step + 1) * size]] for step in range(job.steps)]
    counts = {"train": len(prepared.train), "validation": len(prepared.validation), "test": len(prepared.test)}
    counts["dropped"] = len(prepared.dropped)
    write_result(job, {
        "seconds": steps, "lengths": [[len(one.input_ids) for one in step] for step in chosen],
        "labelled": sum(one.target >= 0 for one in ready.train), "counts": counts | {"encoded": len(ready.train)},
        "classes": len(prepared.labels), "data_seconds": seconds, "import_mb": import_mb, "data_mb": data_mb,
        "peak_mb": memory_mb("VmHWM"), "others": round(max(0.0, busy_seconds() - busy) / took, 3),
        "cores": round((own_seconds() - own) / took, 3), "versions": versions(),
    })  # fmt: skip


def timed_encoding() -> list[float]:
    """Let every call that encodes rows add its seconds to the list that is given back."""
    plain, seconds = stations.encode_rows, list[float]()

    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        found = plain(*given, **named)
        seconds.append(time.perf_counter() - began)
        return found

    stations.encode_rows = timed
    return seconds


def steps_of(model: Any, asked: loop.Job, count: int) -> list[float]:
    """Seconds of each of the first `count` steps of the product's loop."""
    ends = [time.perf_counter()]

    def ended(*_: Any) -> None:
        ends.append(time.perf_counter())
        if len(ends) > count:
            raise Enough

    hook = register_optimizer_step_post_hook(ended)
    try:
        loop.train(model, asked, validate=None)
    except Enough:
        pass
    finally:
        hook.remove()
    return [after - before for before, after in pairwise(ends)]


def faults(result: Mapping[str, Any], job: Job) -> list[str]:
    """Why a run says nothing: a row that got lost, a label that is not counted, a step that was not done."""
    counts, rows, found = result["counts"], job.options["rows"], []
    there = counts["train"] + counts["validation"] + counts["test"] + counts["dropped"]
    if counts["dropped"] > MOST_DROPPED * rows:
        found.append(f"dropped rows: {counts['dropped']} of {rows}")
    if there != rows or counts["encoded"] != counts["train"]:
        found.append(f"missing rows: {there} of {rows} are there, {counts['encoded']} of {counts['train']} encoded")
    if result["labelled"] != counts["encoded"] or result["classes"] != CLASSES:
        found.append(f"dropped labels: {result['labelled']} of {counts['encoded']} rows, {result['classes']} classes")
    sizes = [len(step) for step in result["lengths"]]
    if len(result["seconds"]) != job.steps or sizes != [job.documents_per_step] * job.steps:
        found.append(f"steps: {len(result['seconds'])} of {sizes} rows, asked {job.steps} of {job.documents_per_step}")
    return found


if __name__ == "__main__":
    main(job_of_this_process())
