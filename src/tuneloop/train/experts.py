"""Experts that no token of a step was routed to: the optimiser must not move them.

    fused experts (E, ..., ...)  one tensor a block, whose gradient is zero in the slices of idle experts
    single experts               a tensor each, which has no gradient where it is idle

AdamW passes over a tensor without a gradient. A slice of zeros it does move: by weight decay, and by what its moments
remember of earlier steps. So idle slices are put back, moments included, and an expert learns only from its tokens,
however the experts are stored. Only the count of steps, by which moments are corrected, is the tensor's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

FUSED = re.compile(r"\.experts\.\w+$")
"""A tensor of all routed experts of a block, (E, ..., ...)."""
SINGLE = re.compile(r"\.experts\.\d+\.")
"""A tensor of one routed expert. transformers fuses a block's experts into one tensor, which every token uses."""


@contextlib.contextmanager
def idle_experts_held(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Keep idle slices of fused experts, and their moments, as they are while the optimiser steps in the block.

    Args:
        model: With the step's gradient.
        optimizer: AdamW over what trains.
    """
    kept: list[tuple[Tensor, Tensor, Tensor]] = []  # a tensor, its idle experts, their values
    for name, parameter in model.named_parameters():
        if parameter.ndim != 3 or parameter.grad is None or not FUSED.search(name):
            continue
        idle = (~parameter.grad.flatten(1).any(1)).nonzero().squeeze(1)
        moments = [value for value in optimizer.state.get(parameter, {}).values() if value.shape == parameter.shape]
        kept += [(tensor, idle, tensor.detach()[idle]) for tensor in (parameter.detach(), *moments) if len(idle)]
    yield
    for tensor, idle, values in kept:
        tensor[idle] = values


def clear_gradients(model: nn.Module, optimizer: torch.optim.Optimizer, *, keep: bool, first: bool) -> None:
    """Forget the step's gradients.

    Made anew in the middle of each way back they would lie between the states that are freed there, and the next
    micro-batch, which needs the room in one piece, would take more (70 MB in SmolLM2-135M): where a step takes so
    little memory, they keep their places from the first step on. Those of single experts are always let go.

    Args:
        model: What trains.
        optimizer: Over it.
        keep: Whether gradients keep their places.
        first: Whether this was the session's first step.
    """
    optimizer.zero_grad(set_to_none=first or not keep)
    if not keep:
        return
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and SINGLE.search(name):
            parameter.grad = None
        elif parameter.requires_grad and first:
            parameter.grad = torch.zeros_like(parameter)
