"""The whole offline half, top to bottom: recipe -> rows -> tuned model -> scores -> report.

Each public function is what the verb of the same name does; the command line adds only printing.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.disk import exclusive, sha256_json
from tuneloop.errors import RunError, TuneloopError
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import RUNS, RunFolder, open_run
from tuneloop.stations import (
    data_key,
    data_station,
    later_keys,
    load_rows,
    timed_prepare,
    train_station,
)
from tuneloop.terminal import say

if TYPE_CHECKING:
    from tuneloop.model.source import Source


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
        source, prepared = _rows_and_model(folder, settings, home, overwrite=overwrite)
        _train_if_stale(folder, settings, home, source, prepared, resume=True)
        _score_if_stale(folder, settings, home, source)
    return folder


def clean(recipe: Path | str, overrides: list[str] | None = None, *, overwrite: bool = False) -> RunFolder:
    """Raw rows -> clean, dropped and split rows in the run folder."""
    settings, home = load_recipe(recipe, overrides), Path(recipe).resolve().parent
    folder = RunFolder(RUNS / settings.name)
    with claim(folder):
        key = data_key(settings, home)
        entry = folder.stations().get("data")
        if entry is None or entry["key"] != key:
            _guard_model(folder, settings, "its rows would change", overwrite=overwrite)
            _write_rows(folder, settings, home, key)
        else:
            say("rows: unchanged, kept")
    return folder


def tune(
    recipe: Path | str, overrides: list[str] | None = None, *, resume: bool = False, overwrite: bool = False
) -> RunFolder:
    """Rows (if they changed) and training, without scoring.

    Args:
        recipe: The YAML file.
        overrides: `section.key=value` each.
        resume: Go on from the newest checkpoint of the same inputs.
        overwrite: Whether a trained model may be replaced.
    """
    settings, home = load_recipe(recipe, overrides), Path(recipe).resolve().parent
    folder = RunFolder(RUNS / settings.name)
    with claim(folder):
        source, prepared = _rows_and_model(folder, settings, home, overwrite=overwrite)
        _train_if_stale(folder, settings, home, source, prepared, resume=resume)
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
        return evaluate_run(folder, data=data)


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
    fresh = not folder.path.exists()
    try:
        with exclusive(folder.path):
            yield
    except TuneloopError:
        if fresh and {p.name for p in folder.path.glob("*")} <= {".lock"}:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _rows_and_model(folder: RunFolder, recipe: Recipe, home: Path, *, overwrite: bool) -> tuple[Source, Prepared]:
    """The station of rows if stale, after everything cheap was checked and the base model found."""
    from tuneloop.model.source import resolve

    key = data_key(recipe, home)
    entry = folder.stations().get("data")
    stale = entry is None or entry["key"] != key
    prepared, seconds = timed_prepare(recipe, home) if stale else (load_rows(folder), 0.0)
    source = resolve(recipe.model.name_or_path, recipe.model.revision, relative_to=home)
    trained = folder.stations().get("train")
    if trained is not None and trained["key"] != later_keys(recipe, key, source.sha256).train:
        _guard_model(folder, recipe, _what_changed(folder, recipe, rows=stale), overwrite=overwrite)
    if stale:
        _say_plan("rows", entry is not None)
        data_station(folder, recipe, prepared, key, seconds)
        folder.save_recipe(recipe)
    else:
        say("rows: unchanged, kept")
    return source, prepared


def _write_rows(folder: RunFolder, recipe: Recipe, home: Path, key: str) -> None:
    prepared, seconds = timed_prepare(recipe, home)
    data_station(folder, recipe, prepared, key, seconds)
    folder.save_recipe(recipe)


def _guard_model(folder: RunFolder, recipe: Recipe, why: str, *, overwrite: bool) -> None:
    """Stop before a trained model is replaced, unless that was asked for; then take its stations away."""
    if "train" not in folder.stations():
        return
    if not overwrite:
        raise RunError(
            f"The run {folder.path} holds a trained model that this would replace: {why}",
            fix=f"Add --overwrite to replace it, or keep it and choose another name: --set name={recipe.name}-2",
        )
    folder.forget("train", "evaluate", "report", "merge")


def _what_changed(folder: RunFolder, recipe: Recipe, *, rows: bool) -> str:
    """The sections of the recipe that differ from the run's own, in words."""
    if not folder.recipe.exists():
        return "its recipe is gone"
    before, after = folder.load_recipe().model_dump(), recipe.model_dump()
    sections = ("task", "model", "data", "clean", "adapt", "train", "seed")
    changed = [section for section in sections if before[section] != after[section]]
    if changed:
        return f"{', '.join(changed)} changed in the recipe"
    return "the input files changed" if rows else "the base model or tuneloop's version changed"


def _say_plan(station: str, again: bool) -> None:
    say(f"{station}: {'inputs changed, doing it again' if again else 'to do'}")


def _train_if_stale(
    folder: RunFolder, recipe: Recipe, home: Path, source: Source, prepared: Prepared, *, resume: bool
) -> None:
    key = later_keys(recipe, data_key(recipe, home), source.sha256).train
    entry = folder.stations().get("train")
    if entry is not None and entry["key"] == key:
        say("training: unchanged, kept")
        return
    folder.save_recipe(recipe)
    unfinished = _unfinished_key(folder) == key
    if not (resume and unfinished):
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        folder.log.unlink(missing_ok=True)
    else:
        say("training: going on from the newest checkpoint")
    train_station(folder, recipe, source, prepared, key, resume=resume and unfinished)


def _unfinished_key(folder: RunFolder) -> str:
    """The key of the newest checkpoint, "" if there is none that can be read."""
    from tuneloop.disk import read_json

    for path in sorted(folder.checkpoints.glob("step-*/state.json"), reverse=True):
        with contextlib.suppress(TuneloopError, KeyError):
            return str(read_json(path)["key"])
    return ""


def _score_if_stale(folder: RunFolder, recipe: Recipe, home: Path, source: Source) -> None:
    from tuneloop.score.matrix import evaluate_run
    from tuneloop.score.report import write_report

    keys = later_keys(recipe, data_key(recipe, home), source.sha256)
    folder.save_recipe(recipe)
    entry = folder.stations().get("evaluate")
    if entry is None or entry["key"] != keys.evaluate or not folder.scores.exists():
        evaluate_run(folder, key=keys.evaluate)
    else:
        say("scores: unchanged, kept")
    folder.record("report", key=sha256_json([keys.report]))
    write_report(folder)
