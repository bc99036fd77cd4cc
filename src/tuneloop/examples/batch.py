"""Examples -> tensors.

    examples, in epoch_order --micro_batches--> [examples] --collate--> Batch (B, T), right padding

The only file of this folder that needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tuneloop.examples.encode import IGNORED, Example


@dataclass
class Batch:
    """B examples, padded on the right to the longest, T tokens.

    Attributes:
        input_ids: (B, T) int64.
        attention_mask: (B, T) int64; 1 for tokens, 0 for padding.
        labels: (B, T) int64; -100 where nothing is trained; not shifted.
        targets: (B,) int64 class indexes; -1 unknown.
        weights: (B,) float32.
        row_ids: B ids.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    targets: Tensor
    weights: Tensor
    row_ids: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(
            send(self.input_ids, device),
            send(self.attention_mask, device),
            send(self.labels, device),
            send(self.targets, device),
            send(self.weights, device),
            self.row_ids,
        )


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`, without waiting for what runs there.

    A copy to a GPU from memory that the system may move waits for all that was asked of the GPU before
    (CUDA Runtime API, "API synchronization behavior"); from pinned memory it does not.
    """
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def collate(examples: Sequence[Example], pad_token_id: int) -> Batch:
    """Pad examples into one batch; the mask comes from lengths, never from token values.

    Args:
        examples: B examples, at least one.
        pad_token_id: Fills `input_ids`; may be the same token as EOS.
    """
    shape = (len(examples), max(len(example.input_ids) for example in examples))
    input_ids = torch.full(shape, pad_token_id, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    for row, example in enumerate(examples):
        size = len(example.input_ids)
        input_ids[row, :size] = torch.tensor(example.input_ids, dtype=torch.int64)
        attention_mask[row, :size] = 1
        labels[row, :size] = torch.tensor(example.labels, dtype=torch.int64)
    return Batch(
        input_ids,
        attention_mask,
        labels,
        torch.tensor([example.target for example in examples], dtype=torch.int64),
        torch.tensor([example.weight for example in examples], dtype=torch.float32),
        [example.row_id for example in examples],
    )


def micro_batches(examples: Sequence[Example], max_tokens: int, *, packed: bool = False) -> list[list[Example]]:
    """Cut examples into batches that go through the model at once.

    Sorted by length, longest first (too little memory shows at once; equal lengths keep their
    order), then filled up to max_tokens. A longer row goes alone.

    Args:
        examples: Any number of examples; each comes out exactly once.
        max_tokens: Tokens a batch: B x T with the padding, or the real ones where `packed`.
        packed: Whether padding costs nothing.
    """
    batches: list[list[Example]] = []
    longest = filled = 0  # of the last batch: its longest row, and the tokens that its rows cost
    for example in sorted(examples, key=lambda e: -len(e.input_ids)):
        size = len(example.input_ids)
        cost = size if packed else longest
        if batches and filled + cost <= max_tokens:
            batches[-1].append(example)
            filled += cost
        else:
            batches.append([example])
            longest = filled = size
    return batches


def tokens_at_once(device: torch.device | str, *, packed: bool = False) -> int:
    """Tokens of a micro-batch where nobody says: on a CPU 256 padded ones, or 512 packed ones; 8192 on a GPU.

    On a CPU small micro-batches of rows of like length win: less padding, and states that stay in the cache. Without
    padding, twice as many take half the memory of four times as many, at the same speed.
    """
    if torch.device(device).type != "cpu":
        return 8192
    return 512 if packed else 256


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` rows in an epoch: a permutation, the same on every machine and version.

    By hash and not by a generator's stream, so that a resumed run needs no generator state.

    Args:
        count: Number of rows.
        seed: The recipe's seed.
        epoch: 0 for the first.
    """
    keys = [hashlib.blake2b(f"{seed}:{epoch}:{row}".encode(), digest_size=16).digest() for row in range(count)]
    return sorted(range(count), key=keys.__getitem__)
