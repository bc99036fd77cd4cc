"""Matrices that read the same input, each with its LoRA, as one linear map with hand-written gradients.

    y_i = x W_i' + b_i + s_i (x A_i') B_i'        i = q, k, v   (or gate, up; or one alone)

Frozen weights may lie in bfloat16 where that is exact (reader.py). They are widened into a scratch when they are used,
the adapters' small matrices beside them, so that one product gives both sides:

    forward    [y, x A'] = x [W; A]'              then y_i   += s_i (x A_i') B_i'
    backward   [dx, s dy B] = dy [W, s B]         then dx    += (s dy B) A

Weights in float32 are used where they are, one product each. Adding B A to the weights, as is usual, was measured to
be no faster from 64 to 1,024 rows, and needs a rule for when (docs/decisions.md).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

HALVE_FROM = 64
"""Rows of a product from which widening bfloat16 weights costs nothing that can be measured (2 cores, SmolLM2-135M)."""


@dataclass(frozen=True)
class Part:
    """One matrix with its adapter.

    Attributes:
        weight: (out, in), float32, or bfloat16 where frozen.
        bias: (out,) or None.
        down: LoRA's A, (r, in), or None.
        up: LoRA's B, (out, r), or None.
        scale: alpha / r.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None = None
    down: nn.Parameter | None = None
    up: nn.Parameter | None = None
    scale: float = 0.0

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All that may need a gradient, in the order that `Projection.backward` gives them."""
        return self.weight, self.bias, self.down, self.up


def part_of(module: nn.Module) -> Part:
    """The part that a plain linear layer, or PEFT's LoRA around one, computes."""
    if isinstance(module, LoraLinear):
        base = cast(nn.Linear, module.get_base_layer())
        (name,) = module.active_adapters
        down, up = cast(nn.Linear, module.lora_A[name]), cast(nn.Linear, module.lora_B[name])
        return Part(_weight(base), _bias(base), _weight(down), _weight(up), float(module.scaling[name]))
    layer = cast(nn.Linear, module)
    return Part(_weight(layer), _bias(layer))


def _weight(layer: nn.Linear) -> nn.Parameter:
    return cast(nn.Parameter, layer.weight)


def _bias(layer: nn.Linear) -> nn.Parameter | None:
    return cast("nn.Parameter | None", layer.bias)


