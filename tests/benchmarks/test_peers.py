"""The training benchmark's rows over other documents and in several processes: their order, their sums, their ratio."""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.train_speed import run as running
from benchmarks.train_speed.guards import faults
from benchmarks.train_speed.inputs import made_up
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.order import BY_LENGTH, by_length, documents_of
from benchmarks.train_speed.ranks import merged
from benchmarks.train_speed.rows import ROWS, SHORT_SETS, short_rows
from benchmarks.train_speed.run import Failed, command_of, processes_of
from benchmarks.train_speed.table import Line, faster

CONFIG = {"vocab_size": 200, "pad_token_id": 0}
TOKENS = made_up(SHORT_SETS["gsm8k"], CONFIG)
(ROW,) = [row for row in short_rows() if row.variant == "by_length"]


def result_of(steps: list[list[int]]) -> dict[str, Any]:
    """A run over these documents that no guard has a word against, but perhaps for the documents."""
    return {
        "documents": steps, "masked_in": [TOKENS.real_tokens(step) for step in steps],
        "positions": [TOKENS.real_tokens(step) for step in steps],
        "label_tokens": [TOKENS.weight(step) for step in steps], "loss": [3.0] * len(steps), "weight": [0] * len(steps),
        "seconds": [1.0] * len(steps), "leak": 0.0, "dtypes": ["torch.float32"], "peak_mb": 900.0, "import_mb": 400.0,
        "others": 1.0, "cores": 0.9, "threads": 1,
    }  # fmt: skip


# -- the order ------------------------------------------------------------------------------------------------


def test_the_longest_documents_come_first_and_torchs_generator_stays_where_it_was():
    state = torch.random.get_rng_state()
    steps = by_length(TOKENS, 8)
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(chain.from_iterable(steps)) == list(range(128)) and steps == by_length(TOKENS, 8)
    lengths = [len(one.ids) for one in TOKENS.documents]
    assert max(lengths) == lengths[steps[0][0]]
    assert documents_of("", TOKENS, 2) == [list(range(16)), list(range(16, 32))]


def test_a_row_by_length_must_take_exactly_these_documents():
    steps = by_length(TOKENS, ROW.steps)
    assert faults(result_of(steps), TOKENS, ROW) == []
    swapped = [[steps[1][0], *steps[0][1:]], [steps[0][0], *steps[1][1:]], steps[2]]
    for wrong in (swapped, steps[::-1], documents_of("", TOKENS, 3)):
        (fault,) = faults(result_of(wrong), TOKENS, ROW)
        assert fault.startswith("same steps") and BY_LENGTH in fault
    missing = faults(result_of([steps[0][1:], *steps[1:]]), TOKENS, ROW)
    assert "steps of 15 documents" in missing[0] and len(missing) == 2
    dropped = result_of(steps)
    dropped["label_tokens"][1] -= 1
    (fault,) = faults(dropped, TOKENS, ROW)
    assert fault.startswith("no label dropped: step 2")


def test_records_from_before_there_were_orders_keep_their_key():
    for row in ROWS:
        assert ("order" in row.as_dict()) == (row.variant == "by_length")
    assert sum(row.variant == "by_length" for row in ROWS) == 2


# -- several processes ----------------------------------------------------------------------------------------


def test_what_two_ranks_saw_is_one_result():
    one, two = result_of([[0, 1], [4, 5]]), result_of([[2, 3], [6, 7]])
    two |= {"loss": [1.0, 2.0], "leak": None, "peak_mb": 100.0, "seconds": [9.0, 9.0]}
    whole = merged([one, two])
    assert whole["documents"] == [[0, 1, 2, 3], [4, 5, 6, 7]] and whole["loss"] == [2.0, 2.5]
    assert whole["label_tokens"] == [TOKENS.weight(step) for step in whole["documents"]]
    assert whole["masked_in"] == [TOKENS.real_tokens(step) for step in whole["documents"]]
    assert (whole["peak_mb"], whole["import_mb"], whole["threads"], whole["leak"]) == (1000.0, 800.0, 2, 0.0)
    assert whole["seconds"] == one["seconds"] and whole["others"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"ranks did \[2, 1\] steps"):
        merged([one, result_of([[2, 3]])])


def test_a_rank_that_normalises_by_its_own_labels_is_seen():
    """Each rank's mean over its own labels, averaged, is not the mean over all labels of the step."""
    sums, labels = (30.0, 10.0), (10, 2)
    right = merged([result_of([[n]]) | {"loss": [2 * sums[n] / sum(labels)]} for n in (0, 1)])
    assert right["loss"][0] == pytest.approx(sum(sums) / sum(labels))
    wrong = merged([result_of([[n]]) | {"loss": [sums[n] / labels[n]]} for n in (0, 1)])
    assert running.parity_fault(running.distance(wrong["loss"], right["loss"]))


def test_torchrun_starts_as_many_processes_as_the_row_says(tmp_path: Path):
    job = Job("hf_trainer", "", "", "", "", steps=1, horizon=1, options={"processes": 2})
    command = command_of(job, Path("python"), tmp_path)
    assert "--nproc-per-node=2" in command and processes_of(job) == 2
    one = Job("hf_trainer", "", "", "", "", steps=1, horizon=1)
    assert command_of(one, Path("python"), tmp_path)[1] == "-m" and len(command_of(one, Path("python"), tmp_path)) == 4


def test_a_timeout_ends_what_the_process_started_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "SECONDS_AT_MOST", 1)
    note = tmp_path / "late"
    with open(tmp_path / "log", "w", encoding="utf-8") as log, pytest.raises(Failed, match="no end"):
        running._wait(["sh", "-c", f"(sleep 2; touch {note}) & wait"], {}, log)
    time.sleep(2)
    assert not note.exists()


# -- the ratio ------------------------------------------------------------------------------------------------


def line(system: str, variant: str, speed: float, steps: list[list[int]], *, ranks: bool = True) -> Line:
    one = [1.0]
    return Line(system, variant, "", [speed], one, one, one, one, one, [""], one, ranks, steps)


def test_a_row_is_compared_with_ours_over_the_same_documents():
    first, sorted_ = [[0, 1], [2, 3], [4, 5]], [[9, 8], [7, 6], [5, 4]]
    lines = [
        line("tuneloop", "fast", 200.0, first), line("tuneloop", "by_length", 300.0, sorted_),
        line("tuneloop", "plain", 1.0, first), line("hf_trainer", "micro", 100.0, first),
        line("hf_trainer", "tuned", 100.0, [[8, 9], [6, 7]]), line("trl", "packed", 100.0, [[9, 8, 7], [6, 5, 4]]),
        line("tuneloop", "parity", 200.0, first, ranks=False),
    ]  # fmt: skip
    told = [faster(one, lines) for one in lines]
    assert told == ["1.00x", "1.00x", "200.00x", "2.00x", "3.00x", "2.00x, over other documents", ""]
    assert faster(lines[4], lines[:1]) == "2.00x, over other documents" and faster(lines[4], lines[3:5]) == ""
