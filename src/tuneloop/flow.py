"""The whole offline half, top to bottom: recipe -> rows -> tuned model -> scores -> report.

Each public function is what the verb of the same name does; the command line adds only printing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.disk import exclusive, read_json, sha256_json, sweep
from tuneloop.errors import RecipeError, RunError, TuneloopError
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.review.store import load_decisions
from tuneloop.row_station import data_key, data_station, keep_page, load_rows, rows_stand, timed_prepare
from tuneloop.rows.checks import untrainable
from tuneloop.rows.funnel import short_funnel
from tuneloop.rows.locate import expand_variables
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import RUNS, RunFolder, open_run
from tuneloop.stations import (
    Keys,
    Ready,
    attach,
    check_fits,
    evaluate_key,
    later_keys,
    make_wordings,
    masked_of,
    train_station,
    with_variants,
)
from tuneloop.terminal import say, warn

if TYPE_CHECKING:
    from tuneloop.model.source import Source


@dataclass(frozen=True)
class Plan:
    """A run about to be made: everything cheap is checked, rows are there, the base model is found."""

    folder: RunFolder
    recipe: Recipe
    source: Source
    prepared: Prepared
    keys: Keys
    ready: Ready | None  # None: the model that stands there is the one asked for


def run(recipe: Path | str, overrides: list[str] | None = None, *, overwrite: bool = False) -> RunFolder:
    """Every station of a recipe, re-doing only those whose inputs changed.

    Args:
        recipe: The YAML file.
        overrides: `section.key=value` each.
        overwrite: Whether a trained model may be replaced by one with other inputs.

    Returns:
        The run folder, with model/, scores.json and report.html.

    Raises:
        TuneloopError: with one paragraph; what was finished before stays.
    """
    settings, home = load_recipe(recipe, overrides), Path(recipe).resolve().parent
    folder = RunFolder(RUNS / settings.name)
    with claim(folder):
        plan = _rows_and_model(folder, settings, home, overwrite=overwrite)
        plan = _train_if_stale(plan, resume=True)
        _score_if_stale(plan)
    return folder


def clean(recipe: Path | str, overrides: list[str] | None = None, *, overwrite: bool = False) -> RunFolder:
    """Raw rows -> clean, dropped and split rows in the run folder."""
    settings, home = load_recipe(recipe, overrides), Path(recipe).resolve().parent
    folder = RunFolder(RUNS / settings.name)
    with claim(folder):
        decisions = load_decisions(folder.data)
        key = data_key(settings, home, decisions)
        if rows_stand(folder, key):
            say("rows: unchanged, kept")
            keep_page(folder, settings, home, decisions)
        else:
            _guard_model(folder, settings, "its rows would change", overwrite=overwrite)
            prepared, seconds = timed_prepare(settings, home, decisions, folder, key)
            data_station(folder, settings, prepared, key, seconds)
            folder.save_recipe(settings)
    return folder


def tune(
    recipe: Path | str, overrides: list[str] | None = None, *, resume: bool = False, overwrite: bool = False
) -> RunFolder:
    """Rows (if they changed) and training, without scoring.

    Args:
        recipe: The YAML file.
        overrides: `section.key=value` each.
        resume: Go on from the newest checkpoint of the same inputs.
        overwrite: Whether a trained model, or an unfinished training, may be replaced.

    Raises:
        TuneloopError: with one paragraph; what was finished before stays.
    """
    settings, home = load_recipe(recipe, overrides), Path(recipe).resolve().parent
    folder = RunFolder(RUNS / settings.name)
    with claim(folder):
        plan = _rows_and_model(folder, settings, home, overwrite=overwrite)
        unfinished = _unfinished_step(folder, plan.keys.train)
        if unfinished is not None and not (resume or overwrite):
            raise RunError(
                f"{folder.path} holds a training of this very recipe that was stopped at step {unfinished}",
                fix="Add --resume to go on from there, or --overwrite to start over",
            )
        _train_if_stale(plan, resume=resume)
    return folder


def evaluate(run: Path | str, *, data: Path | None = None) -> dict[str, Any]:
    """Score a run again, on its test rows or on `data`.

    Args:
        run: The run, by name or path.
        data: Other rows; the scores then go to evaluations/<name>/ in the run, never to its own scores.json.

    Returns:
        What scores.json holds.
    """
    from tuneloop.score.matrix import evaluate_run

    folder = open_run(run)
    with exclusive(folder.path):
        folder.require_model()
        if data is not None:
            return evaluate_run(folder, data=data)
        _score(folder, evaluate_key(folder.stations()["train"]["key"], folder.load_recipe()))
        return dict(read_json(folder.scores))


def predict(run: Path | str, data: Path | str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Answers of a run's model for new rows.

    Args:
        run: The run, by name or path.
        data: File of rows, with or without answers.
        limit: Only the first so many.

    Returns:
        One dict a row: id, source, text, predicted, confidence (classification), thought (generation).
    """
    from tuneloop.prediction import predict_rows

    return predict_rows(open_run(run), data, limit=limit)


