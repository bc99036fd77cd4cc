"""Attention of documents that lie end to end, without padding: each token sees its own document alone.

    documents of lengths l_1 >= l_2 >= ...  ->  groups of like length  ->  one call of torch's sdpa a group

In a group shorter documents are filled up behind their end. Under a causal mask no real token sees what stands
behind it, so the filling changes nothing; reading both ways it is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LIKE = 0.8  # a document at least this share of the longest one's length goes into its group ...
SHORT = 8  # ... and so does one that is at most this many tokens shorter: another call costs more


@dataclass(frozen=True)
class Group:
    """Documents that go through attention in one call.

    Attributes:
        rows: The tokens of the group: a slice of all tokens, documents in their order.
        longest: L, tokens of the longest.
        lengths: Tokens of each.
        places: (sum of lengths,) places of the tokens in the (n, L) grid, flattened; None where it has no holes.
        mask: (n, 1, 1, L) float32, 0 at tokens and -inf at holes; None where the grid has none.
    """

    rows: slice
    longest: int
    lengths: tuple[int, ...]
    places: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Where documents lie and how their tokens are turned.

    Attributes:
        groups: The groups, in the order of the tokens.
        cos: (T, 1, d/2) float32, of each token's position in its document.
        sin: The same.
        causal: Whether a token sees only what stands before it.
    """

    groups: Sequence[Group]
    cos: Tensor
    sin: Tensor
    causal: bool

    def mask(self, group: Group) -> Tensor | None:
        """What is added to the scores: -inf at the filling, where tokens would see it."""
        return None if self.causal else group.mask


def make_groups(lengths: Sequence[int], device: torch.device | str = "cpu") -> list[Group]:
    """Group neighbours of like length; best where `lengths` fall."""
    groups: list[Group] = []
    start = first = 0
    for place in range(1, len(lengths) + 1):
        if place < len(lengths) and _alike(lengths[first : place + 1]):
            continue
        chosen = tuple(lengths[first:place])
        groups.append(_group(chosen, start, device))
        start, first = start + sum(chosen), place
    return groups


def _alike(lengths: Sequence[int]) -> bool:
    longest, shortest = max(lengths), min(lengths)
    return shortest >= LIKE * longest or longest - shortest <= SHORT


def _group(lengths: tuple[int, ...], start: int, device: torch.device | str) -> Group:
    longest = max(lengths)
    rows = slice(start, start + sum(lengths))
    if min(lengths) == longest:
        return Group(rows, longest, lengths, None, None)
    there = torch.arange(longest, device=device)[None] < torch.tensor(lengths, device=device)[:, None]  # (n, L)
    return Group(rows, longest, lengths, there.flatten().nonzero().squeeze(1), score_mask(there))


def score_mask(there: Tensor) -> Tensor:
    """What is added to attention's scores so that only tokens are seen.

    Args:
        there: (n, L) bool, True at tokens.

    Returns:
        (n, 1, 1, L) float32, 0 at tokens, -inf elsewhere.
    """
    return torch.zeros(there.shape, device=there.device).masked_fill_(~there, -torch.inf)[:, None, None]


