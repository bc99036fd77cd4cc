"""The generation benchmark: its short form from end to end, and the figures of its table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.generation.systems import FEW, REFERENCE, SHORT, SYSTEMS, System, chosen
from benchmarks.generation.table import best_peer, figures, table

ROOT = Path(__file__).parents[2]


def record(**seconds: list[float]) -> dict[str, Any]:
    runs = [
        {"mode": "m", "system": name, "round": turn, "places": [0, 1] if name == "few" else [0, 1, 2, 3],
         "seconds": took, "new_tokens": 50 if name == "few" else 100, "peak_mb": 10.0, "load_before": 0.5}
        for name, each in seconds.items()
        for turn, took in enumerate(each)
    ]  # fmt: skip
    told = {"rows": 4, "equal": 3, "tied": 1, "different": 0}
    machine = {"cores": 2, "cpu": "c"}
    return {"runs": runs, "rows": 4, "tokens": {"m": told}, "machine": machine, "command": "x", "session": "s",
            "budget": 25, "model": "m", "threads": 2, "versions": {}, "tie": 1e-4}  # fmt: skip


def test_figures_are_medians_and_few_rows_are_extrapolated():
    found = figures(record(tuneloop=[1.0, 2.0, 30.0], few=[4.0]), "m")
    assert found["tuneloop"] == {"rows": 4, "seconds": 2.0, "tokens_per_second": 50.0, "peak_mb": 10.0}
    assert (found["few"]["seconds"], found["few"]["tokens_per_second"]) == (8.0, 12.5)


def test_the_ratio_is_against_the_quickest_peer():
    made = record(tuneloop=[2.0], slow=[9.0], quick=[5.0], few=[4.0])
    assert best_peer(made, "m") == {"name": "quick", "ratio": 2.5}
    text = table(made)
    assert "tuneloop is 2.50 times as fast as the best peer (quick)." in text
    assert "few (extrapolated from 2 rows)" in text and "3 of 4 answers equal, 1 differ from a tie" in text
    assert best_peer(record(tuneloop=[2.0]), "m")["ratio"] is None


def test_few_prompts_are_of_all_lengths():
    prompts = [[0] * (length + 1) for length in range(50)]
    places = chosen(System("s", few=True), prompts)
    assert places == sorted(places, reverse=True) and len(places) == FEW
    assert 40 <= places[0] < 50 and 0 <= places[-1] < 10
    assert chosen(System("s"), prompts) == list(range(49, -1, -1))
    assert REFERENCE in {one.name for one in SHORT} and len({one.name for one in SYSTEMS}) == len(SYSTEMS) == 10


@pytest.mark.slow
def test_the_short_form_runs_from_end_to_end(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.generation", "--short", "--threads", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("*.json")
    made = json.loads(path.read_text(encoding="utf-8"))
    assert len(made["runs"]) == 2 * len(SHORT) and made["faults"] == []
    for told in made["tokens"].values():
        assert told["rows"] == 10 and told["different"] == 0
    whole = [run for run in made["runs"] if run["mode"] == "whole budget"]
    assert all(run["new_tokens"] == 12 * len(run["places"]) and run["threads"] == 1 for run in whole)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") in done.stdout
    assert {"session", "command", "machine", "threads", "versions", "sha256"} <= set(made)
