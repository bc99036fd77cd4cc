"""Greedy decoding over the weights of the padding-free decoder: prompts are read once, then each token costs one row.

    read    prompts end to end (T,) -> blocks, keys and values kept -> logits behind each prompt's last token (n, V)
    extend  one token of each of B texts (B,) -> blocks, attention over what is kept -> logits (B, V)

Neither pads a projection: a pass has as many rows as it has new tokens. In `extend` the query heads that share a key
head are taken for a query of that many tokens, so that keys and values are read as they lie. It is exact, since a
single new token sees all that is kept. Texts in neighbouring slots go through attention in one call while filling up
the shorter ones costs less than another call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import PreTrainedModel

from tuneloop.memory import available_memory
from tuneloop.model.decoder import KINDS, Block, Decoder, why_not
from tuneloop.model.documents import rotary_turns, rotate, score_mask
from tuneloop.model.heads import base_model
from tuneloop.model.kept import KeptKeys
from tuneloop.model.packed import Matrix, Packed, pack, packs
from tuneloop.model.projection import Projection

FILLED = 192
"""Keys of padding that cost about as much time as another call of attention (SmolLM2-135M: 0.1 us a key, 20 us a
call)."""


@dataclass(frozen=True)
class Prompt:
    """A text to read into a slot.

    Attributes:
        slot: Where its keys and values go.
        tokens: Those that are computed, at least one; all but the first `start` of the text.
        start: Tokens before them, whose keys and values are taken from `source`.
        source: The slot that begins with the same `start` tokens; may be `slot` itself.
    """

    slot: int
    tokens: Sequence[int]
    start: int = 0
    source: int = 0


class CachedDecoder:
    """A model's decoder and head, with kept keys and values.

    Weights are copied once, adapters merged (`packed.py`), where the copy takes at most half of the memory that is
    free; else the modules' own are used, which is slower. Either way it answers with the weights of the moment it
    was made.

    Args:
        model: One for which `why_not_decode` gives "".
        limit: Bytes that keys and values may take.
        packed: Whether weights are copied; None: where they fit.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, *, limit: int, packed: bool | None = None) -> None:
        decoder, head = Decoder(model), cast(nn.Linear, base_model(model).get_output_embeddings())
        blocks = [cast(Block, block) for block in decoder.blocks]
        copies = packs() and _fits_twice(blocks, head) if packed is None else packed
        self._embedding, self._rotary, self._norm = decoder.embedding, decoder.rotary, decoder.norm
        with torch.inference_mode():
            self._layers = [_Layer(block, copies) for block in blocks]
            self._head: Matrix = Packed(head.weight, head.bias) if copies else head
        block = blocks[0]
        self._heads, self._kv_heads = block.heads, block.kv_heads
        self._size = block.qkv.width // (block.heads + 2 * block.kv_heads)
        self.kept = KeptKeys(len(blocks), block.kv_heads, self._size, limit=limit)

    @torch.inference_mode()
    def read(self, prompts: Sequence[Prompt]) -> Tensor:
        """Read prompts into their slots, which must have room for them.

        They count as read in their order: a later one may take its start from an earlier one.

        Returns:
            (n, V) float32 logits behind the last token of each.
        """
        ends = torch.tensor([len(prompt.tokens) for prompt in prompts]).cumsum(0)
        starts = [0, *ends.tolist()]
        masks = [_mask(prompt) for prompt in prompts]

        def attend(layer: int, qkv: Tensor) -> Tensor:
            result = qkv.new_empty(len(qkv), self._heads * self._size)
            q, k, v = self._split(qkv)
            keys, values = self.kept.keys[layer], self.kept.values[layer]
            for prompt, first, end in zip(prompts, starts, starts[1:], strict=False):
                stop = prompt.start + end - first
                if prompt.start and prompt.source != prompt.slot:
                    self.kept.copy(layer, prompt.source, prompt.slot, prompt.start)
                keys[prompt.slot, :, prompt.start : stop] = k[first:end].transpose(0, 1)
                values[prompt.slot, :, prompt.start : stop] = v[first:end].transpose(0, 1)
            for prompt, mask, first, end in zip(prompts, masks, starts, starts[1:], strict=False):
                stop = prompt.start + end - first
                found = scaled_dot_product_attention(
                    q[None, first:end].transpose(1, 2),
                    keys[None, prompt.slot, :, :stop],
                    values[None, prompt.slot, :, :stop],
                    attn_mask=mask,
                    is_causal=mask is None,
                    enable_gqa=self._heads != self._kv_heads,
                )  # (1, heads, T, d)
                result[first:end] = found[0].transpose(0, 1).flatten(1)
            return result

        ids = torch.tensor([token for prompt in prompts for token in prompt.tokens])
        positions = torch.cat([torch.arange(len(prompt.tokens)) + prompt.start for prompt in prompts])
        return self._logits(ids, positions, attend, ends - 1)

    @torch.inference_mode()
    def extend(self, slots: Sequence[int], tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Put one token behind the text of each slot, which must have room for it.

        Args:
            slots: B slots, rising.
            tokens: The token of each.
            lengths: Tokens that each holds before.

        Returns:
            (B, V) float32 logits behind these tokens.
        """
        runs = make_runs(slots, [length + 1 for length in lengths])
        size, capacity = self._size, self.kept.capacity
        where, positions = torch.tensor(slots), torch.tensor(lengths)
        heads = torch.arange(self._kv_heads)
        rows = ((where[:, None] * self._kv_heads + heads) * capacity + positions[:, None]).flatten()  # (B kv_heads,)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            q, k, v = self._split(qkv)
            keys, values = self.kept.keys[layer], self.kept.values[layer]
            keys.view(-1, size).index_copy_(0, rows, k.reshape(-1, size))
            values.view(-1, size).index_copy_(0, rows, v.reshape(-1, size))
            folded = q.unflatten(1, (self._kv_heads, -1))  # (B, kv_heads, queries of one key head, d)
            result = torch.empty(folded.shape)
            for run in runs:
                result[run.rows] = scaled_dot_product_attention(
                    folded[run.rows],
                    keys[run.slots, :, : run.longest],
                    values[run.slots, :, : run.longest],
                    attn_mask=run.mask,
                )
            return result.flatten(1)

        return self._logits(torch.tensor(tokens), positions, attend, None)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, width) -> q (T, heads, d), k and v (T, kv_heads, d)."""
        q, k, v = qkv.unflatten(1, (-1, self._size)).split([self._heads, self._kv_heads, self._kv_heads], 1)
        return q, k, v

    def _logits(
        self, ids: Tensor, positions: Tensor, attend: Callable[[int, Tensor], Tensor], wanted: Tensor | None
    ) -> Tensor:
        """Blocks, norm and head over (T,) new tokens; only of the `wanted` rows where they are not all."""
        x = self._embedding(ids)
        cos, sin = rotary_turns(self._rotary, x, positions)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.before(x))
            rotate(qkv, cos, sin, self._heads + self._kv_heads)
            attended = attend(number, qkv)
            if wanted is not None and number == len(self._layers) - 1:  # nobody reads the others from here on
                attended, x = attended[wanted], x[wanted]
            x = layer.out(attended).add_(x)
            gate, up = layer.gate_up(layer.after(x)).chunk(2, 1)
            x = layer.down(silu(gate).mul_(up)).add_(x)
        return self._head(cast(Tensor, self._norm(x)))


