"""A GGUF file as a Hugging Face folder: config.json, bf16 safetensors, tokenizer with its chat template.

    blk.0.attn_q.weight (Q4_1, rows in llama.cpp's rotary order) -> model.layers.0.self_attn.q_proj.weight (bf16)

Done by hand, not through transformers' own GGUF loader: that one loses the pre-tokenizer (digits), keeps a
quantization_config that blocks saving, and holds the whole model in float32.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from tuneloop.errors import ModelError
from tuneloop.model.gguf_file import GGUFFile, read_gguf
from tuneloop.model.gguf_tokenizer import save_tokenizer

SHARD_BYTES = 4 << 30

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
QWEN2_BIASES = ("attn_q", "attn_k", "attn_v")
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the model in the GGUF file `path` into the existing `folder`, as bfloat16.

    Raises:
        ModelError: if the file is unsafe, or holds an architecture, tensor, rope scaling or tokenizer that is not ours.
    """
    file = read_gguf(path)
    architecture = file.metadata.get("general.architecture")
    if architecture not in CLASSES:
        raise ModelError(
            f"{path} holds a model that cannot be converted",
            got=f"architecture {architecture!r}",
            allowed=f"{' and '.join(CLASSES)} in GGUF; DeepSeek-V3 as a safetensors folder",
            fix="Name the model's safetensors folder or hub id instead",
        )
    config = _config(file, architecture)
    names = _names(file, config)
    _save_weights(file, config, names, folder)
    length, rows = config["max_position_embeddings"], config["vocab_size"]
    specials = save_tokenizer(file, folder, max_length=length, vocab_size=rows)
    config |= specials
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", specials)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(file: GGUFFile, architecture: str) -> dict[str, Any]:
    """The config.json of the file's model, in the keys that transformers 4 and 5 both read."""
    heads = _number(file, f"{architecture}.attention.head_count", 1, 4096)
    hidden = _number(file, f"{architecture}.embedding_length", 8, 1 << 20)
    head_size = _number(file, f"{architecture}.attention.key_length", 2, 4096, default=hidden // heads)
    rotary = _number(file, f"{architecture}.rope.dimension_count", 2, 4096, default=head_size)
    for key, wanted in ((f"{architecture}.rope.scaling.type", "none"), (f"{architecture}.expert_count", 0)):
        if file.metadata.get(key, wanted) != wanted:
            raise _unsupported(file, f"{key} = {file.metadata[key]!r}", f"{wanted!r}, or no such key")
    if rotary != head_size:
        raise _unsupported(file, f"rotary positions over {rotary} of {head_size} numbers a head", "all of them")
    if "token_embd.weight" not in file.tensors:
        raise _unsupported(file, "no tensor token_embd.weight", "a whole model")
    config = {
        "architectures": [CLASSES[architecture]],
        "model_type": architecture,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "hidden_size": hidden,
        "intermediate_size": _number(file, f"{architecture}.feed_forward_length", 8, 1 << 22),
        "num_hidden_layers": _number(file, f"{architecture}.block_count", 1, 1024),
        "num_attention_heads": heads,
        "num_key_value_heads": _number(file, f"{architecture}.attention.head_count_kv", 1, 4096, default=heads),
        "head_dim": head_size,
        "hidden_act": "silu",
        "max_position_embeddings": _number(file, f"{architecture}.context_length", 1, 1 << 30),
        "rms_norm_eps": _real(file, f"{architecture}.attention.layer_norm_rms_epsilon"),
        "rope_theta": _real(file, f"{architecture}.rope.freq_base", default=10_000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "torch_dtype": "bfloat16",
    }
    if "rope_freqs.weight" in file.tensors:
        config["rope_scaling"] = _llama3_scaling(file, config)
    return config


def _number(file: GGUFFile, key: str, low: int, high: int, *, default: int | None = None) -> int:
    value = file.metadata.get(key, default)
    if not isinstance(value, int) or not low <= value <= high:
        raise _unsupported(file, f"{key} = {value!r}", f"a whole number from {low} to {high}")
    return value


def _real(file: GGUFFile, key: str, *, default: float | None = None) -> float:
    value = file.metadata.get(key, default)
    if not isinstance(value, float) or not math.isfinite(value) or value <= 0:
        raise _unsupported(file, f"{key} = {value!r}", "a positive number")
    return float(str(np.float32(value)))  # 9.999999747378752e-06 was written as 1e-05


def _llama3_scaling(file: GGUFFile, config: dict[str, Any]) -> dict[str, Any]:
    """Name the Llama 3 scaling whose frequency divisors the file holds as numbers (rope_freqs).

    Source: Llama 3.1's inference code, apply_scaling; the two released settings are factors 8 (3.1) and 32 (3.2).
    """
    size, theta = config["head_dim"], config["rope_theta"]
    frequency = theta ** -(np.arange(0, size, 2, dtype=np.float64) / size)
    wave = 2 * math.pi / frequency
    stored = file.read("rope_freqs.weight").ravel()
    for factor in (8.0, 32.0):
        low, high, length = 1.0, 4.0, 8192
        smooth = np.clip((length / wave - low) / (high - low), 0.0, 1.0)
        divisors = 1.0 / ((1 - smooth) / factor + smooth)
        if stored.shape == divisors.shape and np.allclose(stored, divisors, rtol=1e-3):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": length,
            }
    raise _unsupported(file, "rotary scaling factors (rope_freqs) of an unknown kind", "those of Llama 3.1 and 3.2")


def _names(file: GGUFFile, config: dict[str, Any]) -> dict[str, str]:
    """GGUF name -> transformers name for every tensor; the set must be exactly the model's, in exactly its shapes."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes = {
        "attn_norm": (hidden,), "attn_q": (queries, hidden), "attn_k": (keys, hidden), "attn_v": (keys, hidden),
        "attn_output": (hidden, queries), "ffn_norm": (hidden,), "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden), "ffn_down": (hidden, inner),
    }  # fmt: skip
    table = (config["vocab_size"], hidden)
    wanted = {"token_embd.weight": table, "output_norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        wanted["output.weight"] = table
    names = {name: TOP_NAMES[name] for name in wanted}
    for block in range(config["num_hidden_layers"]):
        for part, target in BLOCK_NAMES.items():
            wanted[f"blk.{block}.{part}.weight"] = shapes[part]
            names[f"blk.{block}.{part}.weight"] = f"model.layers.{block}.{target}.weight"
            if config["model_type"] == "qwen2" and part in QWEN2_BIASES:
                wanted[f"blk.{block}.{part}.bias"] = shapes[part][:1]
                names[f"blk.{block}.{part}.bias"] = f"model.layers.{block}.{target}.bias"
    found = {name: tensor.shape for name, tensor in file.tensors.items() if name != "rope_freqs.weight"}
    if missing := sorted(wanted.keys() - found.keys()):
        raise _unsupported(file, f"{len(missing)} missing tensors, the first {missing[0]}", "a whole model")
    if extra := sorted(found.keys() - wanted.keys()):
        raise _unsupported(file, f"{len(extra)} unknown tensors, the first {extra[0]}", "those of the plain model")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise _unsupported(file, f"{name} of shape {found[name]}", f"{shape}, as its own metadata says")
    return names


def _save_weights(file: GGUFFile, config: dict[str, Any], names: dict[str, str], folder: Path) -> None:
    """Write the weights, one shard in memory at a time."""
    shards: list[list[str]] = [[]]
    size = 0
    for name in names:
        bytes_ = 2 * math.prod(file.tensors[name].shape)
        if shards[-1] and size + bytes_ > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += bytes_
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        title = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({names[n]: _weight(file, n, config) for n in shard}, folder / title, metadata={"format": "pt"})
        where |= {names[n]: title for n in shard}
    if len(shards) > 1:
        total = sum(2 * math.prod(file.tensors[name].shape) for name in names)
        _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def _weight(file: GGUFFile, name: str, config: dict[str, Any]) -> Tensor:
    values = file.read(name)
    if not np.isfinite(values).all():
        raise _unsupported(file, f"{name} with values that are not finite", "finite weights")
    if config["model_type"] == "llama" and (found := re.fullmatch(r"blk\.\d+\.attn_([qk])\.weight", name)):
        heads = config["num_attention_heads" if found[1] == "q" else "num_key_value_heads"]
        values = rotary_halves(values, heads)
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)


def rotary_halves(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's row order of Llama's q and k, where the two halves of a rotary pair stand side by side.

    Args:
        rows: (heads * S, D), the rows of each head as pairs (0, S/2), (1, S/2 + 1), ...
        heads: How many heads the rows hold.

    Returns:
        (heads * S, D), the rows of each head as 0, 1, ..., S - 1, as transformers computes.

    Source: `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py, inverted.
    """
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _unsupported(file: GGUFFile, got: str, allowed: str) -> ModelError:
    return ModelError(
        f"{file.path} cannot be converted without changing what it computes",
        got=got,
        allowed=allowed,
        fix="Name the model's safetensors folder or hub id instead",
    )
