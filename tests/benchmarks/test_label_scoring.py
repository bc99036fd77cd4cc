"""The label-scoring benchmark: its short form, its two baselines against each other, and its guards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.label_scoring import measure
from benchmarks.label_scoring.__main__ import main
from benchmarks.label_scoring.baselines import alone, batched
from benchmarks.label_scoring.inputs import PROMPTS, label_tokens, prepare_short, prompt_tokens
from benchmarks.train_speed.raw import read_raw


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_short_form_measures_and_keeps_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--short", "--results", str(tmp_path), "--threads", "1"]) == 0
    records = read_raw(tmp_path / "raw.jsonl")
    assert [one["prompt"] for one in records] == ["short", "product"]
    for one in records:
        assert one["threads"] == 1 and one["rows"] == 12 and one["seconds"] > 0 and one["versions"]["torch"]
        assert {"cpu", "cores"} <= set(one["machine"]) and one["date"] and "load_after" in one
        assert one["command"].startswith("python -m benchmarks.label_scoring --short")
        assert [len(found["seconds"]) for found in one["baselines"].values()] == [3, 3]
        assert all(0 < found["largest_difference"] < 1e-4 for found in one["baselines"].values())
        assert one["tokens"]["nodes"] < one["tokens"]["label_tokens"] - one["tokens"]["labels"]
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    assert "first 3 of them and are extrapolated to all" in shown
    each = records[1]["baselines"]["alone"]["seconds"]
    wanted = sum(each) / 3 / (records[1]["seconds"] / 12)
    assert measure.ratio(records[1], "alone") == pytest.approx(wanted) and f"| {wanted:.1f}x |" in shown


@pytest.mark.parametrize("name", PROMPTS)
def test_both_baselines_give_the_same_scores(name: str):
    inputs = prepare_short(2)
    prompt, labels = prompt_tokens(inputs, PROMPTS[name], inputs.texts[0]), label_tokens(inputs)
    wanted = alone(inputs.model, prompt, labels)
    assert wanted.std() > 0.01 and len(set(map(len, labels))) > 3
    for size in (1, 3, 8, 50):
        assert np.abs(batched(inputs.model, prompt, labels, size=size) - wanted).max() < 1e-5


def test_scores_that_differ_fail_the_run_and_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    right = measure.alone
    monkeypatch.setattr(measure, "alone", lambda *given: right(*given) + 2e-4)
    options = ["--short", "--results", str(tmp_path), "--prompts", "short", "--rows", "3", "--baseline-rows", "1"]
    assert main(options) == 1
    assert "scores differ from alone" in capsys.readouterr().err
    (record,) = read_raw(tmp_path / "raw.jsonl")
    assert "scores differ" in record["withdrawn"]
    assert "| short |" not in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_each_guard_sees_its_fault():
    good: dict[str, Any] = {
        "prompt": "short", "tokens": {"shared": 40}, "baselines": {"alone": {"largest_difference": 1e-4}},
    }  # fmt: skip
    assert measure.faults(good) == []
    for spoilt in ({"tokens": {"shared": 39}}, {"baselines": {"alone": {"largest_difference": float("nan")}}}):
        assert len(measure.faults(json.loads(json.dumps(good | spoilt)))) == 1


def test_without_the_data_the_command_says_how(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delenv("TUNELOOP_DATA", raising=False)
    assert main(["--rows", "1"]) == 1
    assert "make bench-labels" in capsys.readouterr().err
