"""One record: how many augmented training rows of a set keep their label in the eyes of a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.augmentation.measure import Plan
from benchmarks.augmentation.sets import Task, draw
from tuneloop.augment.augmentation import Augmentation, augmentation_of
from tuneloop.augment.report import report
from tuneloop.model.encoder import load_encoder
from tuneloop.runs import versions
from tuneloop.score.floor import fit_floor, word_features
from tuneloop.sections import Augment
from tuneloop.stations import machine_facts

Judge = Callable[[Sequence[str]], list[str]]


def judge_of(task: Task, *, full: bool = True) -> Judge:
    """A judge trained on all rows of the pool: LinearSVC over TF-IDF and embedding; Chinese: over TF-IDF alone.

    Of the judges that this project has it is the best one on rows held out of banking77's pool, written well or with
    typos (docs/decisions.md).

    Args:
        task: The set.
        full: Whether the encoder may be used.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.svm import LinearSVC

    texts, labels = [row.text for row in task.pool], [str(row.label) for row in task.pool]
    if task.chinese or not full:
        floor = fit_floor(texts, labels)
        return lambda some: floor(list(some)).texts
    encoder, words = load_encoder(), word_features(texts).fit(texts)

    def features(some: Sequence[str]) -> Any:
        return hstack([words.transform(some), csr_matrix(encoder.embed(some))]).tocsr()  # (N, terms + D)

    judge = LinearSVC(random_state=0).fit(features(texts), labels)
    return lambda some: [str(label) for label in judge.predict(features(list(some)))]


def preservation(task: Task, plan: Plan, seeds: Sequence[int], judge: Judge, augment: dict[str, Any]) -> dict[str, Any]:
    """How many augmented training rows keep their label in the eyes of the judge, each method apart and all together.

    The judge has seen the originals, so nearly all of them count.
    """
    methods: dict[str, dict[str, Any]] = {
        name: {name: {**options, "probability": 1.0}} for name, options in augment.items()
    }
    found: dict[str, Any] = {}
    for name, given in {**methods, "all": augment}.items():
        counts = dict.fromkeys(("judged", "kept", "changed", "changed_kept"), 0)
        rows_changed, differing = 0.0, 0.0
        for seed in seeds:
            rows, _ = draw(task, plan.per_class, seed)
            made: Augmentation = augmentation_of(
                Augment.model_validate(given), task="classification", seed=seed, labels=task.labels
            )  # fmt: skip
            told = report(rows, made, epochs=min(plan.epochs, 5), judge=judge)
            counts = {key: count + told["labels"][key] for key, count in counts.items()}
            rows_changed += told["changed"] / len(seeds)
            differing += told["changed_words"] / len(seeds)
        found[name] = counts | {"rows_changed": round(rows_changed, 4), "changed_words": round(differing, 4)}
    return {
        "set": task.name, "arm": "labels", "seeds": list(seeds), "methods": found, "command": plan.command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(), **versions(),
    }  # fmt: skip
