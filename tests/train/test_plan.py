"""What a run costs, counted: against real models, and by hand."""

import pytest
import torch
from tests.tiny_models import MAKERS
from tests.tiny_training import ALL, LABELS, lora_settings, settings, small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DeepseekV3Config

from tuneloop.examples.batch import tokens_at_once
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.model.saved import parameter_counts
from tuneloop.recipe import Adapt
from tuneloop.train.plan import (
    estimate_memory,
    measure_gemm,
    micro_batch_tokens,
    saved_against_full,
    sizes_of,
    training_flops,
)


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_counted_parameters_are_those_of_the_real_model(architecture, method):
    assert len(METHODS) == 2
    model = small(architecture)
    adapt = Adapt(method=method, rank=4, alpha=8.0)
    sizes = sizes_of(model.config.to_dict() | {"architectures": [type(model).__name__]}, adapt)
    every = {name: p.numel() for name, p in model.named_parameters()}
    table = 97 * 32
    vocabulary = table if architecture in ("llama", "bert") else 2 * table
    real = METHODS[method](small(architecture), adapt=adapt, seed=0).model
    assert sizes.vocabulary == vocabulary
    assert sizes.output == (0 if architecture == "bert" else table)
    assert sizes.blocks == sum(every.values()) - vocabulary
    assert sizes.active == sizes.blocks - (2 * 3 * 32 * 16 if architecture == "deepseek_v3" else 0)  # 2 of 4 experts
    assert sizes.trainable == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert (sizes.layers, sizes.width, sizes.vocabulary_size) == (2, 32, 97)
    counts = parameter_counts(real)
    assert counts["trainable"] == sizes.trainable
    assert counts["all"] == sizes.blocks + sizes.vocabulary + (sizes.trainable if method == "lora" else 0)


def test_counting_loads_no_weight():
    config = small("llama").config.to_dict() | {"hidden_size": 16384, "num_hidden_layers": 40, "head_dim": 4096}
    sizes = sizes_of(config | {"architectures": ["LlamaForCausalLM"]}, Adapt())
    assert sizes.blocks > 5e9  # 20 GB, were they there


def matrix_flops(model: nn.Module, ids: torch.Tensor, *, full: bool) -> float:
    """FLOPs of one step over blocks of linear layers, from the shapes that went through: 2 m n k a product."""
    total = 0.0

    def count(module, args, out):
        nonlocal total
        product = 2.0 * args[0].numel() * module.weight.shape[0]
        total += product * (3 if full or module.weight.requires_grad else 2)

    hooks = [
        m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Linear) and m is not model.lm_head
    ]
    with torch.no_grad():
        model.model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("method", sorted(METHODS))
def test_flops_of_the_blocks_are_those_of_their_matrix_products(method):
    """Norms and biases are counted as parameters too; in this model they are under 2 % of them."""
    model = METHODS[method](small("llama"), adapt=lora_settings(), seed=0).model
    counts = parameter_counts(model)
    plain = model.get_base_model() if method == "lora" else model
    added = counts["trainable"] if method == "lora" else 0
    body = counts["all"] - counts["vocabulary"] - added
    counted = training_flops(body=body, added=added, output=0, tokens=2 * 7, trained_tokens=0)
    by_shape = matrix_flops(plain, torch.randint(97, (2, 7)), full=method == "full")
    assert counted == pytest.approx(by_shape, rel=0.02)


# The blocks of tiny_models' DeepSeek-V3 by hand: width 32, 3 blocks, the first of them dense. An expert has 16 units,
# shared and routed ones alike.
ATTENTION = 32 * 16 + 16 + 16 * 4 * 16 + 32 * 24 + 16 + 16 * 4 * 16 + 4 * 8 * 32  # q and kv down, norm, up; output
EXPERT, ROUTER = 3 * 32 * 16, 8 * 32
OUTSIDE_EXPERTS = 3 * (ATTENTION + 2 * 32) + 3 * 32 * 48 + 2 * (ROUTER + EXPERT) + 32  # with the shared expert


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_token_goes_through_its_own_experts_only(method):
    model, _ = MAKERS["deepseek_v3"](None)
    adapt = lora_settings(method=method)
    sizes = sizes_of(model.config.to_dict() | {"architectures": ["DeepseekV3ForCausalLM"]}, adapt)
    assert sizes.blocks == OUTSIDE_EXPERTS + 2 * 8 * EXPERT, "memory holds all of them"
    assert sizes.active == OUTSIDE_EXPERTS + 2 * 2 * EXPERT
    adapted = METHODS[method](model, adapt=adapt, seed=0).model
    counts = parameter_counts(adapted)
    assert counts["all"] - counts["active"] == 2 * 6 * EXPERT
    classifier = parameter_counts(Classifier(adapted, LABELS, pooling="mean", attention="causal"))
    assert classifier["all"] - classifier["active"] == 2 * 6 * EXPERT
    saved = saved_against_full(counts, task="generation", method=method, tokens=10, trained_tokens=0)
    if method == "lora":
        ours, full = 4 * sizes.active + 6 * sizes.trainable, 6 * sizes.active
        assert saved["flops"] == pytest.approx(1 - ours / full)
        whole = sizes.blocks + sizes.vocabulary
        assert saved["trainable_parameters"] == pytest.approx(1 - sizes.trainable / whole)


