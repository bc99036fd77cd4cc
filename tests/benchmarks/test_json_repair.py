"""The benchmark of broken JSON: its short form, that it goes on where it stopped, and what its table says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.dirt.broken_json import OPERATORS
from benchmarks.json_repair import measure
from benchmarks.json_repair.__main__ import key_of, main
from benchmarks.json_repair.table import table
from benchmarks.train_speed.raw import read_raw


def test_the_short_form_measures_all_figures_and_keeps_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = tmp_path / "results"
    arguments = ["--short", "--results", str(results)]
    assert main(arguments) == 0
    broken, deep, suite = read_raw(results / "raw.jsonl")
    for one in (broken, deep, suite):
        assert {"cpu", "cores"} <= set(one["machine"]) and one["date"] and "load_before" in one and one["seconds"] > 0
        assert "--short" in one["command"] and one["versions"]["json-repair"]
    found = broken["result"]
    assert (found["rows"], found["beside"], found["touched"], found["lost"]) == (60, 120, 0, 0)
    assert list(found["operators"]) == list(OPERATORS)
    assert {sum(counts["tuneloop"].values()) for counts in found["operators"].values()} == {10}
    assert sum(counts["tuneloop"]["restored"] for counts in found["operators"].values()) >= 58
    assert found["operators"]["backslash"]["json_repair"].get("restored", 0) == 0, (
        "why a reader of our own stands before it"
    )
    found = deep["result"]
    assert set(found["outcomes"]) <= {"marked incomplete", "kept, whole"} and found["survived"] == found["intact"] > 10
    assert suite["result"]["files"] == len(measure.MADE_UP_SUITE) and suite["result"]["faults"] == []
    shown = capsys.readouterr().out
    assert shown.strip() == (results / "table.md").read_text(encoding="utf-8").strip()
    assert shown.count("| yes |") == 2 and "Faults: none" in shown
    assert main(arguments) == 0 and len(read_raw(results / "raw.jsonl")) == 3, "what stands is not measured again"


def test_another_seed_or_number_of_rows_is_another_run():
    assert len({key_of("broken", "made_up", seed, rows) for seed in (0, 1) for rows in (9, 10)}) == 4


def test_a_verdict_is_about_the_whole_row():
    row = {"text": "a", "label": "b"}
    assert measure.verdict({"text": "a", "label": "b"}, row) == "restored"
    assert measure.verdict({"text": "a", "label": "b", "c": ""}, row) == "wrong"
    assert measure.verdict({"text": "A", "label": "b"}, row) == "wrong"
    assert [measure.verdict(found, row) for found in (None, {"text": "a"}, "a", [row])] == ["none"] * 4


@pytest.mark.parametrize(
    ("fault", "said"), [(lambda *_: time.sleep(9), "hang"), (lambda *_: {}["x"], "crash: KeyError")]
)
def test_hangs_and_crashes_are_faults(monkeypatch: pytest.MonkeyPatch, fault: Any, said: str):
    monkeypatch.setattr(measure, "SECONDS", 0.05)
    monkeypatch.setattr(measure, "MADE_UP_SUITE", {"x.json": ("accept", b"[]")})
    fault.__name__ = "alone"
    monkeypatch.setattr(measure, "alone", fault)
    assert measure.suite("made_up", 0, None)["faults"] == [f"x.json, alone: {said}"]


def record(figure: str, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    machine = {"cores": 2, "cpu": "A processor"}
    return {"figure": figure, "set": "s", "seed": seed, "command": "c", "date": "2026-01-01T0", "machine": machine,
            "versions": {}, "result": result}  # fmt: skip


@pytest.mark.parametrize(("restored", "touched", "reached"), [(95, 0, "yes"), (94, 0, "**no**"), (99, 1, "**no**")])
def test_the_table_says_whether_enough_rows_come_back(restored: int, touched: int, reached: str):
    counts = {"restored": restored, "none": 100 - restored}
    operators = {how: {"tuneloop": counts, "json_repair": {"wrong": 1}} for how in OPERATORS}
    result = {"rows": 600, "beside": 7, "operators": operators, "touched": touched, "lost": 0, "reasons": {}}
    text = table([record("broken", 0, result)])
    assert f"| {reached} |" in text and f"| {restored:.1f}% |" in text and "| json_repair | 0.0% |" in text


@pytest.mark.parametrize(
    ("outcomes", "intact", "reached"),
    [
        ({"marked incomplete": 9, "kept, whole": 1}, 5, "yes"), ({"marked incomplete": 9, "wrong": 1}, 5, "**no**"),
        ({"marked incomplete": 9, "not marked: x": 1}, 5, "**no**"), ({"marked incomplete": 10}, 4, "**no**"),
    ],
)  # fmt: skip
def test_the_table_says_whether_cuts_are_told(outcomes: dict[str, int], intact: int, reached: str):
    result = {"rows": 10, "outcomes": outcomes, "survived": 5, "intact": intact}
    assert f"| {reached} |" in table([record("deep", 0, result)])
