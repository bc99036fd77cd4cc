"""The training loop of torchtune's LoRA recipe for one device, with its collator, over token ids that are ready.

The recipe's class is read from its file, as `tune run` does, and gets the parts that its setup would make.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler
from torchtune.data import padded_collate_sft
from torchtune.models.convert_weights import hf_to_tune
from torchtune.models.llama3 import lora_llama3
from torchtune.modules import TiedLinear
from torchtune.modules.loss import CEWithChunkedOutputLoss
from torchtune.modules.peft import LoRALinear, get_adapter_params, set_trainable_params
from torchtune.training import DummyProfiler

from benchmarks.train_speed.job import Job, job_of_this_process, write_result
from benchmarks.train_speed.tokens import IGNORED
from benchmarks.train_speed.watch import Inputs, Watch

NAMES = {
    "self_attn.q_proj": "attn.q_proj", "self_attn.k_proj": "attn.k_proj", "self_attn.v_proj": "attn.v_proj",
    "self_attn.o_proj": "attn.output_proj", "mlp.gate_proj": "mlp.w1", "mlp.down_proj": "mlp.w2",
    "mlp.up_proj": "mlp.w3",
}  # fmt: skip
RECIPE = "lora_finetune_single_device"
FOR_EVER = 10**9


def main(job: Job) -> None:
    """Train as the job says; its option is `batch_size`, of a micro-batch."""
    watch = Watch(job)
    model = build(job)
    put_start(model, job)
    watch.see_model(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.learning_rate, betas=(0.9, 0.999), weight_decay=0.0, fused=True)
    size, loss = job.options["batch_size"], CEWithChunkedOutputLoss()
    model.set_num_output_chunks(loss.num_output_chunks)
    rows = [
        {"tokens": one.ids, "labels": one.labels}
        for one in watch.tokens.documents[: job.steps * job.documents_per_step]
    ]
    parts = {
        "_model": model, "_optimizer": optimizer, "_loss_fn": loss, "_device": torch.device("cpu"), "_compile": False,
        "_lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / job.horizon),
        "_dataloader": DataLoader(
            rows, size, sampler=DistributedSampler(rows, 1, 0, shuffle=False),
            collate_fn=functools.partial(collate, watch=watch),
        ),
        "_gradient_accumulation_steps": job.documents_per_step // size, "_clip_grad_norm": 1.0,
        "_profiler": DummyProfiler(), "profiler_profile_memory": False, "_log_every_n_steps": FOR_EVER,
        "_steps_per_epoch": job.steps, "max_steps_per_epoch": job.steps, "epochs_run": 0, "total_epochs": 1,
        "global_step": 0, "activations_handling_ctx": contextlib.nullcontext(),
        "ignore_labels_cache": torch.full((size, 1), IGNORED),
    }  # fmt: skip
    recipe = watched_recipe(watch)
    vars(recipe).update(parts)
    model.train()
    watch.begin()
    recipe.train()
    write_result(job, watch.result(states_of(model)))


def build(job: Job) -> Any:
    """The base model with LoRA on all seven matrices of a block; its head shares the embedding's weight.

    Raises:
        ValueError: if weights are left over, or missing.
    """
    told = json.loads((Path(job.model) / "config.json").read_text(encoding="utf-8"))
    heads, groups, width = told["num_attention_heads"], told["num_key_value_heads"], told["hidden_size"]
    rope = told.get("rope_parameters") or {}
    model = lora_llama3(
        ["q_proj", "k_proj", "v_proj", "output_proj"], apply_lora_to_mlp=True, vocab_size=told["vocab_size"],
        num_layers=told["num_hidden_layers"], num_heads=heads, num_kv_heads=groups, embed_dim=width,
        max_seq_len=told["max_position_embeddings"], intermediate_dim=told["intermediate_size"],
        norm_eps=told["rms_norm_eps"], rope_base=int(told.get("rope_theta") or rope["rope_theta"]),
        lora_rank=job.rank, lora_alpha=float(job.alpha), lora_dropout=0.0,
    )  # fmt: skip
    del model.output  # a module, where its builders of tied models put what is none
    model.output = TiedLinear(model.tok_embeddings)
    weights: dict[str, Tensor] = {}
    for file in sorted(Path(job.model).glob("*.safetensors")):
        weights |= {name: value.float() for name, value in load_file(file).items() if name != "lm_head.weight"}
    missing, strange = model.load_state_dict(hf_to_tune(weights, heads, groups, width), strict=False)
    if strange or any("lora" not in name for name in missing):
        raise ValueError(f"weights without a place: {strange}; places without weights: {missing}")
    set_trainable_params(model, get_adapter_params(model))
    return model


@torch.no_grad()
def put_start(model: nn.Module, job: Job) -> None:
    """Set every adapter to the start weights.

    Raises:
        ValueError: if the model's adapters are not those of the file.
    """
    modules, left = dict(model.named_modules()), load_file(job.start)
    there = sum(isinstance(module, LoRALinear) for module in modules.values())
    if there != len(left):
        raise ValueError(f"{there} adapters are there, the start weights have {len(left)}")
    for name, drawn in left.items():
        number, _, part = name.partition(".")
        adapter: Any = modules[f"layers.{number}.{NAMES[part]}"]
        adapter.lora_a.weight.copy_(drawn)
        adapter.lora_b.weight.zero_()


def recipe_file() -> ModuleType:
    """torchtune keeps its recipes beside itself, as files that are run and not imported."""
    path = Path(sysconfig.get_path("purelib")) / "recipes" / f"{RECIPE}.py"
    spec: Any = importlib.util.spec_from_file_location(RECIPE, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def watched_recipe(watch: Watch) -> Any:
    """The recipe without its setup: `watch` sees each micro-batch's loss, and no checkpoint is written."""
    plain = recipe_file().LoRAFinetuneRecipeSingleDevice

    class Watched(plain):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            """Leave the parts to the caller."""

        def save_checkpoint(self, epoch: int) -> None:
            """Nobody saves here."""

        def _loss_step(self, batch: dict[str, Tensor]) -> Tensor:
            counted = int((batch["labels"] != IGNORED).sum())
            loss: Tensor = super()._loss_step(batch)
            watch.add_loss(float(loss.detach()) * counted, counted)
            return loss

    return Watched()


def collate(rows: list[dict[str, list[int]]], *, watch: Watch) -> dict[str, Tensor]:
    """torchtune's right padding; the loop takes the batch at once."""
    batch: dict[str, Tensor] = padded_collate_sft(rows, watch.tokens.pad, IGNORED)
    mask = torch.zeros_like(batch["tokens"])
    for row, one in enumerate(rows):
        mask[row, : len(one["tokens"])] = 1
    watch.feed({"input_ids": batch["tokens"], "labels": batch["labels"], "attention_mask": mask})
    return batch


def states_of(model: Any) -> Any:
    """Gives the last states (B, T, D), before the language head."""
    model.eval()

    def states(inputs: Inputs) -> Tensor:
        kept: list[Tensor] = []
        hook = model.norm.register_forward_hook(lambda module, given, made: kept.append(made))
        model(inputs["input_ids"])
        hook.remove()
        return kept[0]

    return states


if __name__ == "__main__":
    main(job_of_this_process())
