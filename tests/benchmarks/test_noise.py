"""The noise benchmark: its short form, that it goes on where it stopped, and what its table says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from benchmarks.noise import __main__ as command
from benchmarks.noise import measure
from benchmarks.noise.__main__ import main
from benchmarks.noise.table import table
from benchmarks.train_speed.raw import read_raw

from tuneloop.errors import RunError

STAND_IN = """
import json, sys
import numpy as np
with np.load(sys.argv[2]) as file:
    given, shares = file["given"], file["probabilities"]
worth = shares[np.arange(len(given)), given]
told = {"version": "0", "scores": {"self_confidence": worth.tolist()}, "issues": [0, 1]}
json.dump(told, open(sys.argv[3], "w"))
"""


def stand_in(folder: Path, code: str = STAND_IN) -> Path:
    """A program that answers as cleanlab's environment does."""
    (folder / "answer.py").write_text(code, encoding="utf-8")
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "answer.py"}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def test_the_short_form_measures_both_figures_and_keeps_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = tmp_path / "results"
    arguments = ["--short", "--results", str(results), "--cleanlab", str(stand_in(tmp_path))]
    assert main(arguments) == 0
    noise, labels, sent = read_raw(results / "raw.jsonl")
    assert [one["figure"] for one in (noise, labels, sent)] == ["noise", "labels", "sent"] and sent["set"] == "made_up"
    for one in (noise, labels, sent):
        assert {"cpu", "cores"} <= set(one["machine"]) and one["date"] and one["seconds"] > 0 and "load_before" in one
        assert "--short" in one["command"] and str(tmp_path / "python") not in one["command"]
    found = noise["result"]
    assert found["noise"] == 20 and found["rows"] == 420 and found["noise_under"] >= 0.8 and found["clean_under"] <= 0.1
    assert sum(map(sum, found["histogram"].values())) == 420
    assert found["kinds"]["gibberish"]["rows"] + found["kinds"]["wrong_language"]["rows"] + found["kinds"]["template"][
        "rows"
    ] == 20  # fmt: skip
    found = labels["result"]
    assert found["flipped"] == 20 and found["average_precision"]["plausibility"] > 0.9
    classifier = found["cleanlab"]["classifier"]["average_precision"]["self_confidence"]
    assert classifier == pytest.approx(found["average_precision"]["self_confidence"])
    assert found["cleanlab"]["pooled"]["average_precision"]["self_confidence"] == pytest.approx(
        found["average_precision"]["plausibility"]
    )
    found = sent["result"]
    assert [found[kind]["flipped"] for kind in ("as it is", "flipped")] == [0, 20]
    assert found["as it is"]["own_sent"] <= 0.03 and found["as it is"]["found"] is None
    assert found["flipped"]["found"] > 0.8 and 0.03 < found["flipped"]["share"] < 0.08
    drawing = (results / "scores.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(drawing)
    drawn = [int(count) for count in re.findall(r"<title>(\d+) \w+ rows", drawing)]
    assert sum(drawn) == 420 and len(drawn) == 2 * measure.BINS
    shown = capsys.readouterr().out
    assert shown.strip() == (results / "table.md").read_text(encoding="utf-8").strip() and "made_up" in shown
    assert main(arguments) == 0 and len(read_raw(results / "raw.jsonl")) == 3, "what stands is not measured again"


def test_other_code_or_another_seed_is_another_run():
    keys = {command.key_of("noise", "made_up", seed, rows, cleanlab=False) for seed in (0, 1) for rows in (None, 9)}
    assert len(keys) == 4
    assert command.key_of("labels", "made_up", 0, None, cleanlab=True) != command.key_of(
        "labels", "made_up", 0, None, cleanlab=False
    )


def test_a_peer_that_fails_says_why(tmp_path: Path):
    program = stand_in(tmp_path, "raise SystemExit('no module named cleanlab')")
    with pytest.raises(RunError, match=r"no module named cleanlab.*pip install cleanlab"):
        measure.cleanlab(program, np.zeros(2, int), np.ones((2, 2)) / 2)


def test_an_unknown_set_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--sets", "nothing", "--results", str(tmp_path), "--seeds", "0"]) == 1
    assert "No such set: nothing" in capsys.readouterr().err


def record(figure: str, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    machine = {"cores": 2, "cpu": "A processor"}
    return {"figure": figure, "set": "s", "seed": seed, "command": "c", "date": "2026-01-01T0", "machine": machine,
            "versions": {}, "result": result}  # fmt: skip


@pytest.mark.parametrize(
    ("noise", "clean", "reached"), [(0.95, 0.03, "yes"), (0.89, 0.03, "**no**"), (1, 0.06, "**no**")]
)
def test_the_table_says_whether_the_noise_figure_is_reached(noise: float, clean: float, reached: str):
    kinds = {kind: {"rows": 1, "under": noise} for kind in ("gibberish", "wrong_language", "template")}
    result = {"rows": 10, "noise": 3, "noise_under": noise, "clean_under": clean, "auc": 0.99, "kinds": kinds}
    text = table([record("noise", 0, result), record("noise", 1, result)])
    assert f"| {reached} |" in text and f"{clean:.1%} [{100 * clean:.1f}, {100 * clean:.1f}]" in text


@pytest.mark.parametrize(("own", "reached"), [(0.03, "yes"), (0.031, "**no**")])
def test_the_table_says_whether_few_rows_of_a_set_as_it_is_are_sent(own: float, reached: str):
    kind = {
        "rows": 10,
        "labels": 2,
        "right": 0.5,
        "share": 0.05,
        "said_to_be_found": 0.6,
        "own_sent": own,
        "found": 0.7,
    }
    text = table([record("sent", 0, {"as it is": kind, "flipped": kind}), record("sent", 1, {"as it is": kind | {
        "own_sent": 0.01}, "flipped": kind})])  # fmt: skip
    line = next(line for line in text.splitlines() if line.startswith("| s |"))
    assert line.endswith(f"| {reached} |") and "60.0% [60.0, 60.0]" in line and f"[1.0, {100 * own:.1f}]" in line


@pytest.mark.parametrize(("ours", "peer", "reached"), [(0.9, 0.9, "yes"), (0.89, 0.9, "**no**"), (0.9, None, "")])
def test_the_table_says_whether_cleanlab_is_reached_in_its_best_way(ours: float, peer: float | None, reached: str):
    doubted = {"precision": 0.5, "recall": 0.6}
    result: dict[str, Any] = {
        "rows": 10, "labels": 2, "flipped": 1, "accuracy": 0.8, "suggestions_right": 1.0, "doubted": doubted,
        "average_precision": {"plausibility": ours},
    }  # fmt: skip
    if peer is not None:
        ways = {"average_precision": {"self_confidence": 0.1, "other": peer}, "doubted": doubted}
        result["cleanlab"] = {"version": "2", "classifier": ways, "pooled": ways}
    line = next(line for line in table([record("labels", 0, result)]).splitlines() if line.startswith("| s |"))
    assert line.endswith(f"| {reached} |") and ("not asked" in line) is (peer is None)
    assert json.dumps(result)
