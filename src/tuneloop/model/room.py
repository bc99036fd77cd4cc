"""Whether a GPU has room for what the blocks keep for the way back, or must compute them twice.

    bytes kept of a token, all blocks  x tokens  +  work of one block and of the loss   against   what is free

On a CPU nothing is computed twice: micro-batches there are small, and time is dear.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tuneloop.memory import free_on_gpu
from tuneloop.terminal import say

SPARE = 0.1
"""Share of the free memory that is left alone: the allocator cannot fill every gap."""
LOSS_WORK = 3 * 2**30
"""Bytes of the loss's own work: a chunk of logits, its powers and products (loss/likelihood.py)."""


def block_bytes(*, hidden: int, packed: int, attended: int, gate_up: int, rank: int, heads: int, size: int) -> int:
    """Bytes that one block keeps of a token.

    Its two inputs of a norm, the rotated projection, the result of attention, gate and up, what the adapters have
    inside, and one float32 a head for attention and a row for each norm.

    Args:
        hidden: D.
        packed: Width of queries, keys and values together.
        attended: Width of the queries.
        gate_up: 2 F.
        rank: LoRA ranks of all seven matrices, summed; 0: none.
        heads: Number of query heads.
        size: Bytes of a number.
    """
    return size * (2 * hidden + packed + attended + gate_up + rank) + 4 * (heads + 2)


def fits(blocks: Sequence[int], tokens: int, *, to_come: int, free: int) -> bool:
    """Whether all that the blocks keep fits, and need not be computed twice.

    Args:
        blocks: Bytes that each block keeps of a token.
        tokens: Of the micro-batch.
        to_come: Bytes that training will still take for itself: gradients and moments.
        free: Bytes that can be had.
    """
    # On its way back a block makes up to twice what it keeps: gradients of it, and what it computes again.
    needed = tokens * (sum(blocks) + 2 * max(blocks)) + to_come + LOSS_WORK
    return needed <= (1 - SPARE) * free


class Room:
    """Answers for one model, and remembers how many tokens fitted.

    Args:
        model: Whose gradients and moments need room too.
        blocks: Bytes that each of its blocks keeps of a token.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[int]) -> None:
        self._model, self._blocks = model, list(blocks)
        self._fitted, self._told = 0, False

    def asks_for_checkpoints(self, x: Tensor) -> bool:
        """Whether the blocks must be computed twice, for (T, D) states that are about to go through them."""
        free = free_on_gpu(x.device) if torch.is_grad_enabled() and len(x) > self._fitted else None
        if free is None:
            return False
        if fits(self._blocks, len(x), to_come=self._to_come(), free=free):
            self._fitted = len(x)
            return False
        if not self._told:
            self._told = True
            room = f"{free / 2**30:.1f} GiB"
            say(f"training: {len(x):,} tokens at once do not fit into {room}, so blocks are computed twice")
        return True

    def _to_come(self) -> int:
        """Gradients that are not there yet, and two moments beside each."""
        new = [p for p in self._model.parameters() if p.requires_grad and p.grad is None]
        return sum(3 * p.numel() * p.element_size() for p in new)
