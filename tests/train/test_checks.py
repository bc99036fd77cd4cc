"""Each check sees the fault it is for, and lets a good run pass."""

import math

import pytest
import torch
from tests.tiny_training import lora_settings, make_job, small, text_examples
from torch import nn

from tuneloop.errors import TrainError
from tuneloop.model.adapt import METHODS
from tuneloop.train.checks import (
    check_frozen,
    check_gradients,
    check_loss,
    check_moved,
    frozen_sums,
    snapshot,
)
from tuneloop.train.loop import train


class Mixture(nn.Module):
    """Two weights that train, one that is frozen, and a single expert that no token is routed to."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.far = nn.Parameter(torch.tensor([0.5]))
        self.still = nn.Parameter(torch.arange(1000, dtype=torch.float32), requires_grad=False)
        self.mlp = nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(1, 1, bias=False)])})

    def loss(self) -> torch.Tensor:
        return self.near.sum() * self.far.sum()


@pytest.fixture
def model() -> Mixture:
    return Mixture()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number(loss):
    check_loss(3.0, 7)
    with pytest.raises(TrainError, match=r"at step 7.*learning_rate"):
        check_loss(loss, 7)


def test_gradients_that_are_there_pass_and_idle_experts_are_told(model, capsys):
    model.loss().backward()
    check_gradients(model)
    assert "1 tensors of routed experts" in capsys.readouterr().err


def test_a_tensor_without_a_gradient(model):
    model.loss().backward()
    model.far.grad = None
    with pytest.raises(TrainError, match=r"1 trainable tensors got no gradient.*far"):
        check_gradients(model)


EXPERTS = ("gate_up_proj", "down_proj")


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_in_one_tensor_may_not_be_without_a_gradient(name):
    model = small("deepseek_v3")
    model(input_ids=torch.arange(3, 60)[None]).logits.sum().backward()
    check_gradients(model)
    fused = model.model.layers[1].mlp.experts.get_parameter(name)
    assert fused.dim() == 3 and fused.shape[0] == 4
    fused.grad = None
    with pytest.raises(TrainError, match=rf"1 trainable tensors got no gradient.*experts\.{name}"):
        check_gradients(model)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_in_one_tensor_may_not_stand_still(name):
    model = small("deepseek_v3")
    before, fused = snapshot(model), model.model.layers[1].mlp.experts.get_parameter(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not fused:
                parameter += 1e-3
    with pytest.raises(TrainError, match=rf"1 of \d+ trainable tensors stand still.*experts\.{name}"):
        check_moved(model, before, reach=1.0)
    with torch.no_grad():
        fused[2] += 1e-3  # the other three may have had no token
    check_moved(model, before, reach=1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite(model, value):
    model.loss().backward()
    model.near.grad[1, 0] = value
    with pytest.raises(TrainError, match=r"1 trainable tensors got a gradient that is not finite.*near"):
        check_gradients(model)


def test_a_tensor_that_stood_still(model):
    before = snapshot(model)
    with torch.no_grad():
        model.near[0, 0] += 1e-6
    with pytest.raises(TrainError, match=r"1 of 3 trainable tensors stand still.*far"):
        check_moved(model, before, reach=1.0)
    with torch.no_grad():
        model.far += 1e-6
    check_moved(model, before, reach=1.0)  # the expert stood still, which no token may have asked to move


def test_a_weight_too_large_for_the_rates_so_far_may_stand_still(model):
    """In a warm-up from 1e-7, float32 weights of 50 cannot move yet: that is rounding, not a fault."""
    with torch.no_grad():
        model.far.fill_(50.0)
    before = snapshot(model)
    with torch.no_grad():
        model.near += 1e-3
    check_moved(model, before, reach=3e-7)
    with pytest.raises(TrainError, match="far"):
        check_moved(model, before, reach=1e-4)


@pytest.mark.parametrize("change", [1e-3, -0.5, math.nan])
def test_a_frozen_tensor_that_changed(model, change):
    before = frozen_sums(model)
    assert len(before) == 1
    check_frozen(model, before)
    model.near.data += 1.0  # what trains may change
    check_frozen(model, before)
    model.still.data[3] += change
    with pytest.raises(TrainError, match=r"1 frozen tensors changed.*still"):
        check_frozen(model, before)


def test_a_change_that_keeps_the_sum_is_seen(model):
    before = frozen_sums(model)
    model.still.data[3] += 1.0
    model.still.data[900] -= 1.0
    with pytest.raises(TrainError):
        check_frozen(model, before)


# -- and the loop asks them -------------------------------------------------------------------------------------


def test_the_loop_sees_a_frozen_weight_that_changed(tmp_path):
    model = METHODS["lora"](small("llama"), adapt=lora_settings(), seed=0).model
    frozen = model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight

    def spoil(*_):
        with torch.no_grad():
            frozen[0, 0] += 1e-3

    model.get_base_model().model.register_forward_pre_hook(spoil)
    with pytest.raises(TrainError, match=r"frozen tensors changed.*up_proj"):
        train(model, make_job("generation", text_examples([6] * 8), tmp_path), validate=None)


def test_the_loop_sees_a_weight_that_the_loss_does_not_reach(tmp_path):
    model = small("llama")
    model.spare = nn.Parameter(torch.ones(3))
    with pytest.raises(TrainError, match=r"no gradient at the first step.*spare"):
        train(model, make_job("generation", text_examples([6] * 8), tmp_path), validate=None)


def test_the_loop_sees_a_gradient_that_is_always_zero(tmp_path):
    model = small("llama")
    model.spare = nn.Parameter(torch.ones(3))
    model.model.register_forward_hook(lambda m, a, out: _plus(out, model.spare.sum() * 0.0))
    with pytest.raises(TrainError, match=r"stand still after 3 steps.*spare"):
        train(model, make_job("generation", text_examples([6] * 16), tmp_path), validate=None)


def test_the_loop_sees_experts_that_are_left_out_of_the_graph(tmp_path):
    """As in hiyouga/LLaMA-Factory#6829; the router learns through the experts alone, so it is the third."""
    model = small("deepseek_v3")
    for layer in model.model.layers[1:]:
        layer.mlp.experts.register_forward_hook(lambda module, args, out: out.detach())
    with pytest.raises(TrainError, match=r"3 trainable tensors got no gradient at the first step.*mlp\.experts\."):
        train(model, make_job("generation", text_examples([6] * 8), tmp_path), validate=None)


def _plus(out, extra):
    out.last_hidden_state = out.last_hidden_state + extra
    return out


def test_the_loop_sees_a_loss_that_is_no_number(tmp_path):
    model, calls = small("llama"), []

    def spoil(module, args, out):
        calls.append(1)
        return _plus(out, math.nan if len(calls) == 2 else 0.0)

    model.model.register_forward_hook(spoil)
    with pytest.raises(TrainError, match=r"is nan at step 2"):
        train(model, make_job("generation", text_examples([6] * 12), tmp_path), validate=None)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters()), "it was seen before the update"


def test_the_loop_refuses_a_validation_loss_that_is_no_number(tmp_path):
    job = make_job("generation", text_examples([6] * 12), tmp_path)
    with pytest.raises(TrainError, match=r"loss is nan at step 3"):
        train(small("llama"), job, validate=lambda model: {"loss": math.nan})


def test_a_slow_warm_up_over_large_weights_is_no_fault(tmp_path):
    model = small("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.input_layernorm.weight.fill_(40.0)
    rows = text_examples([6] * 16)
    train(model, make_job("generation", rows, tmp_path, learning_rate=5e-5, warmup_steps=500), validate=None)