def compare(runs: list[str]) -> dict[str, Any]:
    """Runs side by side on the test rows they share, with paired statistics."""
    from tuneloop.score.matrix import compare_runs

    return compare_runs([open_run(name) for name in runs])


# -- what the verbs share -----------------------------------------------------------------------------------


@contextlib.contextmanager
def claim(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder for this process; one that was made in vain is removed again."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "The commands run in one process", got=f"WORLD_SIZE={os.environ['WORLD_SIZE']}",
            fix="Start tuneloop without torchrun or accelerate launch; the training loop alone handles ranks so far",
        )  # fmt: skip
    fresh = not folder.path.exists()
    try:
        with exclusive(folder.path):
            for inside in (folder.path, folder.data, folder.checkpoints):
                sweep(inside)
            yield
    except BaseException:
        if fresh and {p.name for p in folder.path.glob("*")} <= {".lock"}:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _rows_and_model(folder: RunFolder, recipe: Recipe, home: Path, *, overwrite: bool) -> Plan:
    """The stations of rows and wordings if stale, after everything cheap was checked and the base model found."""
    from tuneloop.augment.station import augment_key, check_teacher, load_variants, standing_sha256
    from tuneloop.model.source import resolve

    decisions = load_decisions(folder.data)  # once: rows and key must be of the same ones
    key = data_key(recipe, home, decisions)
    stale = not rows_stand(folder, key)
    prepared, seconds = timed_prepare(recipe, home, decisions, folder, key) if stale else (load_rows(folder), 0.0)
    source = resolve(expand_variables(recipe.model.name_or_path), recipe.model.revision, relative_to=home)
    check_fits(recipe, source)
    masked = masked_of(recipe, home)
    wanted = augment_key(recipe, key, masked)
    # New rows take the wordings of the old ones with them.
    made = standing_sha256(folder, recipe, wanted) if not (stale and wanted) else None
    keys = later_keys(recipe, key, source, home, wanted if made is None else made)
    trained = folder.stations().get("train")
    stands = trained is not None and trained["key"] == keys.train
    if trained is not None and not stands:
        why = _what_changed(folder, recipe, rows=stale, wordings=made is None)
        _guard_model(folder, recipe, why, overwrite=overwrite)
    fault = untrainable(prepared, recipe)
    if made is None and fault is None:
        check_teacher(folder, recipe, prepared)
    # Before anything is written or paid for: rows that this model cannot learn from are no rows to keep.
    kept = stands and (folder.model / "args.json").exists()
    ready = None if kept or fault else attach(recipe, source, prepared, home)
    with _aside(folder) if trained is not None and not stands else contextlib.nullcontext():
        if stale:
            say("rows: inputs changed, done again" if "data" in folder.stations() else "rows: read, split, cleaned")
            data_station(folder, recipe, prepared, key, seconds)
            folder.save_recipe(recipe)
            _say_funnel(folder, prepared)
        else:
            say("rows: unchanged, kept")
            keep_page(folder, recipe, home, decisions)
        if fault is not None:  # people can look at the rows and decide, now that they are written
            raise fault
        _say_rows(recipe, prepared)
        if made is None:
            made = make_wordings(folder, recipe, prepared, masked, wanted)
            keys = later_keys(recipe, key, source, home, made)
        elif made:
            say("augment: wordings unchanged, kept")
        if made and ready is not None:
            ready = with_variants(ready, recipe, prepared, load_variants(folder), home)
        folder.save_recipe(recipe)
    return Plan(folder, recipe, source, prepared, keys, ready)


