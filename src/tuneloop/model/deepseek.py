"""A block of DeepSeek-V3 without padding: multi-head latent attention, then a dense MLP or routed experts.

    x (T, D) -> norm -> q's latent | k and v's latent c (T, r) | k's rotary part (T, d_r), one for all heads
        q (T, H, d_n + d_r) from its latent;  k's other part (T, H, d_n) and v (T, H, d_v) from norm(c)
        q, k, v packed (T, 3 H d), positions turned, d the longest head, filled up with zeros
        attention -> (T, H d_v) -> x + out
    x -> x + down(silu(gate) * up)                                           in the first blocks
    x -> x + shared(norm(x)) + sum over k experts of weight * expert(norm(x))    in the others

The kernel of torch's attention on a CPU wants heads of one length; zeros add nothing to scores or values. The router
is transformers' own module, its gradient plain autograd: it is small, and its choice must be the same to the bit.

Source: DeepSeek-AI 2024, arXiv:2412.19437, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Experts,
    DeepseekV3MLP,
    DeepseekV3MoE,
    DeepseekV3TopkRouter,
)

from tuneloop.model.documents import Heads, Layout, attend_documents, attend_documents_backward
from tuneloop.model.projection import Projection, Scratch
from tuneloop.model.steps import GatedMlp, Norm, NormProject, ProjectAdd, apply


class LatentBlock:
    """One layer: latent attention, and a dense MLP or experts, each behind a norm and beside a residual."""

    def __init__(self, layer: Any, scratch: Scratch) -> None:
        attention, config = layer.self_attn, layer.self_attn.config
        self.norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self.shape = LatentShape(
            config.num_attention_heads, config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim,
            float(attention.scaling), bool(config.rope_interleave),
        )  # fmt: skip
        first = attention.q_proj if attention.q_lora_rank is None else attention.q_a_proj
        # Their own: attention packs what these three give anew, so that they are not kept.
        self.into = Projection([first, attention.kv_a_proj_with_mqa], scratch, own_low=True)
        self.sizes = [self.into.sizes[0], config.kv_lora_rank, config.qk_rope_head_dim]
        self.q_norm, self.q = attention.q_a_layernorm, None
        if attention.q_lora_rank is not None:
            self.q = Projection([attention.q_b_proj], scratch, own_low=True)
        self.kv_norm, self.kv = attention.kv_a_layernorm, Projection([attention.kv_b_proj], scratch, own_low=True)
        self.out = Projection([attention.o_proj], scratch)
        routed = isinstance(layer.mlp, DeepseekV3MoE)
        self.mlp: Experts | Dense = Experts(layer.mlp, scratch) if routed else Dense(layer.mlp, scratch)

    def __call__(self, x: Tensor, layout: Layout, wanted: Tensor | None = None) -> Tensor:
        """(T, D) -> (T, D), or (N, D) at the N places in `wanted`: the others only serve as keys and values."""
        before, after = self.norms
        q, latent, turning = _norm_project(x, before, self.into).split(self.sizes, 1)
        if self.q is None:
            latent = latent.contiguous()  # kept for the way back: as a view it would keep all of q
        else:
            q = _norm_project(q, self.q_norm, self.q)
        kv = _norm_project(latent, self.kv_norm, self.kv)
        attended = apply(LatentAttention, q, kv, turning, layout, self.shape)
        if wanted is not None:
            attended, x = attended.index_select(0, wanted), x.index_select(0, wanted)
        return self.mlp(apply(ProjectAdd, attended, x, self.out, *self.out.tensors), after)


def _norm_project(x: Tensor, norm: Any, projection: Projection) -> Tensor:
    return apply(NormProject, x, norm.weight, norm.variance_epsilon, projection, *projection.tensors)


class Dense:
    """x + down(silu(gate) * up), gate, up = project(norm(x)): an MLP of every token."""

    def __init__(self, mlp: DeepseekV3MLP, scratch: Scratch) -> None:
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], scratch)
        self.down = Projection([mlp.down_proj], scratch)

    def __call__(self, x: Tensor, norm: Any) -> Tensor:
        """(T, D) -> (T, D), the norm and the residual included."""
        tensors = (*self.gate_up.tensors, *self.down.tensors)
        return apply(GatedMlp, x, norm.weight, norm.variance_epsilon, self.gate_up, self.down, *tensors)


class Experts:
    """x + shared(norm(x)) + the experts that the router chooses for each token.

    Source: DeepSeek-AI 2024, arXiv:2412.19437, eq. 12 to 16.
    """

    def __init__(self, mlp: DeepseekV3MoE, scratch: Scratch) -> None:
        self.router, self.experts = mlp.gate, mlp.experts
        self.shared = Dense(mlp.shared_experts, scratch)

    def __call__(self, x: Tensor, norm: Any) -> Tensor:
        """(T, D) -> (T, D), the norm and the residual included."""
        normed = apply(Norm, x, norm.weight, norm.variance_epsilon)
        _, weights, chosen = self.router(normed)
        whole = self.shared(x, norm)
        return apply(
            RoutedExperts, normed, whole, weights, chosen, self.experts.gate_up_proj, self.experts.down_proj
        )  # fmt: skip


# -- attention ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LatentShape:
    """How the heads of latent attention are made up.

    Attributes:
        heads: H, of queries, keys and values alike.
        still: d_n, columns of a query or key that positions do not turn.
        turning: d_r, those that they turn, which come last; keys of all heads share them.
        value: d_v, columns of a value.
        scale: What scores are multiplied by, yarn's correction included.
        interleaved: Whether pairs that turn together lie side by side (else half a head apart). Turned, they
            lie half a head apart either way.
    """

    heads: int
    still: int
    turning: int
    value: int
    scale: float
    interleaved: bool

    @property
    def size(self) -> int:
        """d, columns of the longest head."""
        return max(self.still + self.turning, self.value)

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, h, d_r) as projected -> the two columns of each pair, (T, h, d_r/2) each; views."""
        if self.interleaved:
            return x[..., 0::2], x[..., 1::2]
        first, second = x.chunk(2, -1)
        return first, second


