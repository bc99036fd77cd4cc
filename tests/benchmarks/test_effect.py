"""The benchmark of what cleaning gives back: a truthful reviewer, right shares, each arm trained once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.dirt.plant import Rates, dirty_set
from benchmarks.effect.__main__ import main, standing_in
from benchmarks.effect.arms import ARMS, WITHOUT_ENCODER, answer_queue
from benchmarks.effect.table import recovered_line, table
from benchmarks.train_speed.raw import read_raw
from tests.tiny_models import make_tiny

from tuneloop import flow
from tuneloop.disk import write_text
from tuneloop.rows.table import read_table


def test_the_reviewer_drops_what_does_not_belong_and_gives_flipped_labels_back(tmp_path: Path):
    _, dirty = dirty_set("made_up", seed=1, rates=Rates().times(2), rows=400)
    write_text(tmp_path / "train.jsonl", "".join(f"{line}\n" for line in dirty.lines))
    recipe = {
        "name": "r", "task": {"type": "classification"}, "model": {"name_or_path": "none"}, "clean": WITHOUT_ENCODER,
        "data": {"train": "train.jsonl", "validation": 0.05, "test": 0.05},
    }  # fmt: skip
    write_text(tmp_path / "recipe.yaml", json.dumps(recipe))
    with standing_in(tmp_path):
        run = flow.clean(tmp_path / "recipe.yaml")
        waiting = {row.source for row in read_table(run.data / "clean.parquet")} - sources(run.data / "train.parquet")
        said = answer_queue(run, dirty.planted)
        flow.clean(tmp_path / "recipe.yaml", overwrite=True)
        rows = {int(row.source.split(":")[1]): row for row in read_table(run.data / "train.parquet")}
    asked = {int(source.split(":")[1]) for source in waiting}
    at = {one.line: one for one in dirty.planted if one.line in asked}
    assert set(said) == {"keep", "drop", "edit"}
    assert not [one for one in at.values() if one.kind in ("noise", "off_topic") and one.line in rows]
    flipped = [one for one in at.values() if one.kind == "flipped"]
    assert flipped and all(one.before and rows[one.line].label == one.before["label"] for one in flipped)
    assert all(line in rows for line in asked - set(at))  # a good row that was doubted is let in


def sources(path: Path) -> set[str]:
    return {row.source for row in read_table(path)}


def result(right: list[int]) -> dict[str, Any]:
    counts = {"in": 9, "kept": 8, "to review": 0, "dropped": {"leak": 1}}
    return {"right": right, "accuracy": sum(right) / len(right), "counts": counts, "planted": {}, "answers": {},
            "seconds": 1.0}  # fmt: skip


@pytest.mark.parametrize(("gained", "share", "reached"), [(80, "80%", "reached"), (40, "40%", "**missed**")])
def test_the_share_that_came_back(gained: int, share: str, reached: str):
    arms = {
        "clean": result([1] * 900 + [0] * 100), "dirty": result([1] * 800 + [0] * 200),
        "cleaned": result([1] * (800 + gained) + [0] * (200 - gained)),
    }  # fmt: skip
    line = recovered_line("cleaned", 0.5, [arms])
    assert f"{share} of the 10.00 points" in line and line.endswith(reached)


def test_a_gain_whose_interval_holds_0_is_a_miss():
    arms = {"clean": result([1, 1, 1, 0]), "dirty": result([0, 1, 1, 0]), "cleaned": result([1, 1, 1, 0])}
    assert recovered_line("cleaned", 0.5, [arms]).endswith("**missed**")


def test_a_table_of_a_seed_that_is_not_whole_claims_nothing():
    one = {"seed": 0, "arm": "clean", "command": "c", "date": "2026-01-01", "load_before": 0.0, "result": result([1]),
           "machine": {"cores": 2, "cpu": "x"}}  # fmt: skip
    shown = table([one])
    assert "| 0 | 100.0 % | - | - | - |" in shown and "came back" not in shown


def test_the_short_form_trains_each_arm_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tiny = make_tiny("llama", tmp_path / "model")
    asked = ["--short", "--model", str(tiny), "--results", str(tmp_path / "results")]
    assert main(asked) == 0
    records = read_raw(tmp_path / "results" / "raw.jsonl")
    assert [one["arm"] for one in records] == list(ARMS) and all(len(one["result"]["right"]) == 40 for one in records)
    assert main(asked) == 0
    assert len(read_raw(tmp_path / "results" / "raw.jsonl")) == 4
    assert "of the" in capsys.readouterr().out
