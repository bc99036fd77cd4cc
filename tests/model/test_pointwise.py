"""Norm, gate and rotation: each way against autograd over the formulas of transformers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from tuneloop.model import pointwise
from tuneloop.model.pointwise import gated, gated_again, norm, norm_again, turned

EPS = 1e-5


class Swiglu(torch.autograd.Function):
    """As liger_kernel.ops.swiglu does: rows in one piece, gradients written over what was read."""

    @staticmethod
    def forward(ctx, a, b):
        assert a.is_contiguous() and b.is_contiguous()
        ctx.save_for_backward(a, b)
        return silu(a.float()).to(b.dtype) * b

    @staticmethod
    def backward(ctx, dc):
        a, b = ctx.saved_tensors
        with torch.enable_grad():
            own = [x.detach().float().requires_grad_() for x in (a, b)]
            grads = torch.autograd.grad(silu(own[0]) * own[1], own, dc.float())
        a.copy_(grads[0]), b.copy_(grads[1])
        return a, b


class Rope(torch.autograd.Function):
    """As liger_kernel.ops.rope does: (1, heads, T, d) that lie as (1, T, heads, d), turned in place."""

    @staticmethod
    def forward(ctx, q, k, cos, sin):
        ctx.save_for_backward(cos, sin)
        for x in (q, k):
            assert x.transpose(1, 2).is_contiguous() and cos.shape == (1, x.shape[2], x.shape[3])
            _turn(x.detach(), cos, sin)
        return q.transpose(1, 2).transpose(1, 2), k.transpose(1, 2).transpose(1, 2), cos.clone(), sin.clone()

    @staticmethod
    def backward(ctx, dq, dk, *rest):
        cos, sin = ctx.saved_tensors
        found = [d.clone() for d in (dq, dk)]
        for x in found:
            _turn(x, cos, -sin)
        return *found, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    turned, _ = apply_rotary_pos_emb(x, x, cos, sin)
    x.copy_(turned)


LIGER = SimpleNamespace(liger_swiglu=Swiglu.apply, liger_rope=Rope.apply)


@pytest.fixture(params=["by hand", "torch", "liger"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way, in float32 on the CPU, so that only the order of sums may differ."""
    if request.param != "by hand":
        monkeypatch.setattr(pointwise, "fused", lambda x: True)
    if request.param == "liger":
        monkeypatch.setattr(pointwise, "_kernels", lambda x: LIGER)
    return request.param


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True), (False, False)])
def test_norm_and_its_gradients(way: str, needs: tuple[bool, bool]):
    module = LlamaRMSNorm(24, EPS)
    module.weight.data += 0.3 * drawn(24, seed=1)
    x = (3 * drawn(11, 24)).requires_grad_()
    wanted, dy = module(x), drawn(11, 24, seed=2)
    grads = torch.autograd.grad(wanted, [x, module.weight], dy)
    made, scale = norm(x.detach(), module.weight.detach(), EPS)
    again, back = norm_again(x.detach(), module.weight.detach(), EPS, scale, needs)
    torch.testing.assert_close(made, wanted)
    torch.testing.assert_close(again, wanted)
    for found, gradient, need in zip(back(dy.clone()), grads, needs, strict=True):
        assert (found is not None) == need
        if need:
            torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-5)


def test_gate_and_its_gradients(way: str):
    gate, up = (drawn(7, 12, seed=seed).requires_grad_() for seed in (3, 4))
    wanted, dy = silu(gate) * up, drawn(7, 12, seed=5)
    grads = torch.autograd.grad(wanted, [gate, up], dy)
    read = [gate.detach().clone(), up.detach().clone()]
    torch.testing.assert_close(gated(*read), wanted)
    inner, back = gated_again(*read)
    torch.testing.assert_close(inner, wanted)
    torch.testing.assert_close(torch.cat(list(back(dy.clone())), 1), torch.cat(grads, 1))


def test_rotation_and_its_gradients(way: str):
    q, k = drawn(9, 4, 8, seed=6).requires_grad_(), drawn(9, 2, 8, seed=7).requires_grad_()
    turn = torch.arange(9)[:, None] / 10.0 ** (torch.arange(4) / 4)
    whole = torch.cat([turn, turn], 1)[None]
    wanted = apply_rotary_pos_emb(q.transpose(0, 1)[None], k.transpose(0, 1)[None], whole.cos(), whole.sin())
    wanted = [one[0].transpose(0, 1) for one in wanted]
    back = [drawn(9, 4, 8, seed=8), drawn(9, 2, 8, seed=9)]
    grads = torch.autograd.grad(wanted, [q, k], back)
    own = [q.detach().clone().requires_grad_(), k.detach().clone().requires_grad_()]
    found = turned(*(one * 1.0 for one in own), turn.cos()[:, None], turn.sin()[:, None])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
    for mine, theirs in zip(torch.autograd.grad(found, own, back), grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_bfloat16_is_rounded_where_the_modules_round_it():
    module = LlamaRMSNorm(64, EPS).requires_grad_(False)
    module.weight.copy_(1 + 0.3 * drawn(64, seed=3).bfloat16())
    module.weight.copy_(module.weight.bfloat16())
    x = drawn(33, 64).bfloat16()
    exact = module(x.float())
    module.bfloat16()
    theirs, ours = module(x).float(), norm(x, module.weight, EPS)[0].float()
    assert float((ours - exact).norm()) <= 1.01 * float((theirs - exact).norm())
    gate, up = drawn(33, 64, seed=1).bfloat16(), drawn(33, 64, seed=2).bfloat16()
    assert torch.equal(gated(gate, up), silu(gate) * up)


@pytest.mark.gpu
def test_liger_is_what_the_stand_in_is(monkeypatch: pytest.MonkeyPatch):
    functional = pytest.importorskip("liger_kernel.transformers.functional", reason="needs the extra gpu")
    gate, up, dy = (drawn(33, 64, seed=seed).bfloat16().cuda() for seed in (1, 2, 3))
    q, k, dq, dk = (drawn(33, heads, 16, seed=heads).bfloat16().cuda() for heads in (4, 2, 4, 2))
    cos, sin = (drawn(33, 1, 8, seed=seed).bfloat16().cuda() for seed in (4, 5))
    found: list[list[Tensor]] = []
    for kernels in (functional, LIGER):
        monkeypatch.setattr(pointwise, "_kernels", lambda x, kernels=kernels: kernels)
        inner, back = gated_again(gate.clone(), up.clone())
        own = [q.clone().requires_grad_(), k.clone().requires_grad_()]
        made = turned(*(one * 1 for one in own), cos, sin)
        kept = [one.detach().clone() for one in made]
        found.append([inner, *back(dy.clone()), *kept, *torch.autograd.grad(made, own, [dq.clone(), dk.clone()])])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=2e-2)
