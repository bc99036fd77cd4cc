"""DeepSeek-V3's blocks against the modules of transformers, over the settings that its config knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig
from tests.tiny_training import VOCABULARY, lora_settings, text_examples
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Experts,
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_interleave,
)

from tuneloop.examples.batch import collate
from tuneloop.loss.total import LOSSES
from tuneloop.model.adapt import METHODS, wrap_lora
from tuneloop.model.decode import why_not_decode
from tuneloop.model.decoder import Decoder, why_not
from tuneloop.model.deepseek import LatentAttention, LatentShape, RoutedExperts
from tuneloop.model.documents import Layout, make_groups
from tuneloop.model.heads import last_tokens, padded_states
from tuneloop.model.reader import choose_reader, halved_weights

LENGTHS = [13, 12, 31, 2, 7, 28, 3, 5, 8]
YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 16, "mscale": 1.0,
    "mscale_all_dim": 0.7, "beta_fast": 32, "beta_slow": 1,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no latent of q": {"q_lora_rank": None},
    "halves turn": {"rope_interleave": False},
    "yarn": {"rope_parameters": YARN, "max_position_embeddings": 128},
    "long values": {"v_head_dim": 20},
    "values as long as keys": {"v_head_dim": 12},
    "biases": {"attention_bias": True},
    "one group": {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 3},
    "three of four groups": {"n_group": 4, "topk_group": 3, "num_experts_per_tok": 4},
    "shares as they are": {"norm_topk_prob": False, "routed_scaling_factor": 1.7},
    "three shared experts": {"n_shared_experts": 3},
    "no dense block": {"first_k_dense_replace": 0},
    "dense blocks only": {"first_k_dense_replace": 2},
}


def network(**changes: Any) -> DeepseekV3ForCausalLM:
    """Two blocks, the first dense; 8 experts, the first of them never chosen, the others by a bias of their own."""
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
        "num_key_value_heads": 4, "num_hidden_layers": 2, "moe_intermediate_size": 16, "n_routed_experts": 8,
        "n_shared_experts": 1, "num_experts_per_tok": 2, "q_lora_rank": 16, "kv_lora_rank": 12, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8, "v_head_dim": 6, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
        "initializer_range": 0.2, "pad_token_id": 0, "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(0)
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**(settings | changes)))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("bias"):
            nn.init.normal_(tensor, std=0.2)
        if "norm" in name:
            nn.init.normal_(tensor, 1.0, 0.1)
        if name.endswith("e_score_correction_bias"):
            tensor[0] = -10.0
    return model.eval()


def adapted(method: str, **changes: Any) -> nn.Module:
    model = METHODS[method](network(**changes), adapt=lora_settings(), seed=1).model
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model


def loss_and_gradients(model: nn.Module, *, fast: bool) -> tuple[float, dict[str, torch.Tensor]]:
    reader = choose_reader(model, fast=True)
    assert reader.packed, reader.reason
    model.zero_grad()
    found = LOSSES["generation"](model, collate(text_examples(LENGTHS), 0), reader.read if fast else None)
    found.loss.backward()
    return float(found.loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def alike(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-7, name


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_and_gradients_are_those_of_the_modules(variant: str, method: str):
    model = adapted(method, **VARIANTS[variant])
    wanted, plain = loss_and_gradients(model, fast=False)
    found, ours = loss_and_gradients(model, fast=True)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert set(ours) == {name for name, p in model.named_parameters() if p.requires_grad}
    alike(ours, plain)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_states_are_those_of_the_modules_and_of_no_other_row(variant: str, causal: bool):
    model = network(**VARIANTS[variant])
    batch = collate(text_examples(LENGTHS), 0)
    ids, mask = batch.input_ids, batch.attention_mask
    read = choose_reader(model, fast=True).read
    with torch.no_grad():
        found = read(ids, mask, causal, None)
        padded = padded_states(model, ids, mask, causal=causal)
        torch.testing.assert_close(found, padded[mask.bool()], rtol=1e-4, atol=1e-5)
        ends = last_tokens(mask)
        torch.testing.assert_close(read(ids, mask, causal, ends), padded[ends], rtol=1e-4, atol=1e-5)
        ids[2, :31] = (ids[2, :31] + 1) % 90 + 3  # another third row
        # Experts compute the tokens of all rows in one product, whose sums may be cut otherwise now.
        moved = (read(ids, mask, causal, None) - found).abs().amax(1) > 2e-5
    owner = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    assert (moved == (owner == 2)).all()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_training_goes_the_same_way(method: str):
    losses, weights = [], []
    for fast in (False, True):
        model = adapted(method)
        trained = [p for p in model.parameters() if p.requires_grad]
        # Not Adam, which would divide gradients near zero by themselves and amplify rounding.
        optimizer = torch.optim.SGD(trained, lr=1e-2 if method == "full" else 0.3, momentum=0.9)
        taken = []
        for _ in range(8):
            loss, _ = loss_and_gradients(model, fast=fast)
            taken.append(loss)
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
        losses.append(taken)
        weights.append([p.detach().clone() for p in trained])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] > losses[0][-1] * 1.01  # it learnt
    for mine, theirs in zip(*weights, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_an_expert_without_a_token_gets_no_gradient_and_the_others_do():
    _, gradients = loss_and_gradients(adapted("full"), fast=True)
    for name in ("gate_up_proj", "down_proj"):
        touched = gradients[f"model.layers.1.mlp.experts.{name}"].flatten(1).any(1)
        assert touched.tolist() == [False] + [True] * 7


@pytest.mark.parametrize("layer", [0, 1])
def test_a_frozen_block_keeps_nothing(layer: int):
    model = METHODS["lora"](network(), adapt=lora_settings(), seed=1).model
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    decoder = Decoder(model)
    angles = torch.zeros(9, 1, 2)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        x = torch.randn(9, 32)
        layout = Layout(make_groups([5, 4]), angles + 1, angles, causal=True)
        assert not decoder.blocks[layer](x, layout).requires_grad and not kept
        # Above a trainable layer it does keep what leads back to it.
        decoder.blocks[layer](x.requires_grad_(), layout).sum().backward()
    assert kept and x.grad is not None and all(parameter.grad is None for parameter in model.parameters())


def test_halved_weights_change_no_figure_and_come_back():
    model = adapted("lora")
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16().float()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    wanted = loss_and_gradients(model, fast=True)
    with halved_weights(model):
        small = {name for name, p in model.named_parameters() if p.dtype != torch.float32}
        # 5 matrices of attention and 3 of an MLP (dense, or of the shared expert) in each of 2 blocks
        assert len(small) == 16 and not any(".mlp.experts." in name or ".gate.weight" in name for name in small)
        found = loss_and_gradients(model, fast=True)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    alike(found[1], wanted[1])
    assert all(torch.equal(p, before[name]) and p.dtype == torch.float32 for name, p in model.named_parameters())


# -- by plain formulas, in float64 ----------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("value", [3, 7, 10])
def test_attention_is_that_of_each_document_alone(value: int, interleaved: bool):
    torch.manual_seed(2)
    shape, lengths = LatentShape(2, 3, 4, value, 0.6, interleaved), [4, 3, 1]
    turn = torch.cat([torch.arange(length) for length in lengths])[:, None].double() / torch.tensor([1.0, 3.0])
    layout = Layout(make_groups(lengths), 1.3 * turn.cos()[:, None], 1.3 * turn.sin()[:, None], causal=True)
    inputs = [torch.randn(8, width, dtype=torch.float64, requires_grad=True) for width in (14, 2 * (3 + value), 4)]
    rotated = apply_rotary_pos_emb_interleave if interleaved else apply_rotary_pos_emb
    cos, sin = (torch.cat([angle, angle], -1)[None, :, 0] for angle in (layout.cos, layout.sin))
    (q, kv), k_turning = (x.unflatten(1, (2, -1)).transpose(0, 1)[None] for x in inputs[:2]), inputs[2][None, None]
    q_turning, k_turning = rotated(q[..., 3:], k_turning, cos, sin)
    q = torch.cat([q[..., :3], q_turning], -1)  # (1, 2, T, 7)
    k = torch.cat([kv[..., :3], k_turning.expand(-1, 2, -1, -1)], -1)
    wanted, start = [], 0
    for length in lengths:
        rows = slice(start, start + length)
        one = [x[:, :, rows] for x in (q, k, kv[..., 3:])]
        wanted.append(scaled_dot_product_attention(*one, is_causal=True, scale=0.6)[0].transpose(0, 1).flatten(1))
        start += length
    found = LatentAttention.apply(*inputs, layout, shape)
    torch.testing.assert_close(found, torch.cat(wanted))
    assert torch.autograd.gradcheck(lambda *x: LatentAttention.apply(*x, layout, shape), inputs)


def test_routed_experts_are_a_weighted_sum_of_each_tokens_own():
    torch.manual_seed(3)
    shapes = [(6, 3), (6, 3), (6, 2), (4, 10, 3), (4, 3, 5)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    chosen = torch.tensor([[3, 0], [0, 1], [1, 3], [0, 3], [3, 1], [1, 0]])  # never 2
    x, residual, weights, gate_up, down = inputs

    def ours(x: Any, residual: Any, weights: Any, gate_up: Any, down: Any) -> Any:
        return RoutedExperts.apply(x, residual, weights, chosen, gate_up, down)

    wanted = residual.clone()
    for token, places in enumerate(chosen.tolist()):
        for place, expert in enumerate(places):
            gate, up = (gate_up[expert] @ x[token]).chunk(2)
            wanted[token] = wanted[token] + weights[token, place] * (down[expert] @ (silu(gate) * up))
    before = residual.detach().clone()
    torch.testing.assert_close(ours(*inputs), wanted)
    assert torch.equal(residual, before)
    assert torch.autograd.gradcheck(ours, inputs)


# -- where it does not apply ----------------------------------------------------------------------------------


class OtherExperts(DeepseekV3Experts):
    """Experts of somebody else's making."""


def test_where_it_does_not_apply_it_says_why():
    assert why_not(network()) == "" and why_not(adapted("lora")) == ""
    assert why_not_decode(network()) == "its architecture is deepseek_v3; the engine knows llama and qwen2"
    other = network()
    other.model.layers[1].mlp.experts.__class__ = OtherExperts
    assert why_not(other) == "layers.1.mlp.experts is a OtherExperts"
    config = LoraConfig(r=2, target_modules=["o_proj"], target_parameters=["mlp.experts.gate_up_proj"])
    assert why_not(wrap_lora(network(), config)) == "layers.1.mlp.experts is a ParamWrapper"
    odd = network()
    odd.model.layers[1].self_attn.kv_a_proj_with_mqa = nn.Sequential(nn.Linear(32, 16))
    assert why_not(odd) == "layers.1.self_attn.kv_a_proj_with_mqa is a Sequential"
    growing = network()
    growing.config.rope_parameters = YARN | {"rope_type": "longrope"}
    assert "longrope" in why_not(growing)
    dropping = network(attention_dropout=0.1)
    assert why_not(dropping) == "its attention has dropout"
