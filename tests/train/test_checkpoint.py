"""Checkpoints: exact round trip, and no damaged byte is ever used."""

import json

import pytest
import torch
from safetensors import SafetensorError
from tests.tiny_training import settings, small

from tuneloop.errors import RunError
from tuneloop.train import checkpoint as kept
from tuneloop.train.checkpoint import (
    check_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_optimizer_state,
    load_weights,
    optimizer_state,
    prune_checkpoints,
    save_checkpoint,
    trainable_state,
)
from tuneloop.train.optim import make_optimizer

FILES = ["manifest.json", "optimizer.safetensors", "random.safetensors", "state.json", "weights.safetensors"]


def write(folder, step: int, value: float = 1.0):
    state = {"step": step, "epoch": 0.5, "best": -0.1234567890123456789}
    weights = {"a": torch.full((3, 2), value), "b": torch.tensor([1e-30], dtype=torch.bfloat16)}
    return save_checkpoint(folder, weights=weights, optimizer={"a|step": torch.tensor(3.0)}, state=state)


def stepped(count: int, device: str = "cpu"):
    """A network and its optimiser after `count` updates by a fixed made-up gradient."""
    model = small("llama").to(device)
    optimizer = make_optimizer(model, settings())
    update(model, optimizer, count)
    return model, optimizer


def update(model, optimizer, count: int) -> None:
    for _ in range(count):
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = parameter.detach().sin() * (index + 1)
        optimizer.step()


def test_a_round_trip_is_exact(tmp_path):
    torch.manual_seed(5)
    path = write(tmp_path, 40)
    state = torch.get_rng_state()
    assert path.name == "step-00000040"
    assert sorted(p.name for p in path.iterdir()) == FILES
    weights, optimizer, random, found = load_checkpoint(path)
    assert torch.equal(weights["a"], torch.ones(3, 2)) and weights["b"].dtype == torch.bfloat16
    assert optimizer["a|step"] == 3.0
    assert torch.equal(random["torch"], state)
    assert found == {"step": 40, "epoch": 0.5, "best": -0.1234567890123456789}


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_byte_is_found(tmp_path, name):
    path = write(tmp_path, 1) / name
    whole = path.read_bytes()
    places = [*range(30), *range(30, len(whole), max(1, len(whole) // 25)), len(whole) - 1]
    quiet = []
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            check_checkpoint(path.parent)
        except RunError:
            continue
        quiet.append(whole[place : place + 1])
    # White space between the manifest's words may become other white space or a comma's neighbour; nothing else may.
    assert set(quiet) <= ({b" ", b"\n"} if name == "manifest.json" else set())
    path.write_bytes(whole)
    check_checkpoint(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(tmp_path, name):
    path = write(tmp_path, 1)
    (path / name).unlink()
    with pytest.raises(RunError, match=name):
        load_checkpoint(path)


@pytest.mark.parametrize("manifest", [{}, [], {"sha256": {}}, {"sha256": {"weights.safetensors": "x"}}, {"sha256": 3}])
def test_a_manifest_that_vouches_for_less_is_found(tmp_path, manifest):
    path = write(tmp_path, 1)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="damaged"):
        check_checkpoint(path)


def test_the_newest_whole_checkpoint_is_taken_and_damaged_ones_are_set_aside(tmp_path, capsys):
    assert latest_checkpoint(tmp_path) is None
    for step in (2, 10, 9):
        write(tmp_path, step)
    assert latest_checkpoint(tmp_path).name == "step-00000010"
    broken = tmp_path / "step-00000010" / "weights.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1] + b"\x7f")
    assert latest_checkpoint(tmp_path).name == "step-00000009"
    assert "weights.safetensors" in capsys.readouterr().err
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["damaged-step-00000010", "step-00000002", "step-00000009"], "set aside, not deleted"
    assert latest_checkpoint(tmp_path).name == "step-00000009"


def test_an_interrupted_write_leaves_the_older_one_alone(tmp_path, monkeypatch):
    write(tmp_path, 3)

    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(kept, "save_file", full)
    with pytest.raises(RunError, match="disk is full"):
        write(tmp_path, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]
    assert latest_checkpoint(tmp_path).name == "step-00000003"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_optimizer_goes_on_as_if_never_stopped(device):
    model, optimizer = stepped(3, device)
    flat, weights = optimizer_state(model, optimizer), trainable_state(model)
    assert len(flat) == 3 * len(list(model.parameters()))
    assert {key.rpartition("|")[2] for key in flat} == {"step", "exp_avg", "exp_avg_sq"}
    update(model, optimizer, 4)
    other = small("llama").to(device)
    load_weights(other, weights)
    fresh = make_optimizer(other, settings())
    load_optimizer_state(other, fresh, flat)
    update(other, fresh, 4)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    forgot = small("llama").to(device)
    load_weights(forgot, weights)
    update(forgot, make_optimizer(forgot, settings()), 4)
    assert not torch.equal(next(forgot.parameters()), next(model.parameters())), "or the moments do not matter here"


def test_what_is_saved_is_a_copy():
    model, _ = stepped(0)
    weights = trainable_state(model)
    with torch.no_grad():
        model.model.norm.weight.zero_()
    assert float(weights["model.norm.weight"].min()) == 1.0


def test_weights_of_another_model_are_refused():
    model = small("llama")
    weights = trainable_state(model)
    model.model.norm.weight.requires_grad_(False)
    with pytest.raises(RunError, match=r"1 differ, e\.g\. model\.norm\.weight"):
        load_weights(model, weights)
    del weights["model.norm.weight"]
    load_weights(model, weights)
    weights["model.embed_tokens.weight"] = torch.zeros(3, 32)
    with pytest.raises(RunError, match=r"another shape"):
        load_weights(model, weights)


def test_prune_keeps_what_it_is_told_and_what_was_set_aside(tmp_path):
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    (tmp_path / "step-00000001").rename(tmp_path / "damaged-step-00000001")
    prune_checkpoints(tmp_path, {"step-00000002", "step-00000004"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged-step-00000001", "step-00000002", "step-00000004"]
