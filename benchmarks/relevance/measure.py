"""One way of telling the task, on one set and seed: the share of strangers that is found, and of its own rows lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.noise.measure import area
from benchmarks.relevance.inputs import TASKS, Embed, mixed
from tuneloop.records import Row
from tuneloop.rows.relevance import Embedder, judge_relevance
from tuneloop.sections import Relevance

Result = dict[str, Any]
WAYS = ("examples", "description", "learnt", "learnt, no labels")


def measure(name: str, way: str, share: float, seed: int, rows: int | None, embed: Embed) -> Result:
    """What the stage says of a set with strangers among its rows.

    Args:
        name: The set.
        way: One of WAYS.
        share: Of strangers among all rows; 0 for a clean set.
        seed: Of the mixture.
        rows: How many rows of the set; None is all.
        embed: Texts to (N, D) vectors of length 1.
    """
    given = mixed(name, share=share, seed=seed, rows=rows)
    told = {"examples": given.examples} if way == "examples" else {}
    items = [
        Row(id=str(place), source=f"r:{place}", text=row["text"], label=None if "no labels" in way else row["label"])
        for place, row in enumerate(given.rows)
    ]
    reads = Embedder("", embed, lambda texts: np.ones(len(texts), dtype=bool))
    task = TASKS[name] if way == "description" else None
    every = judge_relevance(items, Relevance(task=task, drop_below=0.0, keep_above=1.0), reads, **told)
    usual = judge_relevance(items, Relevance(task=task), reads, **told)
    scores = np.ones(len(items))
    for doubt in every.doubts:
        scores[int(doubt.row)] = doubt.score
    lost, doubted, odd = np.zeros(len(items), bool), np.zeros(len(items), bool), given.strangers
    lost[[int(one.source[2:]) for one in usual.dropped]] = True
    doubted[[int(one.row) for one in usual.doubts]] = True
    found: Result = {
        "rows": len(items), "strangers": int(odd.sum()), "warnings": usual.warnings,
        "own_dropped": float(lost[~odd].mean()), "own_reviewed": float(doubted[~odd].mean()),
    }  # fmt: skip
    if odd.any():
        origins: dict[str, list[bool]] = {}
        for place, origin in sorted(given.origin.items()):
            origins.setdefault(origin, []).append(bool(lost[place] or doubted[place]))
        found |= {
            "auc": area(scores, odd), "dropped": float(lost[odd].mean()), "reviewed": float(doubted[odd].mean()),
            "origins": {origin: sum(places) / len(places) for origin, places in sorted(origins.items())},
        }  # fmt: skip
    return found