class _Layer:
    """One block's norms and projections."""

    def __init__(self, block: Block, copies: bool) -> None:
        self.before, self.after = (_norm(norm) for norm in block.norms)
        projections = (block.qkv, block.out, block.gate_up, block.down)
        made: list[Matrix] = [pack(one) if copies else _unpacked(one) for one in projections]
        self.qkv, self.out, self.gate_up, self.down = made


def _unpacked(projection: Projection) -> Matrix:
    return lambda x: projection.forward(x)[0]


def _norm(module: Any) -> Matrix:
    weight, eps = module.weight.detach(), module.variance_epsilon
    return lambda x: rms_norm(x, weight.shape, weight, eps)


def _mask(prompt: Prompt) -> Tensor | None:
    """(T, start + T) float32, 0 where a token may look, -inf else; None where the text starts here: plain causal."""
    if not prompt.start:
        return None
    new = len(prompt.tokens)
    return torch.full((new, prompt.start + new), -torch.inf).triu_(prompt.start + 1)


# -- which slots go through attention together ------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Neighbouring slots whose texts are of like length.

    Attributes:
        slots: They.
        rows: Their rows among the B of a pass.
        longest: Tokens of the longest text.
        mask: (n, 1, 1, longest) float32, 0 at tokens, -inf behind a text; None where all are as long.
    """

    slots: slice
    rows: slice
    longest: int
    mask: Tensor | None


def make_runs(slots: Sequence[int], lengths: Sequence[int]) -> list[Run]:
    """Cut B slots into runs of neighbours, none filled up by more than FILLED keys in all.

    Args:
        slots: Rising.
        lengths: Tokens of each one's text.
    """
    runs, first = [], 0
    for row in range(1, len(slots) + 1):
        if row < len(slots) and slots[row] == slots[row - 1] + 1 and _filling(lengths[first : row + 1]) <= FILLED:
            continue
        chosen = torch.tensor(lengths[first:row])
        longest = int(chosen.max())
        mask = None
        if int(chosen.min()) < longest:
            mask = score_mask(torch.arange(longest) < chosen[:, None])
        runs.append(Run(slice(slots[first], slots[row - 1] + 1), slice(first, row), longest, mask))
        first = row
    return runs


def _filling(lengths: Sequence[int]) -> int:
    return len(lengths) * max(lengths) - sum(lengths)


# -- whether it applies ---------------------------------------------------------------------------------------


def why_not_decode(model: PreTrainedModel | PeftModel) -> str:
    """Why `CachedDecoder` would not answer as `model` does; "" where it does."""
    if reason := why_not(model):
        return reason
    network = base_model(model)
    kind: str = network.config.model_type
    if KINDS[kind] is not Block:
        known = " and ".join(name for name, block in KINDS.items() if block is Block)
        return f"its architecture is {kind}; the engine knows {known}"
    device = next(network.parameters()).device
    if device.type != "cpu":
        return f"it runs on {device.type}; our engine runs on CPUs so far"
    head = network.get_output_embeddings()
    return "" if type(head) is nn.Linear else f"its language head is a {type(head).__name__}"


def _fits_twice(blocks: Sequence[Block], head: nn.Linear) -> bool:
    """Whether a float32 copy of all matrices takes at most half of the memory that is free."""
    every = (one for block in blocks for one in (block.qkv, block.out, block.gate_up, block.down))
    numbers = sum(part.weight.numel() for one in every for part in one.parts)
    free = available_memory()
    return free is not None and 4 * (numbers + head.weight.numel()) <= free / 2
