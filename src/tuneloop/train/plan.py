"""Memory, time and work of a run, counted before it starts (doctor) and after (the report's savings).

FLOPs are counted, not timed: a multiply and an add are two. With B the parameters that one token goes
through (blocks, not the vocabulary; of DeepSeek-V3's routed experts those it is sent to), V the output matrix
and A the adapter's:

    forward          2 B + 2 A            and 2 V at each trained token of a generation task
    backward, states 2 B + 2 A            the gradient's way back through the blocks, and 2 V
    backward, weights full: 2 B + 2 V     LoRA: 2 A

Routers, norms and biases are counted as parameters like any other. Memory and the share that trains are those
of all parameters, whichever a token goes through.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from tuneloop.examples.batch import tokens_at_once
from tuneloop.recipe import Adapt, Train

GIB = 2**30


def training_flops(*, body: int, added: int, output: int, tokens: int, trained_tokens: int) -> float:
    """FLOPs of a run.

    Args:
        body: Parameters of the blocks that one token goes through.
        added: Parameters that train beside frozen blocks; 0 for full tuning.
        output: Parameters of the output matrix, 0 for a task that does not run it.
        tokens: Tokens that go through training, all epochs.
        trained_tokens: Those with a label, all epochs.
    """
    forward_and_states = 4 * (body + added) * tokens + 4 * output * trained_tokens
    weights = 2 * added * tokens if added else 2 * body * tokens + 2 * output * trained_tokens
    return float(forward_and_states + weights)


def saved_against_full(
    counts: dict[str, int], *, task: str, method: str, tokens: int, trained_tokens: int
) -> dict[str, float]:
    """What the run saved of the counted work and trainable parameters of full tuning, as shares in [0, 1].

    Peak memory and seconds are not counted here: they are measured where a full run exists.

    Args:
        counts: What `parameter_counts` gave for the tuned model.
        task: "classification" runs no output matrix.
        method: {} is given for "full".
        tokens: Tokens that went through training.
        trained_tokens: Those with a label.
    """
    if method == "full":
        return {}
    whole = counts["all"] - counts["trainable"]
    shape = {
        "body": counts["active"] - counts["trainable"] - counts["vocabulary"],
        "output": counts["output"]
        if task == "generation"
        else 0,  # an embedding of its own is looked up, not multiplied
        "tokens": tokens,
        "trained_tokens": trained_tokens,
    }
    ours, full = training_flops(added=counts["trainable"], **shape), training_flops(added=0, **shape)
    return {"flops": 1 - ours / full, "trainable_parameters": 1 - counts["trainable"] / whole}


def measure_gemm(seconds: float = 0.5) -> float:
    """FLOP/s of float32 (bfloat16 on a GPU) matrix products of a small model's shape on this machine."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    left = torch.randn(768, 576, device=device, dtype=dtype)
    right = torch.randn(576, 1536, device=device, dtype=dtype)
    for _ in range(3):
        left @ right
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        for _ in range(10):
            left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        done += 10
    return 2.0 * 768 * 576 * 1536 * done / (time.monotonic() - began)


def estimate_memory(*, parameters: int, trainable: int, tokens: int, layers: int, width: int, vocabulary: int) -> float:
    """Bytes that float32 training will need at its peak, roughly.

    Weights, then 12 bytes a trainable parameter (gradient and AdamW's two moments), then the states kept for the
    way back: about 20 x width floats a token and block (11.3k at width 576 under PEFT), one chunk of logits, and
    the process itself.

    Args:
        parameters: All parameters.
        trainable: Those that train.
        tokens: Tokens that go through at once.
        layers: Number of blocks.
        width: Hidden size.
        vocabulary: Size of the vocabulary; 0 where no output matrix runs.
    """
    return 4 * parameters + 12 * trainable + 4 * tokens * layers * width * 20 + 4 * 256 * vocabulary + 0.6 * GIB


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model, from its config alone.

    Attributes:
        blocks: Parameters of the blocks.
        active: Those of them that one token goes through (see `parameter_counts`).
        vocabulary: Parameters of the embedding and LM head, once if tied.
        output: Parameters of the LM head alone; 0 for an encoder.
        trainable: Parameters that the method trains (a classification head not counted).
        layers: Number of blocks.
        width: Hidden size.
        vocabulary_size: Entries of the vocabulary.
    """

    blocks: int
    active: int
    vocabulary: int
    output: int
    trainable: int
    layers: int
    width: int
    vocabulary_size: int


def sizes_of(config: dict[str, Any], adapt: Adapt) -> Sizes:
    """Count a model's parameters on the meta device: no weight is loaded.

    Args:
        config: config.json, checked by `model.safety.check_folder`.
        adapt: The recipe's section.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    from tuneloop.model.adapt import METHODS
    from tuneloop.model.saved import parameter_counts

    kind = AutoModel if config["model_type"] == "bert" else AutoModelForCausalLM
    with torch.device("meta"):
        made = AutoConfig.for_model(**config)
        options = {"add_pooling_layer": False} if config["model_type"] == "bert" else {}
        model = kind.from_config(made, **options)  # type: ignore[no-untyped-call]
        adapted = METHODS[adapt.method](model, adapt=adapt, seed=0).model
    counts = parameter_counts(adapted)
    beside = counts["vocabulary"] + (counts["trainable"] if adapt.method != "full" else 0)
    return Sizes(
        counts["all"] - beside, counts["active"] - beside, counts["vocabulary"], counts["output"], counts["trainable"],
        made.num_hidden_layers, made.hidden_size, made.vocab_size,
    )  # fmt: skip


def micro_batch_tokens(train: Train, *, packed: bool = False) -> int:
    """Tokens that go through at once: as asked, else what suits the device that will train, without padding or with."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return train.tokens_per_micro_batch or tokens_at_once(device, packed=packed)
