"""What the stations write into the manifest."""

from pathlib import Path

import pytest
from tests.end_to_end.workbench import lines_of, read_json, tuneloop, write_intents, write_recipe
from tests.tiny_models import make_tiny


@pytest.mark.parametrize(("keeps_best", "step"), [(True, 1), (False, 3)])
def test_validation_in_the_manifest_is_that_of_the_weights_that_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_best: bool, step: int
):
    write_intents(tmp_path)
    settings = {"train__num_train_epochs": 3, "train__per_device_train_batch_size": 72}  # a step an epoch
    write_recipe(
        tmp_path, "classification", make_tiny("llama", tmp_path / "base"), **settings,
        train__load_best_model_at_end=keeps_best,
    )  # fmt: skip
    figures = [{"loss": 0.5, "accuracy": 0.9}, {"loss": 0.7, "accuracy": 0.8}, {"loss": 0.6, "accuracy": 0.7}]
    scripted = iter(figures)
    monkeypatch.setattr("tuneloop.infer.held_out.held_out_figures", lambda *_, **__: next(scripted))
    done = tuneloop("train", "recipe.yaml", folder=tmp_path)
    assert done.status == 0, done.err
    train = read_json(tmp_path / "runs/r/manifest.json")["stations"]["train"]
    assert (train["steps"], train["best_step"]) == (3, 1)
    assert train["validation"] == figures[step - 1]
    looks = [line for line in lines_of(tmp_path / "runs/r/log.jsonl") if "validation_loss" in line]
    assert [line["step"] for line in looks] == [1, 2, 3] and next(scripted, None) is None
