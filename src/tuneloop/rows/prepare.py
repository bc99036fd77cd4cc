"""The station of rows: read, split, clean the training rows, check, and say what was found.

recipe --read_rows--> readings --split_rows--> sides --clean_rows (train only)--> less near duplicates --> less leaks
    --> less what is not of the task --> doubts --decisions--> kept, dropped, waiting --edits checked--> Prepared
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any

import numpy as np

from tuneloop.disk import atomic_folder, read_json, sha256_file, write_json
from tuneloop.errors import DataError, RecipeError
from tuneloop.recipe import Recipe
from tuneloop.records import BadRow, Doubt, Dropped, Repair, Row, Split
from tuneloop.review.apply import Reviewed, apply_decisions
from tuneloop.review.log import Decision, in_force
from tuneloop.review.store import held, write_queue
from tuneloop.rows.checks import (
    lacking,
    refuse_empty_split,
    refuse_one_class,
    thin_classes,
    unknown_labels,
    untrainable,
)
from tuneloop.rows.clean import REPAIRS, clean_rows, normalised
from tuneloop.rows.digests import among, digests, numbered
from tuneloop.rows.doubts import doubts_of
from tuneloop.rows.edits import check_edits
from tuneloop.rows.funnel import check_funnel, mended_by_stage, reasons_of, waiting_by_stage
from tuneloop.rows.held_out import left_alone, named_columns, named_labels
from tuneloop.rows.leaks import without_leaks, without_near_leaks
from tuneloop.rows.locate import Place, locate, shown_path
from tuneloop.rows.near_duplicates import LabelConflict, without_twins
from tuneloop.rows.personal_data import mask_rows, masked, masked_dropped, shortened_repairs
from tuneloop.rows.read import Reading, hub_name, read_hub, read_questions, read_rows, rows_sha256
from tuneloop.rows.relevance import Embedder, Judged, judge_relevance
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.split import SPLITS, Splits, raw_key, split_rows
from tuneloop.rows.stage import dropped_bad
from tuneloop.rows.table import read_records, read_table, write_records, write_rows
from tuneloop.rows.texts import asked_text
from tuneloop.runs import RunFolder
from tuneloop.shelf import Store

SHOWN_BAD = 20
"""Bad rows that the report spells out; all of them stand in dropped.parquet."""
UNREAD = ("read", *REPAIRS)
"""Stages that drop a bad row because it stays one."""


@dataclass(frozen=True)
class Prepared:
    """Rows that are ready for a model.

    Attributes:
        train: Cleaned training rows that nobody doubts, or that a person let in.
        validation: As they were read; columns and labels by the names that training rows have.
        test: The same.
        dropped: Every row that is in none of the three and does not wait (but those that `where` left out), with its
            reason.
        repairs: What was mended in training rows, in those too that were dropped later.
        labels: Classification: the training rows' labels, sorted; else [].
        report: JSON-able: format, files, filtered, counts, bad, bad_rows, mended_rows, repairs, labels, labels_read,
            think, lengths, warnings, source, task, doubts, waiting, review, and noise where that stage is on.
        clean: The cleaned training rows before any person's decision.
        doubts: Why some of them wait for one.
    """

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    dropped: Sequence[Dropped]
    repairs: Sequence[Repair]
    labels: list[str]
    report: dict[str, Any]
    clean: Sequence[Row] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


def inputs_key(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Every input's sha256: a file's of its bytes, a hub set's of its rows.

    Args:
        recipe: What names the inputs.
        folder: Where its relative paths start.

    Raises:
        DataError: naming all files that are missing, or if a hub set cannot be loaded.
    """
    key: dict[str, str] = {}
    for place in _places(recipe, folder).values():
        key |= {shown_path(path, folder): sha256_file(path) for path in place.files}
        key |= {hub_name(place): rows_sha256(read_hub(place.hub, place.split))} if place.hub else {}
    return key


def input_files(recipe: Recipe, folder: Path) -> list[Path]:
    """The files of rows that a recipe names; `folder` is where its relative paths start.

    Raises:
        DataError: naming all that are missing.
    """
    return [path for place in _places(recipe, folder).values() for path in place.files]


def _specs(recipe: Recipe) -> dict[Split, str | float]:
    return {"train": recipe.data.train, "validation": recipe.data.validation, "test": recipe.data.test}


def _places(recipe: Recipe, folder: Path) -> dict[str, Place]:
    """Where the sides are that name rows of their own, and examples; every one that is missing is told at once."""
    found: dict[str, Place] = {}
    faults: dict[str, DataError] = {}
    named: list[tuple[str, str | float | None, str]] = [
        (split, spec, recipe.data.source) for split, spec in _specs(recipe).items()
    ]
    if recipe.clean.relevance is not None:
        named.append(("examples", recipe.clean.relevance.examples, ""))
    for name, spec, origin in named:
        if isinstance(spec, str):
            try:
                found[name] = locate(spec, folder, origin)
            except DataError as error:
                faults[error.what] = error
    missing = list(faults.values())
    if len(missing) == 1:
        raise missing[0]
    if missing:
        listed = "; ".join(f"({number}) {error.what}" for number, error in enumerate(missing, 1))
        got, allowed, fix = (
            "; ".join(dict.fromkeys(filter(None, parts)))
            for parts in zip(*((error.got, error.allowed, error.fix) for error in missing), strict=True)
        )
        raise DataError(f"{len(missing)} inputs are missing: {listed}", got=got, allowed=allowed, fix=fix)
    return found


def prepare_rows(
    recipe: Recipe, folder: Path, decisions: Sequence[Decision] = (), room: Room = MEMORY,
    embedder: Callable[[], Embedder] | None = None,
) -> Prepared:  # fmt: skip
    """Read, split and clean the rows of a recipe, and check that they can teach what it asks.

    Args:
        recipe: Its sections data, clean, task, and the seed decide.
        folder: Where its relative paths start.
        decisions: What people decided about doubted rows, the whole log, oldest first.
        room: Where rows are kept on their way; the result is the same.
        embedder: Gives what reads the rows for `clean.relevance`; only called where the recipe asks for that stage.

    Raises:
        DataError: if rows are missing, the split leaves a side empty, there is one class only, or most labels of the
            test or validation rows are unknown to training. That all rows were dropped or wait is a warning.
    """
    readings = _read(recipe, folder, room)
    splits = split_rows(
        readings["train"], validation=readings.get("validation") or _share(recipe.data.validation),
        test=readings.get("test") or _share(recipe.data.test), seed=recipe.seed, group_by=recipe.data.group_by,
        room=room,
    )  # fmt: skip
    refuse_empty_split(splits, recipe)
    asked = Asked(recipe, folder, decisions, embedder)
    cleaned = _cleaned(asked, readings, splits, room)
    splits = cleaned.splits
    into = Reviewed(room.store(), room.store(), room.store())
    reviewed = apply_decisions(cleaned.rows, cleaned.doubts, decisions, into=into)
    checked = check_edits(reviewed, splits, readings, recipe, room)
    shown: Callable[[Dropped], Dropped] = masked_dropped if recipe.clean.personal_data else lambda item: item
    dropped: Store[Dropped] = room.store()
    for lost in (*cleaned.dropped, reviewed.dropped, checked.dropped):
        dropped.extend(map(shown, lost))
    held_out: tuple[Split, ...] = ("validation", "test")
    dropped.extend(shown(dropped_bad(bad, split)) for split in held_out for bad in splits.bad[split])
    train, waiting = checked.kept, reviewed.waiting
    repairs: Store[Repair] = room.store()
    for mended in (*cleaned.repairs, checked.repairs):
        repairs.extend(mended)
    sides: dict[Split, Sequence[Row]] = {"train": train, "validation": splits.validation, "test": splits.test}
    labels: list[str] = []
    warnings = _warnings(sides, splits, dropped, recipe) + cleaned.warnings
    if recipe.task.type == "classification":
        labels = sorted({label for row in train for label in row.labels})
        warnings += thin_classes(train) + (unknown_labels(sides, labels) if labels else [])
        # Refused is only what no decision can change: rows that wait or were rejected count here.
        learnable = sorted(refuse_one_class(cleaned.rows))
        if learnable and (lacks := lacking(sides, learnable)):
            raise lacks
    report = _report(recipe, readings, splits, sides, dropped, repairs, warnings, waiting)
    report["doubts"] = dict(Counter(doubt.stage for doubt in cleaned.doubts).most_common())
    report |= {"waiting": waiting_by_stage(waiting, cleaned.doubts), "review": dict(reviewed.deeds), **cleaned.figures}
    cleaned.done()
    prepared = Prepared(
        train, splits.validation, splits.test, dropped, repairs, labels, report, cleaned.rows, cleaned.doubts
    )
    if fault := untrainable(prepared, recipe):
        report["warnings"].append(f"training would refuse these rows: {fault}")
    return prepared


def _read(recipe: Recipe, folder: Path, room: Room) -> dict[Split, Reading]:
    """The rows of each side that names some of its own."""
    _places(recipe, folder)  # all that is missing at once, before anything is read
    data = recipe.data
    return {
        split: read_rows(
            spec, folder=folder, task=recipe.task.type, columns=data.columns, where=data.where, source=data.source,
            room=room,
        )
        for split, spec in _specs(recipe).items() if isinstance(spec, str)
    }  # fmt: skip


@dataclass(frozen=True)
class _Cleaned:
    """Training rows before any person's decision, what the stages did, and the sides under the same names."""

    rows: Sequence[Row]
    dropped: tuple[Sequence[Dropped], ...]
    repairs: tuple[Sequence[Repair], ...]
    doubts: list[Doubt]
    splits: Splits
    warnings: list[str]
    figures: dict[str, Any]
    done: Callable[[], Any]


@dataclass(frozen=True)
class Asked:
    """What a cleaning is to do: the arguments of `prepare_rows`."""

    recipe: Recipe
    folder: Path
    decisions: Sequence[Decision]
    embedder: Callable[[], Embedder] | None


def _cleaned(asked: Asked, readings: dict[Split, Reading], splits: Splits, room: Room) -> _Cleaned:
    """The training rows through all stages, one after the other."""
    recipe = asked.recipe
    clean, near = recipe.clean, recipe.clean.near_duplicates
    splits, named = named_columns(splits, readings, clean, room)
    basic = clean_rows(
        splits.train, splits.bad["train"], clean=clean, parse=readings["train"].parse,
        held_out=chain(splits.validation, splits.test), room=room,
    )  # fmt: skip
    splits, spelt = named_labels(splits, basic.kept, basic.repairs, clean, room)
    rows, dropped, repairs = basic.kept, [basic.dropped], [basic.repairs]
    conflicts: list[LabelConflict] = []
    if near:
        single = without_twins(rows, near.threshold, room=room)
        rows, conflicts = single.rows, single.conflicts
        dropped.append(single.dropped)
    sealed = without_leaks(rows, splits, readings, recipe.data.group_by, room)
    rows = sealed.rows
    dropped.append(sealed.dropped)
    if near:
        sealed = without_near_leaks(rows, splits, near.threshold, room=room)
        rows = sealed.rows
        dropped.append(sealed.dropped)
    doubts: list[Doubt] = []
    if clean.personal_data:
        told_less: Store[Repair] = room.store()
        masked = mask_rows(rows, room)
        rows, doubts = masked.rows, masked.doubts
        told_less.extend(shortened_repairs(basic.repairs, {doubt.source: doubt.row for doubt in doubts}))
        repairs = [told_less, masked.repairs]
    told: list[str] = []
    done: Callable[[], Any] = list
    if clean.relevance is not None:
        judged, done = _relevance(rows, asked)
        left = {row.source for row in judged.kept}
        doubts = [doubt for doubt in doubts if doubt.source in left] + judged.doubts
        rows, told = judged.kept, list(judged.warnings)
        dropped.append(judged.dropped)
    figures: dict[str, Any] = {}
    doubts += doubts_of(rows, conflicts, clean=clean, seed=recipe.seed, figures=figures, tell=told.append, room=room)
    warnings = named + spelt + left_alone(splits, basic.repairs, clean) + told
    return _Cleaned(rows, tuple(dropped), tuple(repairs), doubts, splits, warnings, figures, done)


