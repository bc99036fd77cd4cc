"""Loss (and accuracy) on rows that are not trained on: the loop's validation, and the matrix's before and after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tuneloop.examples.batch import collate, micro_batches, tokens_at_once
from tuneloop.examples.encode import Example
from tuneloop.loss.total import LOSSES
from tuneloop.model.reader import PLAIN, Reader


def held_out_figures(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    task: str,
    pad_token_id: int,
    max_tokens: int | None = None,
    reader: Reader = PLAIN,
) -> dict[str, float]:
    """Mean loss over the rows that can be counted; for classification also the accuracy over all of them.

    Args:
        model: A Classifier or causal language model, in eval mode, on its device.
        examples: Encoded rows. A class that training lacks counts as wrong, and has no loss.
        task: Name in LOSSES.
        pad_token_id: What short rows are filled with.
        max_tokens: Tokens that go through at once; None: what suits the device.
        reader: How the states are computed.

    Returns:
        {"loss": nats a row or trained token, "accuracy": share}; "loss" is absent when nothing can be counted.
    """
    device = next(model.parameters()).device
    known = [example for example in examples if task != "classification" or example.target >= 0]
    loss = weight = correct = 0.0
    at_once = max_tokens or tokens_at_once(device, packed=reader.packed)
    with torch.inference_mode():
        for part in micro_batches(known, at_once, packed=reader.packed):
            sums = LOSSES[task](model, collate(part, pad_token_id).to(device), reader.read)
            loss, weight = loss + float(sums.loss), weight + float(sums.weight)
            correct += float(sums.correct)
    figures = {"loss": loss / weight} if weight else {}
    if task == "classification":
        figures["accuracy"] = correct / max(sum(example.weight for example in examples), 1e-12)
    return figures
