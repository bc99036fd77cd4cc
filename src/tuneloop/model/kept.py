"""The keys and values of what a decoder has read, kept for the tokens that follow.

    a slot holds one text:  keys[layer][slot] (kv_heads, capacity, d), row i = token i;  values the same

Slots and capacity grow by doubling, never past a limit in bytes; nothing is copied when a token is added.
"""

from __future__ import annotations

from torch import Tensor, zeros


class KeptKeys:
    """Preallocated keys and values of a number of slots; empty at first.

    What lies behind a slot's text is zeros or leftovers of an older text: finite, so that a mask can drop it.

    Args:
        layers: Number of blocks.
        kv_heads: Key and value heads of each.
        size: d, width of a head.
        limit: Bytes that it may take; exceeded only where `make_room` is asked for more.
    """

    def __init__(self, layers: int, kv_heads: int, size: int, *, limit: int) -> None:
        self.limit = limit
        self.token_bytes = layers * 2 * kv_heads * size * 4
        self.keys = [zeros(0, kv_heads, 0, size) for _ in range(layers)]
        self.values = [zeros(0, kv_heads, 0, size) for _ in range(layers)]

    @property
    def slots(self) -> int:
        """How many there are."""
        return self.keys[0].shape[0]

    @property
    def capacity(self) -> int:
        """Tokens that each slot can hold."""
        return self.keys[0].shape[2]

    def fits(self, slots: int, tokens: int) -> bool:
        """Whether so many slots of so many tokens stay within the limit."""
        return slots * tokens * self.token_bytes <= self.limit

    def make_room(self, slots: int, tokens: int, *, most: tuple[int, int]) -> None:
        """Have at least `slots` slots of `tokens` tokens; those below `slots` keep what they hold.

        What must grow is doubled, within the limit and `most`. Slots at or above `slots` may be given up for it.

        Args:
            slots: Needed now.
            tokens: Needed now, of each.
            most: Slots and tokens that will ever be needed, as far as is known.
        """
        if slots <= self.slots and tokens <= self.capacity:
            return
        count = self.slots if slots <= self.slots else max(slots, min(2 * self.slots, most[0]))
        capacity = self.capacity if tokens <= self.capacity else max(tokens, min(2 * self.capacity, most[1]))
        if not self.fits(slots, capacity):
            capacity = max(tokens, self.limit // (slots * self.token_bytes))
        if not self.fits(count, capacity):
            count = max(slots, self.limit // (capacity * self.token_bytes))
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):  # one after the other: only one exists twice
                tensors[layer] = _resized(old, count, capacity)

    def copy(self, layer: int, source: int, slot: int, tokens: int) -> None:
        """Copy the first `tokens` tokens of slot `source` into `slot`, in one layer."""
        for tensors in (self.keys, self.values):
            tensors[layer][slot, :, :tokens] = tensors[layer][source, :, :tokens]


def _resized(old: Tensor, slots: int, capacity: int) -> Tensor:
    """(slots, kv_heads, capacity, d) with what of `old` has a place in it, and zeros."""
    new = old.new_zeros(slots, old.shape[1], capacity, old.shape[3])
    part = old[:slots, :, :capacity]
    new[: part.shape[0], :, : part.shape[2]] = part
    return new
