"""The classification head: pooling, attention, padding, on all four architectures."""

import pytest
import torch
from tests.tiny_training import ALL, DECODERS, LABELS, small, small_classifier

from tuneloop.model.heads import Classifier, base_model, body, full_attention_mask, is_encoder, pool

KINDS = [(pooling, attention) for pooling in ("mean", "last") for attention in ("causal", "bidirectional")]
LENGTHS = [7, 3, 11, 1]


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def some_rows() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 97, (n,), generator=generator).tolist() for n in LENGTHS]


@pytest.mark.parametrize(("pooling", "attention"), KINDS)
@pytest.mark.parametrize("architecture", ALL)
@torch.no_grad()
def test_padding_changes_no_logit(architecture, pooling, attention):
    model, rows = small_classifier(architecture, pooling=pooling, attention=attention), some_rows()
    together = model(*padded(rows, pad=0))
    assert together.shape == (len(rows), len(LABELS)) and together.dtype == torch.float32
    for index, row in enumerate(rows):
        ids = torch.tensor([row])
        assert torch.allclose(model(ids, torch.ones_like(ids))[0], together[index], atol=1e-5), f"row of {len(row)}"
    other = model(*padded(rows, pad=55))  # what the padding holds is never seen
    assert torch.allclose(other, together, atol=1e-6)
    assert float((together[0] - together[1]).abs().max()) > 1e-2, "logits that differ, or nothing is tested"


@pytest.mark.parametrize("architecture", DECODERS)
@torch.no_grad()
def test_a_later_token_reaches_earlier_states_only_in_bidirectional_attention(architecture):
    ids = torch.tensor([some_rows()[2]])
    mask = torch.ones_like(ids)
    changed = ids.clone()
    changed[0, 8] = (ids[0, 8] + 1) % 97
    moved = {}
    for attention in ("causal", "bidirectional"):
        model = small_classifier(architecture, attention=attention)
        difference = (model.states(changed, mask) - model.states(ids, mask)).abs().amax(-1)[0]  # (T,)
        moved[attention] = difference > 1e-6
    assert moved["causal"].tolist() == [False] * 8 + [True] * 3
    assert moved["bidirectional"].all()


@torch.no_grad()
def test_bert_reads_both_ways_by_itself():
    ids = torch.tensor([some_rows()[2]])
    mask = torch.ones_like(ids)
    found = [small_classifier("bert", attention=way).states(ids, mask) for way in ("causal", "bidirectional")]
    assert torch.equal(*found)
    changed = ids.clone()
    changed[0, 8] = (ids[0, 8] + 1) % 97
    model = small_classifier("bert")
    assert ((model.states(changed, mask) - found[0]).abs().amax(-1) > 1e-6).all()


def test_pool_by_hand():
    states = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert pool(states, mask, "mean").tolist() == [[3, 4, 5], [12, 13, 14]]
    assert pool(states, mask, "last").tolist() == [[6, 7, 8], [12, 13, 14]]
    assert pool(states.bfloat16(), mask, "mean").dtype == torch.float32


def test_full_attention_mask_lets_padding_see_real_tokens():
    mask = full_attention_mask(torch.tensor([[1, 1, 0]]))
    assert mask.shape == (1, 1, 3, 3)
    assert mask[0, 0].tolist() == [[True, True, False]] * 3


@pytest.mark.parametrize("architecture", ALL)
def test_only_what_seq_cls_computes_is_saved_as_seq_cls_and_has_no_bias(architecture):
    for pooling, attention in KINDS:
        model = small_classifier(architecture, pooling=pooling, attention=attention)
        wanted = (pooling, attention) == ("last", "causal") and architecture != "bert"
        assert model.saves_as_seq_cls is wanted
        assert (model.head.bias is None) is wanted


@pytest.mark.parametrize("architecture", ALL)
def test_every_trainable_weight_of_a_classifier_gets_a_gradient(architecture):
    model = small_classifier(architecture)
    model(*padded(some_rows(), pad=0)).square().sum().backward()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names) > 20
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_head_computes_in_float32_over_a_bfloat16_model():
    model = Classifier(small("llama").bfloat16(), LABELS, pooling="mean", attention="causal")
    with torch.no_grad():
        assert model(*padded(some_rows(), pad=0)).dtype == torch.float32


@pytest.mark.parametrize("architecture", ALL)
def test_body_is_the_stack_without_a_head(architecture):
    model = small(architecture)
    assert is_encoder(model) is (architecture == "bert")
    assert base_model(model) is model
    assert body(model) is (model if architecture == "bert" else model.model)
