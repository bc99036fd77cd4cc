"""How the states of a batch are computed: by the padding-free decoder where it applies, else by the modules.

    (B, T) padded ids and mask  ->  (R, D) states of the R real tokens, row after row

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

from tuneloop.model.decoder import Decoder, why_not
from tuneloop.model.heads import Read, body, full_attention_mask, is_encoder


@dataclass(frozen=True)
class Reader:
    """A way to read, and why it is not the fast one.

    Attributes:
        read: Computes the states.
        packed: Whether padding costs nothing: micro-batches are then filled by real tokens.
        reason: Why it is the plain one, though the fast one was wanted; "" where it is not, or was not wanted.
    """

    read: Read
    packed: bool
    reason: str = ""


def plain_reader(model: PreTrainedModel | PeftModel) -> Reader:
    """The modules of transformers on the padded batch."""

    def read(input_ids: Tensor, attention_mask: Tensor, causal: bool) -> Tensor:
        mask = attention_mask if causal or is_encoder(model) else full_attention_mask(attention_mask)
        states: Tensor = body(model)(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states[attention_mask.bool()]

    return Reader(read, packed=False)


def choose_reader(model: PreTrainedModel | PeftModel, *, fast: bool) -> Reader:
    """The padding-free decoder if it is wanted and applies, else the plain reader.

    Args:
        model: On its device, adapters in place; its modules may not be replaced later.
        fast: The recipe's model.fast_path.
    """
    reason = why_not(model) if fast else ""
    if not fast or reason:
        return Reader(plain_reader(model).read, packed=False, reason=reason)
    decoder = Decoder(model)

    def read(input_ids: Tensor, attention_mask: Tensor, causal: bool) -> Tensor:
        lengths = attention_mask.sum(1).tolist()
        return decoder.states(input_ids[attention_mask.bool()], lengths, causal=causal)

    return Reader(read, packed=True)


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
    try:
        yield sum(2 * parameter.numel() for parameter in halved)
    finally:
        for parameter in halved:
            parameter.data = parameter.data.float()
