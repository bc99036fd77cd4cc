"""The profile of a step: operators are sorted by what they are for, seconds add up, the short form measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.step_profile.__main__ import ROWS, documents_a_step, inputs_of, main
from benchmarks.step_profile.kinds import BETWEEN, REST, kind_of, shares
from benchmarks.step_profile.table import table
from benchmarks.train_speed.raw import read_raw
from benchmarks.train_speed.tokens import read_tokens


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::mm", "matrix products"), ("aten::addmm", "matrix products"), ("aten::addmm_", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"), ("aten::mul", REST), ("aten::mean", REST),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"), ("aten::copy_", "copies"),
        ("aten::index_select", "copies"), ("aten::cat", "copies"), ("aten::silu", REST), ("Optimizer.step#AdamW", REST),
    ],
)  # fmt: skip
def test_an_operator_is_of_one_kind(operator: str, kind: str):
    assert kind_of(operator) == kind


def test_what_no_operator_accounts_for_lies_between_them():
    found = shares({"aten::mm": 3.0, "aten::mul": 1.0}, 5.0)
    assert found["matrix products"] == 3.0 and found[REST] == 1.0 and found[BETWEEN] == 1.0
    assert shares({"aten::mm": 3.0}, 2.0)[BETWEEN] == 0.0


def record() -> dict[str, Any]:
    one = {"seconds": [9.0, 2.0, 2.0, 7.0, 5.0, 5.0], "tokens": [100] * 6, "positions": [120] * 6, "others": 0.01,
           "operators": {"aten::mm": 6.0, "aten::mul": 1.0}, "profiled": 2, "profiled_seconds": 8.0}  # fmt: skip
    two = {**one, "seconds": [9.0, 1.0, 1.0, 9.0, 9.0, 9.0], "others": 0.5}
    return {"row": "r", "command": "c", "date": "2026-01-01T0", "machine": {"cores": 2, "cpu": "a"},
            "result": {"profile": one, "two": two}}  # fmt: skip


def test_a_line_has_seconds_for_1000_tokens_and_the_speeds_of_steps_without_the_profiler():
    text = table([record()])
    cells = [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith("| r |")).split("|")]
    assert cells[2] == "30.00 (75%)" and "5.00 (12%)" in cells and cells[-5:-1] == ["1.20", "50.0", "100.0", "2.00x"]
    assert "other processes used up to 0.50 cores" in text


def test_documents_of_one_length_fill_steps_of_as_many_tokens(tmp_path: Path):
    tokens = read_tokens(inputs_of("tokens_512", tmp_path, short=True).tokens)
    assert documents_a_step("tokens_512") == 8 and documents_a_step("gsm8k") == 16
    assert [len(one.ids) for one in tokens.documents] == [64] * 32


@pytest.mark.slow
def test_the_short_form_profiles_each_row_once(tmp_path: Path):
    places = ["--results", str(tmp_path / "r"), "--work", str(tmp_path / "w")]
    arguments = ["--short", "--sets", "banking77", "tokens_32", *places]
    assert main(arguments) == 0
    records = read_raw(tmp_path / "r" / "raw.jsonl")
    assert [one["row"] for one in records] == [name for name in ROWS if name.startswith(("banking77", "32"))]
    for one in records:
        result = one["result"]
        assert result["profile"]["operators"]["aten::mm"] > 0 and "operators" not in result["two"]
        profiled = result["profile"]["profiled_seconds"]
        assert 0.3 * profiled < sum(result["profile"]["operators"].values()) <= 1.1 * profiled
    steps = [[sorted(step) for step in one["result"]["two"]["documents"]] for one in records]
    assert steps[0] == steps[1], "both over the same documents"
    assert main(arguments) == 0 and len(read_raw(tmp_path / "r" / "raw.jsonl")) == 3
