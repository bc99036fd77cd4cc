"""What hf_trainer, trl and llama_factory share: all three train with transformers' Trainer, watched from outside."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer, TrainerCallback

from benchmarks.train_speed.job import PROCESSES, TARGETS, Job, write_result
from benchmarks.train_speed.ranks import merged
from benchmarks.train_speed.start import put_start
from benchmarks.train_speed.tokens import TokenFile
from benchmarks.train_speed.watch import Inputs, Watch

HEAD = "score.modules_to_save.default.weight"


class Beside(TrainerCallback):
    """Puts the start weights in before the first step, starts the clock, and stops after the job's steps."""

    def __init__(self, job: Job, watch: Watch) -> None:
        self.job, self.watch = job, watch

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **rest: Any) -> None:
        """The model is whole, the optimiser holds its parameters, no batch was taken."""
        heads = [parameter for name, parameter in model.named_parameters() if name.endswith(HEAD)]
        put_start(model, self.job.start, head=heads[0] if heads else None)
        self.watch.see_model(model)
        self.watch.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The schedule is made for more steps than a slow row does."""
        control.should_training_stop = control.should_training_stop or self.watch.done


def watch_trainer(watch: Watch) -> list[nn.Module]:
    """Let `watch` see what every Trainer of this process trains on.

    Returns:
        A list in which the model will stand, once the first step was done.
    """
    plain, models = Trainer.training_step, []

    @functools.wraps(plain)
    def training_step(self: Trainer, model: nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> Tensor:
        models[:] = [self.model]
        watch.feed(dict(inputs))
        loss = plain(self, model, inputs, *rest, **named)
        watch.add_loss(float(loss))  # its share of the step, as the Trainer normalises it
        return loss

    Trainer.training_step = training_step
    return models


def arguments(job: Job) -> dict[str, Any]:
    """The settings of a training that all three take, with the row's own: no evaluation, log or checkpoint."""
    plain = {
        "output_dir": f"{job.folder}/out", "max_steps": job.horizon, "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear", "weight_decay": 0.0, "max_grad_norm": 1.0, "save_strategy": "no",
        "eval_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
        "train_sampling_strategy": "sequential", "bf16": False,
    }  # fmt: skip
    return plain | {name: value for name, value in job.options.items() if name != PROCESSES}


def write_result_of_all(job: Job, result: dict[str, Any]) -> None:
    """Write the result; where several processes train, the first one writes what all saw."""
    if not torch.distributed.is_initialized():
        write_result(job, result)
        return
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, result)
    if torch.distributed.get_rank() == 0:
        write_result(job, merged(ranks))
    # gloo's threads were seen to wait for ever for a rank that is gone, at the end of rank 0: nothing is left to do.
    os._exit(0)


def dataset(tokens: TokenFile) -> Dataset:
    """The token file with the column names that Trainers read."""
    columns: dict[str, list[Any]] = {"input_ids": [document.ids for document in tokens.documents]}
    if tokens.task == "classification":
        columns["labels"] = [document.target for document in tokens.documents]
    else:
        columns["labels"] = [document.labels for document in tokens.documents]
    return Dataset.from_dict(columns)


def load(job: Job, tokens: TokenFile) -> nn.Module:
    """The base model in float32, with a head of one row a class where there are classes."""
    if tokens.task == "generation":
        return AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    return AutoModelForSequenceClassification.from_pretrained(
        job.model, dtype=torch.float32, num_labels=tokens.classes, pad_token_id=tokens.pad
    )


def lora(job: Job, tokens: TokenFile) -> LoraConfig:
    """LoRA on all seven matrices of a block, without dropout."""
    task = "CAUSAL_LM" if tokens.task == "generation" else "SEQ_CLS"
    return LoraConfig(
        r=job.rank, lora_alpha=job.alpha, lora_dropout=0.0, bias="none", task_type=task, target_modules=list(TARGETS)
    )


def states_of(model: nn.Module) -> Callable[[Inputs], Tensor]:
    """Gives the last states (B, T, D) of a batch, by the modules that the Trainer trained."""
    network: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    network.eval()

    def states(inputs: Inputs) -> Tensor:
        names = ("input_ids", "attention_mask", "position_ids")
        there = {name: inputs[name] for name in names if inputs.get(name) is not None}
        return network.model(**there, use_cache=False).last_hidden_state

    return states
