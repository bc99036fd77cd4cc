"""The run folder: its paths, its manifest, and finding it by name or path."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tuneloop.disk import read_json
from tuneloop.errors import RunError
from tuneloop.recipe import Recipe, recipe_from_tree
from tuneloop.runs import RunFolder, open_run, versions


def a_recipe() -> Recipe:
    return recipe_from_tree({"name": "intent", "model": {"name_or_path": "m"}, "data": {"train": "r.jsonl"}}, "test")


def test_every_part_lies_where_the_design_says():
    run = RunFolder(Path("runs/intent"))
    parts = {
        run.recipe: "recipe.yaml",
        run.manifest: "manifest.json",
        run.data: "data",
        run.data_page: "data/report.html",
        run.checkpoints: "checkpoints",
        run.model: "model",
        run.log: "log.jsonl",
        run.scores: "scores.json",
        run.predictions: "predictions.parquet",
        run.report: "report.html",
    }
    assert len(parts) == 10
    assert all(path == Path("runs/intent") / name for path, name in parts.items())


def test_the_recipe_goes_round(tmp_path: Path):
    run = RunFolder(tmp_path / "intent")
    run.save_recipe(a_recipe())
    assert run.load_recipe() == a_recipe()


def test_the_manifest_gains_loses_and_keeps_stations(tmp_path: Path):
    run = RunFolder(tmp_path)
    assert run.stations() == {}
    run.forget("data")
    assert not run.manifest.exists()

    run.record("data", key="k1", counts={"train": 3})
    run.record("train", key="k2", seed=42)
    run.record("data", key="k3")
    stations = run.stations()
    assert set(stations) == {"data", "train"}
    assert stations["data"]["key"] == "k3"
    assert "counts" not in stations["data"]
    assert stations["train"]["seed"] == 42
    assert datetime.fromisoformat(stations["train"]["finished"]) <= datetime.now(UTC)
    assert read_json(run.manifest)["schema"] == 1

    run.forget("train", "never ran")
    assert set(run.stations()) == {"data"}


def test_each_entry_carries_the_versions_without_importing_anything(tmp_path: Path):
    from importlib.metadata import version

    assert versions()["versions"]["torch"] == version("torch")
    RunFolder(tmp_path).record("data", key="k")
    assert set(RunFolder(tmp_path).stations()["data"]["versions"]) == {
        "python", "tuneloop", "torch", "transformers", "peft", "accelerate",
    }  # fmt: skip


def test_a_run_is_found_by_name_and_by_path(in_folder: Path):
    run = RunFolder(Path("runs/intent"))
    run.save_recipe(a_recipe())
    run.record("data", key="k")
    # A starter folder of the same name holds a recipe too, and is no run.
    RunFolder(Path("intent")).save_recipe(a_recipe())
    assert open_run("intent") == run
    assert open_run("runs/intent") == run
    assert open_run(in_folder / "runs" / "intent").path == in_folder / "runs" / "intent"


def test_an_unknown_run_names_those_there_are(in_folder: Path):
    with pytest.raises(RunError, match="Allowed: none yet"):
        open_run("intent")
    for name in ("b", "a"):
        RunFolder(Path("runs") / name).save_recipe(a_recipe())
        RunFolder(Path("runs") / name).record("data", key="k")
    (in_folder / "runs" / "empty").mkdir()
    with pytest.raises(
        RunError, match=r"There is no run 'intent'\. .*Allowed: a, b\. `tuneloop run RECIPE` makes one\."
    ):
        open_run("intent")
    with pytest.raises(RunError, match="There is no run 'empty'"):
        open_run("empty")


def test_a_broken_manifest_is_an_expected_error(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        RunFolder(tmp_path).stations()


def test_a_model_of_other_rows_is_refused(tmp_path: Path):
    run = RunFolder(tmp_path)
    with pytest.raises(RunError, match="holds no trained model"):
        run.require_model()
    (run.model).mkdir()
    (run.model / "args.json").write_text("{}")
    run.record("data", key="new")
    run.record("train", key="t", data_key="old")
    with pytest.raises(RunError, match="are not those that its model was trained on"):
        run.require_model()
    run.record("train", key="t", data_key="new")
    run.require_model()
    run.forget("train")
    with pytest.raises(RunError, match="holds no trained model"):
        run.require_model()