class LatentAttention(torch.autograd.Function):
    """Rotary positions and attention over expanded latents.

    Saves the packed queries, keys and values, the result, and one number a row and head.

    Source: DeepSeek-AI 2024, arXiv:2405.04434, eq. 9 to 18; yarn's scale: Peng et al. 2023, arXiv:2309.00071, sec. 3.4.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, kv: Tensor, turning: Tensor, layout: Layout, shape: LatentShape) -> Tensor:
        """Attend.

        Args:
            ctx: Keeps what the way back needs.
            q: (T, H (d_n + d_r)).
            kv: (T, H (d_n + d_v)), each head's key without its turning columns, then its value.
            turning: (T, d_r), the keys' turning columns.
            layout: Where the documents lie.
            shape: How heads are made up.

        Returns:
            (T, H d_v).
        """
        heads = Heads(shape.heads, shape.heads, shape.scale)
        packed = _pack(q, kv, turning, layout, shape)
        result, masses = attend_documents(packed, layout, heads)
        result = _resize(result, shape.heads, shape.value)
        ctx.save_for_backward(packed, result, *masses)
        ctx.layout, ctx.shape, ctx.heads = layout, shape, heads
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, kv and the keys' turning columns."""
        packed, result, *masses = ctx.saved_tensors
        shape: LatentShape = ctx.shape
        result, d_result = (_resize(x, shape.heads, shape.size) for x in (result, grads[0]))
        d_packed = attend_documents_backward(d_result, packed, result, masses, ctx.layout, ctx.heads)
        return (*_unpack_gradient(d_packed, ctx.layout, shape), None, None)


def _pack(q: Tensor, kv: Tensor, turning: Tensor, layout: Layout, shape: LatentShape) -> Tensor:
    """Queries, keys and values side by side, turned, (T, 3 H d)."""
    still, end = shape.still, shape.still + shape.turning
    # Empty where every column is written; else what fills up must be zero.
    make = q.new_empty if end == shape.value else q.new_zeros
    packed = make(len(q), 3, shape.heads, shape.size)
    q, kv = q.unflatten(1, (shape.heads, -1)), kv.unflatten(1, (shape.heads, -1))
    queries, keys, values = packed.unbind(1)  # (T, H, d)
    queries[..., :still] = q[..., :still]
    keys[..., :still] = kv[..., :still]
    values[..., : shape.value] = kv[..., still:]
    _turn(shape.pairs(q[..., still:]), _halves(queries[..., still:end]), layout.cos, layout.sin)
    turned = turning.new_empty(len(turning), 1, shape.turning)  # (T, 1, d_r)
    _turn(shape.pairs(turning[:, None]), _halves(turned), layout.cos, layout.sin)
    keys[..., still:end] = turned
    return packed.view(len(q), -1)


def _unpack_gradient(d_packed: Tensor, layout: Layout, shape: LatentShape) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what `_pack` read: q, kv and the keys' turning columns."""
    still, end = shape.still, shape.still + shape.turning
    count = len(d_packed)
    queries, keys, values = d_packed.view(count, 3, shape.heads, shape.size).unbind(1)
    d_q = d_packed.new_empty(count, shape.heads, end)
    d_q[..., :still] = queries[..., :still]
    _turn(_halves(queries[..., still:end]), shape.pairs(d_q[..., still:]), layout.cos, -layout.sin)
    d_kv = torch.cat([keys[..., :still], values[..., : shape.value]], 2)  # (T, H, d_n + d_v)
    d_turning = d_packed.new_empty(count, 1, shape.turning)
    summed = keys[..., still:end].sum(1, keepdim=True)
    _turn(_halves(summed), shape.pairs(d_turning), layout.cos, -layout.sin)
    return d_q.flatten(1), d_kv.flatten(1), d_turning.flatten(1)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, -1)
    return first, second


