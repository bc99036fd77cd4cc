"""Projections with LoRA against plain autograd, frozen and trainable, as float32 and widened from bfloat16."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

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


def close(found: Tensor | None, wanted: Tensor | None) -> None:
    if wanted is None:
        assert found is None
        return
    assert found is not None and found.shape == wanted.shape
    assert float((found - wanted).norm()) <= 1e-5 * max(float(wanted.norm()), 1e-6)


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("stack", STACKS)
def test_forward_and_gradients_are_those_of_the_modules(stack: str, halved: bool):
    torch.manual_seed(3)
    modules = STACKS[stack]()
    frozen = [part.weight for part in map(part_of, modules) if not part.weight.requires_grad]
    for weight in frozen:
        weight.data = weight.data.bfloat16().float()
    x = torch.randn(11, INPUTS, requires_grad=True)
    wanted = torch.cat([module(x) for module in modules], 1)
    dy = torch.randn_like(wanted)
    joined = Projection(modules, Scratch())
    trained = [tensor for tensor in joined.tensors if tensor is not None and tensor.requires_grad]
    wanted_grads = torch.autograd.grad(wanted, [x, *trained], dy)
    for weight in frozen[: len(frozen) * halved]:
        weight.data = weight.data.bfloat16()
    with torch.no_grad():
        y, low = joined.forward(x)
        close(y, wanted.detach())
        dx, found = joined.backward(x, low, [dy], need_x=True)
        none, same = joined.backward(x, low, [dy], need_x=False)
    assert none is None
    close(dx, wanted_grads[0])
    assert len(found) == len(same) == len(joined.tensors) == 4 * len(modules)
    given = iter(wanted_grads[1:])
    for tensor, gradient, again in zip(joined.tensors, found, same, strict=True):
        expected = next(given) if tensor is not None and tensor.requires_grad else None
        close(gradient, expected)
        close(again, expected)


def test_a_part_knows_what_peft_knows():
    part = part_of(linear(16, bias=True))
    assert (part.scale, part.weight.shape, part.down.shape, part.up.shape) == (3.0, (16, 24), (3, 24), (16, 3))
    plain = part_of(linear(16, lora=False))
    assert plain.down is plain.up is plain.bias is None


@pytest.mark.parametrize("own_low", [True, False])
def test_what_backward_needs_holds_the_result_only_where_it_may(own_low: bool):
    """Widened, both come out of one product; where the result is not kept, the rest must not keep its buffer."""
    projection = Projection([linear(16), linear(8)], Scratch(), own_low=own_low)
    for part in projection.parts:
        part.weight.data = part.weight.data.bfloat16()
    with torch.no_grad():
        y, low = projection.forward(torch.randn(5, INPUTS))
    assert (y.untyped_storage().data_ptr() != low.untyped_storage().data_ptr()) == own_low
