"""Attention of documents that lie end to end, without padding: each token sees its own document alone.

    documents of lengths l_1 >= l_2 >= ...  ->  groups of like length  ->  one call of torch's sdpa a group

In a group shorter documents are filled up behind their end. Under a causal mask no real token sees what stands
behind it, so the filling changes nothing; reading both ways it is masked.

torch's kernel computes all pairs of up to 512 tokens and hides half of them from causal readers. Long documents
therefore go in stripes of queries, each with the keys that its last query sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tuneloop.examples.batch import send

SPARE = 2_000  # pairs of tokens that filling may add to a group: another call costs about as much (0.25 ms)
STRIPE = 128  # queries of one call in a long document, which so skips most keys that a causal mask hides
LONG = 192  # tokens from which a document is cut into stripes: below, more calls cost what fewer keys save


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
class Stripe:
    """Queries of every document of a group that go through attention in one call, with the keys up to their last.

    Attributes:
        start: Place of the first query in its document.
        end: Of the last query and the last key, plus one; None: all.
        causal: Whether query i sees keys 0 to i only, without a mask.
        mask: Added to the scores, or None.
    """

    start: int = 0
    end: int | None = None
    causal: bool = False
    mask: Tensor | None = None

    def queries(self, grid: Tensor) -> Tensor:
        """The stripe's part of (n, heads, L, d) queries, or of what belongs to them."""
        return grid[:, :, self.start : self.end]

    def keys(self, grid: Tensor) -> Tensor:
        """Its part of (n, kv_heads, L, d) keys or values."""
        return grid[:, :, : self.end]


@dataclass(frozen=True)
class Layout:
    """Where documents lie and how their tokens are turned.

    Attributes:
        groups: The groups, in the order of the tokens.
        cos: (T, 1, d/2), in the dtype of the states, of each token's position in its document.
        sin: The same.
        causal: Whether a token sees only what stands before it.
        ends: (B + 1,) int32, where documents begin and end, for a call over all of them (varlen.py); then there are
            no groups.
        longest: Tokens of the longest document, beside `ends`.
    """

    groups: Sequence[Group]
    cos: Tensor
    sin: Tensor
    causal: bool
    ends: Tensor | None = None
    longest: int = 0

    @cached_property
    def stripes(self) -> list[list[Stripe]]:
        """The calls that each group is cut into."""
        return [causal_stripes(group) if self.causal else [Stripe(mask=group.mask)] for group in self.groups]


def causal_stripes(group: Group, device: torch.device | str = "cpu") -> list[Stripe]:
    """One stripe, or where documents are long one for every STRIPE queries; the last one reads all keys."""
    length = group.longest
    if length < LONG:
        return [Stripe(causal=True)]
    starts = range(0, length, STRIPE)
    width = len(starts) * STRIPE
    # What every stripe sees, its last STRIPE keys on the right: a stripe that starts later reads further to the left.
    seen = torch.ones(STRIPE, width, dtype=torch.bool, device=device).tril_(width - STRIPE)
    whole = torch.zeros(seen.shape, device=device).masked_fill_(~seen, -torch.inf)
    found = []
    for start in starts:
        end, left = min(start + STRIPE, length), width - STRIPE - start
        mask = whole[None, None, : end - start, left : left + end] if start else None
        found.append(Stripe(start, end, mask is None, mask))
    return found


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
    return sum(max(lengths) ** 2 - length**2 for length in lengths) <= SPARE


