"""The records in Markdown, each figure beside what it had to reach."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from benchmarks.augmentation.sets import NAMES
from benchmarks.train_speed.raw import Record
from tuneloop.score.statistics import Difference, paired_difference, wilson

VIEWS = ("clean", "typos", "synonyms")
KEPT = 0.97
"""Share of rows that must keep their label."""


def gap(records: Sequence[Record], name: str, view: str) -> tuple[float, float, Difference, int] | None:
    """(accuracy without, with, paired difference of the mean over seeds, seeds) of a set; None without both arms."""
    arms = {
        arm: {one["seed"]: dict(zip(one["ids"], one["right"][view], strict=True)) for one in records
              if one["set"] == name and one["arm"] == arm}
        for arm in ("plain", "augmented")
    }  # fmt: skip
    seeds = sorted(set(arms["plain"]) & set(arms["augmented"]))
    if not seeds:
        return None
    ids = sorted(set.intersection(*({*arms[arm][seed]} for arm in arms for seed in seeds)))
    plain, augmented = (
        np.array([[arms[arm][seed][row] for row in ids] for seed in seeds], dtype=float).mean(0)
        for arm in ("plain", "augmented")
    )  # (N,) each, the share of the seeds that were right
    return float(plain.mean()), float(augmented.mean()), paired_difference(augmented, plain), len(seeds)


def misses(records: Sequence[Record]) -> list[str]:
    """What the issue's figures ask for and the records do not show."""
    told: list[str] = []
    reach = [("banking77", "clean", 0.0), ("banking77", "typos", 0.05), ("banking77", "synonyms", 0.05),
             ("snips", "clean", -0.01)]  # fmt: skip
    for name, view, least in reach:
        found = gap(records, name, view)
        if found is None:
            continue
        measured = found[2].low if view == "clean" else found[2].difference
        if not measured > least:
            told.append(f"{name}, {view} rows: {100 * measured:+.2f} points, to be above {100 * least:+.0f}")
    for one in records:
        if one["arm"] == "labels":
            kept = one["methods"]["all"]
            share = kept["kept"] / max(1, kept["judged"])
            if share < KEPT:
                told.append(f"{one['set']}: {share:.2%} of the rows keep their label, to be {KEPT:.0%} or more")
    return told


def table(records: Sequence[Record]) -> str:
    """The whole table."""
    lines = [
        "# Augmentation", "",
        "| set | test rows | seeds | without | with | difference, points | to reach |", "|---" * 7 + "|",
    ]  # fmt: skip
    reach = {
        ("banking77", "clean"): "interval above 0", ("banking77", "typos"): "+5", ("banking77", "synonyms"): "+5",
        ("snips", "clean"): "interval above -1",
    }  # fmt: skip
    for name in NAMES:
        for view in VIEWS:
            found = gap(records, name, view)
            if found is not None:
                plain, augmented, difference, seeds = found
                points = [100 * value for value in (difference.difference, difference.low, difference.high)]
                lines.append(
                    f"| {name} | {view} | {seeds} | {plain:.2%} | {augmented:.2%} | {points[0]:+.2f} "
                    f"[{points[1]:+.2f}, {points[2]:+.2f}] | {reach.get((name, view), 'reported')} |"
                )
    lines += [
        "",
        "| set | method | rows changed | words changed | rows that keep their label | of changed ones | to reach |",
        "|---" * 7 + "|",
    ]
    for one in records:
        if one["arm"] == "labels":
            for method, told in one["methods"].items():
                low, high = wilson(told["kept"], told["judged"]) if told["judged"] else (0.0, 1.0)
                share = told["kept"] / max(1, told["judged"])
                changed = told["changed_kept"] / max(1, told["changed"])
                cells = [one["set"], method, f"{told['rows_changed']:.1%}", f"{told['changed_words']:.1%}"]
                cells += [f"{share:.2%} [{low:.2%}, {high:.2%}] of {told['judged']:,}", f"{changed:.2%}"]
                lines.append("| " + " | ".join([*cells, "97 %" if method == "all" else "reported"]) + " |")
    return "\n".join([*lines, "", *_notes(records)]) + "\n"


def _notes(records: Sequence[Record]) -> list[str]:
    trained = [one for one in records if one["arm"] != "labels"]
    if not trained:
        return []
    told = []
    for name in dict.fromkeys(one["set"] for one in trained):
        of_set = [one for one in trained if one["set"] == name]
        how = next((json.dumps(one["augment"]) for one in of_set if one["augment"]), "not measured")
        last = of_set[-1]
        told.append(
            f"- {name}: {last['base']['name']} ({last['method']}), {last['train_rows']:,} rows, {last['epochs']} "
            f"epochs, learning rate {last['learning_rate']:g}; augmentation `{how}`; `{last['command']}`"
        )
    return [
        *told, "",
        "Both arms of a set train the same number of steps. "
        "The difference is a paired bootstrap over test rows of the mean over seeds; hit rows come from "
        "`hits.py`, whose letters and words training does not use. A label is kept in the eyes of a judge trained on "
        "the set's full training rows (LinearSVC over TF-IDF and embedding; Chinese: the floor).",
    ]  # fmt: skip
