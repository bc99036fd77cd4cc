"""The least work that a LoRA step needs, and the time that the machine's matrix products take for it.

    least work of T tokens in documents of lengths l, of which n are predicted (multiply-adds count two):
      blocks     2 B T          forward and the way back through frozen weights, B = 2 x parameters of the blocks
      adapter    2 A T          A = 2 x parameters of LoRA; with merged weights two products remain, not three
      head       2 H n          H = 2 V D; a classifier has 3 x 2 C D a row instead, since its head trains
      attention  3.5 a          a = 2 layers heads d sum(l^2), causal; its way back counts 2.5

    limit = least work / G,  G = sum(flop) / sum(flop / G_shape) over the shapes of blocks and head, measured (gemm.py)

Padding, logits that nobody needs and work done twice are no part of it, so that they show as a lost share of the limit.
Needs nothing but the standard library: it is read in the peers' environments too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Config = Mapping[str, Any]


def shapes(config: Config) -> dict[str, tuple[int, int]]:
    """(in, out) of each matrix product of a block, those that read the same input as one, and of the head."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    wide, narrow = _heads(config)
    return {
        "qkv": (hidden, wide + 2 * narrow), "out": (wide, hidden), "gate_up": (hidden, 2 * inner),
        "down": (inner, hidden), "head": (hidden, config["vocab_size"]),
    }  # fmt: skip


def step_flops(
    config: Config, lengths: Sequence[int], label_tokens: int, *, rank: int, classes: int = 0
) -> dict[str, float]:
    """The least work of an optimiser step, by part.

    Args:
        config: The base model's config.json.
        lengths: Tokens of each document.
        label_tokens: Tokens that are predicted, in all; not read where there are classes.
        rank: LoRA's r.
        classes: Rows of the classification head; 0: the language head.
    """
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    tokens, (wide, narrow) = sum(lengths), _heads(config)
    ins_outs = {name: pair for name, pair in shapes(config).items() if name != "head"}
    block = sum(inside * out for inside, out in ins_outs.values())
    inner = config["intermediate_size"]
    # Each of the seven matrices carries its own r x in and out x r.
    adapter = rank * (2 * (hidden + wide) + 2 * (hidden + narrow) + 3 * (hidden + inner))
    rows = 3 * classes * len(lengths) if classes else 2 * config["vocab_size"] * label_tokens
    return {
        "blocks": 4.0 * layers * block * tokens,
        "adapter": 4.0 * layers * adapter * tokens,
        "head": 2.0 * hidden * rows,
        "attention": 3.5 * 2.0 * layers * wide * sum(length**2 for length in lengths),
    }


def machine_rate(config: Config, rates: Mapping[str, float], flops: Mapping[str, float]) -> float:
    """G, FLOP/s: the rates of the shapes, each by its share of the work in blocks and head."""
    sizes = {name: inside * out for name, (inside, out) in shapes(config).items()}
    whole = sum(size for name, size in sizes.items() if name != "head")
    work = {name: flops["blocks"] * size / whole for name, size in sizes.items() if name != "head"}
    work["head"] = flops["head"]
    return sum(work.values()) / sum(work[name] / rates[name] for name in work)


def limit_seconds(config: Config, rates: Mapping[str, float], flops: Mapping[str, float]) -> float:
    """The time that the work takes at the machine's rate."""
    return sum(flops.values()) / machine_rate(config, rates, flops)


def _heads(config: Config) -> tuple[int, int]:
    """Width of the queries, and of the keys (or values)."""
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    return heads * size, config.get("num_key_value_heads", heads) * size
