"""The GPU benchmark, as far as a CPU can tell: it refuses aloud, its limit and its table are right, its keys resume."""

from __future__ import annotations

import pytest
import torch
from benchmarks.train_speed.floor import step_flops
from benchmarks.train_speed_gpu.__main__ import main, record_of
from benchmarks.train_speed_gpu.rows import DOCUMENTS, LENGTH, ROWS, SHAPE, documents, table


def test_it_refuses_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--results", str(tmp_path)]) == 1
    assert "needs an NVIDIA GPU" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_documents_are_whole_and_never_padded():
    made = documents(vocabulary=50, length=6, count=4)
    assert [len(one.ids) for one in made.documents] == [6] * 4 and made.weight(range(4)) == 4 * 5
    assert all(0 not in one.ids for one in made.documents)


def test_the_table_tells_share_and_parity():
    flops = step_flops(SHAPE, [LENGTH] * DOCUMENTS, DOCUMENTS * (LENGTH - 1), rank=8)
    rates = dict.fromkeys(("qkv", "out", "gate_up", "down", "head"), 8e14)
    seconds = sum(flops.values()) / 8e14  # the limit itself
    assert 0.12 < seconds < 0.16  # 16,384 tokens of 6.9 GFLOP at 800 TFLOP/s

    def record(row: str, factor: float, losses: list[float], key: str) -> dict:
        result = {"seconds_a_step": factor * seconds, "losses": losses, "peak_bytes": 3 * 2**30}
        return {"key": key, "row": row, "device": "X", "result": result}

    records = [
        {"key": "0", "row": "gemm", "device": "X", "result": {"flops": rates}},
        record("tuneloop/default", 2.0, [2.0, 1.9], "1"),
        record("trl/default", 4.0, [2.0, 1.91], "2"),
        record("trl/tuned", 3.0, [2.0, 3.0], "3"),
        {"key": "4", "row": "trl/tuned_micro", "device": "X", "absent": "trl is not installed"},
    ]
    lines = table(records).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:5]] == ["tuneloop/default", "trl/default", "trl/tuned"]
    assert [line.split("|")[4].strip() for line in lines[2:5]] == ["0.50", "0.25", "0.33"]
    assert "does not count" in lines[4] and "does not count" not in lines[3]
    assert "not installed" in lines[-1]


def test_a_record_is_known_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "X")
    keys = [record_of(row, repeat)["key"] for row in ROWS for repeat in range(2)]
    assert len(set(keys)) == len(keys)
    assert record_of(ROWS[0], 0)["key"] == keys[0]
