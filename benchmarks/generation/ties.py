"""Whether greedy answers are those of a reference, up to ties: what "the same tokens" means here and in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

TIE = 1e-4
"""Two logits nearer than this may change places by rounding."""


@torch.no_grad()
def difference(model: Any, prompt: Sequence[int], found: Sequence[int], wanted: Sequence[int]) -> str:
    """Why `found` is not `wanted` up to ties; "" where it is.

    At the first token that differs, the model's own two largest logits, computed anew without a cache over what both
    share, must be nearer than TIE. What follows then answers another text, and is not compared.

    Args:
        model: The reference, with all of its weights.
        prompt: Token ids.
        found: Its answer by the code under test.
        wanted: Its answer by the reference.
    """
    place = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
    if place is None:
        return "" if len(found) == len(wanted) else f"{len(found)} tokens, the reference has {len(wanted)}"
    ids = torch.tensor([[*prompt, *wanted[:place]]])
    logits = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    two = logits.topk(2)
    gap = float(two.values[0] - two.values[1])
    if gap < TIE and {found[place], wanted[place]} <= set(two.indices.tolist()):
        return ""
    return f"token {place} is {found[place]}, the reference has {wanted[place]}; its two largest are {gap:.2g} apart"
