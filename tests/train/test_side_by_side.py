"""Micro-batches side by side against one after the other: the same gradients, the same run, to the bit every time."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_training import (
    examples_of,
    lora_settings,
    make_job,
    small,
    small_classifier,
    stir,
    text_examples,
    weights_of,
)
from torch import nn

from tuneloop.examples.batch import collate
from tuneloop.loss.total import LOSSES, LossSum
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import network_of
from tuneloop.model.reader import choose_reader
from tuneloop.train import side_by_side as module
from tuneloop.train.loop import train
from tuneloop.train.side_by_side import SideBySide, side_by_side

LENGTHS = [9, 4, 31, 2, 7, 28, 3, 5, 8, 6, 11, 3]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch):
    """Two cores, and workers for tiny micro-batches."""
    monkeypatch.setattr(module, "TOKENS_A_WORKER", 12)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def adapted(task: str) -> nn.Module:
    if task == "generation":
        model: nn.Module = METHODS["lora"](small("llama"), adapt=lora_settings(), seed=1).model
    else:
        model = small_classifier("llama")
        model.backbone = METHODS["lora"](model.backbone, adapt=lora_settings(), seed=1).model
    stir(model)
    return model


def workers_of(model: nn.Module, task: str, tokens: int = 24) -> SideBySide:
    reader = choose_reader(network_of(model), fast=True)
    found = side_by_side(model, lambda part: LOSSES[task](model, collate(part, 0), reader.read), tokens)
    assert found is not None
    return found


@pytest.mark.parametrize("task", ["generation", "classification"])
def test_shares_add_up_to_the_gradient_of_all_rows_at_once(task: str):
    model, rows = adapted(task), examples_of(task, LENGTHS)
    whole = LOSSES[task](model, collate(rows, 0))
    (whole.loss / 7.0).backward()
    workers = workers_of(model, task)
    alone, together = workers.cut(rows)
    assert len(alone) == 2 and len(together) > 2  # the rows of 31 and 28 tokens
    found = [torch.zeros_like(p) for p in workers.parameters]
    loss = weight = 0.0
    for share in workers.shares(alone + together, 7.0):
        assert not share.sums.loss.requires_grad
        loss, weight = loss + float(share.sums.loss), weight + float(share.sums.weight)
        for mine, gradient in zip(found, share.gradients, strict=True):
            mine += gradient
    workers.close()
    assert loss == pytest.approx(float(whole.loss.detach()), rel=1e-5) and weight == float(whole.weight)
    for parameter, gradient in zip(workers.parameters, found, strict=True):
        assert float((parameter.grad - gradient).norm()) <= 1e-5 * float(parameter.grad.norm()) + 1e-8
    assert torch.get_num_threads() == 2  # the workers' own number is theirs alone


def test_every_row_goes_once_the_largest_first_and_a_single_part_gets_all_cores():
    workers = workers_of(adapted("generation"), "generation", tokens=24)
    rows = text_examples(LENGTHS)
    alone, together = workers.cut(rows)
    sizes = [sum(len(row.input_ids) for row in part) for part in together]
    assert sizes == sorted(sizes, reverse=True) and max(sizes) <= 15  # 1.25 x 12
    assert sorted(row.row_id for part in alone + together for row in part) == sorted(row.row_id for row in rows)
    few = text_examples([3, 3, 3, 3])  # 12 tokens, less than two workers could take: cut in two all the same
    assert [len(part) for part in workers.cut(few)[1]] == [2, 2]
    assert workers.cut(text_examples([5])) == ([text_examples([5])], [])
    workers.close()


def test_a_run_takes_the_way_of_one_after_the_other_and_repeats_to_the_bit(tmp_path, monkeypatch):
    def run(name: str) -> dict[str, torch.Tensor]:
        model = adapted("generation")
        job = make_job("generation", examples_of("generation", LENGTHS), tmp_path / name, tokens_per_micro_batch=24)
        object.__setattr__(job, "reader", choose_reader(network_of(model), fast=True))
        train(model, job, validate=None)
        return weights_of(model)

    first, second = run("first"), run("second")
    assert all(torch.equal(first[name], second[name]) for name in first)
    taken: list[int] = []
    plain = SideBySide.shares
    monkeypatch.setattr(SideBySide, "shares", lambda *a: (taken.append(1), plain(*a))[1])
    run("counted")
    assert taken, "the workers were used"
    torch.set_num_threads(1)
    alone = run("alone")
    assert all(torch.allclose(first[name], alone[name], atol=5e-5) for name in first)


def test_workers_are_for_adapters_on_several_cores():
    compute = lambda part: LossSum(torch.zeros(()), torch.zeros(()), torch.zeros(()))  # noqa: E731
    model = adapted("generation")
    assert side_by_side(model, compute, 23) is None  # less than two workers' tokens
    torch.set_num_threads(1)
    assert side_by_side(model, compute, 24) is None
    torch.set_num_threads(2)
    large = nn.Linear(4097, 4097, bias=False)  # gradients of more than 64 MB
    assert side_by_side(large, compute, 24) is None


def test_what_goes_wrong_in_a_worker_is_told_and_ends_the_step():
    done: list[int] = []

    def compute(part) -> LossSum:
        done.append(len(part))
        raise ValueError("no such row")

    workers = SideBySide([], compute, workers=2, tokens=8)
    with pytest.raises(ValueError, match="no such row"):
        list(workers.shares([text_examples([4])] * 50, 1.0))
    workers.close()
    assert len(done) < 50


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([42] * 16, [168] * 4),  # not 252, 252 and 168: one worker would have two of them
        ([16] * 16, [128, 128]),
        ([30, 30, 10, 10, 10, 10, 10, 10], [60, 60]),
        ([300, 280, 9], [280, 9]),  # 300 is long: it gets all cores
    ],
)
def test_workers_are_done_at_the_same_time(lengths: list[int], parts: list[int]):
    rows = text_examples(lengths)
    alone, together = SideBySide([], lambda part: None, 2, 256).cut(rows)
    assert [sum(len(row.input_ids) for row in part) for part in together] == parts
    assert sorted(len(row.input_ids) for part in (*alone, *together) for row in part) == sorted(lengths)
    assert all(len(row.input_ids) > 288 for part in alone for row in part)
