"""What the product checks while it trains, so that a good loss curve cannot hide a wrong run.

- the loss is finite, at every step
- every trainable tensor got a finite gradient at the first step, and has moved soon after
- no frozen tensor changed, from the first step to the last
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tuneloop.errors import TrainError
from tuneloop.terminal import warn
from tuneloop.train.experts import SINGLE

MOVED_BY_STEP = 3  # LoRA's A has no gradient until B has left zero, so give it two updates and one more
PIECE = 2**20  # values of a frozen tensor that are summed at once


def check_loss(loss: float, step: int, what: str = "loss") -> None:
    """Refuse a loss that is no number; `what` names it.

    Raises:
        TrainError: naming the step.
    """
    if not math.isfinite(loss):
        raise TrainError(
            f"The {what} is {loss} at step {step}",
            allowed="a finite number",
            fix="Lower train.learning_rate, or lengthen train.warmup_steps; the last checkpoint is unharmed (--resume)",
        )


def check_gradients(model: nn.Module) -> None:
    """Every trainable tensor must have a finite gradient; a single expert that no token was routed to may have none.

    All experts of a block in one tensor may not: every token goes to some of them, so that no gradient there means
    that none of them learns, as in hiyouga/LLaMA-Factory#6829.

    Raises:
        TrainError: naming the tensors.
    """
    missing, broken = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            missing.append(name)
        elif not bool(torch.isfinite(parameter.grad).all()):
            broken.append(name)
    idle = [name for name in missing if SINGLE.search(name)]
    if idle:
        warn(f"{len(idle)} tensors of routed experts got no token in the first step, e.g. {idle[0]}")
    missing = [name for name in missing if not SINGLE.search(name)]
    if missing or broken:
        fault, names = ("got no gradient", missing) if missing else ("got a gradient that is not finite", broken)
        raise TrainError(
            f"{len(names)} trainable tensors {fault} at the first step, e.g. {names[0]}",
            fix="Freeze what the loss does not reach, or report this as a fault of tuneloop",
        )


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable tensors, to see later that they moved."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def check_moved(model: nn.Module, before: Mapping[str, Tensor], *, reach: float) -> None:
    """Every trainable tensor must differ from its snapshot (single routed experts excepted).

    Args:
        model: As trained so far.
        before: From `snapshot`.
        reach: Sum of the learning rates since then; AdamW moves a weight by about as much. A tensor whose every
            weight is too large to hold such a difference (in a slow warm-up) may stand still.

    Raises:
        TrainError: naming the tensors that stood still.
    """
    parameters = dict(model.named_parameters())
    still = [name for name, old in before.items() if torch.equal(parameters[name].detach(), old)]
    still = [name for name in still if not SINGLE.search(name) and _can_move(before[name], reach)]
    if still:
        raise TrainError(
            f"{len(still)} of {len(before)} trainable tensors stand still after {MOVED_BY_STEP} steps, e.g. {still[0]}",
            fix="The optimiser holds other tensors than the model runs with, or the learning rate rounds to nothing",
        )


def _can_move(values: Tensor, reach: float) -> bool:
    return float(values.abs().min()) * torch.finfo(values.dtype).eps / 2 <= reach


def frozen_sums(model: nn.Module) -> dict[str, float]:
    """A float64 sum and sum of squares of each frozen tensor, folded to one number: cheap, and any training shows."""
    sums = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            # In pieces: torch converts before it sums, and an embedding in float64 is the largest thing of a training.
            sums[name] = sum(_folded(piece) for piece in parameter.detach().flatten().split(PIECE))
    return sums


def _folded(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64)) + float(values.float().norm()) * math.pi


def check_frozen(model: nn.Module, before: Mapping[str, float]) -> None:
    """No frozen tensor may differ from its sums at the start.

    Raises:
        TrainError: naming the tensors that changed.
    """
    after = frozen_sums(model)
    changed = [name for name, value in before.items() if after.get(name) != value]
    if changed:
        raise TrainError(f"{len(changed)} frozen tensors changed in training, e.g. {changed[0]}")
