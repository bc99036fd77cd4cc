"""AdamW with its parameter groups, and the learning rate over the run."""

from __future__ import annotations

import math

import torch
from torch import nn

from tuneloop.recipe import Train


def warmup_length(train: Train, steps: int) -> int:
    """Optimiser steps of warm-up in a run of `steps`: as asked, a share, or the smaller of 500 and 6 %."""
    if train.warmup_steps is None:
        return min(500, math.ceil(0.06 * steps))
    if isinstance(train.warmup_steps, float):
        return math.ceil(train.warmup_steps * steps)
    return train.warmup_steps


def learning_rate_factor(step: int, *, steps: int, warmup: int, shape: str) -> float:
    """What the peak learning rate is multiplied by at optimiser step `step` (0-based).

    Linear warm-up from 1 / warmup to 1, then: constant; linear to 0; or half a cosine to 0
    (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5 without restarts). Zero is reached at `steps`,
    one past the last step, so no step is wasted.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 1.0 - done if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimizer(model: nn.Module, train: Train) -> torch.optim.AdamW:
    """AdamW over the parameters that train; decay on matrices only, the head at its own rate.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = ".head." in f".{name}"
        rate = train.head_learning_rate if is_head and train.head_learning_rate else train.learning_rate
        decay = train.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        lr=train.learning_rate,
        fused=True,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, train: Train, steps: int, *, done: int = 0
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of each group over `steps` optimiser steps.

    Args:
        optimizer: Its groups' rates are the peaks; to go on, one that had a schedule before.
        train: The recipe's section.
        steps: Of the whole run.
        done: How many of them were done before.
    """
    warmup = warmup_length(train, steps)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(step, steps=steps, warmup=warmup, shape=train.lr_scheduler_type),
        last_epoch=done - 1,
    )
