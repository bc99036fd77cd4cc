"""One contract for every method of METHODS, on every architecture."""

import pytest
import torch
from tests.tiny_training import (
    ALL,
    DECODERS,
    LABELS,
    class_examples,
    lora_settings,
    make_job,
    small,
    stir,
    text_examples,
    weights_of,
)

from tuneloop.errors import RecipeError
from tuneloop.examples.batch import collate
from tuneloop.loss.total import generation_loss
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.train.loop import train

IDS = torch.tensor([[5, 9, 33, 60, 7, 21]])


def output(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found = model(input_ids=IDS)
    return found[0]  # logits, or BERT's states


def test_there_are_methods():
    assert sorted(METHODS) == ["full", "lora"]


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_fresh_attachment_changes_nothing_and_a_stirred_one_does(method, architecture):
    before = output(small(architecture))
    adapted = METHODS[method](small(architecture), adapt=lora_settings(), seed=0)
    assert torch.equal(output(adapted.model.eval()), before)
    assert adapted.trainable == tuple(n for n, p in adapted.model.named_parameters() if p.requires_grad)
    stir(adapted.model)
    assert float((output(adapted.model) - before).abs().max()) > 1e-2


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_exactly_what_trains_gets_a_gradient(method, architecture):
    adapted = METHODS[method](small(architecture), adapt=lora_settings(), seed=0)
    stir(adapted.model, 0.02)
    adapted.model.train()
    generation_loss(adapted.model, collate(text_examples([16, 9, 12, 14]), 0)).loss.backward()
    reached = tuple(name for name, p in adapted.model.named_parameters() if p.grad is not None and bool(p.grad.any()))
    assert reached == adapted.trainable
    kinds = {name.partition(".lora_")[0].rpartition(".")[2] for name in reached}
    if architecture == "deepseek_v3" and method == "lora":
        assert kinds == {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}
    elif method == "lora":
        assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    if method == "full":
        assert len(reached) == len(list(adapted.model.parameters()))
    else:
        assert all(".lora_A." in name or ".lora_B." in name for name in reached) and len(reached) >= 20
        assert not any("lm_head" in name or "embed" in name for name in reached)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_training_moves_what_trains_and_nothing_else(method, tmp_path):
    adapted = METHODS[method](small("llama"), adapt=lora_settings(), seed=0)
    before = {name: p.detach().clone() for name, p in adapted.model.named_parameters()}
    train(adapted.model, make_job("generation", text_examples([9] * 16), tmp_path), validate=None)
    moved = tuple(name for name, p in adapted.model.named_parameters() if not torch.equal(p, before[name]))
    assert moved == adapted.trainable


def test_lora_starts_from_its_seed_and_leaves_the_generator_alone():
    torch.manual_seed(11)
    state = torch.get_rng_state()
    found = [weights_of(METHODS["lora"](small("llama"), adapt=lora_settings(), seed=s).model) for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_lora_adds_alpha_over_rank_times_b_a():
    model = METHODS["lora"](small("llama"), adapt=lora_settings(rank=2, alpha=6.0), seed=0).model
    stir(model)
    layer = model.get_base_model().model.layers[1].mlp.up_proj
    x = torch.randn(5, 32)
    with torch.no_grad():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert a.shape[0] == b.shape[1] == 2
        wanted = layer.base_layer(x) + 3.0 * x @ a.T @ b.T
        assert torch.allclose(layer(x), wanted, atol=1e-5)


def test_dropout_is_what_was_asked():
    model = METHODS["lora"](small("llama"), adapt=lora_settings(dropout=0.5), seed=0).model
    stir(model)
    assert torch.equal(output(model.eval()), output(model))
    assert not torch.equal(output(model.train()), output(model))


def test_adapters_of_a_bfloat16_model_are_float32():
    model = METHODS["lora"](small("llama").bfloat16(), adapt=lora_settings(), seed=0).model
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert METHODS["full"](small("llama").bfloat16(), adapt=lora_settings(), seed=0).model.dtype == torch.float32


@pytest.mark.parametrize("target", ["q_proj", ["q_proj", "down_proj"]])
def test_targets_are_what_was_asked(target):
    adapted = METHODS["lora"](small("llama"), adapt=lora_settings(target=target), seed=0)
    kinds = {name.partition(".lora_")[0].rpartition(".")[2] for name in adapted.trainable}
    assert kinds == ({target} if isinstance(target, str) else set(target))


@pytest.mark.parametrize("target", ["qproj", ["q_proj", "w1"], "norm", "proj"])
def test_an_unknown_target_is_refused_and_the_known_ones_are_named(target):
    with pytest.raises(RecipeError, match=r"adapt\.target.*all-linear.*down_proj.*q_proj"):
        METHODS["lora"](small("llama"), adapt=lora_settings(target=target), seed=0)


@pytest.mark.parametrize("target", ["lm_head", ["q_proj", "lm_head"]])
def test_the_language_head_is_no_target_since_the_loss_reads_its_plain_weight(target):
    with pytest.raises(RecipeError, match=r"lm_head"):
        METHODS["lora"](small("qwen2"), adapt=lora_settings(target=target), seed=0)


def test_the_experts_of_deepseek_are_no_target_since_peft_would_take_the_router_too():
    with pytest.raises(RecipeError, match=r"gate_proj.*kv_b_proj"):
        METHODS["lora"](small("deepseek_v3"), adapt=lora_settings(target=["gate_proj", "up_proj"]), seed=0)


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_classifier_around_each_method_trains(method, architecture, tmp_path):
    """Qwen2 and DeepSeek-V3 have a language head of their own, which a classifier never runs."""
    network = METHODS[method](small(architecture), adapt=lora_settings(), seed=0).model
    model = Classifier(network, LABELS, pooling="mean", attention="causal")
    before = model.head.weight.detach().clone()
    train(model, make_job("classification", class_examples([9] * 16), tmp_path), validate=None)
    assert not torch.equal(model.head.weight, before)
