"""Small networks with a vocabulary of 97, examples of random tokens, and settings: what the training tests are made of.

Where a test needs a tokenizer and files as well, `small_folder` writes them (the byte-level tokenizer, 388 tokens).
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tests.tiny_models import byte_level_tokenizer, word_piece_tokenizer
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tuneloop.examples.encode import Example
from tuneloop.model.heads import Classifier
from tuneloop.model.source import Source
from tuneloop.recipe import Adapt, Recipe, Train
from tuneloop.stations import base_facts
from tuneloop.train.loop import Job

VOCABULARY = 97
DECODERS = ("llama", "qwen2", "deepseek_v3")
ALL = (*DECODERS, "bert")
LABELS = ["card", "fee", "loan"]


@functools.cache
def _network(architecture: str, vocabulary: int) -> PreTrainedModel:
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    wide = {"initializer_range": 0.2, "pad_token_id": 0}
    decoder = sizes | wide | {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    if architecture == "llama":
        config = LlamaConfig(**decoder, num_hidden_layers=2, tie_word_embeddings=True)
        model: PreTrainedModel = LlamaForCausalLM(config)
    elif architecture == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**decoder, num_hidden_layers=2, tie_word_embeddings=False))
    elif architecture == "deepseek_v3":
        experts = {"moe_intermediate_size": 16, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}
        heads = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
        config = DeepseekV3Config(
            **(decoder | {"num_key_value_heads": 4}), **experts, **heads, num_hidden_layers=2, first_k_dense_replace=1,
            n_group=2, topk_group=1, tie_word_embeddings=False,
        )  # fmt: skip
        model = DeepseekV3ForCausalLM(config)
    else:
        model = BertModel(BertConfig(**sizes, **wide, num_hidden_layers=2, max_position_embeddings=64), False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they start at zero, where a lost bias would not be seen
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def small(architecture: str, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """A network of the test's own, in eval mode; the same weights at every call."""
    return copy.deepcopy(_network(architecture, vocabulary))


def small_classifier(architecture: str = "llama", *, pooling: str = "mean", attention: str = "causal") -> Classifier:
    """A Classifier over LABELS on `small`, everything trainable that it reaches."""
    network = small(architecture)
    torch.manual_seed(1)  # of the head
    return Classifier(network, LABELS, pooling=pooling, attention=attention).eval()


def small_folder(architecture: str, folder: Path) -> Path:
    """Write `small` with a tokenizer as save_pretrained does, and return the folder."""
    tokenizer = word_piece_tokenizer() if architecture == "bert" else byte_level_tokenizer()
    model = small(architecture, len(tokenizer))
    if architecture != "bert":
        for config in (model.config, model.generation_config):
            config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def stir(model: nn.Module, size: float = 0.05) -> None:
    """Move every trainable weight, so that an adapter is no longer the nothing it starts as."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def class_examples(lengths: Sequence[int], *, weights: Sequence[float] = ()) -> list[Example]:
    """Rows of random tokens with classes in turn."""
    made = random.Random(5)
    rows = []
    for index, length in enumerate(lengths):
        ids = [made.randrange(3, VOCABULARY) for _ in range(length)]
        weight = weights[index] if weights else 1.0
        rows.append(Example(f"r{index}", ids, [-100] * length, index % len(LABELS), weight, length=length))
    return rows


def text_examples(lengths: Sequence[int], *, weights: Sequence[float] = ()) -> list[Example]:
    """Rows of random tokens; about the last two thirds of each are trained."""
    rows = []
    for index, row in enumerate(class_examples(lengths, weights=weights)):
        first = 1 + len(row.input_ids) // 3
        labels = [-100] * first + row.input_ids[first:]
        rows.append(Example(f"r{index}", row.input_ids, labels, -1, row.weight, length=row.length))
    return rows


def examples_of(task: str, lengths: Sequence[int], *, weights: Sequence[float] = ()) -> list[Example]:
    """`class_examples` or `text_examples`."""
    return (class_examples if task == "classification" else text_examples)(lengths, weights=weights)


def settings(**changes: object) -> Train:
    """Settings of a short run: batch 4, constant rate 1e-2, no trackers, a log line a step."""
    plain: dict[str, object] = {
        "per_device_train_batch_size": 4, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "warmup_steps": 0,
        "num_train_epochs": 1, "logging_steps": 1, "report_to": [],
    }  # fmt: skip
    return Train(**(plain | changes))


def make_job(task: str, examples: list[Example], folder: Path, *, key: str = "k", **changes: object) -> Job:
    """A Job in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return Job(task, examples, settings(**changes), 3, 0, folder, key)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every trainable weight, copied."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def lora_settings(**changes: object) -> Adapt:
    """LoRA of rank 4."""
    return Adapt(**({"rank": 4, "alpha": 8.0} | changes))


def tokenizer_of(architecture: str) -> PreTrainedTokenizerFast:
    """The tokenizer that `small_folder` writes."""
    return word_piece_tokenizer() if architecture == "bert" else byte_level_tokenizer()


def recipe_for(
    task: str, base: Path, *, method: str = "lora", pooling: str = "mean", attention: str = "causal"
) -> Recipe:
    """A recipe of the task over the model in `base`."""
    choice = {"pooling": pooling, "attention": attention} if task == "classification" else {}
    return Recipe.model_validate(
        {
            "name": "t", "task": {"type": task, **choice}, "model": {"name_or_path": str(base)},
            "data": {"train": "rows.jsonl", "max_length": 48}, "adapt": {"method": method, "rank": 4, "alpha": 8.0},
        }
    )  # fmt: skip


def args_of(recipe: Recipe, source: Source, **changes: Any) -> dict[str, Any]:
    """What training writes into args.json for that recipe, as far as a reader needs it."""
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    args = {
        "task": recipe.task.type, "method": recipe.adapt.method, "pooling": recipe.task.pooling,
        "attention": recipe.task.attention, "max_length": recipe.data.max_length, "think": recipe.data.think,
        "dtype": "float32", "template_hash": "", "base": base_facts(recipe, source),
        "architecture": config["architectures"][0],
    }  # fmt: skip
    return args | changes


def network_of(model: nn.Module) -> PreTrainedModel | PeftModel:
    """What a Classifier holds, or the model itself."""
    return model.backbone if isinstance(model, Classifier) else model  # type: ignore[return-value]
