"""Matrices that read the same input, each with its LoRA, as one linear map with hand-written gradients.

    y_i = x W_i' + b_i + s_i (x A_i') B_i'        i = q, k, v   (or gate, up; or one alone)

Frozen weights may lie in bfloat16 where that is exact (reader.py). They are widened into a scratch when they are used,
the adapters' small matrices beside them, so that one product gives both sides:

    forward    [y, x A'] = x [W; A]'              then y_i   += s_i (x A_i') B_i'
    backward   [dx, s dy B] = dy [W, s B]         then dx    += (s dy B) A

Weights in the dtype of x are used where they are, one product each; where that is bfloat16, the adapters' float32 is
rounded when it is used, and their gradients are float32 again. Adding B A to the weights, as is usual, was measured to
be no faster from 64 to 1,024 rows, and needs a rule for when (docs/decisions.md).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

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
        own_low: Whether the second result of `forward` never lies in one buffer with the first, which would then live
            as long: for where the first is not kept.
    """

    def __init__(self, modules: Sequence[nn.Module], scratch: Scratch, *, own_low: bool = False) -> None:
        self.parts = [part_of(module) for module in modules]
        self.scratch, self.own_low = scratch, own_low
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
            x: (T, in), float32, or of the weights' dtype.

        Returns:
            y, (T, width) in x's dtype, and x A' of every part, (T, R), which `backward` needs.
        """
        if x.dtype != torch.float32:
            apart, low = self.apart(x)
            return apart[0] if len(apart) == 1 else torch.cat(list(apart), 1), low
        y, low = self._through_stack(x) if self._widens(x) else self._through_parts(x)
        columns = y.split(self.sizes, 1)
        self._add_adapters(columns, low)
        for part, own in zip(self.parts, columns, strict=True):
            if part.bias is not None:
                own.add_(part.bias)
        return y, low

    def apart(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Project, and give y part by part: in float32 side by side as `forward` lays it, else each by itself.

        Kernels for bfloat16 want what they read to lie in one piece.

        Args:
            x: As in `forward`.

        Returns:
            (T, out) of every part, and x A' of every part, (T, R).
        """
        if x.dtype == torch.float32:
            y, low = self.forward(x)
            return y.split(self.sizes, 1), low
        # The bias goes into the product, as in the modules: added behind it, the sum would be rounded twice.
        columns = [nn.functional.linear(x, part.weight, part.bias) for part in self.parts]
        low = x @ self._downs(x.dtype).T
        self._add_adapters(columns, low)
        return columns, low

    def _add_adapters(self, columns: Sequence[Tensor], low: Tensor) -> None:
        """Add what the adapters give to the columns of each part, in place."""
        for part, own, rank in zip(self.parts, columns, self.ranks, strict=True):
            if part.up is not None:
                own.addmm_(low[:, rank], part.up.to(own.dtype).T, alpha=part.scale)

    def backward(
        self, x: Tensor, low: Tensor, dy: Sequence[Tensor], *, need_x: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of `forward`.

        Args:
            x: (T, in), what `forward` read.
            low: (T, R), what it gave.
            dy: The gradient of y in one, (T, width), or part by part, (T, out) each.
            need_x: Whether dx is wanted.

        Returns:
            dx or None, and the gradient of each of `tensors` in its dtype, None where it does not train.
        """
        whole = torch.cat(list(dy), 1) if len(dy) > 1 and self._widens(x) else dy[0]
        parts = dy if len(dy) == len(self.parts) else whole.split(self.sizes, 1)
        dx, back = self._back(whole, parts, need_x=need_x)
        down = back.T @ x if any(_trains(part.down) for part in self.parts) else None  # (R, in)
        found: list[Tensor | None] = []
        for part, columns, rank in zip(self.parts, parts, self.ranks, strict=True):
            found.append(columns.T @ x if _trains(part.weight) else None)
            found.append(columns.sum(0) if _trains(part.bias) else None)
            found.append(down[rank].to(part.down.dtype) if down is not None and _trains(part.down) else None)
            found.append(_up_gradient(columns, low[:, rank], part) if _trains(part.up) else None)
        return dx, found

    def _back(self, dy: Tensor, parts: Sequence[Tensor], *, need_x: bool) -> tuple[Tensor | None, Tensor]:
        """dx or None, and s dy B of every part, (T, R); `dy` is (T, width) where weights are widened."""
        if need_x and self._widens(dy):
            dx, back = (dy @ self._beside()).split([self.inside, self.rank], 1)
        else:
            back = dy.new_empty(len(dy), self.rank)
            for part, columns, rank in zip(self.parts, parts, self.ranks, strict=True):
                if part.up is not None:
                    torch.mm(columns, part.up.to(dy.dtype), out=back[:, rank]).mul_(part.scale)
            if not need_x:
                return None, back
            dx = dy.new_zeros(len(dy), self.inside)
            for part, columns in zip(self.parts, parts, strict=True):
                dx.addmm_(columns, part.weight)
        return (dx.addmm_(back, self._downs(dy.dtype)) if self.rank else dx), back

    # -- the weights as they are ------------------------------------------------------------------------------

    def _through_parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.new_empty(len(x), self.width)
        for part, columns in zip(self.parts, y.split(self.sizes, 1), strict=True):
            torch.mm(x, part.weight.T, out=columns)
        return y, x @ self._downs(x.dtype).T

    def _downs(self, dtype: torch.dtype) -> Tensor:
        """All A one above the other, (R, in)."""
        downs: list[Tensor] = [part.down for part in self.parts if part.down is not None]
        return torch.cat(downs).to(dtype) if downs else self.parts[0].weight.new_empty(0, self.inside, dtype=dtype)

    # -- the weights widened from bfloat16 --------------------------------------------------------------------

    def _widens(self, x: Tensor) -> bool:
        """Whether weights lie in fewer bits than `x` is computed in."""
        return x.dtype == torch.float32 and any(part.weight.dtype == torch.bfloat16 for part in self.parts)

    def _through_stack(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, low = (x @ self._above().T).split([self.width, self.rank], 1)
        return y, low.clone() if self.own_low else low

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


def _up_gradient(dy: Tensor, low: Tensor, part: Part) -> Tensor:
    """s dy' (x A'), (out, r), in B's dtype. From its transpose: MKL takes 8 rows 2 to 9 times faster than 8 columns."""
    dtype = cast(nn.Parameter, part.up).dtype
    return (low.T @ dy).mul_(part.scale).T.to(dtype).contiguous()


def _trains(tensor: Tensor | None) -> TypeGuard[Tensor]:
    return tensor is not None and tensor.requires_grad