class Scratch(threading.local):
    """One buffer a thread that widened weights are built in, used again by every layer in turn."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def take(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """A (rows, columns) float32 view; what was taken before is overwritten."""
        if self._buffer.numel() < rows * columns or self._buffer.device != like.device:
            self._buffer = torch.empty(rows * columns, dtype=torch.float32, device=like.device)
        return self._buffer[: rows * columns].view(rows, columns)


class Projection:
    """Parts side by side: (T, in) -> (T, sum of out).

    Args:
        modules: Linear layers that read the same input, plain or wrapped by PEFT's LoRA.
        scratch: Shared by all projections of a model.
        apart: Whether the second result of `forward` never lies in one buffer with the first, which would then live
            as long: for where the first is not kept.
    """

    def __init__(self, modules: Sequence[nn.Module], scratch: Scratch, *, apart: bool = False) -> None:
        self.parts = [part_of(module) for module in modules]
        self.scratch, self.apart = scratch, apart
        self.sizes = [len(part.weight) for part in self.parts]
        self.width = sum(self.sizes)
        self.inside: int = self.parts[0].weight.shape[1]
        ranks = [0 if part.down is None else len(part.down) for part in self.parts]
        self.rank = sum(ranks)  # R
        starts = [sum(ranks[:place]) for place in range(len(ranks))]
        self.ranks = [slice(start, start + rank) for start, rank in zip(starts, ranks, strict=True)]

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All that may need a gradient."""
        return tuple(tensor for part in self.parts for tensor in part.tensors)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project.

        Args:
            x: (T, in).

        Returns:
            y, (T, width) float32, and x A' of every part, (T, R), which `backward` needs.
        """
        y, low = self._through_stack(x) if self._widens else self._through_parts(x)
        for part, columns, rank in zip(self.parts, y.split(self.sizes, 1), self.ranks, strict=True):
            if part.up is not None:
                columns.addmm_(low[:, rank], part.up.T, alpha=part.scale)
            if part.bias is not None:
                columns.add_(part.bias)
        return y, low

    def backward(
        self, x: Tensor, low: Tensor, dy: Tensor, *, need_x: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of `forward`.

        Args:
            x: (T, in), what `forward` read.
            low: (T, R), what it gave.
            dy: (T, width).
            need_x: Whether dx is wanted.

        Returns:
            dx or None, and the gradient of each of `tensors`, None where it does not train.
        """
        dx, back = self._back(dy, need_x=need_x)
        down = back.T @ x if any(_trains(part.down) for part in self.parts) else None  # (R, in)
        found: list[Tensor | None] = []
        for part, columns, rank in zip(self.parts, dy.split(self.sizes, 1), self.ranks, strict=True):
            found.append(columns.T @ x if _trains(part.weight) else None)
            found.append(columns.sum(0) if _trains(part.bias) else None)
            found.append(down[rank] if down is not None and _trains(part.down) else None)
            found.append((columns.T @ low[:, rank]).mul_(part.scale) if _trains(part.up) else None)
        return dx, found

    def _back(self, dy: Tensor, *, need_x: bool) -> tuple[Tensor | None, Tensor]:
        """dx or None, and s dy B of every part, (T, R)."""
        if need_x and self._widens:
            dx, back = (dy @ self._beside()).split([self.inside, self.rank], 1)
        else:
            back = dy.new_empty(len(dy), self.rank)
            for part, columns, rank in zip(self.parts, dy.split(self.sizes, 1), self.ranks, strict=True):
                if part.up is not None:
                    torch.mm(columns, part.up, out=back[:, rank]).mul_(part.scale)
            if not need_x:
                return None, back
            dx = dy.new_zeros(len(dy), self.inside)
            for part, columns in zip(self.parts, dy.split(self.sizes, 1), strict=True):
                dx.addmm_(columns, part.weight)
        return (dx.addmm_(back, self._downs()) if self.rank else dx), back

    # -- the weights as they are, float32 ---------------------------------------------------------------------

    def _through_parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.new_empty(len(x), self.width)
        for part, columns in zip(self.parts, y.split(self.sizes, 1), strict=True):
            torch.mm(x, part.weight.T, out=columns)
        return y, x @ self._downs().T

    def _downs(self) -> Tensor:
        """All A one above the other, (R, in)."""
        downs: list[Tensor] = [part.down for part in self.parts if part.down is not None]
        return torch.cat(downs) if downs else self.parts[0].weight.new_empty(0, self.inside, dtype=torch.float32)

    # -- the weights widened from bfloat16 --------------------------------------------------------------------

    @property
    def _widens(self) -> bool:
        return any(part.weight.dtype == torch.bfloat16 for part in self.parts)

    def _through_stack(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, low = (x @ self._above().T).split([self.width, self.rank], 1)
        return y, low.clone() if self.apart else low

    def _above(self) -> Tensor:
        """[W; A], (width + R, in), in the scratch."""
        whole = self.scratch.take(self.width + self.rank, self.inside, self.parts[0].weight)
        for part, rows, rank in zip(self.parts, whole[: self.width].split(self.sizes), self.ranks, strict=True):
            rows.copy_(part.weight)
            if part.down is not None:
                whole[self.width :][rank] = part.down
        return whole

    def _beside(self) -> Tensor:
        """[W, s B], (width, in + R), in the scratch; each part's B in its own columns."""
        whole = self.scratch.take(self.width, self.inside + self.rank, self.parts[0].weight)
        whole[:, self.inside :] = 0.0
        for part, rows, rank in zip(self.parts, whole.split(self.sizes), self.ranks, strict=True):
            rows[:, : self.inside] = part.weight
            if part.up is not None:
                torch.mul(part.up, part.scale, out=rows[:, self.inside :][:, rank])
        return whole


def _trains(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad
