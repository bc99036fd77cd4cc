"""The station of the wordings that are made once: after the rows, before training.

    training rows --masked model, teacher--> variants --none that says what another row says--> data/variants.parquet

What was made stands in masked_lm.sqlite and teacher.sqlite in the run folder, by the hash of what it was made of: a
run that was cut goes on there, and after a change of the rows only what is new is made.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tuneloop.augment.cache import Cache
from tuneloop.augment.endpoint import Answer, Endpoint, Question, Tally, check_endpoint, kept_answer
from tuneloop.augment.masked_lm import FillMask, Remembered
from tuneloop.augment.variants import Variants, inputs_of, make_variants, origin_of
from tuneloop.disk import atomic_path, sha256_json
from tuneloop.errors import ModelError, RecipeError
from tuneloop.recipe import Recipe
from tuneloop.rows.clean import asked_key, normalised
from tuneloop.rows.leaks import without_near_leaks
from tuneloop.rows.prepare import Prepared
from tuneloop.rows.split import Splits, raw_key
from tuneloop.rows.table import read_table, write_rows
from tuneloop.runs import RunFolder
from tuneloop.sections import Teacher
from tuneloop.terminal import say, warn


@dataclass(frozen=True)
class Masked:
    """The masked model of a recipe: found and checked, and loaded where a text needs it.

    Attributes:
        key: Hash of its weights and settings.
        load: Gives it.
        facts: What the manifest says of it.
    """

    key: str
    load: Callable[[], FillMask]
    facts: dict[str, Any]


def variants_path(run: RunFolder) -> Path:
    """Where a run keeps the wordings that were made; they go when its rows are replaced."""
    return run.data / "variants.parquet"


def teacher_of(recipe: Recipe) -> Teacher:
    """The recipe's teacher.

    Raises:
        RecipeError: if it has none.
    """
    if recipe.teacher is None:
        raise RecipeError(
            f"augment.{next(iter(recipe.augment.asking), 'paraphrase')}: there is no teacher to ask",
            fix="Add teacher: {base_url: ..., model: ...}",
        )
    return recipe.teacher


def augment_key(recipe: Recipe, data: str, masked: Masked | None) -> str:
    """Hash of all that decides which wordings are made; "" where the recipe makes none.

    How they are used in training, where the teacher is and how it is asked decide nothing about them.

    Args:
        recipe: Its sections augment and teacher.
        data: The key of the rows, which holds task and seed too.
        masked: The masked model, where there is one.
    """
    made = recipe.augment.made
    if not made:
        return ""
    unused = {"use", "probability", "name_or_path", "revision", "batch_size"}
    parts: list[Any] = [data, {name: method.model_dump(exclude=unused) for name, method in made.items()}]
    parts.append(masked.key if masked else "")
    if recipe.augment.asking:
        teacher = teacher_of(recipe)
        parts.append([teacher.model, teacher.temperature, teacher.max_tokens])
    return sha256_json(parts)


def standing_sha256(run: RunFolder, recipe: Recipe, key: str) -> str | None:
    """The hash of the wordings of `key` where they were made and are still there; None where they are to be made.

    Those that lack more answers than the recipe allows by now are to be made again: only what is missing is asked.

    Args:
        run: The run folder.
        recipe: Its section teacher.
        key: From `augment_key`; "": none are wanted, and "" stands for them.
    """
    if not key:
        return ""
    entry = run.stations().get("augment", {})
    if entry.get("key") != key or not variants_path(run).is_file():
        return None
    teacher = entry.get("teacher")
    if teacher and _share(teacher) > teacher_of(recipe).max_missing:
        return None
    return str(entry["sha256"])


def _share(tally: dict[str, Any]) -> float:
    return float(sum(tally["unanswered"].values()) / max(1, tally["questions"]))


def check_teacher(run: RunFolder, recipe: Recipe, prepared: Prepared) -> None:
    """Before anything heavy is done: where too many questions have no answer yet, key and address must be good.

    Args:
        run: The run folder, whose cache may answer all.
        recipe: What to make.
        prepared: The rows.

    Raises:
        RecipeError: if the key's environment variable is not set.
        ModelError: if nobody listens at the teacher's address.
    """
    if not recipe.augment.asking:
        return
    teacher, path = teacher_of(recipe), _teacher_cache(run)
    cache = Cache(path) if path.is_file() else None  # a run that fails here leaves no file behind
    total = unknown = 0

    def known(questions: Sequence[Question]) -> list[Answer]:
        nonlocal total, unknown
        found = [kept_answer(cache, teacher, question) if cache else None for question in questions]
        total, unknown = total + len(found), unknown + found.count(None)
        return [answer or Answer("", "not asked yet") for answer in found]

    asking = recipe.augment.model_copy(update={"masked_lm": None})
    make_variants(prepared.train, asking, task=recipe.task.type, seed=recipe.seed, labels=prepared.labels, ask=known)
    if cache is not None:
        cache.close()
    if unknown > teacher.max_missing * total:
        check_endpoint(teacher)


def _teacher_cache(run: RunFolder) -> Path:
    return run.path / "teacher.sqlite"


def augment_station(run: RunFolder, recipe: Recipe, prepared: Prepared, masked: Masked | None, key: str) -> None:
    """Make every wording that the recipe asks for, or what is missing of them, and write them beside the rows.

    A model that was trained on other wordings leaves the manifest before they are replaced.

    Args:
        run: The run folder, with its rows.
        recipe: What to make.
        prepared: The rows; held-out ones are only compared with.
        masked: The masked model, where there is one.
        key: From `augment_key`.

    Raises:
        ModelError: if the teacher is down, or leaves more questions unanswered than the recipe allows. What it
            answered is kept in both cases.
        RunError: if the disk is full or the folder cannot be written.
    """
    began = time.monotonic()
    found, tally = _make(run, recipe, prepared, masked)
    near = recipe.clean.near_duplicates
    found = _apart(found, prepared, near.threshold if near else None)
    counts = Counter(origin[0] for row in found.rows if (origin := origin_of(row)) is not None)
    rows = sum(bool(inputs_of(row, recipe.task.type)) for row in prepared.train)
    methods: dict[str, dict[str, Any]] = {}
    for name, method in recipe.augment.made.items():
        not_used = {why: n for (of, why), n in sorted(found.skipped.items()) if of == name}
        methods[name] = {"wordings": counts[name], "wanted": method.copies * rows, "not_used": not_used}
        _say_method(name, methods[name])
    facts: dict[str, Any] = {"masked_lm": masked.facts} if masked else {}
    facts |= {"teacher": _teacher_facts(recipe, tally)} if tally else {}
    with atomic_path(variants_path(run)) as temporary:
        write_rows(temporary, found.rows)
        run.forget("augment", "train", "evaluate", "report", "merge")
    sha256 = sha256_json([[row.id, *row.lineage] for row in found.rows])
    seconds = round(time.monotonic() - began, 2)
    run.record("augment", key=key, sha256=sha256, seed=recipe.seed, seconds=seconds, methods=methods, **facts)


def _make(run: RunFolder, recipe: Recipe, prepared: Prepared, masked: Masked | None) -> tuple[Variants, Tally | None]:
    """All wordings, and what asking the teacher came to."""
    augment, fill, endpoint = recipe.augment, None, None
    with contextlib.ExitStack() as caches:
        if masked is not None and augment.masked_lm is not None:
            guesses = caches.enter_context(contextlib.closing(Cache(run.path / "masked_lm.sqlite")))
            fill = Remembered(masked.load, guesses, key=f"{masked.key} {augment.masked_lm.top_k}", title="masked_lm")
        if augment.asking:
            answers = caches.enter_context(contextlib.closing(Cache(_teacher_cache(run))))
            endpoint = Endpoint(teacher_of(recipe), answers)
        try:
            found = make_variants(
                prepared.train, augment, task=recipe.task.type, seed=recipe.seed, labels=prepared.labels, fill=fill,
                ask=partial(endpoint.ask, title="teacher") if endpoint else None,
            )  # fmt: skip
        finally:
            if endpoint is not None:  # what was paid for is told after Ctrl-C too
                _say_cost(endpoint.tally)
    return found, endpoint.tally if endpoint else None


def _say_cost(tally: Tally) -> None:
    cost = f"{tally.prompt_tokens:,} tokens asked and {tally.completion_tokens:,} answered"
    now = f"{tally.prompt_tokens_now:,} and {tally.completion_tokens_now:,}"
    untold = f"; {tally.untold:,} answers came without a count" if tally.untold else ""
    say(f"teacher: {tally.questions:,} questions, {tally.known:,} answered before; {cost}, {now} of them now{untold}")


def _say_method(name: str, entry: dict[str, Any]) -> None:
    why = ", ".join(f"{reason} {count:,}" for reason, count in entry["not_used"].items())
    say(
        f"augment: {name}: {entry['wordings']:,} wordings of {entry['wanted']:,}"
        + (f"; not used: {why}" if why else "")
    )
    if not entry["wordings"]:
        warn(f"augment.{name} made no wording that can be used")


def _teacher_facts(recipe: Recipe, tally: Tally) -> dict[str, Any]:
    """What the manifest says of the teacher; few unanswered questions are said, too many stop the run.

    Raises:
        ModelError: if there are too many.
    """
    teacher = teacher_of(recipe)
    facts = {"model": teacher.model, "base_url": teacher.base_url, **asdict(tally)}
    facts["unanswered"], told = dict(tally.unanswered), facts.pop("told")
    if not tally.unanswered:
        return facts
    count = sum(tally.unanswered.values())
    why = ", ".join(f"{fault} ({n:,})" for fault, n in tally.unanswered.most_common())
    left = f"The teacher at {teacher.base_url} left {count:,} of {tally.questions:,} questions unanswered"
    why += f"; it said: {told}" if told else ""
    if _share(facts) > teacher.max_missing:
        raise ModelError(
            left, got=why, allowed=f"{teacher.max_missing:.1%} (teacher.max_missing)",
            fix="Run again: what it answered is kept and only the rest is asked. Or go on without these wordings: "
            "--set teacher.max_missing=1.0",
        )  # fmt: skip
    warn(f"{left}: {why}. Training goes on without them; --set teacher.max_missing=0.0 asks for them again")
    return facts


def _apart(made: Variants, prepared: Prepared, near: float | None) -> Variants:
    """The wordings that say what no other row says, be it held out (then not nearly either) or a training row."""
    held_out = [*prepared.validation, *prepared.test]
    asked = {text for row in held_out for text in (normalised(raw_key(row)), asked_key(row))}
    taken: dict[str, str] = {}
    for row in prepared.train:
        taken.setdefault(normalised(raw_key(row)), row.id)
    skipped, kept = Counter(made.skipped), []
    for row in made.rows:
        said, (method, origin) = normalised(raw_key(row)), origin_of(row) or ("", "")
        if said in asked:
            skipped[method, "a held-out row says it"] += 1
        elif taken.setdefault(said, origin) != origin:
            skipped[method, "another training row says it"] += 1
        else:
            kept.append(row)
    if near is not None and kept:
        stay = list(without_near_leaks(kept, Splits([], prepared.validation, prepared.test, {}), near).rows)
        there = {id(row) for row in stay}
        for row in kept:
            if id(row) not in there:
                skipped[(origin_of(row) or ("", ""))[0], "a held-out row says nearly that"] += 1
        kept = stay
    return Variants(kept, skipped)


def load_variants(run: RunFolder) -> Variants:
    """The wordings that a run holds, and what became of those that it does not.

    Raises:
        RunError: if they are missing or broken.
    """
    methods = run.stations()["augment"]["methods"]
    skipped = {(name, why): n for name, entry in methods.items() for why, n in entry["not_used"].items()}
    return Variants(read_table(variants_path(run)), skipped)