def _group(lengths: tuple[int, ...], start: int, device: torch.device | str) -> Group:
    longest = max(lengths)
    rows = slice(start, start + sum(lengths))
    if min(lengths) == longest:
        return Group(rows, longest, lengths, None, None)
    there = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]  # (n, L), on the host: no device waits for it
    places, mask = there.flatten().nonzero().squeeze(1), score_mask(there)
    return Group(rows, longest, lengths, send(places, device), send(mask, device))


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
        result, masses = attend_documents(qkv, layout, ctx.heads)
        ctx.save_for_backward(qkv, result, *masses)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of the projection, rotated back."""
        qkv, result, *masses = ctx.saved_tensors
        layout, heads = ctx.layout, ctx.heads
        d_qkv = attend_documents_backward(grads[0], qkv, result, masses, layout, heads)
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


def attend_documents(packed: Tensor, layout: Layout, heads: Heads) -> tuple[Tensor, list[Tensor]]:
    """Attention of each document to itself.

    It calls what torch's sdpa calls on a CPU, and not sdpa, whose graph would keep the result a second time
    (tests/model/test_documents.py holds it to sdpa).

    Args:
        packed: (T, (queries + 2 keys) d) queries, keys and values, turned to their positions.
        layout: Where the documents lie.
        heads: How a row is cut.

    Returns:
        (T, queries d), and the logs of the denominators of each stripe of each group, (n, queries, its length).

    Source: Dao et al. 2022, arXiv:2205.14135.
    """
    size = packed.shape[1] // (heads.queries + 2 * heads.keys)
    result, masses = packed.new_empty(len(packed), heads.queries * size), []
    for group, stripes in zip(layout.groups, layout.stripes, strict=True):
        q, k, v = _split(packed, group, heads.queries, heads.keys)
        found, some = _attend_in(stripes, q, k, v, heads.scale)
        result[group.rows] = from_grid(found.flatten(2), group)
        masses += some
    return result, masses


def attend_documents_backward(
    d_result: Tensor, packed: Tensor, result: Tensor, masses: Sequence[Tensor], layout: Layout, heads: Heads
) -> Tensor:
    """The gradient of `packed`, of the same shape.

    Args:
        d_result: (T, queries d).
        packed: As `attend_documents` read it.
        result: As it gave it.
        masses: As it gave them.
        layout: Where the documents lie.
        heads: How a row is cut.
    """
    d_packed = torch.empty_like(packed)
    left = iter(masses)
    for group, stripes in zip(layout.groups, layout.stripes, strict=True):
        some = [next(left) for _ in stripes]
        (found,), (d_found,) = _split(result, group, heads.queries), _split(d_result, group, heads.queries)
        q, k, v = _split(packed, group, heads.queries, heads.keys)
        whole = _attend_back(stripes, d_found, q, k, v, found, some, heads.scale)
        d_packed[group.rows] = from_grid(whole.flatten(2), group)
    return d_packed


_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _attend_in(
    stripes: Sequence[Stripe], q: Tensor, k: Tensor, v: Tensor, scale: float | None
) -> tuple[Tensor, list[Tensor]]:
    """Attention of (n, heads, L, d) queries: (n, L, heads, d), and log of the softmax's denominators of each stripe."""
    parts = [
        _attend(one.queries(q), one.keys(k), one.keys(v), 0.0, one.causal, attn_mask=one.mask, scale=scale)
        for one in stripes
    ]
    found = [part.transpose(1, 2) for part, _ in parts]
    return found[0] if len(found) == 1 else torch.cat(found, 1), [mass for _, mass in parts]


def _attend_back(
    stripes: Sequence[Stripe], d_found: Tensor, q: Tensor, k: Tensor, v: Tensor, found: Tensor,
    masses: Sequence[Tensor], scale: float | None,
) -> Tensor:  # fmt: skip
    """Gradients of queries, keys and values beside each other, (n, L, heads + 2 kv_heads, d)."""
    whole = q.new_empty(len(q), q.shape[2], q.shape[1] + k.shape[1] + v.shape[1], q.shape[3])
    d_q, d_k, d_v = (part.transpose(1, 2) for part in whole.split([q.shape[1], k.shape[1], v.shape[1]], 2))
    for one, mass in reversed(list(zip(stripes, masses, strict=True))):  # the last one sees all keys: it writes first
        dq, dk, dv = _attend_backward(
            one.queries(d_found), one.queries(q), one.keys(k), one.keys(v), one.queries(found), mass, 0.0, one.causal,
            attn_mask=one.mask, scale=scale,
        )  # fmt: skip
        one.queries(d_q).copy_(dq)
        if one is stripes[-1]:
            d_k.copy_(dk)
            d_v.copy_(dv)
        else:
            one.keys(d_k).add_(dk)
            one.keys(d_v).add_(dv)
    return whole


def _split(rows: Tensor, group: Group, heads: int, kv_heads: int = 0) -> Sequence[Tensor]:
    """The group's queries, and its keys and values where there are kv_heads: (n, heads, L, d) each."""
    parts = [heads, kv_heads, kv_heads] if kv_heads else [heads]
    grid = to_grid(rows[group.rows], group).unflatten(-1, (sum(parts), -1))  # (n, L, all heads, d)
    return [part.transpose(1, 2) for part in grid.split(parts, 2)]


def rotate(packed: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Turn the first `heads` heads of (T, width) in place: (a, b) -> (a cos - b sin, b cos + a sin)."""
    half = cos.shape[-1]
    turned = packed[:, : heads * 2 * half].view(len(packed), heads, 2, half)
    first, second = turned.unbind(2)  # (T, heads, d/2)
    old = first.clone()
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(old, sin)


def to_grid(rows: Tensor, group: Group) -> Tensor:
    """(tokens, width) -> (n, L, width); a view where the group has no holes."""
    shape = (len(group.lengths), group.longest, rows.shape[1])
    if group.places is None:
        return rows.view(shape)
    grid = rows.new_zeros(shape[0] * shape[1], shape[2])
    return grid.index_copy_(0, group.places, rows).view(shape)


def from_grid(grid: Tensor, group: Group) -> Tensor:
    """(n, L, width) -> (tokens, width)."""
    flat = grid.flatten(0, 1)
    return flat if group.places is None else flat.index_select(0, group.places)
