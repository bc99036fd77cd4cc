"""Adapter into weights, checked: the merged model must give the adapter's logits on real prompts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from tuneloop.disk import exclusive, sha256_json
from tuneloop.errors import CheckFailed, RecipeError, RunError
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.model.heads import Classifier, body, network_of
from tuneloop.model.saved import Tuned, load_tuned, save_tuned
from tuneloop.records import Row
from tuneloop.release.card import model_card
from tuneloop.rows.prepare import load_prepared
from tuneloop.runs import RunFolder, open_run

# Largest allowed difference of a logit. float32 sums of a few thousand terms differ by about 1e-4;
# a merge that lost or doubled the update differs by whole units.
TOLERANCE = 1e-3
PROMPTS = 8


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        folder: Where the merged model stands.
        largest_difference: Largest absolute difference of a logit over the prompts.
        tolerance: What was allowed.
        prompts: Prompts that were compared.
    """

    folder: Path
    largest_difference: float
    tolerance: float
    prompts: int


def merge(run: str | Path | RunFolder, out: Path | None = None, *, tolerance: float = TOLERANCE) -> Merged:
    """Merge a run's adapter into its base weights and save what plain transformers loads.

    Args:
        run: The run, by name or path.
        out: Folder to write; None: merged/ in the run.
        tolerance: Largest allowed absolute difference of a logit on the run's own rows.

    Raises:
        RecipeError: if `tolerance` is no finite number of 0 or more.
        RunError: if the run has no adapter to merge, or `out` holds something else than a model of tuneloop.
        CheckFailed: if merged and unmerged differ by more than `tolerance`; nothing is written then.
    """
    if not 0 <= tolerance < math.inf:
        raise RecipeError("The tolerance is no allowed difference of a logit", got=str(tolerance), allowed="0 or more")
    folder = run if isinstance(run, RunFolder) else open_run(run)
    target = out or folder.path / "merged"
    if target.exists() and not (target / "args.json").is_file() and (target.is_file() or any(target.iterdir())):
        raise RunError(
            f"{target} holds other files, which a merged model would replace", fix="Name a new or empty folder"
        )
    if target.resolve() == folder.model.resolve():
        raise RunError(f"{target} holds the adapter itself", fix="Name another folder")
    with exclusive(folder.path):
        return _merge(folder, target, tolerance)


def _merge(folder: RunFolder, target: Path, tolerance: float) -> Merged:
    began = time.monotonic()
    folder.require_model()
    # In float32 whatever the model was tuned in: bfloat16 would round small updates away in the sum.
    tuned = load_tuned(folder.model, dtype="float32")
    network = network_of(tuned.model)
    if not isinstance(network, PeftModel):
        raise RunError(
            f"{folder.path} was tuned with {tuned.args['method']}: there is no adapter to merge",
            fix="Use model/ as it is",
        )
    rows = load_prepared(folder)
    inputs = _prompts(tuned, [*rows.test, *rows.train][:PROMPTS])
    device = str(next(tuned.model.parameters()).device)
    before = [_logits(tuned.model, ids) for ids in inputs]
    plain: nn.Module = network.merge_and_unload(safe_merge=True)
    merged: nn.Module = plain
    if isinstance(tuned.model, Classifier):
        tuned.model.backbone = plain  # type: ignore[assignment]
        merged = tuned.model
    gaps = [(x - _logits(merged, ids)).abs().max() for x, ids in zip(before, inputs, strict=True)]
    difference = float(torch.stack(gaps).max())  # torch's max keeps a nan, wherever it stands; Python's does not
    if not difference <= tolerance:
        raise CheckFailed(
            f"The merged model differs from the adapter: {difference:.2e} in a logit",
            allowed=f"at most {tolerance:.0e} over {len(inputs)} prompts of the run",
            fix="Serve the adapter as it is; nothing was written",
        )
    args = tuned.args | {"method": "full", "merged": True, "dtype": "float32"}
    recipe = folder.load_recipe()
    recipe = recipe.model_copy(update={"adapt": recipe.adapt.model_copy(update={"method": "full"})})
    save_tuned(target, merged, tuned.tokenizer, args, model_card(recipe, args, tuned.labels))
    train_key = folder.stations()["train"]["key"]
    folder.record(
        "merge", key=sha256_json([train_key, tolerance]), train_key=train_key, device=device,
        seconds=round(time.monotonic() - began, 3), folder=str(target), largest_difference=difference,
        tolerance=tolerance, prompts=len(inputs),
    )  # fmt: skip
    return Merged(target, difference, tolerance, len(inputs))


def _prompts(tuned: Tuned, rows: list[Row]) -> list[list[int]]:
    if tuned.args["task"] == "classification":
        return [
            tuned.tokenizer(r.question, truncation=True, max_length=tuned.args["max_length"])["input_ids"] for r in rows
        ]
    template = template_of(tuned.tokenizer)
    turns = [[m for m in (r.messages[:-1] if r.answer else r.messages)] for r in rows]
    return [
        encode_prompt(t, tuned.tokenizer, template, think=tuned.args["think"], max_length=tuned.args["max_length"])
        for t in turns
    ]


@torch.inference_mode()
def _logits(model: nn.Module, ids: list[int]) -> Tensor:
    device = next(model.parameters()).device
    inputs = torch.tensor([ids], device=device)
    if isinstance(model, Classifier):
        logits: Tensor = model(inputs, torch.ones_like(inputs))
        return logits.cpu()
    states = body(model)(input_ids=inputs, use_cache=False).last_hidden_state  # type: ignore[arg-type]
    logits = model.get_output_embeddings()(states)  # type: ignore[operator]
    return logits.float().cpu()