def test_flops_of_experts_are_those_that_torch_counts():
    """Rows of one token, so that attention's own products, which the plan leaves out, are next to nothing."""
    model, _ = MAKERS["deepseek_v3"](None)
    model.set_experts_implementation("eager")  # torch 2.13 does not count grouped products
    states = model.model.embed_tokens(torch.randint(97, (14, 1)))
    with FlopCounterMode(display=False) as counter:
        model.model(inputs_embeds=states).last_hidden_state.sum().backward()
    counts = parameter_counts(model)
    body = counts["active"] - counts["vocabulary"]
    counted = training_flops(body=body, added=0, output=0, tokens=14, trained_tokens=0)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_published_sizes_of_deepseek_v3():
    """arXiv:2412.19437, abstract: 671B parameters, of which 37B are activated for each token."""
    sizes = sizes_of(DeepseekV3Config().to_dict() | {"architectures": ["DeepseekV3ForCausalLM"]}, Adapt())
    assert (sizes.blocks + sizes.vocabulary) // 10**9 == 671
    assert (sizes.active + sizes.vocabulary) // 10**9 == 37


def test_flops_by_hand():
    # forward 2 x 10 x 5, states 2 x 10 x 5, weights 2 x 10 x 5; the head the same three times, at 3 tokens
    assert training_flops(body=10, added=0, output=7, tokens=5, trained_tokens=3) == 3 * 2 * 10 * 5 + 3 * 2 * 7 * 3
    # LoRA: the blocks and the head twice, the adapter three times
    assert training_flops(body=10, added=2, output=7, tokens=5, trained_tokens=3) == 200 + 3 * 2 * 2 * 5 + 2 * 2 * 7 * 3


def test_saved_against_full_by_hand():
    # an untied head, blocks 900 of which 400 are experts that a token passes by
    counts = {"all": 1130, "active": 730, "trainable": 30, "vocabulary": 200, "output": 100}
    found = saved_against_full(counts, task="generation", method="lora", tokens=10, trained_tokens=4)
    ours, full = 4 * 500 * 10 + 6 * 30 * 10 + 4 * 100 * 4, 6 * 500 * 10 + 6 * 100 * 4
    assert found == {"flops": pytest.approx(1 - ours / full), "trainable_parameters": pytest.approx(1 - 30 / 1100)}
    found = saved_against_full(counts, task="classification", method="lora", tokens=10, trained_tokens=0)
    assert found["flops"] == pytest.approx(1 - (4 * 500 + 6 * 30) / (6 * 500))
    assert saved_against_full(counts, task="generation", method="full", tokens=10, trained_tokens=4) == {}


def test_a_classifier_saves_about_a_third():
    network = METHODS["lora"](small("llama"), adapt=lora_settings(rank=1), seed=0).model
    model = Classifier(network, LABELS, pooling="mean", attention="causal")
    counts = parameter_counts(model)
    found = saved_against_full(counts, task="classification", method="lora", tokens=100, trained_tokens=0)
    assert 0.25 < found["flops"] < 1 / 3
    assert found["trainable_parameters"] > 0.9


def test_memory_grows_with_each_part():
    base = {"parameters": 10**8, "trainable": 10**6, "tokens": 256, "layers": 30, "width": 576, "vocabulary": 49_152}
    least = estimate_memory(**base)
    assert 0.9e9 < least < 3e9
    for key in base:
        assert estimate_memory(**base | {key: 2 * base[key]}) > least, key
    assert estimate_memory(**base | {"trainable": 10**8}) - least == pytest.approx(12 * 99 * 10**6)


def test_micro_batch_tokens_are_as_asked_or_as_the_device_likes():
    assert micro_batch_tokens(settings(tokens_per_micro_batch=77)) == 77
    here = "cuda" if torch.cuda.is_available() else "cpu"
    assert micro_batch_tokens(settings()) == tokens_at_once(torch.device(here))


def test_the_machine_is_measured_in_flops_a_second():
    assert 1e8 < measure_gemm(0.05) < 1e16