def _say_rows(recipe: Recipe, prepared: Prepared) -> None:
    say(f"rows: {prepared.report['format']}; " + ", ".join(f"{k} {len(v)}" for k, v in _sides(prepared).items()))
    for warning in prepared.report["warnings"]:
        warn(warning)
    if waiting := prepared.report["counts"]["train"]["to review"]:
        waits = f"{waiting:,} rows wait for a person and are" if waiting != 1 else "1 row waits for a person and is"
        say(f"review: {waits} not trained on; `tuneloop review {recipe.name}`")


@contextlib.contextmanager
def _aside(folder: RunFolder) -> Iterator[None]:
    """Keep the trained run in previous/ while the block replaces its rows; not where the block replaced nothing."""
    folder.set_aside()
    before = folder.stations()
    try:
        yield
    except BaseException:
        if folder.stations() == before:
            folder.drop_previous()
        raise
    say(f"the model that stood here is kept in {folder.previous.path} until the new one is trained")


def _say_funnel(folder: RunFolder, prepared: Prepared) -> None:
    """What became of the rows that were just read, and where each reason has its examples."""
    for line in short_funnel(prepared.report):
        say(line)
    say(f"rows: each reason with examples: {folder.data_page}")


def _sides(prepared: Prepared) -> dict[str, Any]:
    return {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}


def _guard_model(folder: RunFolder, recipe: Recipe, why: str, *, overwrite: bool) -> None:
    """Stop before a trained model is replaced, unless that was asked for."""
    if "train" in folder.stations() and not overwrite:
        raise RunError(
            f"The run {folder.path} holds a trained model that this would replace: {why}",
            fix=f"Add --overwrite to replace it, or keep it and choose another name: --set name={recipe.name}-2",
        )


def _what_changed(folder: RunFolder, recipe: Recipe, *, rows: bool, wordings: bool) -> str:
    """The sections of the recipe that differ from the run's own, in words."""
    if not folder.recipe.exists():
        return "its recipe is gone"
    before, after = folder.load_recipe().model_dump(), recipe.model_dump()
    sections = ("task", "model", "data", "clean", "augment", "teacher", "adapt", "train", "seed")
    changed = [section for section in sections if before[section] != after[section]]
    if changed:
        return f"{', '.join(changed)} changed in the recipe"
    if rows or not wordings:
        return "the input files changed" if rows else "the base model or tuneloop's version changed"
    return "the wordings of its training rows are to be made again"


def _train_if_stale(plan: Plan, *, resume: bool) -> Plan:
    """Train if stale; the plan comes back without the network, which would count in the memory of all scored next."""
    if plan.ready is None:
        say("training: unchanged, kept")
        return plan
    going_on = resume and _unfinished_step(plan.folder, plan.keys.train) is not None
    say("training: going on from the newest checkpoint" if going_on else "training: from the start")
    labels = plan.prepared.labels
    train_station(plan.folder, plan.recipe, plan.source, plan.ready, labels, plan.keys, resume=going_on)
    return replace(plan, ready=None)


def _unfinished_step(folder: RunFolder, key: str) -> int | None:
    """The newest checkpoint's step where it is of the training `key` and that is not finished; else None."""
    if folder.stations().get("train", {}).get("key") == key:
        return None
    for path in sorted(folder.checkpoints.glob("step-*/state.json"), reverse=True):
        with contextlib.suppress(TuneloopError, KeyError):
            state = read_json(path)
            return int(state["step"]) if state["key"] == key else None
    return None


def _score_if_stale(plan: Plan) -> None:
    entry = plan.folder.stations().get("evaluate")
    if entry is not None and entry["key"] == plan.keys.evaluate and plan.folder.scores.exists():
        say("scores: unchanged, kept")
        page = plan.folder.stations().get("report", {})
        if page.get("key") != _page_key(plan.folder) or not plan.folder.report.exists():
            _write_page(plan.folder)
    else:
        _score(plan.folder, plan.keys.evaluate)


def _score(folder: RunFolder, key: str) -> None:
    from tuneloop.score.matrix import evaluate_run

    folder.forget("evaluate", "report")
    evaluate_run(folder, key=key)
    _write_page(folder)


def _write_page(folder: RunFolder) -> None:
    from tuneloop.report.page import write_report

    began = time.monotonic()
    write_report(folder)
    folder.record("report", key=_page_key(folder), seconds=round(time.monotonic() - began, 3))


def _page_key(folder: RunFolder) -> str:
    """Hash of what the page shows: the scores and the recipe."""
    return sha256_json([folder.stations()["evaluate"]["key"], folder.load_recipe().model_dump()])
