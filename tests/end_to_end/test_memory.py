"""The memory of a row of the scores is that model's own: what was trained in the same process is gone by then."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.end_to_end.workbench import read_json, tuneloop, write_recipe

from tuneloop import flow
from tuneloop.memory import reset_peak_memory
from tuneloop.score import matrix

Models = Callable[[str], Path]


def trained_with(patch: pytest.MonkeyPatch, act: Callable[[torch.nn.Module], object]) -> None:
    """Do `act` to the model that is about to be trained."""
    attach = flow.attach

    def attached(*args: Any) -> Any:
        ready = attach(*args)
        act(ready.model)
        return ready

    patch.setattr(flow, "attach", attached)


def test_the_trained_model_is_gone_before_the_first_row_is_scored(
    intents: Path, model: Models, monkeypatch: pytest.MonkeyPatch
):
    write_recipe(intents, "classification", model("llama"), evaluate__untuned_rows=0)
    seen: list[weakref.ref[torch.nn.Module]] = []
    trained_with(monkeypatch, lambda network: seen.append(weakref.ref(network)))
    floor, alive = matrix.floor_contender, []

    def asked(exam: Any) -> Any:
        alive.append(seen[0]() is not None)
        return floor(exam)

    monkeypatch.setattr(matrix, "floor_contender", asked)
    assert tuneloop("run", "recipe.yaml", folder=intents).status == 0
    assert (len(seen), alive) == (1, [False])


def test_the_floor_needs_the_same_in_run_as_in_evaluate(intents: Path, model: Models, monkeypatch: pytest.MonkeyPatch):
    if not reset_peak_memory():
        pytest.skip("this system cannot reset the peak of a process")
    write_recipe(intents, "classification", model("llama"), evaluate__untuned_rows=0)
    megabytes = 300
    trained_with(
        monkeypatch, lambda network: network.register_buffer("ballast", torch.ones(megabytes * 2**18), persistent=False)
    )
    assert tuneloop("run", "recipe.yaml", folder=intents).status == 0
    inside = read_json(intents / "runs/r/scores.json")["models"]
    after = tuneloop("evaluate", "r", "--json", folder=intents).json()["models"]
    for name in ("floor", "tuned"):
        assert inside[name]["peak_memory_mb"] == pytest.approx(after[name]["peak_memory_mb"], abs=100)


def test_a_peak_that_cannot_be_reset_is_absent_and_said_to_be(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    folder = copied("intents")
    monkeypatch.setattr("tuneloop.memory.CLEAR", folder / "no such folder" / "clear_refs")
    done = tuneloop("evaluate", "r", "--json", folder=folder)
    assert [name for name, entry in done.json()["models"].items() if "peak_memory_mb" in entry] == []
    assert "cannot reset the peak memory" in done.err
