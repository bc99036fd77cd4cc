"""Which weights are tuned: METHODS maps a method's name to the function that prepares a model for it.

An entry takes `(model, *, adapt, seed)` and gives an `Adapted`: the model with exactly the weights to
train unfrozen. A fresh attachment changes no logit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from tuneloop.errors import RecipeError
from tuneloop.recipe import Adapt


@dataclass(frozen=True)
class Adapted:
    """A model prepared for tuning.

    Attributes:
        model: The model, wrapped by PEFT where the method adds weights.
        trainable: Names of the parameters that train, in the model's order.
    """

    model: PreTrainedModel | PeftModel
    trainable: tuple[str, ...]


def lora(model: PreTrainedModel, *, adapt: Adapt, seed: int) -> Adapted:
    """LoRA through PEFT: W + (alpha / rank) B A beside frozen W; B starts at zero, A from `seed`.

    The adapters stay in float32 on a bfloat16 base, as PEFT does by default.

    Raises:
        RecipeError: if `adapt.target` matches no matrix of the model.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1.
    """
    target: str | list[str] = adapt.target
    if isinstance(target, str) and target != "all-linear":
        target = [target]
    _check_targets(model, target)
    config = LoraConfig(
        r=adapt.rank,
        lora_alpha=adapt.alpha,  # type: ignore[arg-type]  # PEFT annotates int and computes with any number
        lora_dropout=adapt.dropout,
        target_modules=target,
        bias="none",
        task_type=None if model.config.model_type == "bert" else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
    return _adapted(wrapped)


def full(model: PreTrainedModel, *, adapt: Adapt, seed: int) -> Adapted:
    """Full tuning: every weight trains, in float32."""
    del adapt, seed
    model.float()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return _adapted(model)


METHODS: dict[str, Callable[..., Adapted]] = {"lora": lora, "full": full}


def _adapted(model: PreTrainedModel | PeftModel) -> Adapted:
    return Adapted(model, tuple(name for name, p in model.named_parameters() if p.requires_grad))


def _check_targets(model: nn.Module, target: str | list[str]) -> None:
    if target == "all-linear":
        return
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    kinds = sorted({name.rpartition(".")[2] for name in linears})
    for wanted in target:
        if not any(re.search(rf"(^|\.){re.escape(wanted)}$", name) for name in linears):
            raise RecipeError(
                f"adapt.target: no matrix of this model is called {wanted!r}",
                allowed=f"all-linear, or a list of {', '.join(kinds)}",
            )
