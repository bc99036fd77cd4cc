"""The fast path through the command: chosen by itself, said aloud, off by one key, and the same training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.end_to_end.workbench import lines_of, read_json, tuneloop, write_answers, write_intents, write_recipe

Models = Callable[[str], Path]
ROWS = {"classification": write_intents, "generation": write_answers}


def trained(folder: Path, name: str, task: str, base: Path, **changes: object) -> tuple[Path, str]:
    """A finished run and what it said."""
    write_recipe(folder, task, base, file=f"{name}.yaml", name=name, train__num_train_epochs=2, **changes)
    done = tuneloop("run", f"{name}.yaml", folder=folder)
    assert done.status == 0, done.err
    return folder / "runs" / name, done.err


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "deepseek_v3"])
@pytest.mark.parametrize("task", ROWS)
def test_on_and_off_it_trains_the_same_way(tmp_path: Path, model: Models, task: str, architecture: str):
    ROWS[task](tmp_path)
    fast, said = trained(tmp_path, "fast", task, model(architecture))
    plain, said_off = trained(tmp_path, "plain", task, model(architecture), model__fast_path=False)
    assert "training: on the fast path" in said
    assert "training: on the plain path: model.fast_path is false" in said_off
    answering = "answering: on the plain path (transformers' generate): model.fast_path is false"
    assert answering not in said and (answering in said_off) == (task == "generation")
    falls_back = "answering: on the plain path (transformers' generate): its architecture is deepseek_v3"
    assert (falls_back in said) == (task == "generation" and architecture == "deepseek_v3")
    manifests = [read_json(run / "manifest.json")["stations"]["train"] for run in (fast, plain)]
    assert [manifest["fast_path"] for manifest in manifests] == [True, False]
    ours, theirs = ([line["loss"] for line in lines_of(run / "log.jsonl") if "loss" in line] for run in (fast, plain))
    assert len(ours) >= 6 and ours == pytest.approx(theirs, rel=1e-4)
    looks, others = (
        [line["validation_loss"] for line in lines_of(run / "log.jsonl") if "validation_loss" in line]
        for run in (fast, plain)
    )
    assert looks == pytest.approx(others, rel=1e-4)
    answers = [pl.read_parquet(run / "predictions.parquet")["tuned_predicted"].to_list() for run in (fast, plain)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("architecture", "changes", "why"),
    [
        ("bert", {}, "its architecture is bert"),
        ("llama", {"adapt__dropout": 0.1}, "adapt.dropout is not 0"),
    ],
)
def test_where_it_does_not_apply_the_plain_path_says_why(
    tmp_path: Path, model: Models, architecture: str, changes: dict[str, object], why: str
):
    write_intents(tmp_path)
    run, said = trained(tmp_path, "r", "classification", model(architecture), **changes)
    assert f"training: on the plain path: {why}" in said
    assert read_json(run / "manifest.json")["stations"]["train"]["fast_path"] is False