def _turn(pairs: tuple[Tensor, Tensor], into: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor) -> None:
    """Write (a cos - b sin, b cos + a sin) of the pairs (a, b), (T, h, d_r/2) each; with -sin, its transpose."""
    (a, b), (first, second) = pairs, into
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=second).addcmul_(a, sin)


def _resize(x: Tensor, heads: int, size: int) -> Tensor:
    """(T, H before) -> (T, H size): each head cut, or filled up with zeros."""
    before = x.shape[1] // heads
    if before == size:
        return x
    return pad(x.unflatten(1, (heads, before)), (0, size - before)).flatten(1)  # a negative number cuts


# -- experts --------------------------------------------------------------------------------------------------


class RoutedExperts(torch.autograd.Function):
    """residual + sum over each token's experts of weight * expert(x).

    Tokens are sorted by expert once; an expert that has any computes them in one product a matrix. Saves x, gate and up
    of each token and expert, and the order. Weights are multiplied in before the last matrix: the same sum, and their
    gradient needs neither its result nor a product.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, weights: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor
    ) -> Tensor:
        """Add the experts of each token.

        Args:
            ctx: Keeps what the way back needs.
            x: (T, D).
            residual: (T, D).
            weights: (T, k).
            chosen: (T, k) int64, the experts of each token.
            gate_up: (E, 2 F, D).
            down: (E, D, F).

        Returns:
            (T, D).
        """
        flat = chosen.flatten()
        order = flat.argsort(stable=True)  # (T k,) places in `flat`, expert after expert
        tokens, sorted_weights = order // chosen.shape[1], weights.flatten()[order]
        both = x.new_empty(len(flat), gate_up.shape[1])  # (T k, 2 F), gate and up
        ctx.counts = flat.bincount(minlength=len(gate_up)).tolist()
        result = residual.clone()
        for expert, rows in _runs(ctx.counts):
            here = both[rows]
            torch.mm(x.index_select(0, tokens[rows]), gate_up[expert].T, out=here)
            gate, up = here.chunk(2, 1)
            inner = silu(gate).mul_(up).mul_(sorted_weights[rows, None])  # (n, F)
            result.index_add_(0, tokens[rows], inner @ down[expert].T)
        ctx.save_for_backward(x, both, order, tokens, sorted_weights, gate_up, down)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the residual, the weights and the experts; an expert without a token has only zeros."""
        x, both, order, tokens, weights, gate_up, down = ctx.saved_tensors
        need_x, need_residual, need_weights, _, need_gate_up, need_down = ctx.needs_input_grad
        dx = torch.zeros_like(x) if need_x else None
        d_weights = torch.empty_like(weights)
        d_gate_up = torch.zeros_like(gate_up) if need_gate_up else None
        d_down = torch.zeros_like(down) if need_down else None
        for expert, rows in _runs(ctx.counts):
            here, weight = tokens[rows], weights[rows, None]
            gate, up = both[rows].chunk(2, 1)
            active = silu(gate)
            inner = active * up
            dy = grads[0].index_select(0, here)
            d_inner = dy @ down[expert]  # (n, F), of the weighted one
            torch.sum(d_inner * inner, 1, out=d_weights[rows])
            if d_down is not None:
                torch.mm(dy.T, inner.mul_(weight), out=d_down[expert])
            d_inner.mul_(weight)
            d_both = torch.empty_like(both[rows])
            d_gate, d_up = d_both.chunk(2, 1)
            torch.mul(d_inner, active, out=d_up)
            torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
            if d_gate_up is not None:
                torch.mm(d_both.T, x.index_select(0, here), out=d_gate_up[expert])
            if dx is not None:
                dx.index_add_(0, here, d_both @ gate_up[expert])
        unsorted = torch.empty_like(weights).index_copy_(0, order, d_weights).view(len(x), -1) if need_weights else None
        return dx, grads[0] if need_residual else None, unsorted, None, d_gate_up, d_down


def _runs(counts: list[int]) -> list[tuple[int, slice]]:
    """Each expert that has tokens, with its rows among the sorted ones."""
    runs, start = [], 0
    for expert, count in enumerate(counts):
        if count:
            runs.append((expert, slice(start, start + count)))
        start += count
    return runs


# -- whether it applies ---------------------------------------------------------------------------------------


def why_not_experts(stack: nn.Module) -> str:
    """Why `LatentBlock` would not compute some layer's router or experts; "" where it would, or there are none."""
    for name, module in stack.named_modules():
        if isinstance(module, DeepseekV3MoE):
            for part, kind in (("gate", DeepseekV3TopkRouter), ("experts", DeepseekV3Experts)):
                found = type(module.get_submodule(part))
                if found is not kind:
                    return f"{name}.{part} is a {found.__name__}"
    return ""
