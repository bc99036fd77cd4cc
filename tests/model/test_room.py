"""Whether a micro-batch's states fit, in numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tuneloop.model import room
from tuneloop.model.room import LOSS_WORK, Room, block_bytes, fits

GIB = 2**30


def test_a_block_of_r1_distill_qwen_15b():
    # 2 x 1,536 inputs, 1,536 + 2 x 256 projected, 1,536 attended, 2 x 8,960 gate and up, 7 x 8 ranks; bfloat16
    found = block_bytes(hidden=1536, packed=2048, attended=1536, gate_up=17_920, rank=56, heads=12, size=2)
    assert found == 2 * (3072 + 2048 + 1536 + 17_920 + 56) + 4 * 14 == 49_320


def test_what_fits():
    blocks = [49_320] * 28  # 1.38 MB a token
    assert fits(blocks, 8192, to_come=0, free=60 * GIB)  # 11 GiB kept
    assert not fits(blocks, 65_536, to_come=0, free=60 * GIB)
    least = next(gib for gib in range(1, 99) if fits(blocks, 8192, to_come=0, free=gib * GIB))
    assert pytest.approx(least, abs=1) == (8192 * 30 * 49_320 + LOSS_WORK) / GIB / 0.9
    assert not fits(blocks, 8192, to_come=10 * GIB, free=least * GIB)


def test_it_asks_only_for_more_than_fitted_and_only_on_the_way_to_gradients(monkeypatch: pytest.MonkeyPatch, capsys):
    asked: list[int] = []
    free = [100 * GIB]

    def told(device: torch.device) -> int:
        asked.append(1)
        return free[0]

    monkeypatch.setattr(room, "free_on_gpu", told)
    one = Room(nn.Linear(8, 8), [1000] * 4)
    assert not one.asks_for_checkpoints(torch.empty(50, 8)) and len(asked) == 1
    free[0] = 0
    assert not one.asks_for_checkpoints(torch.empty(40, 8)) and len(asked) == 1
    with torch.no_grad():
        assert not one.asks_for_checkpoints(torch.empty(90, 8)) and len(asked) == 1
    assert one.asks_for_checkpoints(torch.empty(90, 8)) and one.asks_for_checkpoints(torch.empty(90, 8))
    assert len(asked) == 3 and capsys.readouterr().err.count("computed twice") == 1


def test_gradients_and_moments_that_are_not_there_yet_are_reckoned_with():
    model = nn.Linear(1000, 1000, bias=False)
    one = Room(model, [10])
    assert one._to_come() == 3 * 4 * 10**6
    model.weight.grad = torch.zeros_like(model.weight)
    assert one._to_come() == 0
    model.weight.requires_grad_(False)
    assert one._to_come() == 0


def test_a_cpu_is_never_asked():
    assert room.free_on_gpu(torch.device("cpu")) is None
    assert not Room(nn.Linear(8, 8), [2**40]).asks_for_checkpoints(torch.empty(50, 8))
