"""What stands between a block's matrix products: norm, gate and rotation, each with its way back.

    float32 on a CPU       written out by hand: few passes over memory, what is cheap is computed again
    bfloat16, or a GPU     one kernel each with its own way back: torch's RMSNorm; Liger's SwiGLU and rotation where
                           they are installed (the extra `gpu`), else torch's plain operations

Both keep only inputs. The second way runs a kernel again on the way back, under an autograd graph of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

Gradients = tuple[Tensor | None, ...]


def fused(x: Tensor) -> bool:
    """Whether `x` goes through kernels instead of what is written by hand for float32 on a CPU."""
    return x.dtype != torch.float32 or x.device.type != "cpu"


# -- norm -----------------------------------------------------------------------------------------------------


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
    """RMSNorm over the last dimension, its statistics in float32.

    Args:
        x: (T, D).
        weight: (D,), of the same dtype.
        eps: Added to the mean of squares.

    Returns:
        (T, D) in x's dtype, and what `norm_again` needs: (T, 1) 1 / rms, or None.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
    """
    if fused(x):
        return rms_norm(x, weight.shape, weight, eps), None
    scale = _inverse_rms(x, eps)
    return (x * scale).mul_(weight), scale


def norm_again(
    x: Tensor, weight: Tensor, eps: float, scale: Tensor | None, needs: Sequence[bool]
) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
    """What `norm` gave, and its way back.

    Args:
        x: As in `norm`.
        weight: As in `norm`.
        eps: As in `norm`.
        scale: What `norm` gave beside it.
        needs: Whether the gradients of x and weight are wanted.

    Returns:
        (T, D), and a function from its gradient to those of x and weight, None where not wanted.
    """
    if scale is None:
        return _again(lambda x, weight: rms_norm(x, weight.shape, weight, eps), (x, weight), needs)
    unit = x * scale

    def back(dy: Tensor) -> Gradients:
        dx = _norm_backward(dy, unit, weight, scale) if needs[0] else None
        return dx, (dy * unit).sum(0) if needs[1] else None

    return unit * weight, back


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean of squares + eps) of each row, (T, 1)."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)  # reads x once, and makes no squares
    return length.square_().div_(x.shape[1]).add_(eps).rsqrt_()


def _norm_backward(dy: Tensor, unit: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x through unit * weight, unit = x * scale(x), (T, D)."""
    d_unit = dy * weight
    along = (d_unit * unit).mean(1, keepdim=True)
    return d_unit.addcmul_(unit, along, value=-1).mul_(scale)


# -- gate -----------------------------------------------------------------------------------------------------


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, (T, F) each.

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6 (SwiGLU).
    """
    return _swiglu(gate, up) if fused(gate) else silu(gate).mul_(up)


def gated_again(gate: Tensor, up: Tensor) -> tuple[Tensor, Callable[[Tensor], Sequence[Tensor]]]:
    """What `gated` gave, and its way back, which may be taken once.

    Args:
        gate: (T, F); Liger's way back writes the gradients over gate and up, as it does in its own use.
        up: (T, F).

    Returns:
        (T, F), and a function from its gradient to those of gate and up: each by itself, or beside each other in
        one (T, 2 F) tensor.
    """
    if fused(gate):
        inner, taken = _again(_swiglu, (gate, up), (True, True))
        return inner, lambda d_inner: [one for one in taken(d_inner) if one is not None]
    active = silu(gate)

    def back(d_inner: Tensor) -> Sequence[Tensor]:
        both = d_inner.new_empty(len(gate), 2 * gate.shape[1])
        d_gate, d_up = both.chunk(2, 1)
        torch.mul(d_inner, active, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        return [both]

    return active * up, back


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    kernels = _kernels(gate)
    found: Tensor = kernels.liger_swiglu(gate, up) if kernels else silu(gate) * up
    return found


# -- rotation -------------------------------------------------------------------------------------------------


def turned(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by their tokens' positions: (a, b) -> (a cos - b sin, b cos + a sin).

    Args:
        q: (T, heads, d); with Liger it is turned in place, so nobody else may read it.
        k: (T, kv_heads, d); the same.
        cos: (T, 1, d/2).
        sin: The same.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
    """
    kernels = _kernels(q)
    if kernels is None:
        return _turned(q, cos, sin), _turned(k, cos, sin)
    angles = (torch.cat([angle, angle], 2).transpose(0, 1) for angle in (cos, sin))  # (1, T, d) each
    # It takes (1, heads, T, d) that lie as (1, T, heads, d), and gives the same; some versions give the angles too.
    found_q, found_k, *_ = kernels.liger_rope(q[None].transpose(1, 2), k[None].transpose(1, 2), *angles)
    return found_q.transpose(1, 2)[0], found_k.transpose(1, 2)[0]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, 2)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], 2)


# -- kernels --------------------------------------------------------------------------------------------------


def _again(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], needs: Sequence[bool]
) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
    """`function(*inputs)` under a graph of its own, and the way back through it."""
    with torch.enable_grad():
        own = [one.detach().requires_grad_(need) for one, need in zip(inputs, needs, strict=True)]
        made = function(*own)

    def back(gradient: Tensor) -> Gradients:
        wanted = [one for one in own if one.requires_grad]
        found = iter(torch.autograd.grad(made, wanted, gradient) if wanted else ())
        return tuple(next(found) if one.requires_grad else None for one in own)

    return made.detach(), back


def _kernels(x: Tensor) -> ModuleType | None:
    """Liger's functions, where they are installed and can run on `x`."""
    return _liger() if x.is_cuda else None


@functools.cache
def _liger() -> ModuleType | None:
    try:
        from liger_kernel.transformers import functional
    except ImportError:
        return None
    found: ModuleType = functional
    return found
