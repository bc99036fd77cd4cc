"""A classification head on the pooled states of a decoder or encoder.

input_ids (B, T) -> states (B, T, D) -> pooled (B, D) -> logits (B, C)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tuneloop.errors import ModelError
from tuneloop.examples.batch import send

Read = Callable[[Tensor, Tensor, bool, Tensor | None], Tensor]
"""`(input_ids (B, T), attention_mask (B, T), causal, wanted (B, T) or None) -> (N, D)`: states, row after row.

Rows are padded on the right. N are the tokens where the bool `wanted` is true, or all real ones. Best all on the host,
so that rows are packed there and no device is waited for; the states are where the weights are.
`model/reader.py` gives one where the modules need not be run as they are.
"""


class Classifier(nn.Module):
    """A backbone, a way to pool its states, and a linear head.

    Args:
        backbone: A causal language model (its LM head is not run) or an encoder; may be wrapped by PEFT.
        labels: The class names; the position is the class index.
        pooling: "mean" over the tokens of the row, or the "last" token's state.
        attention: "causal", or "bidirectional" to let a decoder's tokens see the whole row.
    """

    def __init__(
        self, backbone: PreTrainedModel | PeftModel, labels: list[str], *, pooling: str, attention: str
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels, self.pooling, self.attention = list(labels), pooling, attention
        network = base_model(backbone)
        self.hidden_size: int = network.config.hidden_size
        unused = None if is_encoder(backbone) else network.get_output_embeddings()
        if unused is not None and unused.weight is not network.get_input_embeddings().weight:
            unused.requires_grad_(False)  # the language head is not run: it would train without a gradient
        # SEQ_CLS heads of transformers carry no bias; with it the saved files would not load there.
        self.head = nn.Linear(self.hidden_size, len(labels), bias=not self.saves_as_seq_cls)
        nn.init.normal_(self.head.weight, std=0.02)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    @property
    def saves_as_seq_cls(self) -> bool:
        """Whether plain AutoModelForSequenceClassification computes the same: causal decoder, last token."""
        return self.pooling == "last" and self.attention == "causal" and not is_encoder(self.backbone)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, read: Read | None = None) -> Tensor:
        """Class logits.

        Args:
            input_ids: (B, T) int64, padded on the right.
            attention_mask: (B, T) int64, 1 at real tokens.
            read: Computes the states; None: the backbone's modules as they are.

        Returns:
            (B, C) float32.
        """
        if read is None:
            return self.classify(pool(self.states(input_ids, attention_mask), attention_mask, self.pooling))
        causal = self.attention == "causal"
        if self.pooling == "last":
            return self.classify(read(input_ids, attention_mask, causal, last_tokens(attention_mask)))
        states = read(input_ids, attention_mask, causal, None)  # (R, D)
        return self.classify(mean_of_rows(states, attention_mask.sum(1)))

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last layer's states, (B, T, D), after the final norm."""
        return padded_states(self.backbone, input_ids, attention_mask, causal=self.attention == "causal")

    def classify(self, pooled: Tensor) -> Tensor:
        """(B, D) pooled states -> (B, C) float32 logits; the head always computes in float32."""
        return nn.functional.linear(pooled.float(), self.head.weight.float(), _float(self.head.bias))


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Pool (B, T, D) states over the real tokens of each row.

    Args:
        states: (B, T, D).
        attention_mask: (B, T), 1 at real tokens, which stand at the left.
        pooling: "mean" or "last".

    Returns:
        (B, D) float32. Every row must hold at least one real token.
    """
    if pooling == "mean":
        weights = attention_mask.unsqueeze(-1).float()  # (B, T, 1)
        return (states.float() * weights).sum(1) / weights.sum(1)
    return states[last_tokens(attention_mask)].float()


def last_tokens(attention_mask: Tensor) -> Tensor:
    """(B, T) bool, true at each row's last real token; rows are padded on the right."""
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return places[None] == attention_mask.sum(1, keepdim=True) - 1


def mean_of_rows(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean state of each row of rows that lie end to end.

    Args:
        states: (R, D), row after row without padding.
        lengths: (B,) int64 tokens of each row, at least one; their sum is R. Best on the host (see Read).

    Returns:
        (B, D) float32.
    """
    owner = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # (R,)
    sums = states.new_zeros(len(lengths), states.shape[1], dtype=torch.float32)
    sums = sums.index_add(0, send(owner, states.device), states.float())
    return sums / send(lengths, states.device)[:, None]


def full_attention_mask(attention_mask: Tensor) -> Tensor:
    """A mask that lets every real token see every real token of its row.

    transformers passes a 4-D mask on as it stands, so a decoder loses its causal mask.
    Padding rows see the real tokens too: a softmax over nothing would be nan.

    Args:
        attention_mask: (B, T), 1 at real tokens.

    Returns:
        (B, 1, T, T) bool, True where attention is allowed.
    """
    keys = attention_mask.bool()[:, None, None, :]  # (B, 1, 1, T)
    return keys.expand(-1, 1, attention_mask.shape[1], -1)


def padded_states(
    model: PreTrainedModel | PeftModel, input_ids: Tensor, attention_mask: Tensor, *, causal: bool
) -> Tensor:
    """The last layer's states, (B, T, D), after the final norm, by the modules as they are.

    Args:
        model: A decoder or encoder, perhaps wrapped by PEFT.
        input_ids: (B, T) int64, padded on the right.
        attention_mask: (B, T) int64, 1 at real tokens.
        causal: Whether a decoder's token sees only what stands before it; an encoder reads both ways by itself.
    """
    mask = attention_mask if causal or is_encoder(model) else full_attention_mask(attention_mask)
    found = body(model)(input_ids=input_ids, attention_mask=mask, use_cache=False)
    return cast(Tensor, found.last_hidden_state)


def network_of(model: nn.Module) -> PreTrainedModel | PeftModel:
    """What a Classifier reads with, or the language model itself."""
    return cast("PreTrainedModel | PeftModel", model.backbone if isinstance(model, Classifier) else model)


def base_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def is_encoder(model: PreTrainedModel | PeftModel) -> bool:
    """Whether the model reads both ways by itself (BERT) and has no LM head to generate with."""
    return base_model(model).config.model_type == "bert"


def body(model: PreTrainedModel | PeftModel) -> nn.Module:
    """The stack of blocks that gives the last states, without any head."""
    stack = base_model(model).base_model  # transformers' name for it: the model itself where there is no head
    if not isinstance(stack, nn.Module):
        raise ModelError(f"{type(model).__name__} has no stack of blocks to read states from")
    return stack
