"""Steps of as many tokens, made of documents of one length: their token file, and what makes a run worthless."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.train_speed.guards import GUARDS
from benchmarks.train_speed.inputs import Inputs, distinct
from benchmarks.train_speed.order import documents_of
from benchmarks.train_speed.rows import Row
from benchmarks.train_speed.start import make_start
from benchmarks.train_speed.tokens import Document, TokenFile, write_tokens
from tuneloop.disk import sha256_file

RANK = 8


def made(config: Mapping[str, Any], length: int, count: int) -> TokenFile:
    """`count` documents of `length` random tokens, all of them trained; no two are the same.

    Args:
        config: The base model's config.json.
        length: Tokens of each.
        count: How many.
    """
    chance, pad = random.Random(length), config["pad_token_id"]
    drawn = [[chance.randrange(pad + 1, config["vocab_size"]) for _ in range(length)] for _ in range(count)]
    return TokenFile(f"{length} tokens", "generation", 0, pad, distinct([Document(ids, ids) for ids in drawn], count))


def prepare(model: Path, config: Mapping[str, Any], folder: Path, length: int, count: int) -> tuple[Inputs, TokenFile]:
    """Write the token file and the start weights.

    Args:
        model: Folder of the base model.
        config: Its config.json.
        folder: Where to.
        length: Tokens of a document.
        count: How many documents.
    """
    tokens, path, start = made(config, length, count), folder / f"{length}.jsonl", folder / "start.safetensors"
    digest = write_tokens(path, tokens)
    make_start(start, dict(config), rank=RANK, classes=0)
    return Inputs(model, dict(config), path, start, {"tokens": digest, "start": sha256_file(start)}), tokens


def faults(result: Mapping[str, Any], tokens: TokenFile, steps: int, documents: int) -> list[str]:
    """All that the guards of the training benchmark have against a run, and the order of its documents.

    Args:
        result: Of systems/tuneloop.py.
        tokens: What it trained on.
        steps: Asked.
        documents: Of a step.
    """
    row = Row("scaling", "tuneloop", tokens.name, "", steps=steps)
    found = [
        f"{name}: {fault}"
        for name, guard in GUARDS.items()
        if name != "same steps"  # that one is for steps of 16
        for fault in guard(dict(result), tokens, row)
    ]
    wanted = documents_of("", tokens, steps, documents)
    if [sorted(step) for step in result["documents"]] != wanted:
        found.append(f"same steps: not {steps} steps of the first documents, {documents} each")
    return found