def _relevance(rows: Sequence[Row], given: Asked) -> tuple[Judged, Callable[[], None]]:
    """What the stage of relevance says of the rows, all in memory; what its encoder does at the end of the cleaning.

    Raises:
        RecipeError: if nothing was handed in that reads rows.
    """
    asked = given.recipe.clean.relevance
    assert asked is not None  # nobody calls this otherwise
    if given.embedder is None:
        raise RecipeError(
            "clean.relevance needs an encoder, and rows are prepared without one here",
            fix="Use `tuneloop clean`, or take clean.relevance out",
        )
    examples: list[str] = []
    if asked.examples is not None:
        found = read_questions(asked.examples, columns=given.recipe.data.columns, folder=given.folder)
        examples = [asked_text(row) for row in found]
    decided = {row for row, decision in in_force(given.decisions).items() if decision.settles}
    embedder = given.embedder()
    return judge_relevance(rows, asked, embedder, examples=examples, decided=decided), embedder.done


def _share(given: str | float) -> float:
    assert isinstance(given, float)  # a path gave a reading
    return given


# -- warnings -------------------------------------------------------------------------------------------------


def _warnings(
    sides: dict[Split, Sequence[Row]], splits: Splits, dropped: Iterable[Dropped], recipe: Recipe
) -> list[str]:
    warnings: list[str] = []
    for split in ("validation", "test"):
        bad = splits.bad[split]
        if bad:
            lost = f"{_rows(len(bad))} of {split} cannot be read; left out, not repaired"
            warnings.append(f"{lost}; the first: {_shown(bad[0], recipe)}")
    leaks = Counter(item.stage for item in dropped if item.stage in ("leak", "near_leak"))
    if leaked := leaks.total():
        were = "was dropped, since it also stands" if leaked == 1 else "were dropped, since they also stand"
        nearly = f" ({leaks['near_leak']} nearly)" if leaks["near_leak"] else ""
        warnings.append(f"{_rows(leaked)} of train {were} in validation or test{nearly}")
    train, chosen_by, scored = numbered(
        *(digests(normalised(raw_key(row)) for row in sides[split]) for split in SPLITS)
    )
    if twice := len(np.intersect1d(chosen_by, scored)):
        warnings.append(f"{twice} texts stand in both validation and test")
    if recipe.task.type == "classification":
        known: dict[tuple[str, ...], int] = {}
        labels = np.array([known.setdefault(row.labels, len(known)) for row in sides["train"]], dtype=np.int64)
        told_apart = np.unique(np.stack((train, labels), axis=1), axis=0)[:, 0]
        if torn := int((np.unique(told_apart, return_counts=True)[1] > 1).sum()):
            warnings.append(f"conflicting labels: {torn} texts of train stand there under more than one label (kept)")
        return warnings
    told = Counter(label for row in sides["train"] for label in row.labels)
    if set(told) == {"true", "false"}:
        warnings.append(
            f"{told['false']} of {len(sides['train'])} training rows are labelled false, and are learnt like "
            "the others; if false means a bad answer, set data.where: {label: true}"
        )
    unclosed = sum("<think>" in row.answer and "</think>" not in row.answer for row in sides["train"])
    if unclosed:
        warnings.append(f"{unclosed} training rows open <think> and never close it: their reasoning seems cut off")
    return warnings


# -- report ---------------------------------------------------------------------------------------------------


