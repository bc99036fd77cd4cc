"""The recipe: one YAML file, one section a station, strict, every error at once. No torch here.

    load_recipe(path, overrides)  ->  Recipe (typed, frozen, every default filled in)

An unknown key is an error that names the nearest valid one; the names that other tools use for
the same thing are errors whose hint says ours.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from tuneloop.errors import RecipeError
from tuneloop.sections import STAGES, Augment, Clean, Section, Teacher

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Metric = Literal["accuracy", "macro_f1", "micro_f1", "exact_match", "bleu", "rouge_l", "think"]


class Task(Section):
    """What the model learns to do."""

    type: Literal["classification", "generation"] = "generation"
    """`classification`: a head on the pooled states; `generation`: the answer's tokens."""
    pooling: Literal["mean", "last"] = "mean"
    """Classification: which of the last layer's states the head reads; mean over the tokens, or the last token."""
    attention: Literal["causal", "bidirectional"] = "causal"
    """Classification: whether a token sees only what stands before it, or the whole text."""


class Model(Section):
    """Which model to start from."""

    name_or_path: str = Field(min_length=1)
    """Hub id, folder, file.gguf, or pypi:NAME (the model inside that wheel)."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None is the newest, and the commit is recorded."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU that has it, else float32."""
    fast_path: bool = True
    """Compute with the padding-free decoder where it applies (it says so, or why not); false: never."""


class Data(Section):
    """Which rows, and how they are split."""

    train: str = Field(min_length=1)
    """Path, glob, or hub id of the training rows."""
    validation: str | Share = 0.1
    """Path of the rows that choose the checkpoint, or the share of the training rows to set aside."""
    test: str | Share = 0.1
    """Path of the rows that score the model, or the share of the training rows to set aside."""
    columns: dict[str, str] = Field(default={})
    """Ours -> yours, where the names are not the usual ones, e.g. {text: question, label: category}."""
    where: dict[str, str | int | float | bool] = Field(default={})
    """Keep only rows whose fields have these values."""
    group_by: str | None = None
    """Rows with the same value in this column stay on one side of a split."""
    max_length: int = Field(default=512, ge=8)
    """Tokens a row; longer ones are cut at the end of the text (and counted)."""
    think: Literal["keep", "strip", "empty"] = "keep"
    """R1 reasoning in the answers: train on it, remove it, or put an empty, untrained block before answers."""
    source: str = ""
    """Where the rows can be had, in words; shown when a file is missing, and in the report."""


class Adapt(Section):
    """Which weights are tuned."""

    method: Literal["lora", "full"] = "lora"
    """`lora`: low-rank adapters beside frozen weights; `full`: every weight."""
    rank: int = Field(default=8, ge=1)
    """LoRA: rank of the update of each matrix."""
    alpha: float = Field(default=16.0, gt=0)
    """LoRA: the update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """LoRA: share of the adapter's inputs that is dropped in training."""
    target: str | list[str] = "all-linear"
    """LoRA: which matrices; all-linear, or names such as [q_proj, v_proj]."""


class Train(Section):
    """How the weights are tuned. The names are Hugging Face's."""

    per_device_train_batch_size: int = Field(default=16, ge=1)
    """Rows a device takes in one accumulation step."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Accumulation steps in one optimiser step; the loss is normalised over all their tokens."""
    tokens_per_micro_batch: int | None = Field(default=None, ge=8)
    """Tokens that go through the model at once, a longer row alone; None: 8192 on a GPU, on a CPU 512 on the
    fast path, else 256 padded ones. Smaller needs less memory; the gradient is the same."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate of AdamW."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of a classification head; None: that of the rest."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at zero."""
    warmup_steps: Annotated[int, Field(ge=0)] | Share | None = None
    """Optimiser steps of warm-up, or a share of the run; None: the smaller of 500 and 6 % of the run."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The gradient's global norm is clipped to this."""
    num_train_epochs: int = Field(default=3, ge=1)
    """Passes over the training rows."""
    logging_steps: int = Field(default=10, ge=1)
    """Optimiser steps between two lines of log.jsonl."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between two looks at the validation rows; None: once an epoch."""
    save_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between two checkpoints; None: whenever the validation rows are looked at."""
    load_best_model_at_end: bool = True
    """Keep the checkpoint with the lowest validation loss as the model; false keeps the last."""
    metric_for_best_model: Literal["loss", "accuracy"] = "loss"
    """What the best checkpoint is best in; accuracy for classification only."""
    report_to: list[str] = Field(default=["tensorboard"])
    """Experiment trackers, by the names Accelerate knows (tensorboard, wandb, mlflow, ...); [] for none."""


class Evaluate(Section):
    """How the models are scored."""

    metrics: list[Metric] | None = None
    """Which figures; None: all of the task's."""
    max_rows: int | None = Field(default=None, ge=1)
    """Score only the first so many test rows (in the order of their ids); None: all."""
    untuned_rows: int = Field(default=500, ge=0)
    """Test rows on which the untuned model is scored (it is the slow one); 0 leaves it out."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Generation: tokens an answer may have."""
    latency: bool = True
    """Time single queries (batch 1) for p50, p95, p99."""


