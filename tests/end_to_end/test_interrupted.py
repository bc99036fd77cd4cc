"""Ctrl-C, SIGTERM and kill -9 in the middle: what is left is whole, and going on ends at the same weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.end_to_end.workbench import (
    Done,
    files_of,
    finish,
    lines_of,
    read_json,
    runs_of,
    start,
    tuneloop,
    write_intents,
    write_recipe,
)

from tuneloop.train.checkpoint import check_checkpoint

Models = Callable[[str], Path]
STEPS = 18  # 72 rows, batch 8, 2 epochs

# The process sends itself a real signal right after a training step, so that the moment is always the same.
SIGNAL_AT = """
import os, signal
from tuneloop.terminal import Bar
advance, steps = Bar.advance, 0
def count(bar, *args, note="", **options):
    global steps
    advance(bar, *args, note=note, **options)
    steps += note.startswith("loss")
    if note.startswith("loss") and steps == {step}:
        os.kill(os.getpid(), signal.{name})
Bar.advance = count
from tuneloop.cli import main
main()
"""


def stopped_at(step: int, name: str, folder: Path, verb: str = "run") -> Done:
    """Run the recipe in its own process until the signal ends it."""
    return finish(start(verb, "recipe.yaml", folder=folder, script=SIGNAL_AT.format(step=step, name=name)))


@pytest.fixture(autouse=True)
def hears_ctrl_c() -> Iterator[None]:
    """Python leaves Ctrl-C ignored where it was started so: by nohup, or behind a shell's `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def write(folder: Path, model: Path) -> Path:
    write_intents(folder)
    write_recipe(folder, "classification", model, train__num_train_epochs=2, train__logging_steps=4, adapt__dropout=0.1)
    return folder


