"""What is looked at before a model folder is loaded: no code, no pickle, no setting that loads either.

    config.json -> keys and sizes allowed -> weight files named and inside the folder -> each safetensors header

Loading is then `trust_remote_code`-free by construction, but these checks do not lean on that: a config can also
name an attention kernel to download, an adapter folder can name another base, and a header can lie about its offsets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuneloop.errors import ModelError
from tuneloop.model.safetensors_header import read_header

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "BertModel": "bert",
    "BertForMaskedLM": "bert",
    "BertForPreTraining": "bert",
    "BertForSequenceClassification": "bert",
}
"""The architectures that load, each with its model_type."""

_COMMON = """
architectures model_type torch_dtype dtype transformers_version _name_or_path name_or_path vocab_size
hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_act initializer_range
max_position_embeddings use_cache tie_word_embeddings bos_token_id eos_token_id pad_token_id unk_token_id
sep_token_id return_dict output_hidden_states output_attentions is_decoder is_encoder_decoder
add_cross_attention cross_attention_hidden_size chunk_size_feed_forward id2label label2id num_labels
problem_type finetuning_task task_specific_params attention_dropout gradient_checkpointing unsloth_fixed
unsloth_version
"""
_DECODER = """
num_key_value_heads head_dim rms_norm_eps rope_theta rope_scaling rope_parameters rope_interleaved
pretraining_tp attention_bias mlp_bias sliding_window use_sliding_window max_window_layers layer_types use_mrope
is_llama_config
"""
_DEEPSEEK = """
aux_loss_alpha ep_size first_k_dense_replace kv_lora_rank moe_intermediate_size moe_layer_freq n_group
n_routed_experts n_shared_experts norm_topk_prob num_experts_per_tok num_local_experts num_nextn_predict_layers
num_mtp_layers output_router_logits q_lora_rank qk_head_dim qk_nope_head_dim qk_rope_head_dim rope_interleave
routed_scaling_factor scoring_func seq_aux topk_group topk_method v_head_dim
"""
_BERT = """
attention_probs_dropout_prob hidden_dropout_prob layer_norm_eps position_embedding_type type_vocab_size
classifier_dropout directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type
"""
CONFIG_KEYS = frozenset(f"{_COMMON} {_DECODER} {_DEEPSEEK} {_BERT}".split())
"""The keys that a config.json may hold: those of the four architectures, and labels that change nothing."""

_LIMITS = {
    "vocab_size": 2_000_000, "hidden_size": 65_536, "intermediate_size": 1_048_576, "num_hidden_layers": 1024,
    "num_attention_heads": 1024, "num_key_value_heads": 1024, "n_routed_experts": 4096, "num_local_experts": 4096,
    "moe_intermediate_size": 1_048_576, "kv_lora_rank": 65_536, "type_vocab_size": 65_536,
}  # fmt: skip
_EMBEDDINGS = (
    "model.embed_tokens.weight",
    "embeddings.word_embeddings.weight",
    "bert.embeddings.word_embeddings.weight",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MOST_JSON = 64 << 20


def check_folder(folder: Path) -> dict[str, Any]:
    """Check a model folder before anything of it is loaded.

    Args:
        folder: Holds config.json, safetensors and a tokenizer.

    Returns:
        The parsed config.json.

    Raises:
        ModelError: if it holds no model of ours, only pickled weights, a setting that would run or fetch code, or a
            file whose stated sizes do not fit.
    """
    if (folder / "adapter_config.json").exists():
        # transformers would load the base that this file names, from anywhere
        raise ModelError(
            f"{folder} holds an adapter, not a model",
            fix="Name the adapter's base model; to go on from a run, use model.continue_from",
        )
    config = _read_object(folder / "config.json")
    _check_config(config, folder)
    if (folder / "tokenizer_config.json").exists():
        _refuse_code(_read_object(folder / "tokenizer_config.json"), folder / "tokenizer_config.json")
    _check_weights(folder, config)
    return config


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_JSON:
            raise ModelError(f"{path} is too large", allowed=f"at most {MOST_JSON} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} is not a model folder", got=f"no {path.name}",
            allowed="a folder with config.json, *.safetensors and a tokenizer, as save_pretrained writes it",
        ) from None  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read", got=str(error)[:200], fix="Download the model again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object", got=type(value).__name__, fix="Download the model again")
    return value


PUBLISHED_CODE = {
    "deepseek_v3": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModel": "modeling_deepseek.DeepseekV3Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    }
}
"""The auto_map of the published R1 and V3: it names classes that transformers has built in, which are used instead."""


def _refuse_code(settings: dict[str, Any], path: Path) -> None:
    if "auto_map" in settings and settings["auto_map"] != PUBLISHED_CODE.get(str(settings.get("model_type"))):
        raise ModelError(
            f"{path} asks to run code that ships with the model",
            got="the key auto_map",
            allowed="models of the architectures built into transformers: " + ", ".join(ARCHITECTURES),
            fix="If it is one of these, remove auto_map in a copy of the folder; a model's own code is never run",
        )


def _check_config(config: dict[str, Any], folder: Path) -> None:
    path = folder / "config.json"
    _refuse_code(config, path)
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str) or names[0] not in ARCHITECTURES:
        raise ModelError(f"{path} names an architecture that is not supported", got=repr(names), allowed=_known())
    if config.get("model_type") != ARCHITECTURES[names[0]]:
        raise ModelError(
            f"{path} contradicts itself: {names[0]} with another model_type",
            got=repr(config.get("model_type")), allowed=repr(ARCHITECTURES[names[0]]),
        )  # fmt: skip
    if "quantization_config" in config:
        method = config["quantization_config"]
        method = method.get("quant_method", "unknown") if isinstance(method, dict) else method
        raise ModelError(
            f"{folder} holds quantised weights, which cannot be tuned yet",
            got=f"quantization_config ({method})",
            allowed="bf16, fp16 or fp32 safetensors, or a GGUF file (which is turned into bf16)",
            fix="Name the unquantised model (for FP8 DeepSeek: its BF16 conversion)",
        )
    if unknown := sorted(set(config) - CONFIG_KEYS - {"auto_map"}):
        raise ModelError(
            f"{path} holds settings that are not known to be safe",
            got=", ".join(unknown[:8]),
            allowed="the settings of the plain architectures",
            fix="Some settings make a loader fetch or run code; if these do not matter, remove them in a copy",
        )
    for key, most in _LIMITS.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or not 0 < value <= most):
            raise ModelError(f"{path}: {key} is out of range", got=repr(value), allowed=f"1 to {most}")


def _known() -> str:
    return ", ".join(ARCHITECTURES) + " (Llama, Qwen2, DeepSeek-V3: every R1 distill; BERT for classification)"


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        files, mapped = ["model.safetensors"], None
    elif index.exists():
        mapped = _weight_map(index)
        files = sorted(set(mapped.values()))
    else:
        raise _no_weights(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in files:
        if not (folder / name).is_file():
            raise ModelError(f"{index} names a file that is missing", got=name, fix="Download the model again")
        header = read_header(folder / name)
        if twice := shapes.keys() & header.keys():
            raise ModelError(f"{folder / name} holds a tensor that another file holds too", got=min(twice))
        if mapped and (lost := sorted(k for k, file in mapped.items() if file == name and k not in header)):
            raise ModelError(f"{folder / name} lacks a tensor that the index promises", got=lost[0])
        shapes |= {key: entry.shape for key, entry in header.items()}
    table = next((shapes[name] for name in _EMBEDDINGS if name in shapes), None)
    stated = (config.get("vocab_size"), config.get("hidden_size"))
    if table is not None and None not in stated and table != stated:
        raise ModelError(f"{folder}: the embedding table does not fit config.json", got=str(table), allowed=str(stated))


def _weight_map(index: Path) -> dict[str, str]:
    mapped = _read_object(index).get("weight_map")
    if not isinstance(mapped, dict) or not mapped or not all(isinstance(file, str) for file in mapped.values()):
        raise ModelError(f"{index} holds no weight_map of tensor names to file names", fix="Download the model again")
    for file in mapped.values():
        if "/" in file or "\\" in file or file.startswith(".") or not file.endswith(".safetensors"):
            raise ModelError(
                f"{index} points outside of its folder, or at another kind of file",
                got=repr(file[:100]), allowed="names of .safetensors files in the same folder",
            )  # fmt: skip
    return mapped


def _no_weights(folder: Path) -> ModelError:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        return ModelError(
            f"{folder} holds its weights as pickle files, which can run any code when they are opened",
            got=", ".join(pickles[:4]),
            allowed="safetensors",
            fix="Ask for a safetensors revision, or convert them in a throw-away container: load with torch.load(..., "
            "weights_only=True) and save with safetensors.torch.save_file",
        )
    return ModelError(
        f"{folder} holds no weights", got="neither model.safetensors nor model.safetensors.index.json",
        allowed="a folder as save_pretrained writes it",
        fix="Download the model again; a hub repository with GGUF files only: download one and name that file",
    )  # fmt: skip