class Report(Section):
    """The report page."""

    lang: Literal["auto", "en", "zh"] = "auto"
    """Language of the page; auto: Chinese where most training rows are."""


class Recipe(Section):
    """A whole recipe: what to train, on which rows, how, and how to score it.

    Each value is checked here by itself; `recipe_from_tree` also checks that values fit each other.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of the run: its folder is runs/<name>."""
    seed: int = Field(default=42, ge=0)
    """Seed of splits, initial adapter weights, order of rows and bootstrap draws."""
    engine: Literal["local", "ray"] = "local"
    """Who cleans the rows: this machine, or a Ray cluster whose machines all see the run's folder."""
    task: Task = Task()
    model: Model
    data: Data
    clean: Annotated[
        Clean, BeforeValidator(lambda value: _clean_or_off(value), json_schema_input_type=Clean | Literal[False])
    ] = Clean()
    augment: Augment = Augment()
    teacher: Teacher | None = None
    """The model behind an endpoint that writes back-translations and paraphrases."""
    adapt: Adapt = Adapt()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()


def _clean_or_off(value: Any) -> Any:
    """`clean: off` (YAML reads it as false) switches every stage off."""
    if value is False:
        return Clean.model_validate(dict.fromkeys(STAGES, False))
    return value


# What other tools call it -> what we call it (PEERS: LLaMA-Factory, ms-swift, axolotl, TRL, unsloth).
FOREIGN_NAMES = {
    "base_model": "model.name_or_path", "model_name_or_path": "model.name_or_path", "model_name": "model.name_or_path",
    "model_id": "model.name_or_path", "torch_dtype": "model.dtype", "bf16": "model.dtype", "fp16": "model.dtype",
    "micro_batch_size": "train.per_device_train_batch_size", "batch_size": "train.per_device_train_batch_size",
    "num_epochs": "train.num_train_epochs", "epochs": "train.num_train_epochs", "lr": "train.learning_rate",
    "lr_scheduler": "train.lr_scheduler_type", "warmup_ratio": "train.warmup_steps (a share such as 0.06)",
    "gradient_clipping": "train.max_grad_norm", "cutoff_len": "data.max_length", "sequence_len": "data.max_length",
    "max_seq_length": "data.max_length", "max_seq_len": "data.max_length", "dataset": "data.train",
    "datasets": "data.train", "dataset_dir": "data.train", "val_size": "data.validation",
    "val_set_size": "data.validation", "lora_rank": "adapt.rank", "lora_r": "adapt.rank", "r": "adapt.rank",
    "lora_alpha": "adapt.alpha", "lora_dropout": "adapt.dropout", "lora_target": "adapt.target",
    "target_modules": "adapt.target", "lora_target_modules": "adapt.target", "finetuning_type": "adapt.method",
    "tuner_type": "adapt.method", "adapter": "adapt.method", "training_type": "adapt.method",
    "output_dir": "name (the run's folder is runs/<name>)", "packing": "nothing: leave it out",
    "sample_packing": "nothing: leave it out", "neat_packing": "nothing: leave it out",
    "resume_from_checkpoint": "the option --resume of `tuneloop train`", "stage": "task.type",
    "eval_strategy": "train.eval_steps", "evaluation_strategy": "train.eval_steps",
    "api_base": "teacher.base_url", "api_key": "teacher.api_key_env (the name of an environment variable)",
}  # fmt: skip


MOST_KEYS = 6  # of a section, in the error about a value that should be one
_MERGE = "tag:yaml.org,2002:merge"  # `<<: *name`, which may stand more than once


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as a number and refuses a key that stands twice."""


class _Dumper(yaml.SafeDumper):
    """What _Loader reads back to the same values: text that looks like 1e-4 is quoted, odd line breaks are escaped."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    escaped = any(mark in text for mark in "\x85\u2028\u2029\ufeff")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if escaped else None)


