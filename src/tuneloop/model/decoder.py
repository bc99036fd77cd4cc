"""A padding-free decoder over the modules of transformers: same numbers, less work and memory.

    ids of B documents end to end (T,) -> embedding (T, D) -> blocks -> last norm -> states (T, D)

    one block:   x + attend(rotate(project(norm(x))))  -> x + down(silu(gate) * up), gate, up = project(norm(x))

The weights stay in the transformers (and PEFT) modules; this file only computes with them, so saving, loading and
merging know nothing of it. Each step (steps.py) is an autograd function that saves its input and recomputes what is
cheap: about half of what the modules keep.

It computes what LlamaModel, Qwen2Model and DeepseekV3Model (deepseek.py) compute in float32, without dropout
(tests/model/test_decoder.py: states, loss, every gradient, and training over several steps). `why_not` says why where
it does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel

from tuneloop.model.deepseek import LatentBlock, why_not_experts
from tuneloop.model.documents import DocumentAttention, Layout, make_groups, rotary_turns
from tuneloop.model.heads import base_model, body
from tuneloop.model.projection import Projection, Scratch
from tuneloop.model.steps import GatedMlp, NormProject, ProjectAdd, apply

GROWING_ROPE = ("dynamic", "longrope")  # their angles depend on the longest text seen


class Decoder:
    """The stack of blocks of one model.

    Args:
        model: One of `KINDS` for which `why_not` gives "", perhaps wrapped by PEFT. Its modules may be moved
            and cast later; they may not be replaced.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        stack: Any = body(model)
        self.embedding: nn.Module = stack.embed_tokens
        self.rotary: nn.Module = stack.rotary_emb
        self.norm: nn.Module = stack.norm
        scratch = Scratch()
        kind = KINDS[stack.config.model_type]
        self.blocks = [kind(layer, scratch) for layer in stack.layers]

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
        qkv = apply(NormProject, x, before.weight, before.variance_epsilon, self.qkv, *self.qkv.tensors)
        attended = apply(DocumentAttention, qkv, layout, self.heads, self.kv_heads)
        if wanted is not None:
            attended, x = attended.index_select(0, wanted), x.index_select(0, wanted)
        x = apply(ProjectAdd, attended, x, self.out, *self.out.tensors)
        tensors = (*self.gate_up.tensors, *self.down.tensors)
        return apply(GatedMlp, x, after.weight, after.variance_epsilon, self.gate_up, self.down, *tensors)


KINDS: dict[str, type[Block] | type[LatentBlock]] = {"llama": Block, "qwen2": Block, "deepseek_v3": LatentBlock}
"""model_type -> what computes a layer."""


# -- whether it applies ---------------------------------------------------------------------------------------


def why_not(model: PreTrainedModel | PeftModel) -> str:
    """Why `Decoder` would not compute what `model` computes; "" where it does."""
    network = base_model(model)
    config: Any = network.config
    if config.model_type not in KINDS:
        return f"its architecture is {config.model_type}; the padding-free decoder knows {', '.join(KINDS)}"
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
    return _why_not_adapters(network) or why_not_experts(body(network))


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
        elif name.endswith(("_proj", "_proj_with_mqa")) and type(module) is not nn.Linear:
            return f"{name} is a {type(module).__name__}"
    return ""
