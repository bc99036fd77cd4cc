"""The check of the demo's result passes what was promised, and sees each way to fall short of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_demo.py"
spec = importlib.util.spec_from_file_location("check_demo", SCRIPT)
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)

Files = dict[str, Any]


def good() -> Files:
    """scores.json and manifest.json of a demo that just keeps its promise."""
    accuracy = {"floor": 0.55, "untuned": 0.25, "tuned": 0.55}

    def gap(rival: str, low: float, high: float, verdict: str) -> dict[str, Any]:
        difference = round(accuracy["tuned"] - accuracy[rival], 6)
        found = {"a": "tuned", "b": rival, "metric": "accuracy", "difference": difference}
        return found | {"low": low, "high": high, "verdict": verdict}

    models = {name: {"metrics": {"accuracy": {"value": value}}} for name, value in accuracy.items()}
    for entry in models.values():
        entry["peak_memory_mb"] = 6143.9
    comparisons = [gap("floor", -0.05, 0.05, "no difference"), gap("untuned", 0.25, 0.35, "better")]
    comparisons.insert(0, comparisons[1] | {"metric": "macro_f1", "difference": 0.1})
    train = {"tokens": 40_000, "peak_memory_mb": 6143.9}
    return {"scores": {"models": models, "comparisons": comparisons}, "manifest": {"stations": {"train": train}}}


def written(files: Files, folder: Path) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def gap_of(files: Files, rival: str) -> dict[str, Any]:
    return next(g for g in files["scores"]["comparisons"] if g["b"] == rival and g["metric"] == "accuracy")


def figure(files: Files, name: str) -> dict[str, Any]:
    return files["scores"]["models"][name]["metrics"]["accuracy"]


Change = Callable[[Files], object]
SHORT: dict[str, tuple[Change, str]] = {
    "gain": (lambda f: gap_of(f, "untuned").update(difference=0.299), "tuned - untuned is +0.299 [+0.250, +0.350]"),
    "interval": (lambda f: gap_of(f, "untuned").update(low=0.0), "tuned - untuned is +0.300 [+0.000, +0.350]"),
    "worse": (lambda f: gap_of(f, "floor").update(verdict="worse"), "0.550 and the floor's 0.550 (worse)"),
    "floor": (lambda f: figure(f, "floor").update(value=0.56), "0.550 and the floor's 0.560 (no difference)"),
    "tokens": (lambda f: f["manifest"]["stations"]["train"].update(tokens=40_001), "40,001 tokens"),
    "training": (
        lambda f: f["manifest"]["stations"]["train"].update(peak_memory_mb=6144.0), "training peaked at 6,144 MB",
    ),
    "scoring": (
        lambda f: f["scores"]["models"]["untuned"].update(peak_memory_mb=6144.0), "scoring untuned peaked at 6,144 MB",
    ),
    "untuned": (
        lambda f: f["scores"].update(
            comparisons=[gap_of(f, "floor")], absent={"untuned": "evaluate.untuned_rows is 0"}
        ),
        "not compared with the untuned: evaluate.untuned_rows is 0",
    ),
    "no floor": (lambda f: f["scores"].update(comparisons=[gap_of(f, "untuned")]), "not compared with the floor"),
}  # fmt: skip


def test_a_demo_that_just_keeps_its_promise(tmp_path: Path):
    assert demo.faults(written(good(), tmp_path)) == []


def test_a_peak_that_could_not_be_measured_is_no_fault(tmp_path: Path):
    files = good()
    del files["scores"]["models"]["floor"]["peak_memory_mb"]
    assert demo.faults(written(files, tmp_path)) == []


@pytest.mark.parametrize("name", SHORT)
def test_each_way_to_fall_short(tmp_path: Path, name: str):
    change, says = SHORT[name]
    files = good()
    change(files)
    found = demo.faults(written(files, tmp_path))
    assert len(found) == 1 and says in found[0], found


def test_all_faults_are_one_paragraph_and_the_exit_status_1(tmp_path: Path):
    files = good()
    for name in ("gain", "tokens", "training"):
        SHORT[name][0](files)
    asked = [sys.executable, str(SCRIPT), str(written(files, tmp_path))]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"The demo in {tmp_path} does not keep its promise: ")
    assert all(SHORT[name][1] in done.stderr for name in ("gain", "tokens", "training"))
    done = subprocess.run([*asked[:2], str(written(good(), tmp_path))], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_demo_that_did_not_run(tmp_path: Path):
    assert demo.faults(tmp_path) == [f"{tmp_path / 'scores.json'} is missing; `make demo` writes it"]
