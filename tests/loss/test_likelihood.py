"""The chunked likelihood against torch's cross-entropy, in value and in gradient."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding

from tuneloop.loss import likelihood
from tuneloop.loss.likelihood import LinearCrossEntropy, predicted_tokens

WIDTH, WORDS = 24, 61


def drawn(count: int, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(states, head, targets, weights) of `count` rows."""
    generator = torch.Generator().manual_seed(count)
    states = torch.randn(count, WIDTH, generator=generator).to(dtype)
    head = torch.randn(WORDS, WIDTH, generator=generator).to(dtype)
    targets = torch.randint(WORDS, (count,), generator=generator)
    return states, head, targets, torch.rand(count, generator=generator) * 2


def plain(states: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and both gradients, in float64, by torch."""
    states, head = states.detach().double().requires_grad_(), head.detach().double().requires_grad_()
    loss = (cross_entropy(states @ head.T, targets, reduction="none") * weights.double()).sum()
    loss.backward()
    return loss.detach(), states.grad, head.grad


def off_by(got: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest entry."""
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max())


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_loss_and_gradients_equal_cross_entropy(count):
    states, head, targets, weights = drawn(count)
    states, head = states.requires_grad_(), head.requires_grad_()
    loss = LinearCrossEntropy.apply(states, head, targets, weights)
    (3.0 * loss).backward()  # not 1.0: the waiting gradients must be scaled
    wanted, d_states, d_head = plain(states, head, targets, weights)
    assert off_by(loss.detach(), wanted) < 1e-5
    assert off_by(states.grad, 3 * d_states) < 1e-5
    assert off_by(head.grad, 3 * d_head) < 1e-5


def test_the_chunk_size_changes_nothing(monkeypatch):
    states, head, targets, weights = drawn(29)
    found = []
    for chunk in (1, 7, 29, 1000):
        monkeypatch.setattr(likelihood, "CHUNK", chunk)
        own = states.clone().requires_grad_()
        loss = LinearCrossEntropy.apply(own, head, targets, weights)
        loss.backward()
        found.append((loss.detach(), own.grad))
    for loss, grad in found[1:]:
        assert off_by(loss, found[0][0]) < 1e-6
        assert off_by(grad, found[0][1]) < 1e-5


def test_a_frozen_head_gets_no_gradient_and_the_states_the_same():
    states, head, targets, weights = drawn(40)
    states.requires_grad_()
    LinearCrossEntropy.apply(states, head, targets, weights).backward()
    assert head.grad is None
    assert off_by(states.grad, plain(states, head, targets, weights)[1]) < 1e-5


def test_frozen_states_get_no_gradient_and_the_head_the_same():
    states, head, targets, weights = drawn(300)
    head.requires_grad_()
    LinearCrossEntropy.apply(states, head, targets, weights).backward()
    assert states.grad is None
    assert off_by(head.grad, plain(states, head, targets, weights)[2]) < 1e-5


def test_a_tied_head_adds_both_of_its_gradients():
    generator = torch.Generator().manual_seed(0)
    ids, targets = torch.randint(WORDS, (2, 50), generator=generator)
    weights = torch.ones(50)
    table = torch.randn(WORDS, WIDTH, generator=generator)
    tied = table.clone().requires_grad_()
    LinearCrossEntropy.apply(embedding(ids, tied).tanh(), tied, targets, weights).backward()
    wanted = table.double().requires_grad_()
    cross_entropy(embedding(ids, wanted).tanh() @ wanted.T, targets, reduction="sum").backward()
    assert off_by(tied.grad, wanted.grad) < 1e-5


def test_bfloat16_states_and_head():
    states, head, targets, weights = drawn(300, dtype=torch.bfloat16)
    states, head = states.requires_grad_(), head.requires_grad_()
    loss = LinearCrossEntropy.apply(states, head, targets, weights)
    loss.backward()
    wanted, d_states, d_head = plain(states, head, targets, weights)
    assert loss.dtype == torch.float32
    assert off_by(loss.detach(), wanted) < 3e-3  # logits are rounded to 8 bits, sums are not
    assert states.grad.dtype == head.grad.dtype == torch.bfloat16
    assert off_by(states.grad, d_states) < 2e-2
    assert off_by(head.grad, d_head) < 2e-2


def test_large_logits_stay_finite():
    states = (torch.eye(3) * 1e4).requires_grad_()
    loss = LinearCrossEntropy.apply(states, torch.eye(3), torch.tensor([0, 0, 2]), torch.ones(3))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e4)
    assert bool(torch.isfinite(states.grad).all())


def nll_by_hand(states: Tensor, head: Tensor, labels: Tensor, weights: Tensor) -> tuple[float, float]:
    """The same, a token at a time."""
    loss = weight = 0.0
    for row in range(len(labels)):
        for place in range(1, labels.shape[1]):
            if labels[row, place] != -100:
                logs = (states[row, place - 1].double() @ head.double().T).log_softmax(0)
                loss -= float(weights[row]) * float(logs[labels[row, place]])
                weight += float(weights[row])
    return loss, weight


def nll(states: Tensor, head: Tensor, labels: Tensor, mask: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and summed weight, as the generation loss puts them together."""
    wanted, targets = predicted_tokens(labels, mask)
    rows = weights[:, None].expand_as(wanted)[wanted]
    return LinearCrossEntropy.apply(states[wanted], head, targets, rows), rows.sum()


def test_a_trained_token_is_predicted_by_the_state_before_it():
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(3, 6, WIDTH, generator=generator)
    head = torch.randn(WORDS, WIDTH, generator=generator)
    labels = torch.randint(WORDS, (3, 6), generator=generator)
    labels[0, 1:3] = labels[1, 4:] = -100  # labels[:, 0] stand, and have nothing to be predicted from
    weights = torch.tensor([1.0, 0.25, 2.0])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    loss, weight = nll(states, head, labels, mask, weights)
    wanted = nll_by_hand(states, head, labels, weights)
    assert float(loss) == pytest.approx(wanted[0], rel=1e-5)
    assert float(weight) == wanted[1] == 3 + 0.25 * 3 + 2 * 5


def test_nothing_trained_is_zero_with_a_zero_gradient():
    states = torch.randn(2, 4, WIDTH, requires_grad=True)
    head = torch.randn(WORDS, WIDTH, requires_grad=True)
    labels = torch.full((2, 4), -100)
    labels[:, 0] = 5
    loss, weight = nll(states, head, labels, torch.ones(2, 4, dtype=torch.int64), torch.ones(2))
    loss.backward()
    assert (float(loss.detach()), float(weight)) == (0.0, 0.0)
    assert float(states.grad.abs().max()) == float(head.grad.abs().max()) == 0.0
