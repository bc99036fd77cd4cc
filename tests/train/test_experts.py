"""Experts without a token: the optimiser does not move them, however they are stored and on either path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_training import make_job, small, text_examples
from torch import nn

from tuneloop.model.adapt import METHODS
from tuneloop.model.reader import PLAIN, choose_reader
from tuneloop.train.experts import clear_gradients, idle_experts_held
from tuneloop.train.loop import train

PARTS = ("gate_up_proj", "down_proj")


@pytest.mark.parametrize("fast", [True, False])
def test_the_loop_moves_an_expert_only_while_tokens_reach_it(tmp_path: Path, fast: bool):
    model = METHODS["full"](small("deepseek_v3"), adapt=None, seed=0).model
    mlp = model.model.layers[1].mlp
    mlp.gate.num_group = mlp.gate.topk_group = 1
    mlp.gate.e_score_correction_bias[1] = -10.0  # expert 1 never has a token, expert 0 none after the second step
    seen = [[mlp.experts.get_parameter(part).detach().clone() for part in PARTS]]

    def look(model: nn.Module) -> dict[str, float]:
        seen.append([mlp.experts.get_parameter(part).detach().clone() for part in PARTS])
        if len(seen) == 3:
            mlp.gate.e_score_correction_bias[0] = -10.0
        return {"loss": -float(len(seen))}

    job = make_job(
        "generation", text_examples([9, 17, 12, 14] * 5), tmp_path, weight_decay=0.1, eval_steps=1, save_steps=5
    )
    job = replace(job, reader=choose_reader(model, fast=True) if fast else PLAIN)
    assert job.reader.packed == fast
    train(model, job, validate=look)
    assert len(seen) == 6
    for before, after, moved in zip(seen, seen[1:], [0, 0, 1, 1, 1], strict=False):
        moves = [[True, False, True, True], [False, False, True, True]][moved]
        for old, new in zip(before, after, strict=True):
            assert (old != new).flatten(1).any(1).tolist() == moves


def test_moments_of_an_idle_expert_stand_still_too():
    torch.manual_seed(0)
    model = nn.ModuleDict({"mlp": nn.ModuleDict({"experts": nn.ParameterDict({"down_proj": torch.randn(3, 2, 4)})})})
    weight = model["mlp"]["experts"]["down_proj"]
    assert [name for name, _ in model.named_parameters()] == ["mlp.experts.down_proj"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    taken = []
    for idle in ([], [0, 2]):
        weight.grad = torch.randn(3, 2, 4)
        weight.grad[idle] = 0.0
        with idle_experts_held(model, optimizer):
            optimizer.step()
        taken.append([tensor.clone() for tensor in (weight.detach(), *_moments(optimizer, weight))])
    for first, second in zip(*taken, strict=True):
        assert (first != second).flatten(1).any(1).tolist() == [False, True, False]


def _moments(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> list[torch.Tensor]:
    return [optimizer.state[weight][name] for name in ("exp_avg", "exp_avg_sq")]


@pytest.mark.parametrize("keep", [True, False])
def test_a_single_expert_is_left_without_a_gradient(keep: bool):
    torch.manual_seed(0)
    model = nn.ModuleDict({"mlp": nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])})})
    model["out"] = nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    experts = model["mlp"]["experts"]
    for step, used in enumerate([(0, 1), (0, 1), (1,), (1,)]):
        before = [experts[place].weight.detach().clone() for place in (0, 1)]
        sum(model["out"](experts[place](torch.ones(1, 3))).pow(2).sum() for place in used).backward()
        optimizer.step()
        clear_gradients(model, optimizer, keep=keep, first=step == 0)
        moved = [not torch.equal(old, experts[place].weight) for place, old in enumerate(before)]
        assert moved == [0 in used, True]
        assert experts[0].weight.grad is None
        kept = model["out"].weight.grad
        assert (kept is not None and not kept.any()) if keep else kept is None
