"""A padding-free decoder over the modules of transformers: same numbers, less work and memory.

    ids of B documents end to end (T,) -> embedding (T, D) -> blocks -> last norm -> states (T, D)

    one block:   x + attend(rotate(project(norm(x))))  -> x + down(silu(gate) * up), gate, up = project(norm(x))

The weights stay in the transformers (and PEFT) modules; this file only computes with them, so saving, loading and
merging know nothing of it. Each step is an autograd function that saves its input and recomputes what is cheap:
about half of what the modules keep. A step whose input and weights need no gradient keeps nothing.

It computes what LlamaModel and Qwen2Model compute in float32, without dropout (tests/model/test_decoder.py: states,
loss, every gradient, and training over several steps). `why_not` says why where it does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel

from tuneloop.model.documents import DocumentAttention, Layout, make_groups, rotary_turns
from tuneloop.model.heads import base_model, body
from tuneloop.model.projection import Projection, Scratch

KINDS = ("llama", "qwen2")
GROWING_ROPE = ("dynamic", "longrope")  # their angles depend on the longest text seen


class Decoder:
    """The stack of blocks of one model.

    Args:
        model: A Llama or Qwen2 model for which `why_not` gives "", perhaps wrapped by PEFT. Its modules may be moved
            and cast later; they may not be replaced.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        stack: Any = body(model)
        self.embedding: nn.Module = stack.embed_tokens
        self.rotary: nn.Module = stack.rotary_emb
        self.norm: nn.Module = stack.norm
        scratch = Scratch()
        self.blocks = [Block(layer, scratch) for layer in stack.layers]

    def states(
        self, input_ids: Tensor, lengths: Sequence[int], *, causal: bool = True, wanted: Tensor | None = None
    ) -> Tensor:
        """The last layer's states, after the final norm.

        Args:
            input_ids: (T,) int64, documents end to end; those of like length best beside each other.
            lengths: Tokens of each document; their sum is T.
            causal: Whether a token sees only what stands before it in its document, or all of it.
            wanted: (T,) bool, the N tokens whose states are asked for; None: all. The last layer computes no others.

        Returns:
            (N, D) float32.
        """
        x = self.embedding(input_ids).float()
        positions = torch.cat([torch.arange(length, device=x.device) for length in lengths])
        layout = Layout(make_groups(lengths, x.device), *rotary_turns(self.rotary, x, positions), causal)
        for block in self.blocks[:-1]:
            x = block(x, layout)
        x = self.blocks[-1](x, layout, None if wanted is None else wanted.nonzero().squeeze(1))
        return cast(Tensor, self.norm(x))


class Block:
    """One layer: attention and a gated MLP, each behind a norm and beside a residual."""

    def __init__(self, layer: Any, scratch: Scratch) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.heads: int = attention.config.num_attention_heads
        self.kv_heads: int = attention.config.num_key_value_heads
        self.norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj], scratch)
        self.out = Projection([attention.o_proj], scratch)
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], scratch)
        self.down = Projection([mlp.down_proj], scratch)

    def __call__(self, x: Tensor, layout: Layout, wanted: Tensor | None = None) -> Tensor:
        """(T, D) -> (T, D), or (N, D) at the N places in `wanted`: the others only serve as keys and values."""
        before, after = self.norms
        qkv = _apply(NormProject, x, before.weight, before.variance_epsilon, self.qkv, *self.qkv.tensors)
        attended = _apply(DocumentAttention, qkv, layout, self.heads, self.kv_heads)
        if wanted is not None:
            attended, x = attended.index_select(0, wanted), x.index_select(0, wanted)
        x = _apply(ProjectAdd, attended, x, self.out, *self.out.tensors)
        tensors = (*self.gate_up.tensors, *self.down.tensors)
        return _apply(GatedMlp, x, after.weight, after.variance_epsilon, self.gate_up, self.down, *tensors)


def _apply(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    return cast(Tensor, function.apply(*inputs))


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


# -- whether it applies ---------------------------------------------------------------------------------------


def why_not(model: PreTrainedModel | PeftModel) -> str:
    """Why `Decoder` would not compute what `model` computes; "" where it does."""
    network = base_model(model)
    config: Any = network.config
    if config.model_type not in KINDS:
        return f"its architecture is {config.model_type}; the padding-free decoder knows {' and '.join(KINDS)}"
    parameter = next(network.parameters())
    if parameter.device.type != "cpu":
        return f"it runs on {parameter.device.type}; the padding-free decoder runs on CPUs so far"
    if network.get_input_embeddings().weight.dtype != torch.float32:
        return "its weights are not float32"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if config.attention_dropout:
        return "its attention has dropout"
    if config.rope_parameters["rope_type"] in GROWING_ROPE:
        return f"its rotary positions are of type {config.rope_parameters['rope_type']}"
    if any(kind != "full_attention" for kind in config.to_dict().get("layer_types") or []):
        return "some of its layers see only a window"
    return _why_not_adapters(network)


def _why_not_adapters(network: PreTrainedModel) -> str:
    """Why the adapters on the blocks' matrices are not plain LoRA; "" where they are (or there are none)."""
    for name, module in body(network).named_modules():
        if isinstance(module, LoraLinear):
            if len(module.active_adapters) != 1 or module.merged or module.disable_adapters:
                return f"{name} does not carry exactly one active adapter"
            adapter = module.active_adapters[0]
            if not isinstance(module.lora_dropout[adapter], nn.Identity):
                return "adapt.dropout is not 0"
            if adapter in module.lora_variant or module.lora_bias[adapter]:
                return f"{name} carries another kind of adapter than plain LoRA"
        elif name.endswith("_proj") and type(module) is not nn.Linear:
            return f"{name} is a {type(module).__name__}"
    return ""
