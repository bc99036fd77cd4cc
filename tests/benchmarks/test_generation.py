"""The generation benchmark: its short form from end to end, and the figures of its table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.generation import run as running
from benchmarks.generation.inputs import prepare
from benchmarks.generation.run import Bench, Plan, summary
from benchmarks.generation.systems import FEW, REFERENCE, SHORT, SYSTEMS, Job, System, chosen
from benchmarks.generation.table import best_peer, figures, table
from benchmarks.train_speed.raw import read_raw, withdraw

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
            "budget": 25, "model": "m", "threads": 2, "versions": {}, "tie": 1e-4, "withdrawn": [],
            "profiles": []}  # fmt: skip


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


def test_the_profile_says_where_one_core_spends_its_time():
    one = {"system": "tuneloop", "seconds": 1.0, "operators": {"aten::mm": 0.5, "aten::bmm": 0.125, "aten::add": 0.25}}
    text = table(record(tuneloop=[2.0]) | {"profiles": [one]})
    assert "| tuneloop | 0.6 (62%) | 0.0 (0%) | 0.0 (0%) | 0.2 (25%) | 0.1 (12%) | 1.0 |" in text
    assert "Where the time goes" not in table(record(tuneloop=[2.0]))


def test_few_prompts_are_of_all_lengths():
    prompts = [[0] * (length + 1) for length in range(50)]
    places = chosen(System("s", few=True), prompts)
    assert places == sorted(places, reverse=True) and len(places) == FEW
    assert 40 <= places[0] < 50 and 0 <= places[-1] < 10
    assert chosen(System("s"), prompts) == list(range(49, -1, -1))
    assert REFERENCE in {one.name for one in SHORT} and len({one.name for one in SYSTEMS}) == len(SYSTEMS) == 10


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    model, prompts = prepare(tmp_path / "work", rows=3, short=True)
    systems = [System("tuneloop", "tuneloop"), System(REFERENCE, batch=50)]
    raw = tmp_path / "raw.jsonl"
    return Plan(systems, model, "tiny", prompts, 3, 4, 2, 1, tmp_path / "work", raw, "x")


def quick(monkeypatch: pytest.MonkeyPatch, change: Any = None) -> list[str]:
    """Processes that answer at once, all the same but for `change(job, number of the process, tokens)`."""
    asked: list[str] = []

    def answered(job: Job, path: Path, threads: int) -> str:
        asked.append(job.system.name)
        tokens = [[place, 5, 6, 7] for place in range(3)]
        tokens = change(job, len(asked), tokens) if change else tokens
        if isinstance(tokens, str):
            return tokens
        assert not job.profiled or (threads == 1 and not job.stop)
        operators = {"aten::mm": 0.6, "aten::bmm": 0.1, "aten::copy_": 0.2} if job.profiled else {}
        found = {"operators": operators, "versions": {}, "seconds": 1.0, "places": [0, 1, 2], "tokens": tokens,
                 "peak_mb": 9.0, "threads": 1, "load_before": 0.1, "load_after": 0.2, "others": 0.0}  # fmt: skip
        Path(job.result).write_text(json.dumps(found), encoding="utf-8")
        return ""

    monkeypatch.setattr(running, "answer", answered)
    return asked


def test_a_session_goes_on_where_another_was_cut_off(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    class CutOff(Exception):
        pass

    def stop(job: Job, number: int, tokens: Any) -> Any:
        if number == 6:
            raise CutOff
        return tokens

    quick(monkeypatch, stop)
    with pytest.raises(CutOff):
        Bench(plan).run()
    lines = plan.raw.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 5
    plan.raw.write_text("".join(lines[:-1]) + lines[-1][:40], encoding="utf-8")  # cut in the middle of a line
    asked = quick(monkeypatch)
    assert Bench(plan).run() == [] and len(asked) == 8 - 4 + 1
    assert Bench(plan).run() == [] and len(asked) == 5
    text = table(summary(Bench(plan)))
    assert "medians of 2 rounds" in text and text.count("3 of 3 answers equal") == 2 and "Withdrawn" not in text
    withdraw(plan.raw, read_raw(plan.raw)[0]["key"], "the machine was busy")
    assert "tuneloop, round 1" in table(summary(Bench(plan)))
    assert Bench(plan).run() == [] and asked[5:] == ["tuneloop"]
    assert "the machine was busy" in table(summary(Bench(plan)))


def test_wrong_tokens_a_changed_round_and_a_failure_are_withdrawn_and_run_again(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    def wrong(job: Job, number: int, tokens: Any) -> Any:
        return [[*tokens[0][:3], 9], *tokens[1:]] if job.system.kind == "tuneloop" else tokens

    def missing(job: Job, number: int, tokens: Any) -> Any:
        return [tokens[0][:3], *tokens[1:]] if job.system.kind == "tuneloop" else tokens

    def moved(job: Job, number: int, tokens: Any) -> Any:
        return [*tokens[:2], [1, 1, 1, 1]] if number == 3 else tokens

    def failing(job: Job, number: int, tokens: Any) -> Any:
        return "MemoryError" if number == 1 else tokens

    faults_of = {"token 3 is 9": wrong, "3 tokens, the reference has 4": missing, "other tokens": moved,
                 "MemoryError": failing}  # fmt: skip
    for told, change in faults_of.items():
        plan.raw.unlink(missing_ok=True)
        quick(monkeypatch, change)
        faults = Bench(plan).run()
        assert faults and all(told in fault for fault in faults)
        kept = [one for one in read_raw(plan.raw) if "withdrawn" in one]
        assert kept and all(told in one["withdrawn"] for one in kept)
        assert told in table(summary(Bench(plan)))
        asked = quick(monkeypatch)
        assert Bench(plan).run() == [] and len(asked) == len(kept) and len(Bench(plan).records()) == 8


@pytest.mark.slow
def test_the_short_form_runs_from_end_to_end(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.generation", "--short", "--threads", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = read_raw(tmp_path / "raw.jsonl")
    assert len(runs) == 2 * len(SHORT) + 1 and not [run for run in runs if "withdrawn" in run]
    whole = [run for run in runs if run["mode"] == "whole budget"]
    assert all(run["new_tokens"] == 12 * len(run["places"]) and run["threads"] == 1 for run in whole)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text in done.stdout and text.count(" of 10 answers equal") == 2 and text.count(", 0 differ.") == 2
    assert [run["system"] for run in runs if run["mode"] == "profile" and run["operators"]] == ["tuneloop"]
    assert all({"session", "command", "machine", "threads", "versions", "sha256"} <= set(run) for run in runs)
    assert {run["system"] for run in runs if "tokens" in run} == {"tuneloop", REFERENCE}
