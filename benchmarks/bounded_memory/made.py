"""Rows of about a kilobyte, as many as fill a file of a given size; with the faults that stages 1 and 3 look for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from benchmarks.dirt.sentences import sentences
from tuneloop.disk import atomic_path

LABELS = tuple(f"topic {number}" for number in range(20))
WORDS = 4000
FAULTS = {"exact": 0.02, "near": 0.02, "noise": 0.02, "broken": 0.01}
"""Shares of the rows: copies, copies with a word more, random letters, single-quoted lines."""
CONTRADICTING = 0.1
"""Share of the copies that have a label of their own; the others have that of their row."""


def make(path: Path, megabytes: int, seed: int = 0) -> int:
    """Write the file, and give its rows.

    Args:
        path: Of a JSONL file.
        megabytes: Its size, in 2**20 bytes, about.
        seed: The same gives the same file.
    """
    chance, rows = random.Random(seed), 0
    words = vocabulary(chance)
    shares = 1.0 / np.arange(1, len(words) + 1)  # Zipf's law
    draws = np.random.default_rng(seed)
    last: list[tuple[str, str]] = []
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        while file.tell() < megabytes * 2**20:
            picks = draws.choice(len(words), size=(500, 140), p=shares / shares.sum())
            for pick in picks:
                text = " ".join(words[place] for place in pick)
                record = {"text": text, "label": chance.choice(LABELS), "number": rows}
                line = _spoiled(record, last, chance)
                last = [(text, str(record["label"]))] if chance.random() < 0.1 or not last else last
                file.write(line + "\n")
                rows += 1
    return rows


def vocabulary(chance: random.Random) -> list[str]:
    """Words of the shipped sentences, and made ones behind them: the rarer, the longer."""
    known = sorted({word for sentence in sentences("en") for word in sentence.split()})
    syllables = ["ka", "to", "mi", "ren", "sol", "dor", "ve", "lin", "pra", "est"]
    made = {"".join(chance.choices(syllables, k=2 + number * 3 // WORDS)) for number in range(4 * WORDS)}
    return [*known, *sorted(made, key=lambda word: (len(word), word))][:WORDS]


def _spoiled(record: dict[str, object], last: list[tuple[str, str]], chance: random.Random) -> str:
    draw, text = chance.random(), str(record["text"])
    if draw < FAULTS["exact"] + FAULTS["near"] and last:
        (text, label), near = last[0], draw >= FAULTS["exact"]
        record["text"] = text.replace(" ", " indeed ", 1) if near else text
        record["label"] = record["label"] if chance.random() < CONTRADICTING else label
    elif draw < 1 - FAULTS["noise"] - FAULTS["broken"]:
        pass
    elif draw < 1 - FAULTS["broken"]:
        record["text"] = "".join(chance.choices("qxzjkvwy#%&@", k=len(text) // 4))
    else:
        return str(record)  # single quotes
    return json.dumps(record)
