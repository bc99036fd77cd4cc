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
from torch import Tensor

from tuneloop.model.pointwise import fused, gated, gated_again, norm, norm_again
from tuneloop.model.projection import Projection


def apply(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    """`function.apply`, typed."""
    return cast(Tensor, function.apply(*inputs))


class Norm(torch.autograd.Function):
    """norm(x): (T, D) -> (T, D). Saves x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Divide each row by the root of its mean square, and weigh its columns."""
        normed, scale = norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        ctx.eps = eps
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and the weight."""
        x, weight, scale = ctx.saved_tensors
        _, back = norm_again(x, weight, ctx.eps, scale, ctx.needs_input_grad[:2])
        dx, d_weight = back(grads[0])
        return dx, d_weight, None


class NormProject(torch.autograd.Function):
    """project(norm(x)): (T, D) -> (T, width), or each part's columns by themselves (`pointwise.fused`).

    Saves x and one number a row.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, eps: float, projection: Projection, *tensors: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """Normalise and project; `tensors` are the projection's own, named so that autograd sees them."""
        del tensors
        normed, scale = norm(x, weight, eps)
        y, low = projection.apart(normed) if fused(x) else projection.forward(normed)
        ctx.save_for_backward(x, weight, scale)
        # Not saved as the others are: it may lie beside y in one buffer, which attention turns in place.
        ctx.eps, ctx.projection, ctx.low = eps, projection, low
        return y if isinstance(y, Tensor) else tuple(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the norm's weight and the projection's tensors."""
        x, weight, scale = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        normed, back = norm_again(x, weight, ctx.eps, scale, needs)
        dy, found = ctx.projection.backward(normed, ctx.low, grads, need_x=any(needs))
        del normed
        ctx.low = None  # and with it the buffer, which would live as long as the loss does
        dx, d_weight = (None, None) if dy is None else back(dy)
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
        dx, found = ctx.projection.backward(x, low, grads, need_x=ctx.needs_input_grad[0])
        return dx, grads[0] if ctx.needs_input_grad[1] else None, None, *found


class GatedMlp(torch.autograd.Function):
    """x + down(silu(gate) * up), with gate, up = project(norm(x)). Saves x, one number a row, gate and up."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, eps: float, gate_up: Projection, down: Projection, *tensors: Tensor
    ) -> Tensor:
        """The MLP with its norm and residual."""
        del tensors
        normed, scale = norm(x, weight, eps)
        (gate, up), low = gate_up.apart(normed)  # (T, F) each
        del normed
        y, low_down = down.forward(gated(gate, up))
        ctx.save_for_backward(x, weight, scale, gate, up, low, low_down)
        ctx.eps, ctx.gate_up, ctx.down = eps, gate_up, down
        return y.add_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the norm's weight and both projections' tensors."""
        x, weight, scale, gate, up, low, low_down = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        inner, through = gated_again(gate, up)
        d_inner, d_down = ctx.down.backward(inner, low_down, grads, need_x=True)
        del inner
        d_both = through(d_inner)
        del through, d_inner
        normed, back = norm_again(x, weight, ctx.eps, scale, needs)
        dy, d_gate_up = ctx.gate_up.backward(normed, low, d_both, need_x=any(needs))
        del normed, d_both
        dx, d_weight = (None, None) if dy is None else back(dy)
        return None if dx is None else dx.add_(grads[0]), d_weight, None, None, None, *d_gate_up, *d_down