@pytest.fixture(scope="module")
def unbroken(model: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the same recipe, never stopped."""
    folder = write(tmp_path_factory.mktemp("unbroken"), model("llama"))
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert done.status == 0, done.err
    return folder / "runs/r"


@pytest.fixture
def place(tmp_path: Path, model: Models) -> Path:
    return write(tmp_path, model("llama"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model/adapter_model.safetensors") | load_file(run / "model/head.safetensors")


def check_same(run: Path, other: Path) -> None:
    """The same weights to the bit, and the same log: each line once, means over all the steps since the one before."""
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys() and len(ours) > 4
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    timed = ("tokens_per_second", "memory_mb")
    told = [
        [{key: value for key, value in line.items() if key not in timed} for line in lines_of(r / "log.jsonl")]
        for r in (run, other)
    ]
    assert told[0] == told[1]
    assert [line["step"] for line in told[0] if "loss" in line] == [4, 8, 12, 16, STEPS]


def check_stopped(run: Path, done: Done, step: int) -> None:
    """Exit 130, the words, one whole checkpoint of that step, no model and nothing half written."""
    assert done.status == 130, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert f"stopped at step {step} of {STEPS}" in done.err
    check_checkpoint(run / "checkpoints" / f"step-{step:08d}")
    assert not (run / "model").exists()
    assert list(read_json(run / "manifest.json")["stations"]) == ["data"]
    assert not [name for name in files_of(run) if ".tmp" in name]


def test_after_ctrl_c_the_same_command_goes_on(place: Path, unbroken: Path):
    run = place / "runs/r"
    check_stopped(run, stopped_at(5, "SIGINT", place), 5)
    done = tuneloop("run", "recipe.yaml", folder=place)
    assert done.status == 0, done.err
    assert f"resumed at step 5 of {STEPS}" in done.err
    check_same(run, unbroken)
    assert (run / "report.html").exists()


def test_after_sigterm_train_resume_goes_on(place: Path, unbroken: Path):
    run = place / "runs/r"
    check_stopped(run, stopped_at(11, "SIGTERM", place, verb="train"), 11)
    before = files_of(place)
    told = tuneloop("train", "recipe.yaml", folder=place).paragraph()  # it would throw away what was trained
    assert "stopped at step 11" in told and "--resume" in told
    assert files_of(place) == before
    done = tuneloop("train", "recipe.yaml", "--resume", folder=place)
    assert done.status == 0, done.err
    assert f"resumed at step 11 of {STEPS}" in done.err
    check_same(run, unbroken)


def test_after_kill_9_the_same_command_goes_on(place: Path, unbroken: Path):
    run = place / "runs/r"
    done = stopped_at(13, "SIGKILL", place)
    assert done.status == -signal.SIGKILL
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000009"]  # the end of the first epoch
    assert [line["step"] for line in lines_of(run / "log.jsonl") if "loss" in line] == [4, 8, 12]
    for left in (
        run / "checkpoints/.step-00000013.0123abcd.tmp",
        run / ".model.0123abcd.tmp",
    ):  # or in the middle of one
        left.mkdir()
        (left / "weights.safetensors").write_bytes(b"half")
    done = tuneloop("run", "recipe.yaml", folder=place)
    assert done.status == 0, done.err
    assert f"resumed at step 9 of {STEPS}" in done.err
    check_same(run, unbroken)
    assert not [name for name in files_of(run) if ".tmp" in name]


def test_another_recipe_does_not_go_on_from_an_unfinished_training(place: Path, unbroken: Path):
    run = place / "runs/r"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "tuneloop.train.loop.save_checkpoint", after=True)
        assert tuneloop("run", "recipe.yaml", folder=place).status == 130
    done = tuneloop("run", "recipe.yaml", "--set", "train.learning_rate=0.02", folder=place)
    assert done.status == 0, done.err
    assert "resumed" not in done.err
    assert len([line for line in lines_of(run / "log.jsonl") if line["step"] == 4]) == 1
    ours, theirs = weights(run), weights(unbroken)
    assert not all(torch.equal(ours[name], theirs[name]) for name in ours)


def interrupt(patch: pytest.MonkeyPatch, function: str, *, after: bool = False) -> None:
    """Send this process Ctrl-C before (or after) a call of `function`."""
    import importlib

    module, _, name = function.rpartition(".")
    real = vars(importlib.import_module(module))[name]

    def called(*args: Any, **options: Any) -> Any:
        found = real(*args, **options) if after else None
        os.kill(os.getpid(), signal.SIGINT)
        return found if after else real(*args, **options)

    patch.setattr(function, called)


def test_an_overwrite_that_is_cut_keeps_the_model_that_stood_there(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    folder = copied("intents")
    run, previous = folder / "runs/r", folder / "runs/r/previous"
    before = files_of(run)
    answers = tuneloop("predict", "r", "test.jsonl", folder=folder).out
    interrupt(monkeypatch, "tuneloop.train.loop.save_checkpoint", after=True)
    again = ["run", "recipe.yaml", "--set", "seed=7", "--overwrite"]
    done = tuneloop(*again, folder=folder)
    assert done.status == 130 and "previous" in done.err
    kept = {name: digest for name, digest in before.items() if not name.startswith(("checkpoints/", "trackers/"))}
    assert files_of(previous) == kept
    assert tuneloop("predict", "runs/r/previous", "test.jsonl", folder=folder).out == answers
    assert (
        tuneloop("run", "recipe.yaml", "--set", "seed=8", folder=folder).status == 130
    )  # cut again, by another recipe
    assert files_of(previous) == kept
    monkeypatch.undo()
    assert tuneloop("run", "recipe.yaml", "--set", "seed=8", folder=folder).status == 0
    assert not previous.exists() and (run / "model/args.json").exists()


@pytest.mark.parametrize("function", ["tuneloop.flow.timed_prepare", "tuneloop.model.source.resolve"])
def test_ctrl_c_before_anything_is_written_leaves_nothing(place: Path, function: str, monkeypatch: pytest.MonkeyPatch):
    before = files_of(place)
    interrupt(monkeypatch, function)
    done = tuneloop("run", "recipe.yaml", folder=place)
    assert (done.status, done.out) == (130, "")
    assert done.err.strip().endswith("stopped")
    assert files_of(place) == before
    assert runs_of(place) == []


def test_ctrl_c_while_scoring_leaves_the_model_and_the_next_run_only_scores(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    interrupt(monkeypatch, "tuneloop.score.matrix.tuned_contender")
    again = ["run", "recipe.yaml", "--set", "evaluate.untuned_rows=3"]
    assert tuneloop(*again, folder=folder).status == 130
    after = files_of(folder / "runs/r")
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"recipe.yaml", "manifest.json"}
    monkeypatch.undo()
    done = tuneloop(*again, folder=folder)
    assert done.status == 0, done.err
    assert "training: unchanged, kept" in done.err
    assert read_json(folder / "runs/r/scores.json")["models"]["untuned"]["rows"] == 3
