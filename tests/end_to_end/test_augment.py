"""Augmentation through the station of training: drawn anew each epoch, the same after a resume, off by default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.end_to_end.workbench import write_recipe

from tuneloop import flow, stations
from tuneloop.errors import DataError
from tuneloop.recipe import load_recipe
from tuneloop.runs import RUNS, RunFolder

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


def test_nothing_is_drawn_where_nothing_is_asked_for(intents: Path, model: Models):
    assert ready_of(write_recipe(intents, "classification", model("llama"))).fresh is None


def test_a_table_that_is_not_there_is_an_error_before_the_model_loads(intents: Path, model: Models):
    path = write_recipe(intents, "classification", model("llama"), augment__synonyms={"table": "none.txt"})
    with pytest.raises(DataError, match=r"augment\.synonyms\.table names none\.txt"):
        ready_of(path)
