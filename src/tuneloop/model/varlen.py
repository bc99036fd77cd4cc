"""Attention of documents that lie end to end, where documents.py's own function is not the one to take.

    q (T, heads, d), k and v (T, kv_heads, d), rotated -> each token's mixture of its own document's values

    bfloat16 on a GPU    all documents in one call of torch's varlen attention, told apart by where they end
    else                 torch's sdpa, a call for a group of documents of like length

The host knows every length, so nothing here waits for the device.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tuneloop.examples.batch import send
from tuneloop.model.documents import DocumentAttention, Layout, from_grid, make_groups, to_grid
from tuneloop.model.pointwise import turned

LARGEST_HEAD = 256
"""Of torch's FlashAttention, which also wants multiples of 8 and compute capability 8.0 (torch 2.13,
aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp: mha_varlen_fwd)."""


def make_layout(lengths: Sequence[int], cos: Tensor, sin: Tensor, *, causal: bool) -> Layout:
    """Where documents lie, for the way that attention takes on the device and in the dtype of cos.

    Args:
        lengths: Tokens of each document; those of like length best beside each other.
        cos: (T, 1, d/2), from `rotary_turns`.
        sin: The same.
        causal: Whether a token sees only what stands before it.
    """
    if not runs_at_once(cos):
        return Layout(make_groups(lengths, cos.device), cos, sin, causal)
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return Layout((), cos, sin, causal, send(ends, cos.device), max(lengths))


def runs_at_once(x: Tensor) -> bool:
    """Whether documents go through attention in one call, in the dtype and on the device of `x`."""
    return x.dtype == torch.bfloat16 and x.device.type != "cpu"


def attend(qkv: Tensor | Sequence[Tensor], layout: Layout, heads: int, kv_heads: int) -> Tensor:
    """Rotary positions and attention.

    Args:
        qkv: (T, (heads + 2 kv_heads) d) in one, or queries, keys and values each by itself. Nobody else may read it.
        layout: Where the documents lie.
        heads: Number of query heads.
        kv_heads: Number of key and value heads; `heads` is a multiple.

    Returns:
        (T, heads d).
    """
    if isinstance(qkv, Tensor):
        found = DocumentAttention.apply(qkv, layout, heads, kv_heads)  # type: ignore[no-untyped-call]
        return cast(Tensor, found)
    q, k, v = (part.unflatten(1, (count, -1)) for part, count in zip(qkv, (heads, kv_heads, kv_heads), strict=True))
    q, k = turned(q, k, layout.cos, layout.sin)
    return (_by_groups(q, k, v, layout) if layout.ends is None else _at_once(q, k, v, layout, layout.ends)).flatten(1)


def _at_once(q: Tensor, k: Tensor, v: Tensor, layout: Layout, ends: Tensor) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # imports torch's compiler, which takes a second

    window, longest = (-1, 0) if layout.causal else (-1, -1), layout.longest
    grouped = q.shape[1] != k.shape[1]
    found = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=window, enable_gqa=grouped)
    return cast(Tensor, found)


def _by_groups(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    sizes = [sum(group.lengths) for group in layout.groups]
    found = []
    for group, *parts in zip(layout.groups, *(one.split(sizes) for one in (q, k, v)), strict=True):
        grid_q, grid_k, grid_v = (  # (n, heads, L, d) each; keys repeated, or a GPU would hold all scores in float32
            to_grid(part.flatten(1), group).unflatten(2, (-1, q.shape[2])).transpose(1, 2)
            .repeat_interleave(q.shape[1] // part.shape[1], 1)
            for part in parts
        )  # fmt: skip
        mask = None if layout.causal or group.mask is None else group.mask.to(q.dtype)
        mixed = scaled_dot_product_attention(grid_q, grid_k, grid_v, attn_mask=mask, is_causal=layout.causal)
        found.append(from_grid(mixed.transpose(1, 2).flatten(2), group))
    return torch.cat(found).view(q.shape)


def why_not_at_once(head: int, device: torch.device) -> str:
    """Why varlen attention cannot run on a GPU; "" where it can.

    Args:
        head: d.
        device: The GPU.
    """
    from torch.nn.attention.varlen import varlen_attn

    if "enable_gqa" not in inspect.signature(varlen_attn).parameters:
        return f"torch {torch.__version__} has no varlen attention for grouped heads; 2.12 has"
    if head % 8 or head > LARGEST_HEAD:
        return f"varlen attention takes heads of at most {LARGEST_HEAD}, a multiple of 8; its own have {head}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "varlen attention needs a GPU of compute capability 8.0"
    return ""
