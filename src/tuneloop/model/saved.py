"""A tuned model on disk: what plain PEFT and transformers load, plus what tuneloop needs to serve it.

    adapter_model.safetensors + adapter_config.json   (lora), or model.safetensors + config.json   (full)
    head.safetensors (weight, bias)                   classification, unless it is saved as SEQ_CLS
    labels.json                                       position = class index
    tokenizer.json, tokenizer_config.json, chat template
    args.json                                         base model, task, template hash: all a reader must know
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.disk import atomic_folder, read_json
from tuneloop.errors import ModelError
from tuneloop.model.heads import Classifier, base_model, is_encoder
from tuneloop.model.load import load_model, load_tokenizer
from tuneloop.model.safety import check_folder
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
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    args: dict[str, Any]
    labels: list[str]


def save_tuned(folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase, args: dict[str, Any], card: str) -> None:
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
    network = model.backbone if isinstance(model, Classifier) else model
    with atomic_folder(folder) as temporary:
        if isinstance(network, PeftModel):
            _save_adapter(network, model if isinstance(model, Classifier) else None, temporary)
        elif isinstance(network, PreTrainedModel):
            _save_full(network, model if isinstance(model, Classifier) else None, temporary)
        tokenizer.save_pretrained(temporary)
        _drop_absolute_paths(temporary)
        if isinstance(model, Classifier):
            (temporary / "labels.json").write_text(json.dumps(model.labels, ensure_ascii=False, indent=1), encoding="utf-8")
        (temporary / "args.json").write_text(json.dumps(args, ensure_ascii=False, indent=2), encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")


def _save_adapter(network: PeftModel, classifier: Classifier | None, folder: Path) -> None:
    config = network.peft_config["default"]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(network).items()}
    saved = config.to_dict() | {"inference_mode": True}
    if classifier is not None and classifier.saves_as_seq_cls:
        tensors[SCORE] = classifier.head.weight.detach().cpu().contiguous()
        saved |= {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    elif classifier is not None:
        save_file(_head_tensors(classifier), folder / "head.safetensors")
        saved |= {"task_type": None}
    saved["target_modules"] = sorted(saved["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(saved, indent=2, default=_plain, sort_keys=True), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _head_tensors(classifier: Classifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.head.state_dict().items()}


def _save_full(network: PreTrainedModel, classifier: Classifier | None, folder: Path) -> None:
    if classifier is None or not classifier.saves_as_seq_cls:
        network.save_pretrained(folder)
        if classifier is not None:
            save_file(_head_tensors(classifier), folder / "head.safetensors")
        return
    config = network.config.to_dict() | {
        "architectures": [type(network).__name__.replace("ForCausalLM", "ForSequenceClassification")],
        "id2label": {str(i): label for i, label in enumerate(classifier.labels)},
        "label2id": {label: i for i, label in enumerate(classifier.labels)},
    }
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2, default=str), encoding="utf-8")
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith("lm_head.")}
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
    source = resolve(base["name_or_path"], base["revision"])
    if source.sha256 != base["sha256"]:
        raise ModelError(
            f"The base model {base['name_or_path']} is not the one that was tuned",
            got=f"sha256 {source.sha256[:16]}",
            allowed=f"sha256 {base['sha256'][:16]}",
            fix="Restore the model that the run was made with, or train again",
        )
    return source


def load_tuned(folder: Path) -> Tuned:
    """Load a tuned model to answer with, every saved tensor used and none missing.

    Raises:
        RunError: if args.json is missing.
        ModelError: if the base model is not the one that was tuned, or tensors are missing or left over.
    """
    args = read_json(folder / "args.json")
    labels = read_json(folder / "labels.json") if args["task"] == "classification" else []
    network: PreTrainedModel | PeftModel
    if args["method"] == "full":
        network = _load_full(folder, args)
    else:
        network = _load_adapter(folder, load_model(load_base(args), dtype=args["dtype"]).model)
    tokenizer = load_tokenizer(Source(str(folder), folder, "folder", "", ""))
    model: nn.Module = network
    if args["task"] == "classification":
        model = Classifier(network, labels, pooling=args["pooling"], attention=args["attention"])
        _load_head(model, folder)
    model.eval().requires_grad_(False)
    if torch.cuda.is_available():
        model.to("cuda")
    return Tuned(model, tokenizer, args, labels)


def _load_full(folder: Path, args: dict[str, Any]) -> PreTrainedModel:
    config = check_folder(folder)
    kind = AutoModel if args["task"] == "classification" else AutoModelForCausalLM
    options = {"add_pooling_layer": False} if config["model_type"] == "bert" else {}
    return kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32, attn_implementation="sdpa", **options)


def _load_adapter(folder: Path, model: PreTrainedModel) -> PeftModel:
    saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    known = set(LoraConfig.__dataclass_fields__)
    config = LoraConfig(**{k: v for k, v in saved.items() if k in known and k not in ("modules_to_save", "task_type", "runtime_config")})
    config.task_type = None if is_encoder(model) else "CAUSAL_LM"
    wrapped = get_peft_model(model, config)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(SCORE, None)
    wanted = set(get_peft_model_state_dict(wrapped))
    if wanted != set(tensors):
        odd = sorted(wanted ^ set(tensors))
        raise ModelError(f"The adapter in {folder} does not fit its base model", got=f"{len(odd)} tensors differ, e.g. {odd[0]}")
    set_peft_model_state_dict(wrapped, tensors)
    return wrapped


def _load_head(model: Classifier, folder: Path) -> None:
    if (folder / "head.safetensors").is_file():
        model.head.load_state_dict(load_file(folder / "head.safetensors"))
        return
    adapter = folder / "adapter_model.safetensors"
    weight = load_file(adapter)[SCORE] if adapter.is_file() else load_file(folder / "model.safetensors")["score.weight"]
    model.head.load_state_dict({"weight": weight})


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Numbers of parameters: all, trainable, and the vocabulary's matrices (embedding and LM head, once if tied)."""
    network = base_model(model.backbone if isinstance(model, Classifier) else model)  # type: ignore[arg-type]
    seen = {id(p): p.numel() for p in model.parameters()}
    vocabulary = {}
    for module in (network.get_input_embeddings(), network.get_output_embeddings() if not is_encoder(network) else None):
        if isinstance(module, nn.Module):
            vocabulary |= {id(p): p.numel() for p in module.parameters()}
    return {
        "all": sum(seen.values()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "vocabulary": sum(vocabulary.values()),
    }
