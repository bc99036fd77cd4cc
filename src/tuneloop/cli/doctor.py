"""`tuneloop doctor`: this machine, its versions, and what a recipe will need on it."""

from __future__ import annotations

import math
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuneloop.memory import system_memory
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.terminal import out

FLOORS = {"torch": "2.11", "transformers": "5.17", "peft": "0.21", "accelerate": "1.15", "safetensors": "0.8"}
GIB = 2**30


def examine(recipe_path: Path | None, overrides: list[str] | None) -> dict[str, Any]:
    """Everything doctor prints, as JSON-able facts.

    Args:
        recipe_path: A recipe to plan for, or None.
        overrides: `section.key=value` each.
    """
    found: dict[str, Any] = {"machine": _machine(), "versions": _versions(), "faults": [], "warnings": [], "advice": []}
    found["faults"] += [
        f"{name} {have} is older than {FLOORS[name]}: pip install -U {name}"
        for name, have in found["versions"].items()
        if name in FLOORS and _older(have, FLOORS[name])
    ]
    if recipe_path is not None:
        found["plan"] = _plan(load_recipe(recipe_path, overrides), recipe_path.resolve().parent, found)
    return found


def _machine() -> dict[str, Any]:
    import torch

    from tuneloop.train.plan import measure_gemm

    memory = system_memory()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "memory_gib": round(memory["MemTotal"] / GIB, 1), "memory_free_gib": round(memory["MemAvailable"] / GIB, 1),
        "disk_free_gib": round(shutil.disk_usage(".").free / GIB, 1), "gpus": gpus,
        "gemm_gflops": round(measure_gemm() / 1e9, 1),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("tuneloop", *FLOORS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _older(have: str, floor: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(have.split("+")[0]) < Version(floor)
    except InvalidVersion:
        return True


def _plan(recipe: Recipe, home: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Rows, tokens, memory and time of a recipe that `run` would take; the model's weights are not loaded."""
    from tuneloop.examples.encode import check_trained, cut_warning
    from tuneloop.model.load import load_tokenizer
    from tuneloop.model.safety import check_folder
    from tuneloop.model.source import resolve
    from tuneloop.row_station import peek_rows
    from tuneloop.rows.checks import untrainable
    from tuneloop.rows.locate import expand_variables
    from tuneloop.stations import check_fits, encode_rows
    from tuneloop.train.optim import warmup_length
    from tuneloop.train.plan import estimate_memory, micro_batch_tokens, sizes_of, training_flops

    prepared = peek_rows(recipe, home)
    if fault := untrainable(prepared, recipe):
        raise fault
    source = resolve(expand_variables(recipe.model.name_or_path), recipe.model.revision, relative_to=home)
    check_fits(recipe, source)
    examples = encode_rows(recipe, prepared.train, load_tokenizer(source), prepared.labels)
    facts = check_trained(examples, recipe.task.type)
    found["warnings"] += filter(None, [cut_warning(facts, recipe.data.max_length)])
    rows = recipe.train.per_device_train_batch_size * recipe.train.gradient_accumulation_steps
    steps = math.ceil(len(examples) / rows) * recipe.train.num_train_epochs
    sizes = sizes_of(check_folder(source.folder), recipe.adapt)
    generation = recipe.task.type == "generation"
    tokens = facts["tokens"] * recipe.train.num_train_epochs
    trained = facts.get("trained_tokens", 0) * recipe.train.num_train_epochs
    flops = training_flops(
        body=sizes.active, added=sizes.trainable if recipe.adapt.method != "full" else 0,
        output=sizes.output if generation else 0, tokens=tokens, trained_tokens=trained,
    )  # fmt: skip
    peak = estimate_memory(
        parameters=sizes.blocks + sizes.vocabulary, trainable=sizes.trainable,
        tokens=max(micro_batch_tokens(recipe.train), facts["length"]["max"] if "length" in facts else 0),
        layers=sizes.layers, width=sizes.width, vocabulary=sizes.vocabulary_size if generation else 0,
    )  # fmt: skip
    warmup = warmup_length(recipe.train, steps)
    copies = {name: method.copies for name, method in recipe.augment.made.items() if method.use == "append"}
    if copies:
        found["advice"].append(
            f"augment.{' and '.join(copies)} may add {sum(copies.values()) * len(examples)} rows; the plan counts "
            f"the {len(examples)} that there are"
        )
    _advise(recipe, steps, warmup, peak, found)
    best = flops / (found["machine"]["gemm_gflops"] * 1e9)
    return {
        "rows": len(examples), "steps": steps, "tokens": tokens, "trained_tokens": trained, "warmup_steps": warmup,
        "trainable_parameters": sizes.trainable, "parameters": sizes.blocks + sizes.vocabulary,
        "flops": flops, "peak_memory_gib": round(peak / GIB, 2),
        # A plain path reaches about 0.4 to 0.7 of the machine's matrix products.
        "minutes": [round(best / 0.7 / 60, 1), round(best / 0.4 / 60, 1)],
    }  # fmt: skip


def _advise(recipe: Recipe, steps: int, warmup: int, peak: float, found: dict[str, Any]) -> None:
    advice = found["advice"]
    if warmup > math.ceil(0.1 * steps):
        found["warnings"].append(
            f"warm-up takes {warmup} of {steps} steps ({warmup / steps:.0%}): set train.warmup_steps to 0.1 or less"
        )
    rate = recipe.train.learning_rate
    if not 3e-5 <= rate <= 5e-5:
        advice.append(f"train.learning_rate {rate:g} is outside 3e-5 to 5e-5: right when validation rows chose it")
    if recipe.adapt.method == "lora" and rate <= 5e-5 and steps < 2000:
        advice.append(
            f"LoRA learns little at {rate:g} in {steps} steps: try 2e-4 to 2e-3 and let the validation rows choose"
        )
    if peak > found["machine"]["memory_free_gib"] * GIB and not found["machine"]["gpus"]:
        found["faults"].append(
            f"training needs about {peak / GIB:.1f} GiB, {found['machine']['memory_free_gib']} GiB are free: lower "
            "train.tokens_per_micro_batch or data.max_length, or choose adapt.method: lora"
        )


def print_examination(found: dict[str, Any]) -> None:
    """The facts as lines, faults in red, advice in yellow."""
    machine = found["machine"]
    gpus = ", ".join(machine["gpus"]) or "none"
    out.print(
        f"machine   {machine['cores']} cores ({machine['threads']} threads), {machine['memory_free_gib']} of "
        f"{machine['memory_gib']} GiB free, disk {machine['disk_free_gib']} GiB free, GPU {gpus}, "
        f"matrix products {machine['gemm_gflops']} GFLOP/s, load {machine['load_average'][0]}"
    )
    out.print("versions  " + ", ".join(f"{name} {value}" for name, value in found["versions"].items()))
    if "plan" in found:
        plan = found["plan"]
        out.print(
            f"plan      {plan['rows']} rows, {plan['steps']} steps, {plan['tokens']:,} tokens, "
            f"{plan['trainable_parameters']:,} of {plan['parameters']:,} parameters train"
        )
        low, high = plan["minutes"]
        out.print(f"needs     about {plan['peak_memory_gib']} GiB and {low} to {high} minutes of training")
    for line in found["faults"]:
        out.print(f"[red]fault[/red]     {line}")
    for line in found["warnings"]:
        out.print(f"[yellow]warning[/yellow]   {line}")
    for line in found["advice"]:
        out.print(f"[yellow]advice[/yellow]    {line}")
    if not found["faults"]:
        out.print("[green]ok[/green]")
