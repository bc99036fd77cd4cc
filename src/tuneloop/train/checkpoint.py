"""Checkpoints: safetensors and JSON, no pickle, a sha256 of every file checked before a tensor is used.

checkpoints/step-00000100/weights.safetensors    the trainable weights
                          optimizer.safetensors  AdamW's moments, by parameter name
                          random.safetensors     the generators' states
                          state.json             step, epoch, best score, history
                          manifest.json          sha256 of the others, written with them
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tuneloop.disk import atomic_folder, read_json, sha256_file, write_json
from tuneloop.errors import RunError, TuneloopError
from tuneloop.terminal import warn

FILES = {"weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"}


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Name -> weight of everything that trains, on the CPU, contiguous."""
    return {
        name: parameter.detach().cpu().clone().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten AdamW's state to `name|field` -> tensor."""
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    flat = {}
    for parameter, fields in optimizer.state.items():
        for field, value in fields.items():
            flat[f"{names[parameter]}|{field}"] = torch.as_tensor(value).detach().cpu().clone().contiguous()
    return flat


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Put back what `optimizer_state` flattened."""
    parameters = dict(model.named_parameters())
    for key, value in flat.items():
        name, _, field = key.rpartition("|")
        parameter = parameters[name]
        # The fused AdamW keeps its step counter, too, on the parameter's device.
        optimizer.state[parameter][field] = value.to(parameter.device)


def random_state() -> dict[str, Tensor]:
    """The states of torch's generators."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def save_checkpoint(
    folder: Path, *, weights: dict[str, Tensor], optimizer: dict[str, Tensor], state: dict[str, Any]
) -> Path:
    """Write one checkpoint atomically; an unfinished one never has its final name.

    Raises:
        RunError: if the disk is full; older checkpoints stay.
    """
    target = folder / f"step-{state['step']:08d}"
    with atomic_folder(target) as temporary:
        save_file(weights, temporary / "weights.safetensors")
        save_file(optimizer, temporary / "optimizer.safetensors")
        save_file(random_state(), temporary / "random.safetensors")
        write_json(temporary / "state.json", state)
        files = sorted(path.name for path in temporary.iterdir())
        write_json(temporary / "manifest.json", {"sha256": {name: sha256_file(temporary / name) for name in files}})
    return target


def check_checkpoint(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        RunError: naming the file that is missing or differs.
    """
    manifest = read_json(folder / "manifest.json")
    wanted = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(wanted, dict) or set(wanted) != FILES:
        raise RunError(f"The checkpoint {folder} is damaged: manifest.json does not list its files")
    for name in sorted(FILES):
        path = folder / name
        if not path.is_file() or sha256_file(path) != wanted[name]:
            raise RunError(f"The checkpoint {folder} is damaged: {name} is missing or differs from its sha256")


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; damaged ones are set aside with a warning, never deleted."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            check_checkpoint(path)
            return path
        except TuneloopError as error:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warn(f"{error} Set aside as {aside.name}; going on from the one before.")
    return None


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint after checking it: weights, optimiser state, generators, state.

    Raises:
        RunError: if a file is missing or differs from its sha256.
    """
    check_checkpoint(folder)
    weights = load_file(folder / "weights.safetensors")
    optimizer = load_file(folder / "optimizer.safetensors")
    random = load_file(folder / "random.safetensors")
    return weights, optimizer, random, read_json(folder / "state.json")


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy saved trainable weights into the model.

    Raises:
        RunError: if the names or shapes differ from what trains.
    """
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if set(wanted) != set(weights):
        odd = sorted(set(wanted) ^ set(weights))
        raise RunError("The checkpoint was made with other trainable weights", got=f"{len(odd)} differ, e.g. {odd[0]}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != weights[name].shape:
                raise RunError(f"The checkpoint's {name} has another shape", got=str(tuple(weights[name].shape)))
            parameter.copy_(weights[name])


def prune_checkpoints(folder: Path, keep: set[str]) -> None:
    """Remove the checkpoints that are neither best nor last."""
    for path in folder.glob("step-*"):
        if path.name not in keep:
            shutil.rmtree(path)
