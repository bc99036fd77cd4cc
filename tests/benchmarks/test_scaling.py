"""The scaling benchmark: its short form, its guards against planted faults, and what its table says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.scaling import lengths, rows, run
from benchmarks.scaling.__main__ import main
from benchmarks.scaling.run import Bench, Plan, machine_rates, over_limit, section, table, verdict
from benchmarks.train_speed.floor import limit_seconds, shapes, step_flops
from benchmarks.train_speed.inputs import tiny_model
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.raw import read_raw
from benchmarks.train_speed.run import Failed

CONFIG = {"vocab_size": 200, "pad_token_id": 0}
TOKENS = lengths.made(CONFIG, 16, 8)
RATES = dict.fromkeys(("qkv", "out", "gate_up", "down", "head"), 1e9)


def by_length(tokens: Any = TOKENS, documents: int = 4, steps: int = 2) -> dict[str, Any]:
    """A run over documents of one length without fault, two seconds the second step."""
    done = [list(range(step * documents, (step + 1) * documents)) for step in range(steps)]
    return {
        "documents": done, "masked_in": [tokens.real_tokens(step) for step in done],
        "label_tokens": [tokens.weight(step) for step in done],
        "weight": [float(tokens.weight(step)) for step in done], "leak": 0.0, "dtypes": ["torch.float32"],
        "seconds": [9.0, 2.0], "peak_mb": 900.0, "others": 0.1, "versions": {},
    }  # fmt: skip


def by_rows(count: int = 200, size: int = 16) -> dict[str, Any]:
    """A run over rows without fault."""
    held = count // 20
    train = count - 2 * held
    return {
        "counts": {"train": train, "validation": held, "test": held, "dropped": 0, "encoded": train},
        "labelled": train, "classes": rows.CLASSES, "lengths": [[5] * size] * 2, "seconds": [9.0, 2.0],
        "data_seconds": {"prepare": 1.0, "encode": 0.5}, "data_mb": 400.0, "peak_mb": 900.0, "others": 0.1,
        "versions": {},
    }  # fmt: skip


def job(count: int = 200) -> Job:
    return Job("", "", "", "", "", steps=2, horizon=2, options={"rows": count}, documents_per_step=16)


def test_every_token_of_a_made_up_document_is_trained_and_none_is_padding():
    assert len(TOKENS.documents) == 8 and len({tuple(one.ids) for one in TOKENS.documents}) == 8
    assert all(one.ids == one.labels and len(one.ids) == 16 and 0 not in one.ids for one in TOKENS.documents)
    assert TOKENS.weight(range(8)) == 8 * 15  # nothing stands before the first token


def test_runs_over_wrong_or_missing_documents_and_dropped_labels_are_seen():
    assert lengths.faults(by_length(), TOKENS, 2, 4) == []
    good = by_length()
    wrong = {
        "same steps": {"documents": good["documents"][::-1]},
        "no label dropped": {"label_tokens": [59, 60]},
        "no pad counted": {"masked_in": [65, 64]},
    }
    for name, change in wrong.items():
        (fault,) = lengths.faults(good | change, TOKENS, 2, 4)
        assert fault.startswith(name)
    missing = lengths.faults(good | {"documents": [[0, 1, 2], [4, 5, 6, 7]]}, TOKENS, 2, 4)
    assert any(fault.startswith("same steps") for fault in missing)


def test_missing_rows_dropped_labels_and_missing_steps_are_seen():
    assert rows.faults(by_rows(), job()) == []
    for change, told in (
        ({"counts": by_rows()["counts"] | {"validation": 9}}, "199 of 200 are there"),
        ({"counts": by_rows()["counts"] | {"validation": 9, "dropped": 1}}, "dropped rows: 1 of 200"),
        ({"counts": by_rows()["counts"] | {"encoded": 179}, "labelled": 179}, "179 of 180 encoded"),
        ({"labelled": 179}, "179 of 180 rows"),
        ({"lengths": [[5] * 16, [5] * 15]}, "asked 2 of 16"),
    ):
        (fault,) = rows.faults(by_rows() | change, job())
        assert told in fault


def test_rows_are_as_many_as_asked_and_all_differ(tmp_path: Path):
    rows.write_rows(tmp_path / "a.jsonl", 300)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == 300 and sum('"label 3"' in line for line in lines) == 300 / rows.CLASSES


def test_flat_is_ten_per_cent():
    assert "10.0% above the smallest, within 10%" in verdict("x", [1.0, 1.0999])
    assert "not within" in verdict("x", [1.0, 1.11])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench of two lengths and one number of rows, whose processes answer at once."""
    raw, model = tmp_path / "raw.jsonl", tiny_model(tmp_path / "tiny")
    made = Bench(
        Plan(model, (8, 16), 64, (200,), 16, {"length": 2, "rows": 2}, 2, 1, 0.01, tmp_path / "work", raw, "x")
    )
    asked: list[str] = []

    def answered(one: Job, python: Path, variables: dict[str, str]) -> dict[str, Any]:
        asked.append(one.system)
        if one.system == "gemm":
            return {"flops": RATES if asked.count("gemm") % 2 else {name: 3 * rate for name, rate in RATES.items()}}
        if one.system == "tuneloop":
            size = 64 // one.documents_per_step
            return by_length(lengths.made(made.config, size, 2 * 64 // size), 64 // size)
        return by_rows()

    monkeypatch.setattr(run, "result_of", answered)
    monkeypatch.setattr(made, "asked", asked, raising=False)
    return made


def test_a_session_goes_on_and_the_table_has_each_size(bench: Bench):
    assert bench.run() == [] and len(read_raw(bench.plan.raw)) == 6
    lines = bench.plan.raw.read_text(encoding="utf-8").splitlines(keepends=True)
    bench.plan.raw.write_text("".join(lines[:-1]) + lines[-1][:40], encoding="utf-8")
    assert bench.run() == [] and bench.run() == []
    assert len([name for name in vars(bench)["asked"] if name != "gemm"]) == 7
    records = bench.records()
    rates = {name: 2 * rate for name, rate in RATES.items()}  # the median of as many ones as threes
    assert machine_rates(records) == rates
    least = limit_seconds(bench.config, rates, step_flops(bench.config, [16] * 4, 60, rank=8))
    (one,) = [one for one in records if (one["size"], one["round"]) == (16, 0)]
    assert set(RATES) == set(shapes(bench.config))
    assert over_limit(one, bench.config, rates) == [pytest.approx(2.0 / least)]
    text = table(records, [], bench.config)
    assert text.count(f"| {2.0 / least:.2f} [") == 1 and "| 200 |" in text and "| 5.000 | 2.500 | 400 |" in text
    assert "withdrawn" not in text and len(section("length", "x", {16: [one]}, bench.config, rates)) == 7
    assert "those of one shape lie as far apart as 1 and 3 GFLOP/s" in text


def test_what_a_guard_refuses_is_kept_listed_and_run_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    good = run.result_of

    def spoilt(one: Job, python: Path, variables: dict[str, str]) -> dict[str, Any]:
        if one.system == rows.__name__:
            raise Failed("exit 1: MemoryError")
        found = good(one, python, variables)
        return found | {"label_tokens": [1, 1]} if one.system == "tuneloop" and one.documents_per_step == 4 else found

    monkeypatch.setattr(run, "result_of", spoilt)
    faults = bench.run()
    assert len(faults) == 4 and "no label dropped" in faults[0] and "MemoryError" in faults[1]
    withdrawn = [one for one in read_raw(bench.plan.raw) if "withdrawn" in one]
    assert table(bench.records(), withdrawn, bench.config).count(", withdrawn: ") == 4
    monkeypatch.setattr(run, "result_of", good)
    bench.new_faults.clear()
    assert bench.run() == [] and len(bench.records()) == 6


@pytest.mark.slow
def test_the_short_form_runs_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--short", "--threads", "1", "--results", str(tmp_path)]) == 0
    records = read_raw(tmp_path / "raw.jsonl")
    assert [(one["kind"], one["size"]) for one in records] == [
        ("length", 16), ("length", 64), ("rows", 200), ("rows", 400),
    ]  # fmt: skip
    for one in records:
        assert "withdrawn" not in one and one["result"]["peak_mb"] > 100
        config = json.loads((tiny_model(tmp_path / "tiny") / "config.json").read_text(encoding="utf-8"))
        assert all(step > 1 for step in over_limit(one, config, machine_rates(records)))
    counts = [one["result"]["counts"] for one in records[2:]]
    assert [one["train"] + one["validation"] + one["test"] for one in counts] == [200, 400]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out and text.count("within 10%") == 4
