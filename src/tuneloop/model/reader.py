"""How the states of a batch are computed: by the padding-free decoder where it applies, else by the modules.

    (B, T) padded ids and mask  ->  (N, D) states of the tokens that are wanted, row after row

Both readers give the same numbers to rounding; losses and inference take either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tuneloop.memory import give_back_memory
from tuneloop.model.decoder import Decoder, why_not
from tuneloop.model.heads import Read, body


@dataclass(frozen=True)
class Reader:
    """A way to read.

    Attributes:
        read: Computes the states; None: the modules as they are, on the padded batch.
        reason: Why it is None though the fast path was wanted; "" where it is not, or was not wanted.
    """

    read: Read | None = None
    reason: str = ""

    @property
    def packed(self) -> bool:
        """Whether padding costs nothing: micro-batches are then filled by real tokens."""
        return self.read is not None


PLAIN = Reader()


def choose_reader(model: PreTrainedModel | PeftModel, *, fast: bool) -> Reader:
    """The padding-free decoder if it is wanted and applies, else the modules as they are.

    Args:
        model: On its device, adapters in place; its modules may not be replaced later.
        fast: The recipe's model.fast_path.
    """
    if not fast:
        return PLAIN
    if reason := why_not(model):
        return Reader(reason=reason)
    return Reader(packed_read(Decoder(model)))


def packed_read(decoder: Decoder) -> Read:
    """A Read that packs padded rows, and lets `decoder` compute the states."""

    def read(input_ids: Tensor, attention_mask: Tensor, causal: bool, wanted: Tensor | None) -> Tensor:
        real = attention_mask.bool()
        chosen = None if wanted is None else wanted[real]
        return decoder.states(input_ids[real], attention_mask.sum(1).tolist(), causal=causal, wanted=chosen)

    return read


@contextlib.contextmanager
def halved_weights(model: PreTrainedModel | PeftModel) -> Iterator[int]:
    """Keep the frozen float32 matrices of the blocks in bfloat16 while the block runs, where that loses nothing.

    Published weights are bfloat16; as float32 they take twice the memory to say the same. A matrix with one value
    that bfloat16 cannot hold stays as it is. Only the padding-free decoder can compute with them meanwhile.

    Args:
        model: With its adapters; what trains is not touched.

    Yields:
        Bytes saved.
    """
    halved: list[Tensor] = []
    for module in body(model).modules():
        if isinstance(module, nn.Linear) and not module.weight.requires_grad and module.weight.dtype == torch.float32:
            small = module.weight.detach().to(torch.bfloat16)
            if torch.equal(small.float(), module.weight):
                halved.append(module.weight)
                module.weight.data = small
    give_back_memory()
    try:
        yield sum(2 * parameter.numel() for parameter in halved)
    finally:
        give_back_memory()  # what the block no longer needs, before the weights take their whole room again
        for parameter in halved:
            parameter.data = parameter.data.float()