def _report(
    recipe: Recipe, readings: dict[Split, Reading], splits: Splits, sides: dict[Split, Sequence[Row]],
    dropped: Sequence[Dropped], repairs: Sequence[Repair], warnings: list[str], waiting: Sequence[Row],
) -> dict[str, Any]:  # fmt: skip
    reasons = {split: reasons_of(item for item in dropped if item.split == split) for split in SPLITS}
    mended = len(np.unique(numbered(digests(repair.source for repair in repairs))[0]))
    read = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    counts: dict[str, dict[str, Any]] = {
        split: {
            "in": len(read[split]) + len(splits.bad[split]), "repaired": mended if split == "train" else 0,
            "dropped": reasons[split], "kept": len(sides[split]),
        }
        for split in SPLITS
    }  # fmt: skip
    counts["train"]["to review"] = len(waiting)
    check_funnel(counts)  # `in` was counted before any stage ran
    gone = among(
        (f"{split} {row.source}" for split in SPLITS for row in splits.bad[split]),
        (f"{item.split} {item.source}" for item in dropped if item.stage in UNREAD),  # others were mended first
    )
    bad = compress(((split, row) for split in SPLITS for row in splits.bad[split]), gone)
    thinks = sum("<think>" in row.answer for row in sides["train"])
    files = [asdict(file) | {"split": split} for split, reading in readings.items() for file in reading.files]
    return {
        "task": recipe.task.type, "format": readings["train"].format, "files": files, "source": recipe.data.source,
        "filtered": sum(reading.filtered for reading in readings.values()), "counts": counts,
        "bad": [f"{split}: {_shown(row, recipe)}" for split, row in islice(bad, SHOWN_BAD)], "bad_rows": sum(gone),
        "mended_rows": len(gone) - sum(gone),
        "repairs": mended_by_stage(repairs),
        "labels": {split: label_counts(sides[split]) for split in SPLITS}, "labels_read": label_counts(splits.train),
        "think": {"rows": thinks, "share": round(thinks / max(len(sides["train"]), 1), 6)},
        "lengths": {
            "question": lengths(len(raw_text) for row in sides["train"] if (raw_text := row.question)),
            "answer": lengths(len(row.answer) for row in sides["train"] if row.answer),
        },
        "warnings": warnings,
    }  # fmt: skip


def _shown(bad: BadRow, recipe: Recipe) -> str:
    """A bad row as the report names it: without personal data where the recipe masks it."""
    return masked(str(bad))[0] if recipe.clean.personal_data else str(bad)


def label_counts(rows: Iterable[Row]) -> dict[str, int]:
    """Label -> rows, the most frequent first."""
    return dict(Counter(label for row in rows for label in row.labels).most_common())


def lengths(characters: Iterable[int]) -> dict[str, int]:
    """p50, p95 (nearest rank) and max of lengths in characters; {} for none."""
    ranked = np.sort(np.fromiter(characters, dtype=np.int64))
    if not len(ranked):
        return {}
    rank = {share: int(ranked[max(-(-share * len(ranked) // 100) - 1, 0)]) for share in (50, 95)}
    return {"p50": rank[50], "p95": rank[95], "max": int(ranked[-1])}


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


# -- the run folder -------------------------------------------------------------------------------------------


def save_prepared(prepared: Prepared, run: RunFolder, page: str = "", *, again: bool = False) -> None:
    """Write the row tables, the review queue, the report and its page as the run's data folder: all of it or nothing.

    Decisions that stand in the older folder's queue are carried over, those too that were made meanwhile.
    What stood on the older rows leaves the manifest once the new ones are written and before they take their place.

    Args:
        prepared: What `prepare_rows` gave.
        run: The run folder.
        page: The page that shows it, HTML; "": none is written.
        again: Whether the run was made from these very rows, and some of their files were gone: the model stays.

    Raises:
        RunError: if the disk is full or the folder cannot be written; the older rows stand then as they were.
    """
    with held(run.data), atomic_folder(run.data) as folder:
        for split, rows in zip(SPLITS, (prepared.train, prepared.validation, prepared.test), strict=True):
            write_rows(folder / f"{split}.parquet", rows)
        write_rows(folder / "clean.parquet", prepared.clean)
        write_queue(folder, prepared.clean, prepared.doubts, older=run.data)
        write_records(folder / "dropped.parquet", Dropped, prepared.dropped)
        write_records(folder / "repairs.parquet", Repair, prepared.repairs)
        write_json(folder / "report.json", prepared.report | {"classes": prepared.labels})
        if page:
            (folder / run.data_page.name).write_text(page, encoding="utf-8")
        run.forget("data", "augment", *(() if again else ("train", "evaluate", "report", "merge")))


def load_prepared(run: RunFolder) -> Prepared:
    """Read back what `save_prepared` wrote, but for `clean` and `doubts`, which only the next cleaning makes again.

    Raises:
        RunError: if a file is missing or broken.
    """
    report = read_json(run.data / "report.json")
    classes = list(report.pop("classes"))
    train, validation, test = (read_table(run.data / f"{split}.parquet") for split in SPLITS)
    dropped = read_records(run.data / "dropped.parquet", Dropped)
    repairs = read_records(run.data / "repairs.parquet", Repair)
    return Prepared(train, validation, test, dropped, repairs, classes, report)
