"""The training benchmark: its guards see what they are for, its limit is the hand-made one, its records are kept."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.train_speed import run as running
from benchmarks.train_speed.environments import REQUIREMENTS, pip_reason
from benchmarks.train_speed.floor import limit_seconds, machine_rate, shapes, step_flops
from benchmarks.train_speed.guards import GUARDS, distance, faults, parity_fault
from benchmarks.train_speed.inputs import Inputs, distinct, made_up
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.order import by_length
from benchmarks.train_speed.plot import plot
from benchmarks.train_speed.raw import add_raw, read_raw, standing, withdraw
from benchmarks.train_speed.rows import ROWS, SETS, SHORT_SETS, Row, short_rows
from benchmarks.train_speed.run import Bench, Failed, Plan
from benchmarks.train_speed.table import figures, lines_of, table
from benchmarks.train_speed.tokens import Document, TokenFile, read_tokens, write_tokens
from benchmarks.train_speed.watch import Watch, leak, split

from tuneloop.errors import RunError

ROOT = Path(__file__).parents[2]
SMOLLM2 = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152,
}  # fmt: skip
QWEN_1_5B = {
    "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "vocab_size": 151936,
}  # fmt: skip
QWEN_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 200, "pad_token_id": 0,
}  # fmt: skip


# -- the limit ------------------------------------------------------------------------------------------------


def test_the_least_work_is_that_of_the_hand_count():
    """SmolLM2-135M, MFLOP a token: backbone 212.3 forward, head 56.6, LoRA 4.9, attention 17.7 at 512 tokens."""
    flops = {name: value / 512 / 1e6 for name, value in step_flops(SMOLLM2, [512], 256, rank=8).items()}
    assert flops["blocks"] == pytest.approx(2 * 212.3, abs=0.1)
    assert flops["adapter"] == pytest.approx(2 * 4.88, abs=0.02)
    assert flops["head"] == pytest.approx(0.5 * 2 * 56.6, abs=0.05)
    assert flops["attention"] == pytest.approx(3.5 * 17.7, abs=0.05)
    assert sum(flops.values()) == pytest.approx(553, abs=0.5)


@pytest.mark.parametrize(("config", "expected"), [(QWEN_1_5B, 6.83e9), (QWEN_7B, 29.8e9)])
def test_larger_models_have_the_hand_count_too(config: dict[str, int], expected: float):
    flops = step_flops(config, [2048], 2048, rank=8)
    assert sum(flops.values()) / 2048 == pytest.approx(expected, rel=0.002)


def test_the_limit_is_271_tokens_a_second_at_150_gflops():
    rates = dict.fromkeys(shapes(SMOLLM2), 150e9)
    assert 512 / limit_seconds(SMOLLM2, rates, step_flops(SMOLLM2, [512], 256, rank=8)) == pytest.approx(271, abs=0.5)


def test_attention_is_counted_over_each_documents_own_length():
    one, two = (step_flops(SMOLLM2, lengths, 256, rank=8) for lengths in ([512], [256, 256]))
    assert two["attention"] == one["attention"] / 2
    assert [two[name] for name in ("blocks", "adapter", "head")] == [one[n] for n in ("blocks", "adapter", "head")]


def test_a_slow_shape_weighs_by_its_work():
    rates = dict.fromkeys(shapes(SMOLLM2), 100e9) | {"head": 50e9}
    flops = {"blocks": 3.0, "adapter": 0.0, "head": 1.0, "attention": 0.0}
    assert machine_rate(SMOLLM2, rates, flops) == pytest.approx(4 / (3 / 100e9 + 1 / 50e9))


def test_a_classifier_has_a_head_of_its_classes():
    assert step_flops(SMOLLM2, [10, 20], 0, rank=8, classes=77)["head"] == 2 * 3 * 77 * 576 * 2


# -- the watch ------------------------------------------------------------------------------------------------


DOCUMENTS = [
    Document([5, 6, 7, 8], [-100, -100, 7, 8]),
    Document([9, 10, 0], [-100, 10, 0]),  # ends with the pad token, as a text that ends with EOS does
    Document([11, 12], [-100, 12]),
]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    path = tmp_path / "tokens.jsonl"
    write_tokens(path, TokenFile("mine", "generation", 0, 0, DOCUMENTS))
    made = Watch(Job("tuneloop", "", str(path), "", str(tmp_path), steps=1, horizon=1))
    yield made
    made.hook.remove()


def padded(numbers: list[int], *, pads_masked_in: int = 0, labels_dropped: int = 0) -> dict[str, torch.Tensor]:
    """A batch as collators make it, with faults on demand."""
    chosen = [DOCUMENTS[number] for number in numbers]
    shape = (len(chosen), max(len(one.ids) for one in chosen) + pads_masked_in)
    ids, mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, -100)
    for row, one in enumerate(chosen):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        mask[row, : len(one.ids) + pads_masked_in] = 1
        labels[row, : len(one.ids)] = torch.tensor(one.labels)
    for row in range(labels_dropped):
        labels[row] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def packed(numbers: list[int]) -> dict[str, torch.Tensor]:
    """Documents end to end, as TRL packs them."""
    chosen = [DOCUMENTS[number] for number in numbers]
    positions = [place for one in chosen for place in range(len(one.ids))]
    ids, labels = ([token for one in chosen for token in getattr(one, name)] for name in ("ids", "labels"))
    return {name: torch.tensor([values]) for name, values in
            {"input_ids": ids, "labels": labels, "position_ids": positions}.items()}  # fmt: skip


@pytest.mark.parametrize("make", [padded, packed])
def test_a_batch_is_read_back_as_the_documents_it_is_made_of(watch: Watch, make: Any):
    watch.feed(make([0, 1, 2]))
    assert watch.current.documents == [0, 1, 2]
    assert (watch.current.masked_in, watch.current.label_tokens) == (9, 5)
    assert watch.current.positions == (12 if make is padded else 9)


def test_a_counted_pad_token_is_seen_and_the_document_still_known(watch: Watch):
    watch.feed(padded([0, 2], pads_masked_in=1))
    assert watch.current.documents == [0, 2]
    assert watch.current.masked_in == 6 + 2


def test_dropped_labels_and_joined_documents_are_seen(watch: Watch):
    watch.feed(padded([0, 1], labels_dropped=1))
    assert watch.current.label_tokens == 2
    joined = packed([0, 2])
    joined["position_ids"] = torch.arange(6)[None]
    watch.feed(joined)
    assert watch.current.documents == [0, 1, -1]


def test_labels_on_padding_are_counted_too(watch: Watch):
    batch = padded([0, 2])
    batch["labels"][1, 3] = 0
    watch.feed(batch)
    assert watch.current.label_tokens == 4


def test_a_step_ends_where_the_optimiser_steps(watch: Watch):
    parameter = torch.nn.Parameter(torch.ones(2))
    watch.see_model(torch.nn.ParameterList([parameter]))
    watch.begin()
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    for numbers in ([0], [1, 2]):
        watch.feed(padded(numbers))
        watch.add_loss(6.0, 3.0)
        watch.add_loss(1.0, 4.0)
        optimizer.step()
    result = watch.result(lambda inputs: inputs["input_ids"][..., None].float())
    assert result["documents"] == [[0], [1, 2]] and result["loss"] == [1.0, 1.0]
    assert result["leak"] == 0.0 and result["peak_mb"] > 0 and len(result["seconds"]) == 2


@pytest.mark.parametrize("make", [padded, packed])
def test_documents_that_see_each_other_are_seen(make: Any):
    inputs = make([0, 1, 2])

    def apart(given: Any) -> torch.Tensor:
        return given["input_ids"][..., None].float()

    def together(given: Any) -> torch.Tensor:
        return apart(given) + 0.01 * given["input_ids"].sum()

    assert leak(inputs, apart) == 0.0
    assert leak(inputs, together) > 0.01
    with pytest.raises(ValueError, match="sees nothing"):
        leak(inputs, lambda given: torch.zeros(*given["input_ids"].shape, 2))


def test_documents_are_found_by_mask_or_by_positions():
    assert split(padded([0, 2])) == [(0, 0, 4), (1, 0, 2)]
    assert split(packed([0, 2])) == [(0, 0, 4), (0, 4, 6)]


# -- the guards -----------------------------------------------------------------------------------------------


SET = SHORT_SETS["gsm8k"]
TOKENS = made_up(SET, TINY)
ROW = short_rows()[0]


def good(row: Row = ROW, tokens: TokenFile = TOKENS) -> dict[str, Any]:
    """The result of a run without fault, one second a step."""
    steps = [list(range(step * 16, step * 16 + 16)) for step in range(row.steps)]
    real = [tokens.real_tokens(step) for step in steps]
    return {
        "documents": steps, "masked_in": real, "positions": [2 * count for count in real],
        "label_tokens": [tokens.weight(step) for step in steps], "loss": [3.0 - 0.1 * s for s in range(row.steps)],
        "seconds": [1.0] * row.steps, "leak": 0.0, "dtypes": ["torch.float32"], "peak_mb": 900.0, "import_mb": 400.0,
        "load_before": 0.1, "load_after": 1.2, "others": 0.05, "threads": 2, "versions": {"torch": "2.13.0"},
    }  # fmt: skip


def test_a_good_run_passes_every_guard():
    assert faults(good(), TOKENS, ROW) == []


PLANTED: dict[str, dict[str, Any]] = {
    "whole documents": {"documents": [[-1, *range(1, 16)], *good()["documents"][1:]]},
    "no pad counted": {"masked_in": [good()["masked_in"][0] + 1, *good()["masked_in"][1:]]},
    "no label dropped": {"label_tokens": [good()["label_tokens"][0] - 1, *good()["label_tokens"][1:]]},
    "apart": {"leak": 0.3},
    "same steps": {"documents": good()["documents"][:-1]},
    "float32": {"dtypes": ["torch.bfloat16", "torch.float32"]},
}


@pytest.mark.parametrize("name", GUARDS)
def test_each_guard_sees_its_fault(name: str):
    assert set(PLANTED) == set(GUARDS)
    assert name in {fault.partition(":")[0] for fault in faults(good() | PLANTED[name], TOKENS, ROW)}


def test_steps_of_other_documents_are_a_fault_unless_the_row_says_so():
    result = good()
    result["documents"] = result["documents"][::-1]
    kinds = ("masked_in", "label_tokens")
    result |= {kind: result[kind][::-1] for kind in kinds}
    assert [fault.partition(":")[0] for fault in faults(result, TOKENS, ROW)] == ["same steps"]
    reordered = Row(**ROW.as_dict() | {"reordered": True})
    assert faults(result, TOKENS, reordered) == []


def test_losses_are_held_against_the_references_first_steps():
    assert distance([2.0, 1.0], [2.0, 1.5, 9.0]) == 0.5
    assert parity_fault(9e-5) == [] and parity_fault(2e-4) and parity_fault(float("nan"))


# -- sessions -------------------------------------------------------------------------------------------------


def fake_bench(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any] | None = None, repeats: int = 2
) -> tuple[Bench, list[str]]:
    """A bench whose processes answer at once; gives the systems that were asked."""
    asked: list[str] = []
    path = folder / "gsm8k.jsonl"
    digest = write_tokens(path, TOKENS)
    shas = {"model": "m", "tokens": digest, "start": "s"}
    monkeypatch.setattr(running, "prepare", lambda *a, **k: Inputs(folder, TINY, path, path, shas))

    def process(self: Bench, job: Job) -> dict[str, Any]:
        asked.append(f"{job.system} {job.options.get('fast', '')}".strip())
        if job.system == "gemm":
            return {"flops": dict.fromkeys(shapes(TINY), 1e9), "threads": 2}
        result = good()
        if job.system == "hf_trainer" and change:
            result |= change
        return result

    monkeypatch.setattr(Bench, "_process", process)
    rows = [row for row in short_rows() if row.name in ("gsm8k/tuneloop/fast", "gsm8k/hf_trainer/default")]
    return Bench(Plan(rows, SHORT_SETS, folder / "results", folder, repeats, short=True)), asked


def test_rounds_interleave_and_nothing_is_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench, asked = fake_bench(tmp_path, monkeypatch)
    assert bench.run() == []
    assert asked == ["gemm", "tuneloop True", "reference", "hf_trainer", "gemm", "tuneloop True", "hf_trainer"]
    bench, asked = fake_bench(tmp_path, monkeypatch)
    assert bench.run() == [] and asked == []
    bench, asked = fake_bench(tmp_path, monkeypatch, repeats=3)
    assert bench.run() == [] and asked == ["gemm", "tuneloop True", "hf_trainer"]


def test_a_session_that_was_cut_off_goes_on_with_the_row_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bench, asked = fake_bench(tmp_path, monkeypatch)
    bench.run()
    lines = bench.raw.read_text(encoding="utf-8").splitlines(keepends=True)
    bench.raw.write_text("".join(lines[:-1]) + lines[-1][:40], encoding="utf-8")  # cut in the middle of a line
    bench, asked = fake_bench(tmp_path, monkeypatch)
    assert bench.run() == [] and asked == ["gemm", "hf_trainer"]


def test_a_fault_withdraws_the_run_and_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench, asked = fake_bench(tmp_path, monkeypatch, {"leak": 0.3}, repeats=1)
    (fault,) = bench.run()
    assert "documents see each other" in fault
    (record,) = [one for one in read_raw(bench.raw) if "withdrawn" in one]
    assert record["system"] == "hf_trainer" and record["result"]["leak"] == 0.3
    bench, asked = fake_bench(tmp_path, monkeypatch, {"loss": [3.0, 2.9, 2.7]}, repeats=1)
    assert "parity" in bench.run()[0]
    bench, asked = fake_bench(tmp_path, monkeypatch, repeats=1)
    assert bench.run() == [] and asked == ["gemm", "hf_trainer"]
    assert len([one for one in read_raw(bench.raw) if "withdrawn" in one]) == 2


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench, _ = fake_bench(tmp_path, monkeypatch, repeats=1)

    def failing(self: Bench, job: Job) -> dict[str, Any]:
        if job.system == "hf_trainer":
            raise Failed("exit 1: MemoryError")
        return good() if job.system != "gemm" else {"flops": dict.fromkeys(shapes(TINY), 1e9)}

    monkeypatch.setattr(Bench, "_process", failing)
    assert "MemoryError" in bench.run()[0]


def test_records_are_withdrawn_by_key_and_never_lost(tmp_path: Path):
    path = tmp_path / "raw.jsonl"
    for key in ("aa", "ab", "b"):
        add_raw(path, {"key": key})
    assert withdraw(path, "a", "the machine was busy") == 2
    assert len(read_raw(path)) == 3 and list(standing(read_raw(path))) == ["b"]
    with pytest.raises(RunError, match="no record"):
        withdraw(path, "c", "x")


# -- table and plot -------------------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Three rounds: tuneloop one second a step, hf_trainer two, with one run withdrawn and one system absent."""
    bench, _ = fake_bench(tmp_path, monkeypatch, {"seconds": [9.0, 2.0, 2.0]}, repeats=3)
    bench.run()
    first = next(one for one in read_raw(bench.raw) if one["system"] == "hf_trainer")
    row = first["row"] | {"variant": "tuned"}
    add_raw(bench.raw, first | {"key": "w", "row": row, "withdrawn": "the machine was busy"})
    gone = {name: value for name, value in first.items() if name not in ("result", "parity")}
    add_raw(bench.raw, gone | {"key": "x", "system": "trl", "row": row, "absent": "not installable: no wheel"})
    return bench


