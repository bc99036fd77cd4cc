"""Two ranks over gloo give what one rank gives: other numbers of micro-batches a rank, and a rank without rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_training import examples_of, make_job, weights_of
from tests.train.test_loop import lines, network
from tests.train.two_ranks import CUTS, ROWS

from tuneloop.infer.held_out import held_out_figures
from tuneloop.train.loop import train

HERE = Path(__file__).resolve()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The folder that the two ranks wrote."""
    folder = tmp_path_factory.mktemp("two")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE.parents[2])]))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE.with_name("two_ranks.py")), str(folder)], capture_output=True, text=True, timeout=200,
        env=environment, cwd=HERE.parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "generation"])
def test_two_ranks_train_as_one(two, task, tmp_path):
    rows = examples_of(task, ROWS, weights=[1.0, 2.0, 0.5] * 3)
    model = network(task)
    one = CUTS | {"per_device_train_batch_size": 4}
    state = train(
        model, make_job(task, rows, tmp_path, **one),
        validate=lambda tuned: held_out_figures(tuned, rows, task=task, pad_token_id=0),
    )  # fmt: skip
    wanted, found = lines(tmp_path), lines(two / task)
    assert [(line["step"], line.get("learning_rate")) for line in found] == [
        (line["step"], line.get("learning_rate")) for line in wanted
    ]
    assert len(found) == 6 + 2
    for mine, theirs in zip(found, wanted, strict=True):
        for key in set(theirs) - {"tokens_per_second", "memory_mb"}:
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4), (key, mine["step"])
    weights = weights_of(model)
    for rank in ("0", "1"):
        saved = load_file(two / f"{task}-{rank}.safetensors")
        assert set(saved) == set(weights)
        assert all(torch.allclose(saved[name], value, atol=2e-5) for name, value in weights.items()), rank
        told = json.loads((two / f"{task}-{rank}.json").read_text())
        assert told == [state.step, state.tokens, state.best_step] == [6, 2 * sum(ROWS), state.best_step]
    assert sorted(p.name for p in (two / task).iterdir()) == ["checkpoints", "log.jsonl", "trackers"][:2]
