"""The record of a run: what it holds, what it leaves out, and the command that it names."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.report.conftest import fake_run

from tuneloop.runs import RunFolder

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "record.py"


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", SCRIPT)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def scored_run(folder: Path, task: str = "classification") -> RunFolder:
    """A made-up run with all that a record tells of."""
    run = fake_run(folder, task=task)
    counts = {"train": 803, "validation": 89, "test": 300, "dropped": 61}
    run.record("data", key="cd" * 32, counts=counts, inputs={"/home/somebody/rows/train.jsonl": "9f" * 32})
    machine = {"cores": 2, "load_average": [0.12, 0.3, 0.2], "cpu": "A processor"}
    run.record(
        "train", key="ef" * 32, seconds=312.5, steps=180, best_step=150, tokens=39_000, peak_memory_mb=1801.5,
        validation={"loss": 0.25}, machine=machine,
    )  # fmt: skip
    return run


def changed(run: RunFolder, change: Any) -> None:
    """Let `change` alter the scores."""
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    change(scores)
    run.scores.write_text(json.dumps(scores), encoding="utf-8")


def line_of(folder: Path, start: str) -> str:
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(start))


def test_a_percentile_that_was_not_measured_is_an_empty_cell(module: ModuleType, tmp_path: Path):
    run = scored_run(tmp_path / "runs" / "mine")

    def few(scores: dict[str, Any]) -> None:
        scores["models"]["tuned"]["latency_ms"] = {"p50": 21.0, "n": 5}
        del scores["models"]["floor"]["latency_ms"]

    changed(run, few)
    folder = module.record(run, tmp_path / "results")
    assert line_of(folder, "| tuned |").endswith("| 21.0 |  |")
    assert line_of(folder, "| encoder |").endswith("| 6.1 | 8.5 |")
    assert line_of(folder, "| floor |").endswith("|  |  |")


def test_a_model_that_was_not_asked_is_named_with_the_reason(module: ModuleType, tmp_path: Path):
    run = scored_run(tmp_path / "runs" / "mine")
    folder = module.record(run, tmp_path / "results")
    assert "left out" not in (folder / "README.md").read_text(encoding="utf-8")
    changed(run, lambda scores: scores.update(absent={"encoder": "25% unknown"}))
    module.record(run, tmp_path / "results")
    assert line_of(folder, "- encoder") == "- encoder left out: 25% unknown"


@pytest.mark.parametrize(
    ("name", "command"), [("banking77", "tuneloop run recipes/banking77.yaml"), ("customer_service", "make demo")]
)
def test_a_record_says_how_it_was_made_and_holds_no_text(module: ModuleType, tmp_path: Path, name: str, command: str):
    folder = module.record(scored_run(tmp_path / "runs" / name), tmp_path / "results")
    assert folder == tmp_path / "results" / name
    assert line_of(folder, "`") == f"`{command}`, then `python benchmarks/record.py {name}`"
    names = {"README.md", "recipe.yaml", "log.jsonl", "scores.json", "manifest.json", "predictions.csv"}
    assert {path.name for path in folder.iterdir()} == names
    heads = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"id", "expected", "tuned_predicted", "tuned_latency_ms"} <= set(heads)
    assert "Something about my" not in "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    inputs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["data"]["inputs"]
    assert inputs == {"rows/train.jsonl": "9f" * 32}
