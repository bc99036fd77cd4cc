"""The evaluation: every contender on the same test rows, every figure with its interval, differences paired.

run folder (rows, model)  ->  contenders  ->  scores.json + predictions.parquet
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from tuneloop.disk import atomic_path, read_json, sha256_file, sha256_json, write_json
from tuneloop.errors import DataError, RunError, TuneloopError
from tuneloop.memory import give_back_memory, reset_peak_memory
from tuneloop.model.load import load_model
from tuneloop.model.safety import ARCHITECTURES
from tuneloop.model.saved import load_base, load_tuned
from tuneloop.recipe import Recipe
from tuneloop.records import Row, Split
from tuneloop.rows.checks import lacking, unknown_labels
from tuneloop.rows.clean import normalised
from tuneloop.rows.held_out import training_names, with_labels
from tuneloop.rows.prepare import Prepared, load_prepared
from tuneloop.rows.read import read_rows
from tuneloop.runs import RunFolder
from tuneloop.score.contenders import (
    Absent,
    Contender,
    Exam,
    answers_of,
    encoder_contender,
    floor_contender,
    tuned_contender,
    untuned_contender,
)
from tuneloop.score.metrics import (
    Options,
    calibration,
    confusion_matrix,
    difference,
    loss_difference,
    loss_figure,
    measure,
    per_class,
)
from tuneloop.score.overlap import answer_text
from tuneloop.score.speed import percentiles
from tuneloop.terminal import say, warn

ALL_METRICS = {
    "classification": ["accuracy", "macro_f1", "micro_f1"],
    "generation": ["exact_match", "bleu", "rouge_l", "think"],
}
CALIBRATED = ("encoder", "tuned")  # the others' confidences rank answers and are no probabilities
COMPARED = {"classification": ["accuracy", "macro_f1"], "generation": ["rouge_l", "exact_match"]}


@dataclass(frozen=True)
class TestRows:
    """The rows that are scored.

    Attributes:
        name: Of the data set.
        sha256: Of the file, or of the rows' ids.
        rows: In the order of their ids.
    """

    name: str
    sha256: str
    rows: list[Row]


def evaluate_run(folder: RunFolder, *, data: Path | None = None, key: str = "") -> dict[str, Any]:
    """Score a run's model against its rivals and write scores.json and predictions.parquet.

    Args:
        folder: A run with rows and a model.
        data: Other test rows; the results then go to evaluations/<name>/ of the run.
        key: The station's key, for the manifest.

    Returns:
        What scores.json holds.

    Raises:
        RunError: if the run has no model yet.
        DataError: if there is nothing to score, or most test labels are unknown to training.
    """
    began = time.monotonic()
    folder.require_model()
    recipe, prepared, args = folder.load_recipe(), load_prepared(folder), read_json(folder.model / "args.json")
    tested = _test_rows(recipe, prepared, data)
    answerable = sum(bool(answer) for answer in answers_of(tested.rows, recipe.task.type))
    exam = Exam(
        recipe.task.type, prepared.train, prepared.validation, tested.rows, prepared.labels,
        min(answerable, recipe.evaluate.max_rows or answerable), recipe.evaluate.max_new_tokens,
        recipe.evaluate.latency,
    )  # fmt: skip
    contenders, absent = _ask_all(exam, recipe, args, folder)
    scores = _scores(exam, recipe, tested, contenders, args["template_hash"])
    scores["absent"] = {one.name: one.why for one in absent}
    saved = folder.stations().get("train", {}).get("saved_against_full", {}) | measured_against_full(folder)
    if saved:
        scores["saved_against_full"] = saved
    target = folder.path
    if data is not None:
        target = folder.path / "evaluations" / f"{data.stem}-{tested.sha256[:8]}"
        say(f"scores: {target / 'scores.json'}")
    # Both or neither: figures beside the answers of other models would be read as theirs.
    with atomic_path(target / "predictions.parquet") as table, atomic_path(target / "scores.json") as page:
        _write_predictions(table, exam, contenders)
        write_json(page, scores)
    if data is None:
        folder.record(
            "evaluate", key=key, train_key=folder.stations()["train"]["key"], seed=recipe.seed,
            device="cuda" if torch.cuda.is_available() else "cpu", seconds=round(time.monotonic() - began, 3),
            rows=len(tested.rows), load_average=[round(x, 2) for x in os.getloadavg()],
        )  # fmt: skip
    return scores


def _test_rows(recipe: Recipe, prepared: Prepared, data: Path | None) -> TestRows:
    if data is None:
        own = _in_order(prepared.test)
        name = recipe.data.test if isinstance(recipe.data.test, str) else recipe.data.train
        return TestRows(Path(name).name, sha256_json([row.id for row in own]), own)
    reading = read_rows(
        str(data), folder=Path.cwd(), task=recipe.task.type, columns=recipe.data.columns, where=recipe.data.where
    )
    if reading.bad:
        warn(f"{len(reading.bad)} rows of {data} cannot be read and are not scored; the first: {reading.bad[0]}")
    if not reading.rows:
        raise DataError(f"{data} holds no row to score", fix="Check data.columns and data.where of the run's recipe")
    rows: Sequence[Row] = reading.rows
    if (known := training_names(prepared.train, prepared.repairs, recipe.clean)) is not None:
        rows, told = with_labels(rows, data.name, known)
        if told:
            warn(told)
    if recipe.task.type == "classification":
        sides: dict[Split, Sequence[Row]] = {"train": prepared.train, "validation": [], "test": rows}
        if lacks := lacking(sides, prepared.labels):
            raise lacks
        for warning in unknown_labels(sides, prepared.labels):
            warn(warning)
    asked = {normalised(row.question) for row in prepared.train}
    seen = sum(normalised(row.question) in asked for row in rows)
    if seen:
        warn(f"{seen} of {len(rows)} rows of {data} ask what a training row asks: their scores flatter the model")
    return TestRows(data.name, sha256_file(data), _in_order(rows))


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """By id, which is as good as chance; rows that nothing is expected of (plain text) last: only their loss counts."""
    return sorted(rows, key=lambda row: (not (row.label or row.answer), row.id))


def _ask_all(
    exam: Exam, recipe: Recipe, args: dict[str, Any], folder: RunFolder
) -> tuple[list[Contender], list[Absent]]:
    """Floor, encoder, untuned, tuned; those that cannot answer are left out, with the reason said and kept.

    Each model is loaded when its turn comes and freed before the next, so that its peak memory is its own.
    """
    say(f"scoring {len(exam.test)} test rows: floor, encoder, untuned, tuned")
    if not reset_peak_memory():
        warn("this system cannot reset the peak memory of a process: it is left out for what runs on the CPU")
    give_back_memory()  # of a training that ran in this process
    found: list[Contender | Absent] = []
    if exam.max_rows:
        found.append(floor_contender(exam))
        give_back_memory()
        found.append(encoder_contender(exam))
    else:
        found += [Absent(name, "no test row says what is expected of it") for name in ("floor", "encoder")]
    give_back_memory()
    found.append(_ask_untuned(exam, recipe, args))
    give_back_memory()
    found.append(tuned_contender(exam, load_tuned(folder.model)))
    absent = [one for one in found if isinstance(one, Absent)]
    for one in absent:
        say(f"the {one.name} row is left out: {one.why}")
    return [one for one in found if isinstance(one, Contender)], absent


def _ask_untuned(exam: Exam, recipe: Recipe, args: dict[str, Any]) -> Contender | Absent:
    """The base model, loaded for as long as it answers."""
    if not recipe.evaluate.untuned_rows:
        return Absent("untuned", "evaluate.untuned_rows is 0")
    if ARCHITECTURES[args["architecture"]] == "bert":
        return Absent("untuned", "an encoder (BERT) has no words of its own to answer with")
    base = load_model(load_base(args), dtype=args["dtype"], head=True)
    base.model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    return untuned_contender(exam, base.model, base.tokenizer, recipe.evaluate.untuned_rows, args)


def _scores(
    exam: Exam, recipe: Recipe, tested: TestRows, contenders: Sequence[Contender], template_hash: str
) -> dict[str, Any]:
    expected = answers_of(exam.test, exam.task)
    names = [str(name) for name in recipe.evaluate.metrics or ALL_METRICS[exam.task]]
    return {
        "schema": 1,
        "task": exam.task,
        "data": {"name": tested.name, "sha256": tested.sha256, "rows": len(tested.rows)},
        "template_hash": template_hash,
        "seed": recipe.seed,
        "models": {c.name: _model_scores(exam, c, expected, names, recipe.seed) for c in contenders},
        "comparisons": _comparisons(exam, contenders, expected, names, recipe.seed),
    }


def _model_scores(exam: Exam, contender: Contender, expected: list[str], names: list[str], seed: int) -> dict[str, Any]:
    wanted = [expected[i] for i in contender.rows]
    entry: dict[str, Any] = {"metrics": {}, "backend": contender.backend, "rows": len(wanted)}
    options = Options(seed=seed, opened_by_prompt=contender.opened_by_prompt)
    if wanted:
        # A rival that copies a training answer does not think by itself: its think figures would be the data's.
        asked = [n for n in names if n != "think" or contender.name in ("untuned", "tuned")]
        entry["metrics"] = measure(asked, contender.predicted, wanted, options)
    if contender.losses is not None and sum(contender.losses[1]) > 0:
        entry["metrics"]["loss"] = loss_figure(*contender.losses, seed=seed)
    if exam.task == "classification":
        labels, counts = confusion_matrix(contender.predicted, wanted)
        entry["per_class"] = per_class(contender.predicted, wanted, seed=seed)
        entry["confusion"] = {"labels": labels, "counts": counts.tolist()}
        if contender.confidences is not None and contender.name in CALIBRATED:
            right = [p == w for p, w in zip(contender.predicted, wanted, strict=True)]
            entry["calibration"] = calibration(contender.confidences, right, seed=seed)
    elif contender.name in ("untuned", "tuned"):
        entry["think"] = {"opened_by_prompt": contender.opened_by_prompt}
    if contender.latency:
        entry["latency_ms"] = percentiles([ms / 1000 for ms in contender.latency]) | {"n": len(contender.latency)}
    return entry | contender.facts


def _comparisons(
    exam: Exam, contenders: Sequence[Contender], expected: list[str], names: list[str], seed: int
) -> list[dict[str, Any]]:
    """The tuned model against each other one, on the rows that both answered."""
    tuned = next(c for c in contenders if c.name == "tuned")
    found = []
    for other in contenders:
        if other is tuned:
            continue
        shared = sorted(set(tuned.rows) & set(other.rows))
        pairs = [[said[i] for i in shared] for said in (_said(tuned, exam.task), _said(other, exam.task))]
        for metric in COMPARED[exam.task]:
            if metric in names and shared:
                gap = difference(metric, [pairs[0]], [pairs[1]], [expected[i] for i in shared], Options(seed=seed))
                found.append({"a": "tuned", "b": other.name, "metric": metric, "n": len(shared), **gap.as_dict()})
        if tuned.losses is not None and other.losses is not None and sum(tuned.losses[1]) > 0:
            gap = loss_difference(tuned.losses[0], other.losses[0], tuned.losses[1], seed=seed)
            found.append({"a": "tuned", "b": other.name, "metric": "loss", "n": len(tuned.losses[0]), **gap.as_dict()})
    return found


def _said(contender: Contender, task: str) -> dict[int, str]:
    """Test row -> what is compared: the label, or the answer behind the reasoning."""
    texts = contender.predicted
    if task == "generation":
        texts = [answer_text(text, opened=contender.opened_by_prompt) for text in texts]
    return dict(zip(contender.rows, texts, strict=True))


def _write_predictions(path: Path, exam: Exam, contenders: Sequence[Contender]) -> None:
    """One line a test row that anybody answered; what a model did not answer is null."""
    count = max(len(c.rows) for c in contenders)
    rows = exam.test[:count]
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "text": [row.question for row in rows],
        "expected": answers_of(rows, exam.task),
    }
    for c in contenders:
        for field, values in (
            ("predicted", c.predicted),
            ("confidence", c.confidences or []),
            ("latency_ms", c.latency),
        ):
            kind = pl.String if field == "predicted" else pl.Float64
            padded = [*values, *[None] * (count - len(values))]
            columns[f"{c.name}_{field}"] = pl.Series(padded, dtype=kind)
    pl.DataFrame(columns).write_parquet(path)


def measured_against_full(folder: RunFolder) -> dict[str, float]:
    """Peak memory and seconds saved, where a run that tuned everything on the same rows, model and epochs exists."""
    ours = folder.stations().get("train", {})
    for path in sorted(folder.path.parent.glob("*/manifest.json")):
        try:
            full = RunFolder(path.parent).stations().get("train", {})
        except (TuneloopError, KeyError):
            continue  # somebody else's folder
        if (
            full.get("method") != "full"
            or ours.get("method") == "full"
            or full.get("comparable") != ours.get("comparable")
        ):
            continue
        return {
            "peak_memory": 1 - ours["peak_memory_mb"] / full["peak_memory_mb"],
            "seconds": 1 - ours["seconds"] / full["seconds"],
        }
    return {}


def compare_runs(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """Runs side by side: their figures, and paired differences on the test rows that they share.

    Args:
        folders: At least two runs that were scored.

    Returns:
        {"task", "runs": {name: figures}, "comparisons": [...]}; each run is compared with the first.

    Raises:
        RunError: if fewer than two runs are named, or one was not scored or was tuned for another task.
        DataError: if two runs share no test row.
    """
    names = [folder.path.name for folder in folders]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise RunError(
            "compare takes two runs or more, each once", got=", ".join(names) or "none", fix="Name them: compare A B"
        )
    scores = {folder.path.name: read_json(folder.scores) for folder in folders}
    first = scores[names[0]]
    found: dict[str, Any] = {"task": first["task"], "runs": {}, "comparisons": []}
    for name, entry in scores.items():
        if entry["task"] != first["task"]:
            raise RunError(f"{name} and {names[0]} were tuned for other tasks", got=f"{entry['task']}, {first['task']}")
        if first["task"] == "generation" and entry["template_hash"] != first["template_hash"]:
            warn(f"{name} and {names[0]} were prompted through different chat templates: a difference may be theirs")
        tuned = entry["models"]["tuned"]
        kept = ("metrics", "latency_ms", "throughput", "peak_memory_mb")
        found["runs"][name] = {key: tuned[key] for key in kept if key in tuned}
    tables = {folder.path.name: _answers(folder, scores[folder.path.name]) for folder in folders}
    for other in names[1:]:
        joined = tables[names[0]].join(tables[other], on="id", suffix="_other", how="inner").sort("id")
        if joined.is_empty():
            raise DataError(
                f"{names[0]} and {other} share no test row, so they cannot be compared",
                fix="Give both recipes the same data.test, data.train and seed",
            )
        a, b = joined["said_other"].to_list(), joined["said"].to_list()
        for metric in COMPARED[found["task"]]:
            gap = difference(metric, [a], [b], joined["expected"].to_list(), Options(seed=first["seed"]))
            found["comparisons"].append(
                {"a": other, "b": names[0], "metric": metric, "n": len(joined), **gap.as_dict()}
            )
    return found


def _answers(folder: RunFolder, scores: dict[str, Any]) -> pl.DataFrame:
    """A run's test rows with what its tuned model said: id, expected, said (the answer behind the reasoning)."""
    table = pl.read_parquet(folder.predictions).filter(pl.col("tuned_predicted").is_not_null()).unique("id")
    said = table["tuned_predicted"].to_list()
    if scores["task"] == "generation":
        opened = scores["models"]["tuned"].get("think", {}).get("opened_by_prompt", False)
        said = [answer_text(text, opened=opened) for text in said]
    return table.select("id", "expected").with_columns(pl.Series("said", said, dtype=pl.String))
