"""The steps that blocks are made of: a norm and matrices, with hand-written gradients that keep little.

    Norm         x -> norm(x)                                     (T, D) -> (T, D)
    NormProject  x -> project(norm(x))                            (T, D) -> (T, width)
    ProjectAdd   x, residual -> residual + project(x)             (T, in) -> (T, D)
    GatedMlp     x -> x + down(silu(gate) * up)                   (T, D) -> (T, D)

Each saves its input and recomputes what is cheap. A step whose input and weights need no gradient keeps nothing.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from tuneloop.model.projection import Projection


def apply(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    """`function.apply`, typed."""
    return cast(Tensor, function.apply(*inputs))


class Norm(torch.autograd.Function):
    """norm(x): (T, D) -> (T, D). Saves x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Divide each row by the root of its mean square, and weigh its columns."""
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and the weight."""
        x, weight, scale = ctx.saved_tensors
        unit = x * scale
        dx = _norm_backward(grads[0], unit, weight, scale) if ctx.needs_input_grad[0] else None
        return dx, (grads[0] * unit).sum(0) if ctx.needs_input_grad[1] else None, None


class NormProject(torch.autograd.Function):
    """project(norm(x)): (T, D) -> (T, width). Saves x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, projection: Projection, *tensors: Tensor) -> Tensor:
        """Normalise and project; `tensors` are the projection's own, named so that autograd sees them."""
        del tensors
        scale = _inverse_rms(x, eps)
        y, low = projection.forward((x * scale).mul_(weight))
        ctx.save_for_backward(x, weight, scale)
        # Not saved as the others are: it lies beside y in one buffer, which attention turns in place.
        ctx.projection, ctx.low = projection, low
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the norm's weight and the projection's tensors."""
        x, weight, scale = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        unit = x * scale
        dy, found = ctx.projection.backward(unit * weight, ctx.low, grads[0], need_x=need_x or need_weight)
        ctx.low = None  # and with it the buffer, which would live as long as the loss does
        dx = _norm_backward(dy, unit, weight, scale) if need_x else None
        d_weight = (dy * unit).sum(0) if need_weight else None
        return dx, d_weight, None, None, *found


class ProjectAdd(torch.autograd.Function):
    """residual + project(x): (T, in) -> (T, D). Saves x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, projection: Projection, *tensors: Tensor) -> Tensor:
        """Project and add."""
        del tensors
        y, low = projection.forward(x)
        y.add_(residual)
        ctx.save_for_backward(x, low)
        ctx.projection = projection
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the residual and the projection's tensors."""
        x, low = ctx.saved_tensors
        dx, found = ctx.projection.backward(x, low, grads[0], need_x=ctx.needs_input_grad[0])
        return dx, grads[0] if ctx.needs_input_grad[1] else None, None, *found


class GatedMlp(torch.autograd.Function):
    """x + down(silu(gate) * up), with gate, up = project(norm(x)). Saves x, one number a row, gate and up.

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6 (SwiGLU).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, eps: float, gate_up: Projection, down: Projection, *tensors: Tensor
    ) -> Tensor:
        """The MLP with its norm and residual."""
        del tensors
        scale = _inverse_rms(x, eps)
        both, low = gate_up.forward((x * scale).mul_(weight))  # (T, 2 F)
        gate, up = both.chunk(2, 1)
        y, low_down = down.forward(nn.functional.silu(gate).mul_(up))
        ctx.save_for_backward(x, weight, scale, both, low, low_down)
        ctx.gate_up, ctx.down = gate_up, down
        return y.add_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the norm's weight and both projections' tensors."""
        x, weight, scale, both, low, low_down = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        gate, up = both.chunk(2, 1)
        active = nn.functional.silu(gate)
        d_inner, d_down = ctx.down.backward(active * up, low_down, grads[0], need_x=True)
        d_both = torch.empty_like(both)
        d_gate, d_up = d_both.chunk(2, 1)
        torch.mul(d_inner, active, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        unit = x * scale
        dy, d_gate_up = ctx.gate_up.backward(unit * weight, low, d_both, need_x=need_x or need_weight)
        dx = _norm_backward(dy, unit, weight, scale).add_(grads[0]) if need_x else None
        d_weight = (dy * unit).sum(0) if need_weight else None
        return dx, d_weight, None, None, None, *d_gate_up, *d_down


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean of squares + eps) of each row, (T, 1)."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)  # reads x once, and makes no squares
    return length.square_().div_(x.shape[1]).add_(eps).rsqrt_()


def _norm_backward(dy: Tensor, unit: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x through unit * weight, unit = x * scale(x), (T, D).

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4, differentiated.
    """
    d_unit = dy * weight
    along = (d_unit * unit).mean(1, keepdim=True)
    return d_unit.addcmul_(unit, along, value=-1).mul_(scale)
