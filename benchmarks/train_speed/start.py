"""The weights that every system starts from: LoRA's A (B is zero) and the classification head, made once.

Keys are `0.self_attn.q_proj` and the like, whatever each system calls its modules, and `head`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.train_speed.job import TARGETS

PLACE = re.compile(r"layers\.(\d+)\.(self_attn|mlp)\.(\w+_proj)$")
SEED = 0


def make_start(path: Path, config: dict[str, Any], *, rank: int, classes: int) -> None:
    """Draw the start weights: A as PEFT does (uniform, variance 1 / (3 in)), the head from N(0, 0.02).

    Args:
        path: The safetensors file to write.
        config: The base model's config.json.
        rank: LoRA's r.
        classes: Rows of the head; 0: none.
    """
    generator = torch.Generator().manual_seed(SEED)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    inputs = dict.fromkeys(TARGETS, hidden)
    inputs |= {"o_proj": heads * config.get("head_dim", hidden // heads), "down_proj": config["intermediate_size"]}
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, width in inputs.items():
            part = "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            drawn = torch.rand(rank, width, generator=generator)
            tensors[f"{layer}.{part}.{name}"] = (2 * drawn - 1) / math.sqrt(width)
    if classes:
        tensors["head"] = 0.02 * torch.randn(classes, hidden, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


@torch.no_grad()
def put_start(model: nn.Module, path: Path | str, *, head: Tensor | None = None) -> None:
    """Set every adapter, and the head, to the start weights, in place.

    Args:
        model: With PEFT's LoRA around exactly the matrices that the file has.
        path: From `make_start`.
        head: (classes, D), the head's weight, where there is one.

    Raises:
        ValueError: if the model's adapters, or its head, are not those of the file.
    """
    tensors = load_file(path)
    left = set(tensors)
    for name, module in model.named_modules():
        if not isinstance(module, LoraLinear):
            continue
        found = PLACE.search(name)
        if found is None or ".".join(found.groups()) not in left:
            raise ValueError(f"{name} carries an adapter that the start weights do not have")
        (adapter,) = module.active_adapters
        module.lora_A[adapter].weight.copy_(tensors[".".join(found.groups())])
        module.lora_B[adapter].weight.zero_()
        left.remove(".".join(found.groups()))
    if head is not None:
        head.copy_(tensors["head"])
        left.remove("head")
    if left:
        raise ValueError(f"no place for {len(left)} of the start weights, e.g. {min(left)}")
