"""The objectives: LOSSES maps a task to the function that sums its loss over a batch.

An entry takes `(model, batch, read)` and gives a `LossSum`: sums, not means, so that the loop can divide by
the weight of the whole optimiser step, whatever the micro-batches and ranks. The batch is where the model is,
or with `read` on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tuneloop.errors import ShapeError
from tuneloop.examples.batch import Batch, send
from tuneloop.loss.likelihood import LinearCrossEntropy, predicted_tokens
from tuneloop.model.heads import Classifier, Read, base_model, network_of, padded_states


@dataclass(frozen=True)
class LossSum:
    """What a batch adds to the step.

    Attributes:
        loss: () float32, summed over what counts (nats); carries the gradient.
        weight: () float32, the sum that the loss is divided by: trained tokens, or rows, by weight.
        correct: () float32, weight of the rows whose class was right; 0 for generation.
    """

    loss: Tensor
    weight: Tensor
    correct: Tensor


def classification_loss(model: nn.Module, batch: Batch, read: Read | None = None) -> LossSum:
    """Weighted cross-entropy of the rows' classes.

    Args:
        model: A Classifier.
        batch: Rows with known classes.
        read: Computes the states; None: the modules as they are.

    Raises:
        ShapeError: if the model is no Classifier, or a row has no known class.
    """
    if not isinstance(model, Classifier):
        raise ShapeError("classification_loss needs a Classifier", got=type(model).__name__)
    if bool((batch.targets < 0).any()):
        raise ShapeError("classification_loss: a row without a known class cannot be trained on", got="target -1")
    logits = model(batch.input_ids, batch.attention_mask, read)  # (B, C)
    targets, weights = send(batch.targets, logits.device), send(batch.weights, logits.device)
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")  # (B,)
    right = (logits.argmax(1) == targets).float()
    return LossSum((losses * weights).sum(), weights.sum(), (right * weights).sum().detach())


def generation_loss(model: nn.Module, batch: Batch, read: Read | None = None) -> LossSum:
    """Negative log-likelihood of the answers' tokens, by next-token prediction.

    Args:
        model: A causal language model, perhaps wrapped by PEFT.
        batch: Rows with labels.
        read: Computes the states; None: the modules as they are.
    """
    network, ids, mask = network_of(model), batch.input_ids, batch.attention_mask
    wanted, targets = predicted_tokens(batch.labels, mask)
    # (N, D)
    states = read(ids, mask, True, wanted) if read else padded_states(network, ids, mask, causal=True)[wanted]
    weights = batch.weights.float()[:, None].expand_as(wanted)[wanted]
    targets, weights = send(targets, states.device), send(weights, states.device)
    head = base_model(network).get_output_embeddings()
    loss: Tensor = LinearCrossEntropy.apply(states, head.weight, targets, weights)  # type: ignore[no-untyped-call]
    return LossSum(loss, weights.sum(), torch.zeros_like(loss))


Loss = Callable[[nn.Module, Batch, Read | None], LossSum]

LOSSES: dict[str, Loss] = {
    "classification": classification_loss,
    "generation": generation_loss,
}


class Objective(nn.Module):
    """A model together with its loss, so that data-parallel wrappers see one forward pass."""

    def __init__(self, model: nn.Module, loss: Loss, read: Read | None = None) -> None:
        super().__init__()
        self.model, self.loss, self.read = model, loss, read

    def forward(self, batch: Batch) -> LossSum:
        """The sums of one batch."""
        return self.loss(self.model, batch, self.read)


def step_weight(task: str, labels: list[list[int]], weights: list[float]) -> float:
    """The weight that a step's loss is divided by, from its rows, before any forward pass.

    Args:
        task: "classification" (rows count) or "generation" (trained tokens count).
        labels: Each row's token labels, -100 where untrained; the first token is never predicted.
        weights: Each row's weight.
    """
    if task == "classification":
        return float(sum(weights))
    return float(sum(w * sum(label != -100 for label in row[1:]) for row, w in zip(labels, weights, strict=True)))
