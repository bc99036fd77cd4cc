"""Matrices that read the same input, each with its LoRA, as one linear map with hand-written gradients.

    y_i = x W_i' + b_i + s_i (x A_i') B_i'        i = q, k, v   (or gate, up; or one alone)

Two exact ways to compute it, chosen by the number of rows T:

    merged   M_i = W_i + s_i B_i A_i once, then y = x M' and dx = dy M: one product each, no pass over y for the adapter
    beside   y_i = x W_i', then y_i += s_i (x A_i') B_i'

Merging costs 2 r in out multiplications, whatever T is, so it pays for many rows. In float32 both give the same to
rounding (tests/model/test_projection.py); in bfloat16 a small update would vanish in the sum, so it stays beside.
Frozen weights may lie in bfloat16 where that is exact: they are widened into a scratch when they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

MERGE_FROM = 384
"""Rows from which weights are merged. By multiplications alone it pays from 2 in out / (in + out) rows, 576 to 838 in
SmolLM2-135M; sooner in time, since passes over y go too. Set by that arithmetic, not by measurement."""


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


class Scratch:
    """One buffer that widened or merged weights are built in, used again by every layer in turn."""

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
    """

    def __init__(self, modules: Sequence[nn.Module], scratch: Scratch) -> None:
        self.parts = [part_of(module) for module in modules]
        self.scratch = scratch
        self.sizes = [len(part.weight) for part in self.parts]
        self.width = sum(self.sizes)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All that may need a gradient."""
        return tuple(tensor for part in self.parts for tensor in part.tensors)

    def forward(self, x: Tensor) -> Tensor:
        """(T, in) -> (T, width), float32."""
        if self._merges(len(x)):
            y = x @ self._weights(merge=True).T
        else:
            y = x.new_empty(len(x), self.width)
            low = self._low(x)
            for part, columns, weight, rank in zip(
                self.parts, y.split(self.sizes, 1), self._apart(), self._ranks(), strict=True
            ):
                torch.mm(x, weight.T, out=columns)
                if part.up is not None:
                    columns.addmm_(low[:, rank], part.up.T, alpha=part.scale)
        for part, columns in zip(self.parts, y.split(self.sizes, 1), strict=True):
            if part.bias is not None:
                columns.add_(part.bias)
        return y

    def backward(self, x: Tensor, dy: Tensor, *, need_x: bool) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of `forward`.

        Args:
            x: (T, in), what `forward` read.
            dy: (T, width).
            need_x: Whether dx is wanted.

        Returns:
            dx or None, and the gradient of each of `tensors`, None where it does not train.
        """
        low, back = self._low(x), self._back(dy)  # (T, sum of r), each
        dx = self._dx(dy, back) if need_x else None
        down = back.T @ x if any(_trains(part.down) for part in self.parts) else None  # (sum of r, in)
        found: list[Tensor | None] = []
        for part, columns, rank in zip(self.parts, dy.split(self.sizes, 1), self._ranks(), strict=True):
            found.append(columns.T @ x if _trains(part.weight) else None)
            found.append(columns.sum(0) if _trains(part.bias) else None)
            found.append(down[rank] if down is not None and _trains(part.down) else None)
            found.append((columns.T @ low[:, rank]).mul_(part.scale) if _trains(part.up) else None)
        return dx, found

    def _dx(self, dy: Tensor, back: Tensor) -> Tensor:
        if self._merges(len(dy)):
            return dy @ self._weights(merge=True)
        dx = dy.new_zeros(len(dy), self.parts[0].weight.shape[1])
        for columns, weight in zip(dy.split(self.sizes, 1), self._apart(), strict=True):
            dx.addmm_(columns, weight)
        downs = self._downs()
        return dx if downs is None else dx.addmm_(back, downs)

    # -- the adapters' side, all parts in one product where they share x ------------------------------------

    def _merges(self, rows: int) -> bool:
        """Whether the adapters, where there are any, go into the weights."""
        return rows >= MERGE_FROM and any(part.up is not None for part in self.parts)

    def _downs(self) -> Tensor | None:
        """All A, (sum of r, in)."""
        downs: list[Tensor] = [part.down for part in self.parts if part.down is not None]
        return torch.cat(downs) if downs else None

    def _ranks(self) -> list[slice]:
        """The columns of `_low` and `_back` that belong to each part."""
        slices, start = [], 0
        for part in self.parts:
            rank = 0 if part.down is None else len(part.down)
            slices.append(slice(start, start + rank))
            start += rank
        return slices

    def _low(self, x: Tensor) -> Tensor:
        """x A' of every part, (T, sum of r)."""
        downs = self._downs()
        return x.new_empty(len(x), 0) if downs is None else x @ downs.T

    def _back(self, dy: Tensor) -> Tensor:
        """s dy B of every part, (T, sum of r)."""
        back = [
            (columns @ part.up).mul_(part.scale)
            for part, columns in zip(self.parts, dy.split(self.sizes, 1), strict=True)
            if part.up is not None
        ]
        return torch.cat(back, 1) if back else dy.new_empty(len(dy), 0)

    # -- the weights, as float32 ----------------------------------------------------------------------------

    def _weights(self, *, merge: bool) -> Tensor:
        """The parts' weights one above the other, (width, in), in the scratch, with the adapters if `merge`."""
        first = self.parts[0].weight
        whole = self.scratch.take(self.width, first.shape[1], first)
        for part, rows in zip(self.parts, whole.split(self.sizes), strict=True):
            rows.copy_(part.weight)
            if merge and part.up is not None and part.down is not None:
                rows.addmm_(part.up, part.down, alpha=part.scale)
        return whole

    def _apart(self) -> list[Tensor]:
        """Each part's own weight; all widened into the scratch where one is bfloat16."""
        if all(part.weight.dtype == torch.float32 for part in self.parts):
            return [part.weight for part in self.parts]
        return list(self._weights(merge=False).split(self.sizes))


def _trains(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad
