"""The benchmark of relevance: its short form, that it goes on where it stopped, and what its table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.relevance import __main__ as command
from benchmarks.relevance.__main__ import main
from benchmarks.relevance.inputs import EXAMPLES, TASKS, Remembered, mixed, word_vectors
from benchmarks.relevance.measure import WAYS
from benchmarks.relevance.table import table
from benchmarks.train_speed.raw import read_raw


def test_the_short_form_measures_every_way_and_keeps_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--short", "--results", str(tmp_path)]
    assert main(arguments) == 0
    records = read_raw(tmp_path / "raw.jsonl")
    assert [(one["share"], one["way"]) for one in records] == [(share, way) for share in (0.0, 0.1) for way in WAYS]
    for one in records:
        assert {"cpu", "cores"} <= set(one["machine"]) and one["date"] and one["seconds"] > 0 and "load_before" in one
        assert "--short" in one["command"] and one["encoder"] == "counted words"
        result = one["result"]
        assert result["rows"] == (180 if one["share"] == 0 else 202) and result["own_dropped"] <= 0.02
        if one["share"]:
            assert result["strangers"] == 22 and result["auc"] > 0.97 and list(result["origins"]) == ["rhymes"]
            assert result["origins"]["rhymes"] == pytest.approx(result["dropped"] + result["reviewed"])
        else:
            assert "auc" not in result
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    assert main(arguments) == 0 and len(read_raw(tmp_path / "raw.jsonl")) == 8, "what stands is not measured again"
    assert main([*arguments, "--ways", "learnt"]) == 0 and len(read_raw(tmp_path / "raw.jsonl")) == 8


def test_a_mixture_has_its_strangers_where_it_says_and_no_example_among_its_rows():
    found = mixed("made_up", share=0.1, seed=3, rows=200)
    assert len(found.examples) == EXAMPLES and {row["text"] for row in found.rows}.isdisjoint(found.examples)
    assert found.strangers.sum() == 22 == len(found.origin)
    assert found.strangers.sum() / len(found.rows) == pytest.approx(0.1, abs=0.01)
    rhymes = {row["text"] for row, odd in zip(found.rows, found.strangers, strict=True) if odd}
    assert all(text.startswith(("the cow", "three mice", "a star", "little Ann", "the old king")) for text in rhymes)
    assert set(np.flatnonzero(found.strangers).tolist()) == set(found.origin)
    other = mixed("made_up", share=0.1, seed=4, rows=200)
    assert other.examples != found.examples
    assert mixed("made_up", share=0.0, seed=3, rows=200).strangers.sum() == 0


def test_the_shipped_rows_are_the_english_ones():
    rows = mixed("customer_service", share=0.0, seed=0).rows
    assert len(rows) > 400 and all(
        row["text"].isascii() or "’" in row["text"] or "é" in row["text"] for row in rows[:50]
    )
    assert set(TASKS) >= {"customer_service", "made_up", *command.CLEAN}


def test_each_text_is_embedded_once():
    asked: list[str] = []

    def embed(texts: Any) -> np.ndarray:
        asked.extend(texts)
        return word_vectors(texts)

    known = Remembered(embed)
    assert np.array_equal(known(["a b", "c", "a b"]), word_vectors(["a b", "c", "a b"])) and known(["c"]).shape == (
        1,
        256,
    )
    assert asked == ["a b", "c"]


def test_another_point_or_other_code_is_another_run(monkeypatch: pytest.MonkeyPatch):
    points = [("a", 0.1, "learnt", 0), ("b", 0.1, "learnt", 0), ("a", 0.2, "learnt", 0), ("a", 0.1, "examples", 0)]
    keys = {command.key_of(point, rows) for point in points for rows in (None, 9)}
    assert len(keys) == 8
    monkeypatch.setattr(command, "MODULES", ("relevance",))
    assert command.key_of(points[0], None) not in keys


def record(way: str, share: float, seed: int, auc: float) -> dict[str, Any]:
    result = {
        "rows": 1000, "auc": auc, "dropped": 0.5, "reviewed": 0.25, "own_dropped": 0.001, "own_reviewed": 0.03,
        "origins": {"x": 0.7},
    }  # fmt: skip
    return {"set": "s", "share": share, "way": way, "seed": seed, "command": "c", "date": "2026-01-01T0",
            "machine": {"cores": 2, "cpu": "A processor"}, "encoder": "e", "versions": {}, "load_before": 0.5 + seed,
            "result": result}  # fmt: skip


@pytest.mark.parametrize(
    ("way", "share", "auc", "reached"),
    [
        ("examples", 0.2, 0.97, "yes"), ("examples", 0.2, 0.969, "**no**"), ("examples", 0.4, 0.5, ""),
        ("learnt", 0.2, 0.5, ""),
    ],
)  # fmt: skip
def test_the_table_says_whether_the_figure_is_reached(way: str, share: float, auc: float, reached: str):
    text = table([record(way, share, 0, 0.99), record(way, share, 1, auc)])
    line = next(line for line in text.splitlines() if line.startswith("| s |"))
    assert line.endswith(f"| {reached} |") and f"[{auc:.4f}, 0.9900]" in line
    assert "load average 0.5 to 1.5" in text


def test_a_clean_set_has_a_line_of_what_it_loses():
    text = table([record("learnt", 0.0, 0, 1.0)])
    assert "| s | learnt | 1,000 | 0.1% | 3.0% |" in text and "## Rows of other sets" not in text
