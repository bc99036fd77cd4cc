"""The benchmark of the bound: its file is always the same, it sees memory of children too, other bytes fail it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.bounded_memory.__main__ import faults_of, main
from benchmarks.bounded_memory.made import make
from benchmarks.bounded_memory.measure import watch
from benchmarks.bounded_memory.table import table
from benchmarks.train_speed.raw import read_raw

PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; block = bytearray(80 << 20); time.sleep(1)"], check=True)
"""


def test_the_file_is_fixed_and_holds_every_fault(tmp_path: Path):
    rows = make(tmp_path / "a", 1)
    assert make(tmp_path / "b", 1) == rows and (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    lines = (tmp_path / "a").read_text(encoding="utf-8").splitlines()
    whole = [json.loads(line) for line in lines if line.startswith('{"')]
    texts = [row["text"] for row in whole]
    assert len(lines) == rows and len(lines) > len(whole) > 0.97 * rows
    assert len(set(texts)) < len(texts) and any("#" in text for text in texts)


def test_the_memory_of_children_counts():
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    peak, main_alone = watch(process)
    assert process.returncode == 0 and peak > 80 > main_alone


@pytest.mark.timeout(300)
def test_the_short_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = ["--short", "--large", "2", "--small", "1", "--results", str(tmp_path)]
    assert main(asked) == 0
    records = {one["way"]: one for one in read_raw(tmp_path / "raw.jsonl")}
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| small, through files")]
    assert len(records) == 3 and shown[0].endswith("| yes |")
    plain, through = records["small, in memory"], records["small, through files"]
    assert plain["result"]["tables"] == through["result"]["tables"] and len(plain["result"]["tables"]) == 6
    through["result"]["tables"]["train.parquet"] = "other"
    through["result"]["in_files"], through["result"]["peak_mb"] = False, 400 + through["idle_mb"]
    assert faults_of(records) == [
        "small, through files: rows went through memory", "small, through files: 400 MB above the idle process",
        "small, through files: other bytes than in memory in train.parquet",
    ]  # fmt: skip
    assert table(list(records.values())).count("**no**") == 2
