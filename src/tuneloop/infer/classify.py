"""Class probabilities of many rows: length-sorted batches, the order of the input kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tuneloop.examples.batch import collate, micro_batches, tokens_at_once
from tuneloop.examples.encode import Example
from tuneloop.model.heads import Classifier
from tuneloop.model.reader import PLAIN, Reader
from tuneloop.terminal import progress


def class_probabilities(
    model: Classifier,
    examples: Sequence[Example],
    pad_token_id: int,
    *,
    max_tokens: int | None = None,
    title: str = "",
    reader: Reader = PLAIN,
) -> np.ndarray:
    """Softmax over the classes for each example.

    Args:
        model: In eval mode.
        examples: Encoded rows; their targets are not read.
        pad_token_id: What short rows are filled with.
        max_tokens: Tokens that go through at once; None: what suits the device.
        title: Of the progress bar; "" shows none.
        reader: How the states are computed.

    Returns:
        (N, C) float32, in the order of `examples`.
    """
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].input_ids))  # that of micro_batches
    result = np.zeros((len(examples), len(model.labels)), dtype=np.float32)
    device = model.head.weight.device
    at_once = max_tokens or tokens_at_once(device, packed=reader.packed)
    parts = micro_batches(list(examples), at_once, packed=reader.packed)
    done = 0
    with torch.inference_mode(), progress(title, len(examples)) as bar:
        for part in parts:
            batch = collate(part, pad_token_id).to(device)
            logits = model(batch.input_ids, batch.attention_mask, reader.read)  # (B, C)
            result[order[done : done + len(part)]] = logits.softmax(-1).cpu().numpy()
            done += len(part)
            bar.advance(len(part))
    return result
