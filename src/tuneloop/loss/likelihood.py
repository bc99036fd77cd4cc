"""Next-token likelihood at the trained positions only, without ever holding all logits.

    states (N, D) that predict a trained token -> chunks of logits (n, V), each used for its own gradient at once

Two matrix products a chunk instead of three, and memory of one chunk instead of (B, T, V). Exact:
the same sums as `cross_entropy(states @ W.T)`, to rounding (tests/loss/test_likelihood.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tuneloop.examples.encode import IGNORED

CHUNK = 128  # rows of logits held at once: 128 x 49,152 x 4 bytes = 25 MB
GPU_CHUNK_BYTES = 2**30  # of float32 logits held at once on a GPU, where few rows would leave most of it idle


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over rows of weight x -log softmax(states @ head.T)[target], gradients made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss and both gradients.

        Args:
            ctx: Where the gradients wait for backward.
            states: (N, D), any float dtype.
            head: (V, D) output embedding.
            targets: (N,) int64 in [0, V).
            weights: (N,) float32, >= 0.

        Returns:
            () float32, nats, summed.
        """
        need_states, need_head = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        d_states = torch.zeros_like(states) if need_states else None
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if need_head else None
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        chunk = _rows_at_once(head)
        for start in range(0, len(states), chunk):
            rows = slice(start, start + chunk)
            x, target, weight = states[rows], targets[rows], weights[rows, None]
            logits = _logits(x, head)  # (n, V)
            picked = logits.gather(1, target[:, None])
            top = logits.amax(1, keepdim=True)
            powers = logits.sub_(top).exp_()
            mass = powers.sum(1, keepdim=True)
            total += ((mass.log() + top - picked) * weight).sum()
            # d loss / d logits = weight (powers / mass - onehot(target)): both terms after the product, not before it,
            # which spares two passes over (n, V).
            if d_states is not None:
                softly = (powers.to(head.dtype) @ head).float() / mass
                d_states[rows] = ((softly - head[target]) * weight).to(states.dtype)
            if d_head is not None:
                d_head.addmm_(powers.T, x.float() * (weight / mass))
                d_head.index_add_(0, target, x.float() * weight, alpha=-1)
        ctx.d_states, ctx.d_head, ctx.head_dtype = d_states, d_head, head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Scale the waiting gradients by that of the loss."""
        (grad,) = grads
        d_states = None if ctx.d_states is None else ctx.d_states * grad.to(ctx.d_states.dtype)
        d_head = None if ctx.d_head is None else (ctx.d_head * grad).to(ctx.head_dtype)
        return d_states, d_head, None, None


def _rows_at_once(head: Tensor) -> int:
    return max(CHUNK, GPU_CHUNK_BYTES // (4 * len(head))) if head.is_cuda else CHUNK


def _logits(x: Tensor, head: Tensor) -> Tensor:
    """x @ head.T, (n, V), float32; on a GPU the sums stay float32, elsewhere they are rounded to x's dtype first."""
    if x.is_cuda and x.dtype == torch.bfloat16:
        return torch.mm(x, head.T, out_dtype=torch.float32)
    return (x @ head.T).float()


def predicted_tokens(labels: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which states predict a trained token, and that token: the state before a token predicts it.

    Args:
        labels: (B, T) int64: the token that stands at each position, -100 where it is not trained.
        attention_mask: (B, T) int64, 1 at real tokens.

    Returns:
        (B, T) bool, true at N places, and the (N,) int64 tokens that they predict, row after row.
    """
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    wanted = attention_mask.bool() & (targets != IGNORED)
    return wanted, targets[wanted]