def cells(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_holds_speeds_ratios_and_shares_of_the_limit(measured: Bench):
    text = table(read_raw(measured.raw), measured.inputs, measured.tokens)
    counted = [list(range(16, 32)), list(range(32, 48))]  # the first of three steps is skipped
    real = sum(TOKENS.real_tokens(step) for step in counted)
    ours, theirs = cells(text, "| tuneloop |"), cells(text, "| hf_trainer |")
    assert ours[2] == f"{real / 2:.1f} [{real / 2:.1f}, {real / 2:.1f}]" and ours[3] == "1.00x"
    assert theirs[2].startswith(f"{real / 4:.1f} [") and theirs[3] == "2.00x"
    flops = sum(
        sum(step_flops(TINY, [len(TOKENS.documents[n].ids) for n in s], TOKENS.weight(s), rank=8).values())
        for s in counted
    )
    run = next(one for one in read_raw(measured.raw) if one["system"] == "tuneloop")
    rates = dict.fromkeys(shapes(TINY), 1e9)
    one = figures(run, rates, measured.inputs["gsm8k"], TOKENS)
    assert one["limit_share"] == pytest.approx(flops / 1e9 / 2)
    assert ours[5:9] == ["900", "400", "2.00", "0.0e+00"]
    assert "0.10 -> 1.20" in ours[9]


def test_what_is_missing_is_told_below_the_table(measured: Bench):
    text = table(read_raw(measured.raw), measured.inputs, measured.tokens)
    assert "withdrawn: the machine was busy" in text and "absent: not installable: no wheel" in text
    assert not [line for line in text.splitlines() if line.startswith("| trl |") or "tuned:" in line]
    other = {"gsm8k": Inputs(*[getattr(measured.inputs["gsm8k"], n) for n in ("model", "config", "tokens", "start")],
                             {"model": "m", "tokens": "of another file", "start": "s"})}  # fmt: skip
    assert "| tuneloop |" not in table(read_raw(measured.raw), other, measured.tokens)


def test_the_plot_has_a_bar_for_each_row(measured: Bench):
    lines = lines_of(list(standing(read_raw(measured.raw)).values()), measured.inputs["gsm8k"], TOKENS)
    drawn = ElementTree.fromstring(plot({"gsm8k": lines}))
    bars = [float(one.attrib["width"]) for one in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2 and bars[0] == pytest.approx(2 * bars[1], abs=0.2)


# -- rows, tokens, environments -------------------------------------------------------------------------------


def test_every_row_can_be_run():
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) == 26
    folder = ROOT / "benchmarks" / "train_speed" / "systems"
    for row in [*ROWS, *short_rows()]:
        assert row.data in SETS and (folder / f"{row.system}.py").is_file()
        assert row.system == "tuneloop" or row.system in REQUIREMENTS
        assert 0 < row.skipped < row.steps
        if "per_device_train_batch_size" in row.options:
            batch = row.options["per_device_train_batch_size"] * row.options["gradient_accumulation_steps"]
            assert batch * row.options.get("processes", 1) == 16 or row.packed


def test_a_token_file_comes_back_as_it_was_and_holds_each_document_once(tmp_path: Path):
    digest = write_tokens(tmp_path / "a.jsonl", TOKENS)
    assert read_tokens(tmp_path / "a.jsonl") == TOKENS
    assert digest == write_tokens(tmp_path / "b.jsonl", made_up(SET, TINY))
    same = Document([1, 2], [-100, 2])
    assert distinct([same, Document([3], [-100]), Document([1, 2], [-100, -100])], 9) == [same, Document([3], [-100])]


def test_pips_reason_is_the_conflict():
    told = "noise\nThe conflict is caused by:\n    a 1 depends on torch<2\n    The user requested torch==2.13.0\n\nMore"
    assert pip_reason(told) == "a 1 depends on torch<2; The user requested torch==2.13.0"
    assert pip_reason("x\nERROR: No matching distribution found for y\n") == "No matching distribution found for y"


@pytest.mark.slow
def test_the_short_form_measures_two_systems_from_end_to_end(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.train_speed", "--short", "--threads", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum("row" in one for one in records) == len(short_rows()) and not [r for r in records if "withdrawn" in r]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.count("| hf_trainer |") == 4 and text.count("| tuneloop |") == 4
    runs = {one["row"]["variant"]: one["result"] for one in records if "row" in one and one["data"] == "gsm8k"}
    theirs, ours = ([sorted(step) for step in runs[name]["documents"]] for name in ("micro_grouped", "by_length"))
    assert theirs == ours == [sorted(step) for step in by_length(TOKENS, 3)]
    two = runs["micro_two_processes"]
    assert two["threads"] == 2 and two["peak_mb"] > 1.5 * runs["default"]["peak_mb"]