def rotary_turns(rotary: nn.Module, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin by which `rotate` turns tokens at (T,) positions, (T, 1, d/2) each; `x` gives dtype and device."""
    found = rotary(x[None], positions[None])  # (1, T, d) each; both halves are the same
    cos, sin = (angle[0, :, None, : angle.shape[-1] // 2].contiguous() for angle in found)
    return cos, sin


class DocumentAttention(torch.autograd.Function):
    """Rotary positions and attention over the packed projection of queries, keys and values.

    Saves the turned projection, the result and one number a row and head.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, layout: Layout, heads: int, kv_heads: int) -> Tensor:
        """Attend.

        Args:
            ctx: Keeps what the way back needs.
            qkv: (T, (heads + 2 kv_heads) d); its queries and keys are rotated in place, so nobody else may read it
                (its maker does not keep it).
            layout: Where the documents lie.
            heads: Number of query heads.
            kv_heads: Number of key and value heads; `heads` is a multiple.

        Returns:
            (T, heads d).
        """
        qkv = qkv.detach()  # turned in place below, which autograd must not see
        ctx.layout, ctx.heads = layout, Heads(heads, kv_heads)
        rotate(qkv, layout.cos, layout.sin, heads + kv_heads)
        result, masses = attend(qkv, layout, ctx.heads)
        ctx.save_for_backward(qkv, result, *masses)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of the projection, rotated back."""
        qkv, result, *masses = ctx.saved_tensors
        layout, heads = ctx.layout, ctx.heads
        d_qkv = attend_backward(grads[0], qkv, result, masses, layout, heads)
        rotate(d_qkv, layout.cos, -layout.sin, heads.queries + heads.keys)
        return d_qkv, None, None, None


@dataclass(frozen=True)
class Heads:
    """How a packed row is cut.

    Attributes:
        queries: Number of query heads, which come first.
        keys: Number of key heads, and of the value heads behind them; `queries` is a multiple.
        scale: What scores are multiplied by; None: 1 / sqrt(d).
    """

    queries: int
    keys: int
    scale: float | None = None


def attend(packed: Tensor, layout: Layout, heads: Heads) -> tuple[Tensor, list[Tensor]]:
    """Attention of each document to itself.

    It calls what torch's sdpa calls on a CPU, and not sdpa, whose graph would keep the result a second time
    (tests/model/test_documents.py holds it to sdpa).

    Args:
        packed: (T, (queries + 2 keys) d) queries, keys and values, turned to their positions.
        layout: Where the documents lie.
        heads: How a row is cut.

    Returns:
        (T, queries d), and for each group the logs of the softmax's denominators, (n, queries, L).

    Source: Dao et al. 2022, arXiv:2205.14135.
    """
    size = packed.shape[1] // (heads.queries + 2 * heads.keys)
    result, masses = packed.new_empty(len(packed), heads.queries * size), []
    for group in layout.groups:
        q, k, v = _split(packed, group, heads.queries, heads.keys)
        found, mass = _attend(q, k, v, 0.0, layout.causal, attn_mask=layout.mask(group), scale=heads.scale)
        result[group.rows] = _from_grid(found.transpose(1, 2).flatten(2), group)  # from (n, queries, L, d)
        masses.append(mass)
    return result, masses


def attend_backward(
    d_result: Tensor, packed: Tensor, result: Tensor, masses: Sequence[Tensor], layout: Layout, heads: Heads
) -> Tensor:
    """The gradient of `packed`, of the same shape.

    Args:
        d_result: (T, queries d).
        packed: As `attend` read it.
        result: As it gave it.
        masses: As it gave them.
        layout: Where the documents lie.
        heads: How a row is cut.
    """
    d_packed = torch.empty_like(packed)
    for group, mass in zip(layout.groups, masses, strict=True):
        q, k, v = _split(packed, group, heads.queries, heads.keys)
        (found,), (d_found,) = _split(result, group, heads.queries), _split(d_result, group, heads.queries)
        parts = _attend_backward(
            d_found, q, k, v, found, mass, 0.0, layout.causal, attn_mask=layout.mask(group), scale=heads.scale
        )  # (n, heads, L, d) each
        whole = torch.cat([part.transpose(1, 2) for part in parts], 2).flatten(2)  # (n, L, width)
        d_packed[group.rows] = _from_grid(whole, group)
    return d_packed


_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _split(rows: Tensor, group: Group, heads: int, kv_heads: int = 0) -> Sequence[Tensor]:
    """The group's queries, and its keys and values where there are kv_heads: (n, heads, L, d) each."""
    parts = [heads, kv_heads, kv_heads] if kv_heads else [heads]
    grid = _to_grid(rows[group.rows], group).unflatten(-1, (sum(parts), -1))  # (n, L, all heads, d)
    return [part.transpose(1, 2) for part in grid.split(parts, 2)]


def rotate(packed: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Turn the first `heads` heads of (T, width) in place: (a, b) -> (a cos - b sin, b cos + a sin)."""
    half = cos.shape[-1]
    turned = packed[:, : heads * 2 * half].view(len(packed), heads, 2, half)
    first, second = turned.unbind(2)  # (T, heads, d/2)
    old = first.clone()
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(old, sin)


def _to_grid(rows: Tensor, group: Group) -> Tensor:
    """(tokens, width) -> (n, L, width); a view where the group has no holes."""
    shape = (len(group.lengths), group.longest, rows.shape[1])
    if group.places is None:
        return rows.view(shape)
    grid = rows.new_zeros(shape[0] * shape[1], shape[2])
    return grid.index_copy_(0, group.places, rows).view(shape)


def _from_grid(grid: Tensor, group: Group) -> Tensor:
    """(n, L, width) -> (tokens, width)."""
    flat = grid.flatten(0, 1)
    return flat if group.places is None else flat.index_select(0, group.places)
