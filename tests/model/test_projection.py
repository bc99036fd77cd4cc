"""Projections with LoRA against plain autograd, merged and beside, frozen and trainable, widened from bfloat16."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from tuneloop.model import projection
from tuneloop.model.projection import Projection, Scratch, part_of

INPUTS, RANK = 24, 3


def linear(width: int, *, bias: bool = False, lora: bool = True, train: bool = False) -> nn.Module:
    layer = nn.Linear(INPUTS, width, bias=bias)
    layer.requires_grad_(train)
    if not lora:
        return layer
    wrapped = LoraLinear(layer, "default", LoraConfig(r=RANK, lora_alpha=9), r=RANK, lora_alpha=9)
    nn.init.normal_(wrapped.lora_B["default"].weight, std=0.3)
    return wrapped


STACKS = {
    "lora": lambda: [linear(16), linear(8), linear(8)],
    "lora and biases": lambda: [linear(16, bias=True), linear(8, bias=True)],
    "one of two adapted": lambda: [linear(16), linear(8, lora=False)],
    "frozen": lambda: [linear(16, lora=False), linear(8, lora=False, bias=True)],
    "full": lambda: [linear(16, lora=False, train=True, bias=True), linear(8, lora=False, train=True)],
}


@pytest.fixture(params=["merged", "beside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(projection, "MERGE_FROM", 1 if request.param == "merged" else 10**9)
    return str(request.param)


def close(found: Tensor | None, wanted: Tensor | None) -> None:
    if wanted is None:
        assert found is None
        return
    assert found is not None and found.shape == wanted.shape
    assert float((found - wanted).norm()) <= 1e-5 * max(float(wanted.norm()), 1e-6)


@pytest.mark.parametrize("stack", STACKS)
def test_forward_and_gradients_are_those_of_the_modules(stack: str, way: str):
    torch.manual_seed(3)
    modules = STACKS[stack]()
    x = torch.randn(11, INPUTS, requires_grad=True)
    wanted = torch.cat([module(x) for module in modules], 1)
    dy = torch.randn_like(wanted)
    joined = Projection(modules, Scratch())
    wanted_grads = torch.autograd.grad(
        wanted, [x, *[t for t in joined.tensors if t is not None and t.requires_grad]], dy, retain_graph=True
    )
    with torch.no_grad():
        close(joined.forward(x), wanted.detach())
        dx, found = joined.backward(x, dy, need_x=True)
        assert joined.backward(x, dy, need_x=False)[0] is None
    close(dx, wanted_grads[0])
    assert len(found) == len(joined.tensors) == 4 * len(modules)
    given = iter(wanted_grads[1:])
    for tensor, gradient in zip(joined.tensors, found, strict=True):
        close(gradient, next(given) if tensor is not None and tensor.requires_grad else None)


def test_frozen_weights_in_bfloat16_give_the_same_bits(way: str):
    torch.manual_seed(4)
    modules = STACKS["lora and biases"]()
    parts = [part_of(module) for module in modules]
    for part in parts:
        part.weight.data = part.weight.data.bfloat16().float()
    x, dy = torch.randn(7, INPUTS), torch.randn(7, 24)
    joined = Projection(modules, Scratch())
    with torch.no_grad():
        wanted = joined.forward(x), joined.backward(x, dy, need_x=True)[0]
        for part in parts:
            part.weight.data = part.weight.data.bfloat16()
        found = joined.forward(x), joined.backward(x, dy, need_x=True)[0]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_part_knows_what_peft_knows():
    part = part_of(linear(16, bias=True))
    assert (part.scale, part.weight.shape, part.down.shape, part.up.shape) == (3.0, (16, 24), (3, 24), (16, 3))
    plain = part_of(linear(16, lora=False))
    assert plain.down is plain.up is plain.bias is None
