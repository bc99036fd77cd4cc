"""The padding-free decoder against the modules of transformers: states, losses, every gradient, several steps."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_training import (
    examples_of,
    lora_settings,
    network_of,
    settings,
    small,
    small_classifier,
    stir,
    text_examples,
)
from torch import nn

from tuneloop.examples.batch import collate
from tuneloop.loss.total import LOSSES
from tuneloop.model.adapt import METHODS
from tuneloop.model.decoder import KINDS, why_not
from tuneloop.model.heads import padded_states
from tuneloop.model.reader import choose_reader, halved_weights
from tuneloop.train.optim import make_optimizer

LENGTHS, WEIGHTS = [9, 4, 31, 2, 7, 28, 3, 5, 8], [1.0, 0.5, 2.0, 1.5, 1.0, 1.0, 0.25, 1.0, 1.0]
TASKS = {
    "generation": {},
    "classification": {"pooling": "mean"},
    "classification, last token": {"pooling": "last"},
    "classification, both ways": {"attention": "bidirectional"},
}


def adapted(architecture: str, method: str, task: str) -> nn.Module:
    """A model with moved adapters (or all weights trainable), as training would have it."""
    if task == "generation":
        model: nn.Module = METHODS[method](small(architecture), adapt=lora_settings(), seed=1).model
    else:
        model = small_classifier(architecture, **TASKS[task])
        wrapped = METHODS[method](model.backbone, adapt=lora_settings(), seed=1).model
        model.backbone = wrapped
        if method == "full":
            wrapped.get_output_embeddings().requires_grad_(architecture == "llama")  # the others' own is not run
    if method == "lora":
        stir(model)
    return model


def loss_and_gradients(model: nn.Module, task: str, *, fast: bool) -> tuple[float, dict[str, torch.Tensor]]:
    reader = choose_reader(network_of(model), fast=True)
    assert reader.packed, reader.reason
    rows = examples_of(task.partition(",")[0], LENGTHS, weights=WEIGHTS)
    model.zero_grad()
    found = LOSSES[task.partition(",")[0]](model, collate(rows, 0), reader.read if fast else None)
    found.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return float(found.loss.detach()), gradients


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", KINDS)
def test_loss_and_gradients_are_those_of_the_modules(architecture: str, task: str, method: str):
    model = adapted(architecture, method, task)
    wanted, plain = loss_and_gradients(model, task, fast=False)
    found, ours = loss_and_gradients(model, task, fast=True)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert set(ours) == set(plain) == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, gradient in plain.items():
        assert float((ours[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-7, name


@pytest.mark.parametrize("task", ["generation", "classification, both ways"])
@pytest.mark.parametrize("architecture", KINDS)
def test_training_goes_the_same_way(architecture: str, task: str):
    losses = []
    for fast in (False, True):
        model = adapted(architecture, "lora", task)
        optimizer = make_optimizer(model, settings(learning_rate=5e-3))
        taken = []
        for _ in range(10):
            loss, gradients = loss_and_gradients(model, task, fast=fast)
            taken.append(loss)
            optimizer.step()
        losses.append((taken, gradients))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)
    assert losses[0][0][0] > losses[0][0][-1] * 1.01  # it learnt
    for name, gradient in losses[0][1].items():
        assert float((losses[1][1][name] - gradient).norm()) <= 1e-3 * float(gradient.norm()) + 1e-6, name


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("architecture", KINDS)
def test_states_are_those_of_the_modules_and_of_no_other_row(architecture: str, causal: bool):
    model = small(architecture)
    batch = collate(text_examples(LENGTHS), 0)
    fast = choose_reader(model, fast=True)
    with torch.no_grad():
        found = fast.read(batch.input_ids, batch.attention_mask, causal, None)
        padded = padded_states(model, batch.input_ids, batch.attention_mask, causal=causal)
        wanted = padded[batch.attention_mask.bool()]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        batch.input_ids[2, :31] = (batch.input_ids[2, :31] + 1) % 90 + 3  # another third row
        moved = (fast.read(batch.input_ids, batch.attention_mask, causal, None) - found).abs().amax(1)
        # Experts compute the tokens of all rows in one product, whose sums may be cut otherwise now.
        moved = moved > (1e-5 if architecture == "deepseek_v3" else 0)
    owner = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    assert (moved == (owner == 2)).all()


def test_nothing_below_the_lowest_trainable_layer_is_kept_or_given_a_gradient():
    model = METHODS["lora"](small("llama"), adapt=lora_settings(), seed=1).model
    stir(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".layers.1." in name and "lora" in name)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    batch = collate(text_examples([16, 16]), 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        choose_reader(model, fast=True).read(batch.input_ids, batch.attention_mask, True, None)
        one_block = sum(kept)
        kept.clear()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora" in name)
        choose_reader(model, fast=True).read(batch.input_ids, batch.attention_mask, True, None)
    assert one_block < 0.7 * sum(kept)


def test_halved_weights_change_no_figure_and_come_back():
    model = METHODS["lora"](small("llama"), adapt=lora_settings(), seed=1).model
    stir(model)
    for name, parameter in model.named_parameters():
        if "layers.0" in name and "base_layer" in name:
            parameter.data = parameter.data.bfloat16().float()  # published weights; those of layer 1 are not exact
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    wanted = loss_and_gradients(model, "generation", fast=True)
    with halved_weights(model) as saved:
        kinds = {name: p.dtype for name, p in model.named_parameters() if p.dtype != torch.float32}
        assert len(kinds) == 7 and all("layers.0" in name for name in kinds)
        assert saved == sum(2 * before[name].numel() for name in kinds)
        found = loss_and_gradients(model, "generation", fast=True)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    for name, gradient in wanted[1].items():  # the products are cut otherwise, so sums are rounded otherwise
        assert float((found[1][name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name
    assert all(torch.equal(p, before[name]) and p.dtype == torch.float32 for name, p in model.named_parameters())


def test_where_it_does_not_apply_it_says_why():
    assert why_not(small("bert")) == (
        "its architecture is bert; the padding-free decoder knows llama, qwen2, deepseek_v3"
    )
    assert "dropout" in why_not(METHODS["lora"](small("llama"), adapt=lora_settings(dropout=0.1), seed=1).model)
    assert "float32" in why_not(small("llama").to(torch.bfloat16))
    assert why_not(METHODS["lora"](small("qwen2"), adapt=lora_settings(), seed=1).model) == ""
    windows = small("qwen2")
    windows.config.layer_types = ["full_attention", "sliding_attention"]
    assert "window" in why_not(windows)
    growing = small("llama")
    growing.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert "dynamic" in why_not(growing)
    odd = small("llama")
    odd.config.hidden_act = "gelu"
    assert "gelu" in why_not(odd)
    twice = METHODS["lora"](small("llama"), adapt=lora_settings(), seed=1).model
    twice.merge_adapter()
    assert "adapter" in why_not(twice)
    assert choose_reader(small("bert"), fast=True).reason and not choose_reader(small("llama"), fast=False).packed
