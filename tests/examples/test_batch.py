"""Batches: padding, masks, micro-batches and the order of rows."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.examples.batch import collate, epoch_order, micro_batches
from tuneloop.examples.encode import IGNORED, Example


def example(size: int, name: str = "r") -> Example:
    return Example(name, list(range(1, size + 1)), [IGNORED, *range(2, size + 1)], target=size, weight=0.5, length=size)


def test_collate_pads_on_the_right_and_masks_by_length() -> None:
    # 3 is the pad token and also a token of the rows: EOS.
    batch = collate([example(3, "a"), example(5, "b")], pad_token_id=3).to("cpu")
    assert batch.input_ids.tolist() == [[1, 2, 3, 3, 3], [1, 2, 3, 4, 5]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[IGNORED, 2, 3, IGNORED, IGNORED], [IGNORED, 2, 3, 4, 5]]
    assert batch.targets.tolist() == [3, 5] and batch.weights.tolist() == [0.5, 0.5] and batch.row_ids == ["a", "b"]
    assert (
        batch.input_ids.dtype == batch.attention_mask.dtype == batch.labels.dtype == batch.targets.dtype == torch.int64
    )
    assert batch.weights.dtype == torch.float32


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_micro_batches_hold_every_row_once_within_the_area(sizes: list[int], max_tokens: int) -> None:
    examples = [example(size, str(place)) for place, size in enumerate(sizes)]
    batches = micro_batches(examples, max_tokens)
    assert sorted(e.row_id for batch in batches for e in batch) == sorted(e.row_id for e in examples)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(e.input_ids) for e in batch) <= max_tokens
    lengths = [len(e.input_ids) for batch in batches for e in batch]
    assert lengths == sorted(lengths, reverse=True)
    for full in batches[:-1]:
        assert (len(full) + 1) * len(full[0].input_ids) > max_tokens, "filled before the next is begun"


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_packed_micro_batches_count_real_tokens_alone(sizes: list[int], max_tokens: int) -> None:
    examples = [example(size, str(place)) for place, size in enumerate(sizes)]
    batches = [[len(e.input_ids) for e in batch] for batch in micro_batches(examples, max_tokens, packed=True)]
    assert [size for batch in batches for size in batch] == sorted(sizes, reverse=True)
    assert all(len(batch) == 1 or sum(batch) <= max_tokens for batch in batches)
    for batch, after in pairwise(batches):
        assert sum(batch) + after[0] > max_tokens, "filled before the next is begun"


@given(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 100))
def test_epoch_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    assert order == epoch_order(count, seed, epoch)


def test_epoch_order_changes_with_seed_and_epoch_and_never_with_the_machine() -> None:
    assert epoch_order(8, 42, 0) == [7, 1, 0, 6, 3, 2, 5, 4]
    assert len({tuple(epoch_order(20, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
