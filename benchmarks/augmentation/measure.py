"""One record: a set, a seed, an arm ("plain" or "augmented"), what the tuned model said to each test row.

Both arms see every training row once an epoch, in the same number of steps, at the same settings; the augmented one
sees it as `Augmentation.augmented(row, epoch)` gives it. The epochs are laid out one after the other as one list of
examples, shuffled as one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.augmentation.hits import hit_by_synonyms, hit_by_typos
from benchmarks.augmentation.sets import Task, draw
from tuneloop.augment.augmentation import augmentation_of
from tuneloop.augment.fresh import FreshExamples
from tuneloop.examples.encode import Example
from tuneloop.infer.classify import class_probabilities
from tuneloop.model.source import Source
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import versions
from tuneloop.sections import Augment
from tuneloop.stations import attach, encode_rows, machine_facts
from tuneloop.train.loop import Job, train


@dataclass(frozen=True)
class Plan:
    """How every model is trained.

    Attributes:
        source: The base model.
        method: "full" or "lora".
        per_class: Training rows of each class.
        epochs: Passes over them.
        learning_rate: Peak.
        test_rows: Test rows at most; None: all.
        command: What the user typed, for the record.
    """

    source: Source
    method: str
    per_class: int
    epochs: int
    learning_rate: float
    test_rows: int | None
    command: str


def recipe_of(plan: Plan, seed: int) -> Recipe:
    """The recipe that both arms share; its epochs are one, since the examples of all epochs are one list."""
    return Recipe.model_validate(
        {
            "name": "augmentation", "seed": seed, "task": {"type": "classification"},
            "model": {"name_or_path": plan.source.name}, "data": {"train": "-", "max_length": 64},
            "adapt": {"method": plan.method},
            "train": {"num_train_epochs": 1, "learning_rate": plan.learning_rate, "head_learning_rate": 1e-3,
                      "warmup_steps": 0.06, "report_to": [], "load_best_model_at_end": False, "logging_steps": 50},
        }
    )  # fmt: skip


def measure(
    task: Task, plan: Plan, seed: int, given: dict[str, Any], cilin: dict[str, str] | None = None
) -> dict[str, Any]:
    """Train one arm and score it on the test rows, and on the same rows hit by typos and by synonyms.

    Args:
        task: The set.
        plan: How it is trained.
        seed: Of the rows and of training.
        given: The recipe's section `augment`; empty for the plain arm.
        cilin: Chinese word -> another of its group.
    """
    rows, test = draw(task, plan.per_class, seed)
    test = sorted(test, key=lambda row: row.id)[: plan.test_rows]
    recipe = recipe_of(plan, seed)
    ready = attach(recipe, plan.source, Prepared(rows, [], [], [], [], task.labels, {}), Path())

    def encode(some: Sequence[Row]) -> list[Example]:
        return encode_rows(recipe, some, ready.tokenizer, task.labels)

    augmentation = augmentation_of(Augment.model_validate(given), task="classification", seed=seed, labels=task.labels)
    fresh = FreshExamples(rows, ready.train, augmentation, encode)
    examples = [example for epoch in range(plan.epochs) for example in fresh(range(len(rows)), epoch)]
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        job = Job("classification", examples, recipe.train, seed, ready.tokenizer.pad_token_id, Path(folder), "k")
        state = train(ready.model, job, validate=None)
    shown = {
        "clean": [row.text for row in test],
        "typos": [hit_by_typos(row.text) for row in test],
        "synonyms": [hit_by_synonyms(row.text, cilin) for row in test],
    }
    said = {name: _said(ready, [replace(r, text=t) for r, t in zip(test, texts, strict=True)], encode)
            for name, texts in shown.items()}  # fmt: skip
    right = {name: [int(task.labels[c] == row.label) for c, row in zip(classes, test, strict=True)]
             for name, classes in said.items()}  # fmt: skip
    return {
        "set": task.name, "arm": "augmented" if given else "plain", "seed": seed, "command": plan.command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(), **versions(),
        "load_before": round(began, 2), "load_after": round(os.getloadavg()[0], 2), "augment": given,
        "base": {"name": plan.source.name, "sha256": plan.source.sha256}, "method": plan.method,
        "train_rows": len(rows), "epochs": plan.epochs, "learning_rate": plan.learning_rate, "steps": state.step,
        "seconds": round(state.seconds, 1), "test_rows": len(test), "ids": [row.id for row in test], "right": right,
        "hit": {name: sum(t != row.text for t, row in zip(texts, test, strict=True)) for name, texts in shown.items()},
    }  # fmt: skip


def _said(ready: Any, rows: Sequence[Row], encode: Callable[[Sequence[Row]], list[Example]]) -> list[int]:
    """The class that the tuned model gives each row."""
    chances = class_probabilities(ready.model, encode(rows), ready.tokenizer.pad_token_id)
    return [int(c) for c in np.argmax(chances, axis=1)]
