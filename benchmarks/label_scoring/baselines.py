"""Each label by itself, without tuneloop's scorer: plain transformers over prompt + label.

alone     one sequence a label, one forward pass each, as it stands in most scripts
batched   the row's labels by length, padded on the right, in batches; only label positions go through the head
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel


def alone(model: PreTrainedModel, prompt: Sequence[int], labels: Sequence[Sequence[int]]) -> np.ndarray:
    """Mean log-likelihood a token of each label, (C,) float64, nats, a forward pass a label.

    Args:
        model: In eval mode, on a CPU.
        prompt: Tokens of the whole prompt of one row.
        labels: The tokens of each label.
    """
    scores = []
    for label in labels:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *label]]), use_cache=False).logits[0]  # (T, V)
            logs = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
        scores.append(float(logs.gather(1, torch.tensor(label)[:, None]).double().mean()))
    return np.array(scores)


def batched(model: PreTrainedModel, prompt: Sequence[int], labels: Sequence[Sequence[int]], *, size: int) -> np.ndarray:
    """The same in batches of labels of like length.

    Args:
        model: In eval mode, on a CPU.
        prompt: Tokens of the whole prompt of one row.
        labels: The tokens of each label.
        size: Labels a batch.
    """
    scores = np.zeros(len(labels))
    order = sorted(range(len(labels)), key=lambda place: -len(labels[place]))
    for start in range(0, len(order), size):
        places = order[start : start + size]
        longest = len(labels[places[0]])
        ids = torch.zeros(len(places), len(prompt) + longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(places):
            whole = [*prompt, *labels[place]]
            ids[row, : len(whole)], mask[row, : len(whole)] = torch.tensor(whole), 1
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=longest + 1)
            logs = found.logits[:, :-1].float().log_softmax(-1)  # (n, longest, V): what follows the prompt, then ...
        for row, place in enumerate(places):
            label = torch.tensor(labels[place])
            scores[place] = float(logs[row, : len(label)].gather(1, label[:, None]).double().mean())
    return scores
