"""A padding-free decoder over the modules of transformers: same numbers, less work and memory.

    ids of B documents end to end (T,) -> embedding (T, D) -> blocks -> last norm -> states (T, D)

    one block:   x + attend(rotate(project(norm(x))))  -> x + down(silu(gate) * up), gate, up = project(norm(x))

The weights stay in the transformers (and PEFT) modules; this file only computes with them, so saving, loading and
merging know nothing of it. Each step (steps.py) is an autograd function that saves its input and recomputes what is
cheap: about half of what the modules keep.

It computes what LlamaModel, Qwen2Model and DeepseekV3Model (deepseek.py) compute without dropout, in the dtype and on
the device of their weights (tests/model/test_decoder.py: states, loss, every gradient, and training over several
steps). `why_not` says why where it does not apply. Blocks are computed twice only where the memory of a GPU asks for it
(room.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import call
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tuneloop.examples.batch import send
from tuneloop.model.deepseek import LatentBlock, why_not_experts
from tuneloop.model.documents import Layout, rotary_turns
from tuneloop.model.heads import base_model, body
from tuneloop.model.projection import Projection, Scratch
from tuneloop.model.room import Room, block_bytes
from tuneloop.model.steps import GatedMlp, NormProject, ProjectAdd, apply
from tuneloop.model.varlen import attend, make_layout, why_not_at_once

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
        # Latent blocks run on CPUs alone, where room is never asked for.
        self.room = Room(model, [block.bytes_a_token for block in self.blocks if isinstance(block, Block)])

    def states(
        self, input_ids: Tensor, lengths: Sequence[int], *, causal: bool = True, wanted: Tensor | None = None
    ) -> Tensor:
        """The last layer's states, after the final norm.

        Args:
            input_ids: (T,) int64, documents end to end; those of like length best beside each other. Like `wanted`
                best on the host: what is computed of them there needs no device to wait for.
            lengths: Tokens of each document; their sum is T.
            causal: Whether a token sees only what stands before it in its document, or all of it.
            wanted: (T,) bool, the N tokens whose states are asked for; None: all. The last layer computes no others.

        Returns:
            (N, D), in the weights' dtype.
        """
        device = next(self.embedding.parameters()).device
        places = None if wanted is None else send(wanted.nonzero().squeeze(1), device)
        positions = send(torch.cat([torch.arange(length) for length in lengths]), device)
        x = self.embedding(send(input_ids, device))
        layout = make_layout(lengths, *rotary_turns(self.rotary, x, positions), causal=causal)
        run = _twice if self.room.asks_for_checkpoints(x) else call
        for block in self.blocks[:-1]:
            x = run(block, x, layout)
        x = run(self.blocks[-1], x, layout, places)
        return cast(Tensor, self.norm(x))


def _twice(block: Block | LatentBlock, *inputs: Any) -> Tensor:
    """The block, of which only the input is kept: it is computed again on the way back. Nothing in it is random.

    Source: Chen et al. 2016, arXiv:1604.06174, section 4.
    """
    return cast(Tensor, checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False))


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

    @property
    def bytes_a_token(self) -> int:
        """Bytes that the block keeps of a token for the way back."""
        projections = (self.qkv, self.out, self.gate_up, self.down)
        return block_bytes(
            hidden=self.qkv.inside, packed=self.qkv.width, attended=self.out.inside, gate_up=self.gate_up.width,
            rank=sum(one.rank for one in projections), heads=self.heads, size=self.norms[0].weight.element_size(),
        )  # fmt: skip

    def __call__(self, x: Tensor, layout: Layout, wanted: Tensor | None = None) -> Tensor:
        """(T, D) -> (T, D), or (N, D) at the N places in `wanted`: the others only serve as keys and values."""
        before, after = self.norms
        qkv = apply(NormProject, x, before.weight, before.variance_epsilon, self.qkv, *self.qkv.tensors)
        attended = attend(qkv, layout, self.heads, self.kv_heads)
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
    if reason := _why_not_here(network):
        return reason
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if config.attention_dropout:
        return "its attention has dropout"
    if config.rope_parameters["rope_type"] in GROWING_ROPE:
        return f"its rotary positions are of type {config.rope_parameters['rope_type']}"
    if any(kind != "full_attention" for kind in config.to_dict().get("layer_types") or []):
        return "some of its layers see only a window"
    return _why_not_adapters(network) or why_not_experts(body(network))


def _why_not_here(network: PreTrainedModel) -> str:
    """Why the decoder does not run on the weights' device, or in their dtype; "" where it does."""
    weight = network.get_input_embeddings().weight
    device, dtype = weight.device, weight.dtype
    if device.type == "cpu":
        return "" if dtype == torch.float32 else "its weights are not float32"  # others are slow there
    if KINDS[network.config.model_type] is not Block:
        return f"it is a {network.config.model_type} on {device.type}; the padding-free decoder computes those on CPUs"
    if device.type != "cuda":
        return f"it runs on {device.type}; the padding-free decoder runs on CPUs and CUDA"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"its weights are {dtype}, not float32 or bfloat16"
    if any(p.dtype != dtype for name, p in body(network).named_parameters() if ".lora_" not in name):
        return f"some of its weights are not {dtype} as its embedding is"
    return why_not_at_once(_head_size(network), device) if dtype == torch.bfloat16 else ""


def _head_size(network: PreTrainedModel) -> int:
    config: Any = network.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


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
