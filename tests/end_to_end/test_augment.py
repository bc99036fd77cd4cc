"""Augmentation through the station of training: drawn anew each epoch, the same after a resume, off by default."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.workbench import lines_of, read_json, tuneloop, write_intents, write_recipe

from tuneloop import flow, stations
from tuneloop.errors import DataError
from tuneloop.recipe import load_recipe
from tuneloop.runs import RUNS, RunFolder
from tuneloop.terminal import Bar

Models = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ready_of(recipe: Path) -> stations.Ready:
    """What a run would train, before its first step."""
    settings, home = load_recipe(recipe), recipe.parent
    plan = flow._rows_and_model(RunFolder(RUNS / settings.name), settings, home, overwrite=False)
    assert plan.ready is not None
    return plan.ready


def test_rows_ask_in_other_words_each_epoch_and_the_classes_stay(intents: Path, model: Models):
    path = write_recipe(
        intents, "classification", model("llama"), augment__synonyms={"rate": 0.5}, augment__noise={"rate": 0.5}
    )
    ready = ready_of(path)
    assert ready.fresh is not None
    places = list(range(len(ready.train)))
    first, again, second = (ready.fresh(places, epoch) for epoch in (0, 0, 1))
    ids = [[example.input_ids for example in drawn] for drawn in (ready.train, first, again, second)]
    assert ids[1] == ids[2]
    assert ids[0] != ids[1] != ids[3]
    assert [e.target for e in first] == [e.target for e in second] == [e.target for e in ready.train]


def test_show_and_a_run_tell_how_many_rows_keep_their_label(intents: Path, model: Models):
    write_recipe(intents, "classification", model("llama"), augment__synonyms={"rate": 0.1})
    who = "a judge (TF-IDF and a linear classifier that learnt from the rows as they stand)"
    shown = tuneloop("show", "recipe.yaml", "-n", 1, folder=intents).out
    assert who in " ".join(shown.split()) and "labels: of 72 rows whose original" in shown
    done = tuneloop("train", "recipe.yaml", folder=intents)
    assert done.status == 0, done.err
    labels = read_json(intents / "runs/r/augment.json")["labels"]
    assert labels["judged"] == 72 and 0 < labels["changed_kept"] <= labels["changed"] < 72
    told = f"augment: of 72 rows whose original {who} gets right, {labels['kept']} ({labels['share']:.1%})"
    assert told in done.err and "lower the rates" not in done.err


def test_rows_that_are_no_classification_have_no_judge(answers: Path, model: Models):
    ready = ready_of(write_recipe(answers, "generation", model("llama"), augment__synonyms={"rate": 0.5}))
    assert ready.augment and "labels" not in ready.augment


def test_nothing_is_drawn_where_nothing_is_asked_for(intents: Path, model: Models):
    assert ready_of(write_recipe(intents, "classification", model("llama"))).fresh is None


def losses(folder: Path) -> list[float]:
    """Of every step."""
    return [line["loss"] for line in lines_of(folder / "runs/r/log.jsonl") if "loss" in line]


def test_a_run_that_stops_and_goes_on_trains_on_the_words_of_the_unbroken_one(
    tmp_path: Path, model: Models, monkeypatch: pytest.MonkeyPatch
):
    """And on other words than a run without augmentation."""
    whole, cut, plain = (tmp_path / name for name in ("whole", "cut", "plain"))
    for folder in (whole, cut, plain):
        folder.mkdir()
        write_intents(folder)
        changes = {} if folder == plain else {"augment__synonyms": {"rate": 0.5}, "augment__noise": {"rate": 0.5}}
        write_recipe(folder, "classification", model("llama"), train__num_train_epochs=2, **changes)
    advance, steps = Bar.advance, 0

    def struck(bar: Bar, *args: Any, note: str = "", **options: Any) -> None:
        nonlocal steps
        advance(bar, *args, note=note, **options)
        steps += note.startswith("loss")
        if note.startswith("loss") and steps == 12:  # of 18, in the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as now:
        now.setattr(Bar, "advance", struck)
        done = tuneloop("train", "recipe.yaml", folder=cut)
    assert done.status == 130 and "stopped at step 12 of 18" in done.err
    for folder in (whole, cut, plain):
        done = tuneloop("train", "recipe.yaml", *(["--resume"] if folder == cut else []), folder=folder)
        assert done.status == 0, done.err
        assert ("resumed at step 12 of 18" in done.err) == (folder == cut)
    weights = [
        (folder / "runs/r/model" / name).read_bytes()
        for name in ("adapter_model.safetensors", "head.safetensors")
        for folder in (whole, cut, plain)
    ]
    assert weights[0] == weights[1] != weights[2] and weights[3] == weights[4] != weights[5]
    assert losses(whole) == losses(cut) and len(losses(whole)) == 18
    assert losses(whole) != losses(plain)


def test_a_table_that_is_not_there_is_an_error_before_the_model_loads(intents: Path, model: Models):
    path = write_recipe(intents, "classification", model("llama"), augment__synonyms={"table": "none.txt"})
    with pytest.raises(DataError, match=r"augment\.synonyms\.table names none\.txt"):
        ready_of(path)
