"""The learning rate by an independent formula, and which weights decay and at which rate they move."""

import math

import pytest
import torch
from tests.tiny_training import settings, small_classifier

from tuneloop.train.optim import learning_rate_factor, make_optimizer, make_schedule, warmup_length


def by_hand(step: int, steps: int, warmup: int, shape: str) -> float:
    """As a table of anchors: (0, 1/w) .. (w - 1, 1), then from 1 at w to 0 at `steps`."""
    if step < warmup:
        return sum(1 / warmup for _ in range(step + 1))
    if shape == "constant":
        return 1.0
    left = (steps - step) / (steps - warmup)
    return left if shape == "linear" else math.sin(left * math.pi / 2) ** 2


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (10, 3), (7, 1), (100, 99), (5, 500)])
def test_the_schedule(shape, steps, warmup):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = torch.optim.AdamW([{"params": [parameter], "lr": 0.3}])
    schedule = make_schedule(optimizer, settings(warmup_steps=warmup, lr_scheduler_type=shape), steps)
    for step in range(steps):
        wanted = by_hand(step, steps, warmup, shape)
        assert learning_rate_factor(step, steps=steps, warmup=warmup, shape=shape) == pytest.approx(wanted, abs=1e-12)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * wanted)
        assert 0 < wanted <= 1 + 1e-9, "no step is wasted at rate 0"
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("asked", "steps", "wanted"),
    [
        (None, 100, 6),
        (None, 101, 7),
        (None, 8000, 480),
        (None, 100_000, 500),
        (0, 100, 0),
        (25, 100, 25),
        (0.1, 95, 10),
    ],
)
def test_warmup_length(asked, steps, wanted):
    assert warmup_length(settings(warmup_steps=asked), steps) == wanted


def test_matrices_decay_vectors_do_not_and_the_head_has_its_own_rate():
    model = small_classifier("bert")
    frozen = model.backbone.embeddings.word_embeddings.weight.requires_grad_(False)
    train = settings(learning_rate=1e-3, head_learning_rate=5e-2, weight_decay=0.1)
    optimizer = make_optimizer(model, train)
    found = {p: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(found) == sum(len(g["params"]) for g in optimizer.param_groups) > 30
    assert frozen not in found
    for name, parameter in model.named_parameters():
        if parameter is not frozen:
            rate = 5e-2 if name in ("head.weight", "head.bias") else 1e-3
            assert found[parameter] == (rate, 0.1 if parameter.ndim >= 2 else 0.0), name
    same = make_optimizer(model, settings(learning_rate=1e-3))
    assert {g["lr"] for g in same.param_groups} == {1e-3}


def test_one_update_is_adamw_by_hand():
    parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    model = torch.nn.Module()
    model.weight = parameter
    optimizer = make_optimizer(model, settings(learning_rate=0.1, weight_decay=0.5))
    for gradient in ([0.3, -4.0], [0.1, 1.0]):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    wanted, m, v = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(([0.3, -4.0], [0.1, 1.0]), 1):
        for i, g in enumerate(gradient):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            wanted[i] -= 0.1 * 0.5 * wanted[i]
            wanted[i] -= 0.1 * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    assert parameter.detach().tolist()[0] == pytest.approx(wanted, rel=1e-5)
