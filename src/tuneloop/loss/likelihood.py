"""Next-token likelihood at the trained positions only, without ever holding all logits.

    states (R, D) of the real tokens -> gathered (N, D) -> chunks of logits (n, V), each turned into its own gradient

Two matrix products a chunk instead of three, and memory of one chunk instead of (B, T, V). Exact:
the same sums as `cross_entropy(states @ W.T)`, to rounding (tests/loss/test_likelihood.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tuneloop.examples.encode import IGNORED

CHUNK = 256  # rows of logits held at once: 256 x 49,152 x 4 bytes = 50 MB


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
        for start in range(0, len(states), CHUNK):
            rows = slice(start, start + CHUNK)
            logits = (states[rows] @ head.T).float()  # (n, V)
            picked = logits.gather(1, targets[rows, None]).squeeze(1)
            top = logits.amax(1, keepdim=True)
            logits.sub_(top).exp_()
            mass = logits.sum(1, keepdim=True)
            total += ((mass.log() + top).squeeze(1).sub_(picked) * weights[rows]).sum()
            if not (need_states or need_head):
                continue
            logits.div_(mass)  # now the probabilities ...
            logits[torch.arange(len(logits), device=logits.device), targets[rows]] -= (
                1.0  # ... and now d loss / d logits
            )
            logits.mul_(weights[rows, None])
            if d_states is not None:
                d_states[rows] = logits.to(head.dtype) @ head
            if d_head is not None:
                d_head.addmm_(logits.T, states[rows].float())
        ctx.d_states, ctx.d_head, ctx.head_dtype = d_states, d_head, head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Scale the waiting gradients by that of the loss."""
        (grad,) = grads
        d_states = None if ctx.d_states is None else ctx.d_states * grad.to(ctx.d_states.dtype)
        d_head = None if ctx.d_head is None else (ctx.d_head * grad).to(ctx.head_dtype)
        return d_states, d_head, None, None


def next_token_nll(
    states: Tensor, head: Tensor, labels: Tensor, attention_mask: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted negative log-likelihood of the trained tokens.

    Args:
        states: (R, D) last states of the R real tokens, row after row, after the final norm.
        head: (V, D) output embedding.
        labels: (B, T) int64: the token that stands at each position, -100 where it is not trained.
        attention_mask: (B, T) int64, 1 at the R real tokens.
        weights: (B,) float32: how much each row counts.

    Returns:
        The summed loss, () float32 nats, and the summed weight of the trained tokens, () float32.
        Both are 0.0 when nothing is trained.
    """
    real = attention_mask.bool()
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)[real]  # the state before a token predicts it
    trained = targets != IGNORED
    rows = weights.float()[:, None].expand_as(real)[real][trained]
    return LinearCrossEntropy.apply(states[trained], head, targets[trained], rows), rows.sum()  # type: ignore[no-untyped-call]
