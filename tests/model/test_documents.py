"""Attention of documents end to end against one call a document, and how documents are grouped."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tuneloop.model.documents import DocumentAttention, Layout, causal_stripes, make_groups

HEADS, KV_HEADS, SIZE = 4, 2, 8
WIDTH = (HEADS + 2 * KV_HEADS) * SIZE


def angles(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    positions = torch.cat([torch.arange(length) for length in lengths]).float()
    turn = positions[:, None] / 10.0 ** (torch.arange(SIZE // 2) / 4)  # (T, d/2)
    return turn.cos()[:, None], turn.sin()[:, None]


def one_by_one(qkv: torch.Tensor, lengths: list[int], *, causal: bool) -> torch.Tensor:
    """Each document by itself, with transformers' rotation and repeated key heads."""
    cos, sin = (torch.cat([angle, angle], -1)[:, 0] for angle in angles(lengths))
    found, start = [], 0
    for length in lengths:
        rows = slice(start, start + length)
        parts = qkv[rows].view(1, length, -1, SIZE).transpose(1, 2).split([HEADS, KV_HEADS, KV_HEADS], 1)
        q, k = apply_rotary_pos_emb(parts[0], parts[1], cos[None, rows], sin[None, rows])
        k, v = (part.repeat_interleave(HEADS // KV_HEADS, 1) for part in (k, parts[2]))
        found.append(scaled_dot_product_attention(q, k, v, is_causal=causal)[0].transpose(0, 1).flatten(1))
        start += length
    return torch.cat(found)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "lengths", [[5], [7, 7, 7], [20, 19, 15, 3, 2, 1], [1, 1], [3, 30, 4, 29], [300, 256, 193, 5], [191, 190]]
)
def test_result_and_gradient_are_those_of_each_document_alone(lengths: list[int], causal: bool):
    torch.manual_seed(1)
    qkv = torch.randn(sum(lengths), WIDTH, requires_grad=True)
    wanted = one_by_one(qkv, lengths, causal=causal)
    back = torch.randn_like(wanted)
    (wanted_grad,) = torch.autograd.grad(wanted, qkv, back)
    layout = Layout(make_groups(lengths), *angles(lengths), causal)
    packed = qkv.detach().clone().requires_grad_()
    found = DocumentAttention.apply(packed * 1.0, layout, HEADS, KV_HEADS)
    (grad,) = torch.autograd.grad(found, packed, back)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-5, atol=1e-5)


def test_documents_do_not_see_each_other():
    lengths = [9, 8, 4, 4]
    torch.manual_seed(2)
    qkv = torch.randn(25, WIDTH)
    changed = qkv.clone()
    changed[9:17] = torch.randn(8, WIDTH)  # the second document
    layout = Layout(make_groups(lengths), *angles(lengths), causal=False)
    first, second = (DocumentAttention.apply(x.clone(), layout, HEADS, KV_HEADS) for x in (qkv, changed))
    moved = (first != second).any(1)
    assert moved[9:17].all() and not moved[:9].any() and not moved[17:].any()


def test_groups_hold_documents_of_like_length_in_their_order():
    lengths = [200, 190, 165, 100, 95, 30, 25, 24, 10, 3]
    groups = make_groups(lengths)
    assert [group.lengths for group in groups] == [(200,), (190,), (165,), (100, 95), (30, 25, 24, 10), (3,)]
    assert [group.rows for group in groups][2:5] == [slice(390, 555), slice(555, 750), slice(750, 839)]
    assert [group.longest for group in groups] == [200, 190, 165, 100, 30, 3]
    (even,) = make_groups([4, 4])
    assert even.places is None and even.mask is None


@pytest.mark.parametrize("length", [1, 191, 192, 255, 256, 257, 512])
def test_stripes_see_every_causal_pair_once_and_no_other(length: int):
    (group,) = make_groups([length])
    pairs = torch.zeros(length, length)
    for stripe in causal_stripes(group):
        seen = torch.zeros(length, length)[stripe.start : stripe.end, : stripe.end]
        if stripe.mask is None:
            assert stripe.causal and stripe.start == 0
            pairs[stripe.start : stripe.end, : stripe.end] += torch.ones_like(seen).tril()
        else:
            assert not stripe.causal and stripe.mask.shape == (1, 1, *seen.shape)
            pairs[stripe.start : stripe.end, : stripe.end] += stripe.mask[0, 0].exp()
    assert torch.equal(pairs, torch.ones(length, length).tril())
    assert len(causal_stripes(group)) == (1 if length < 192 else -(-length // 128))