_Dumper.add_representer(str, _text)
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(
            r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
        ),
        list("-+0123456789."),
    )


def _mapping_without_twins(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeError(
                f"Line {line}: a key must be plain text", got=f"a {key_node.id}", fix="Check brackets there"
            )
        if key_node.value in seen and key_node.tag != _MERGE:
            raise RecipeError(
                f"Line {line}: the key {key_node.value!r} stands twice in one section", fix="Keep one of them"
            )
        seen.add(key_node.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_twins)


def parse_yaml(text: str, what: str = "The recipe") -> Any:
    """Parse YAML text by the rules of recipes.

    Args:
        text: The YAML.
        what: How errors call it.

    Raises:
        RecipeError: with the line, if it is no YAML or a key stands twice.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise RecipeError(
            f"{what} is not valid YAML at {where}", got=str(error.problem), fix="Check indentation and quotes there"
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{what} is not valid YAML", got=str(error), fix="Save it as plain UTF-8 text") from None
    except ValueError as error:  # what looks like a date or a number and is none
        raise RecipeError(
            f"{what} holds a value that YAML cannot read", got=str(error), fix="Put it in quotes"
        ) from None
    except RecursionError:
        raise RecipeError(f"{what} is nested too deeply", allowed="sections, and lists or maps in them") from None


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read, override and check a recipe; nothing heavy is loaded.

    Args:
        path: The YAML file.
        overrides: `section.key=value` each, the value read as YAML, or as the text that it is (`*.csv`).

    Raises:
        RecipeError: one paragraph with every fault in the file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(
            f"There is no recipe {path}",
            fix="`tuneloop init` writes a starter; `tuneloop init --list` names the templates",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} cannot be read", got=str(error), fix="It must be UTF-8 text") from None
    tree = parse_yaml(text)
    if not isinstance(tree, dict):
        raise RecipeError(
            f"The recipe {path} holds no keys", got=type(tree).__name__, allowed="sections such as model: and data:"
        )
    for override in overrides or []:
        _set(tree, override)
    return recipe_from_tree(tree, str(path))


def recipe_from_tree(tree: dict[str, Any], where: str) -> Recipe:
    """Check a parsed recipe; `where` names it in errors.

    Raises:
        RecipeError: with every fault at once.
    """
    try:
        found = Recipe.model_validate(tree)
        faults = _clashes(tree, "")
        if not faults:
            return found
    except ValidationError as error:
        faults = _faults(error, tree)
        # A key that is misspelt was meant, so what it would have said is not taken for its default.
        faults += _clashes(tree, " ".join(fault for fault in faults if fault.startswith("unknown key")))
    count = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
    listed = "; ".join(f"({i}) {fault}" for i, fault in enumerate(faults, 1)) if len(faults) > 1 else faults[0]
    raise RecipeError(
        f"The recipe {where} has {count}: {listed}", fix="`tuneloop schema` prints every key with its type and default"
    )


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError("--set takes KEY=VALUE", got=repr(override), allowed="e.g. --set train.learning_rate=1e-4")
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"--set {key}: {section!r} is not a section", got=repr(inner), allowed="section.key=value"
            )
        tree = inner
    try:
        tree[last] = parse_yaml(value, f"The value of --set {key.strip()}")
    except RecipeError:
        if value.lstrip()[:1] in ("", "[", "{", '"', "'"):  # meant as YAML
            raise
        tree[last] = value.strip()


def _faults(error: ValidationError, tree: dict[str, Any]) -> list[str]:
    """Every fault as a sentence; what a value might have been instead (a path or a share) is told in one."""
    faults: list[str] = []
    wrong: dict[str, tuple[list[str], Any]] = {}
    for entry in error.errors():
        place, message = _place(entry, tree), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            faults.append(f"unknown key {place!r}{_nearest(place)}")
        elif entry["type"] == "missing":
            faults.append(f"{place!r} is missing")
        elif entry["type"] == "invalid_key":
            faults.append(f"the key {entry['input']!r} should be text")
        elif entry["type"] == "value_error":
            faults.append(f"{place}: {message}" if place else message)
        else:
            wrong.setdefault(place, ([], entry["input"]))[0].append(_allowed(entry["type"], place, message))
    for place, (allowed, got) in wrong.items():
        if not any(other.startswith(f"{place}.") for other in wrong):  # the inner fault says more
            shown = repr(got) if len(repr(got)) <= 80 else repr(got)[:77] + "..."
            either = " or ".join(dict.fromkeys(allowed))
            faults.append(f"{place!r} should {either}, got {shown} ({type(got).__name__})")
    return faults


def _clashes(tree: dict[str, Any], unknown: str) -> list[str]:
    """What does not fit between values of different keys, as sentences; values wrong by themselves are passed over.

    Args:
        tree: The parsed recipe.
        unknown: The faults that tell of unknown keys; where one was meant to be task or task.type, nothing is said.
    """
    task, train, evaluate = (_section(tree, name) for name in ("task", "train", "evaluate"))
    meant = "'task'" in unknown or "task.type" in unknown
    kind = task.get("type", None if meant else Task().type)
    found: list[str] = []
    if kind == "generation":
        if task.get("pooling") == "last" or task.get("attention") == "bidirectional":
            found.append("task: pooling and attention change only a `type: classification`; remove them")
        if train.get("metric_for_best_model") == "accuracy":
            found.append("train.metric_for_best_model: accuracy needs task.type: classification; use loss")
        if train.get("head_learning_rate") is not None:
            found.append("train.head_learning_rate: a generation task has no head; remove it")
    foreign = {"classification": ["bleu", "rouge_l", "think"], "generation": ["macro_f1", "micro_f1"]}
    metrics = evaluate.get("metrics")
    wrong = [name for name in foreign.get(str(kind), []) if isinstance(metrics, list) and name in metrics]
    if wrong:
        found.append(f"evaluate.metrics: {', '.join(wrong)} cannot be measured on a {kind} task")
    asking = [name for name in ("back_translation", "paraphrase") if _section(tree, "augment").get(name) is not None]
    if asking and tree.get("teacher") is None and "'teacher'" not in unknown:
        listed = " and ".join(f"augment.{name}" for name in asking)
        found.append(f"{listed}: there is no teacher to ask; add teacher: {{base_url: ..., model: ...}}")
    return found


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _allowed(kind: str, place: str, message: str) -> str:
    """What pydantic's message allows, as it follows "should": be a valid integer, match pattern ..."""
    if kind == "model_type":
        keys = _keys_in(place)
        return f"be a section with keys ({', '.join(keys[:MOST_KEYS])}{', ...' * (len(keys) > MOST_KEYS)})"
    return message.partition(" should ")[2] or f"be otherwise ({message})"


def _place(entry: Any, tree: Any) -> str:
    """Where a fault is, in the recipe's own keys; pydantic's names for the branches of a union are left out."""
    path: list[str] = []
    for part in entry["loc"]:
        if (isinstance(tree, dict) and part in tree) or (isinstance(tree, list) and part in range(len(tree))):
            tree = tree[part]
            path.append(str(part))
    if entry["type"] == "missing":
        path.append(str(entry["loc"][-1]))
    return ".".join(path)


def _nearest(place: str) -> str:
    """The hint behind an unknown key: another tool's name, the nearest key, or the keys of that section."""
    section, _, last = place.rpartition(".")
    if last in FOREIGN_NAMES:
        return f" (here it is {FOREIGN_NAMES[last]})"
    here = _keys_in(section)
    if near := difflib.get_close_matches(last, here, n=1):
        return f" (did you mean {'.'.join(filter(None, [section, near[0]]))!r}?)"
    names = {key.rpartition(".")[2]: key for key in all_keys()}
    if near := difflib.get_close_matches(last, names, n=1, cutoff=0.75):
        return f" (did you mean {names[near[0]]!r}?)"
    return f" (the keys {f'of {section}' if section else 'there'} are {', '.join(here)})" if here else ""


def _keys_in(section: str) -> list[str]:
    return [key.rpartition(".")[2] for key in all_keys() if key.rpartition(".")[0] == section]


def all_keys() -> list[str]:
    """Every key of a recipe as `section.key`."""
    return _keys_of(Recipe, "")


def _keys_of(section: type[Section], outer: str) -> list[str]:
    keys: list[str] = []
    for name, info in section.model_fields.items():
        keys.append(outer + name)
        for kind in (info.annotation, *get_args(info.annotation)):  # a section, or one that may be null
            if isinstance(kind, type) and issubclass(kind, Section):
                keys += _keys_of(kind, f"{outer}{name}.")
    return keys


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default filled in; it loads back to the same recipe."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
