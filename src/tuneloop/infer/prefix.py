"""The keys and values of tokens that many rows begin with: computed once, lent to every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tuneloop.model.heads import body


class Prefix(DynamicCache):
    """A cache of P tokens that is as it was after every pass: what a pass adds goes to its attention and is let go.

    Whatever an architecture caches is lent (keys and values, or the latents of MLA). Nothing is kept for each row: a
    layer's attention gets one joined copy for its own use.

    Args:
        model: A causal language model, in eval mode.
        tokens: The P tokens, at least one.
    """

    def __init__(self, model: PreTrainedModel, tokens: Sequence[int]) -> None:
        super().__init__()  # without the config: a layer that looks through a window would keep only that much
        self.filled = False
        ids = torch.tensor([tokens], device=next(model.parameters()).device)
        with torch.inference_mode():
            body(model)(input_ids=ids, past_key_values=self, use_cache=True)
        self.filled = True

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values of the prefix with the given (B, heads, T, d) behind them, (B, heads, P + T, d)."""
        if not self.filled:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer, rows = cast(Any, self.layers[layer_idx]), len(key_states)
        pairs = ((layer.keys, key_states), (layer.values, value_states))
        keys, values = (torch.cat([kept.expand(rows, -1, -1, -1), new], dim=-2) for kept, new in pairs)
        return keys, values
