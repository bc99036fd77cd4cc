"""Which weights are tuned: METHODS maps a method's name to the function that prepares a model for it.

An entry takes `(model, *, adapt, seed)` and gives an `Adapted`: the model with exactly the weights to
train unfrozen. A fresh attachment changes no logit.
"""

from __future__ import annotations

import re
import warnings
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

    Of DeepSeek-V3 only the attention's matrices can be adapted (PEFT's limit, see `_targets`).

    Raises:
        RecipeError: if a name in `adapt.target` matches no matrix of the model.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1.
    """
    target = _targets(model, adapt.target)
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
        return _adapted(wrap_lora(model, config))


def wrap_lora(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Put PEFT's LoRA layers around a model's matrices, in place."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 under a name that changed; the answer is the same.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
        return get_peft_model(model, config)


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


def _targets(model: PreTrainedModel, target: str | list[str]) -> str | list[str]:
    """The names of the matrices to adapt, as PEFT takes them; each must match a matrix."""
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    # The loss reads the language head's plain weight, so an adapter there would not be seen.
    linears = {name for name in linears if name != "lm_head"}
    if model.config.model_type == "deepseek_v3":
        # PEFT 0.21 turns gate_proj, up_proj and down_proj of this model, wherever they stand, into its fused experts
        # and the router; the dense and shared ones cannot be named. Attention is what can be adapted by name.
        linears = {name for name in linears if ".self_attn." in name}
    kinds = sorted({name.rpartition(".")[2] for name in linears})
    if target == "all-linear":
        return kinds if model.config.model_type == "deepseek_v3" else target
    wanted = [target] if isinstance(target, str) else target
    for one in wanted:
        if not any(re.search(rf"(^|\.){re.escape(one)}$", name) for name in linears):
            raise RecipeError(
                f"adapt.target: no matrix of this model that can be adapted is called {one!r}",
                allowed=f"all-linear, or a list of {', '.join(kinds)}",
            )
    return wanted
