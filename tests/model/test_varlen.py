"""Attention of queries, keys and values that lie apart: all documents at once, and group by group."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from tests.model.test_documents import HEADS, KV_HEADS, SIZE, WIDTH, angles, one_by_one
from torch import Tensor
from torch.nn.attention import varlen as torch_varlen
from torch.nn.functional import scaled_dot_product_attention

from tuneloop.model import varlen
from tuneloop.model.documents import Layout
from tuneloop.model.varlen import attend, make_layout, why_not_at_once

SIGNATURE = inspect.signature(torch_varlen.varlen_attn)


def document_by_document(*args, **named) -> Tensor:
    """What torch's varlen_attn computes on a GPU, by its own signature: each document by itself."""
    asked = SIGNATURE.bind(*args, **named)
    asked.apply_defaults()
    q, k, v, ends = (asked.arguments[name] for name in ("query", "key", "value", "cu_seq_q"))
    assert ends.dtype == torch.int32 and asked.arguments["cu_seq_k"] is ends
    assert asked.arguments["enable_gqa"] == (q.shape[1] != k.shape[1])
    cuts = ends.tolist()
    assert cuts[0] == 0 and cuts[-1] == len(q) == len(k) == len(v)
    lengths = [end - start for start, end in itertools.pairwise(cuts)]
    assert asked.arguments["max_q"] == asked.arguments["max_k"] == max(lengths)
    causal = {(-1, 0): True, (-1, -1): False}[tuple(asked.arguments["window_size"])]
    found = [
        scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in parts), is_causal=causal, enable_gqa=True)
        for parts in zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    ]
    return torch.cat([one[0].transpose(0, 1) for one in found])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes the way of a GPU, whose kernel is written out."""
    monkeypatch.setattr(torch_varlen, "varlen_attn", document_by_document)
    monkeypatch.setattr(varlen, "runs_at_once", lambda x: True)


@pytest.fixture(params=["at once", "by groups"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "at once":
        request.getfixturevalue("at_once")
    return request.param


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [[5], [7, 7, 7], [20, 19, 15, 3, 2, 1], [1, 1], [3, 30, 4, 29]])
def test_result_and_gradients_are_those_of_each_document_alone(lengths: list[int], causal: bool, way: str):
    torch.manual_seed(1)
    qkv = torch.randn(sum(lengths), WIDTH, requires_grad=True)
    wanted = one_by_one(qkv, lengths, causal=causal)
    back = torch.randn_like(wanted)
    (wanted_grad,) = torch.autograd.grad(wanted, qkv, back)
    layout = make_layout(lengths, *angles(lengths), causal=causal)
    assert (layout.ends is None) == (way == "by groups")
    widths = [HEADS * SIZE, KV_HEADS * SIZE, KV_HEADS * SIZE]
    parts = [part.detach().clone().requires_grad_() for part in qkv.split(widths, 1)]
    found = attend(parts, layout, HEADS, KV_HEADS)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad(found, parts, back)
    torch.testing.assert_close(torch.cat(grads, 1), wanted_grad, rtol=1e-5, atol=1e-5)


def test_the_device_and_dtype_choose_the_way():
    for dtype, device, once in (
        (torch.bfloat16, "meta", True), (torch.float32, "meta", False), (torch.bfloat16, "cpu", False)
    ):  # fmt: skip
        cos = torch.ones(9, 1, 4, dtype=dtype, device=device)
        layout: Layout = make_layout([5, 3, 1], cos, cos, causal=True)
        assert (layout.ends is not None) == (not layout.groups) == once
        if once:
            assert layout.ends.device.type == device and layout.ends.shape == (4,) and layout.longest == 5


def test_where_it_cannot_run_it_says_why(monkeypatch: pytest.MonkeyPatch):
    device = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert why_not_at_once(64, device) == why_not_at_once(256, device) == ""
    assert "multiple of 8" in why_not_at_once(60, device) and "at most 256" in why_not_at_once(512, device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "8.0" in why_not_at_once(64, device)
    monkeypatch.setattr(torch_varlen, "varlen_attn", lambda query, key, value: None)
    assert "grouped heads" in why_not_at_once(64, device)
