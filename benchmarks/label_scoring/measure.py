"""One session: ours on all rows, both baselines on few, and whether they agree.

The scorer's time holds all that it does for a set of rows: prompts to tokens, the trie, the shared prompt, the scores.
The baselines get their prompts and labels as tokens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch

from benchmarks.label_scoring.baselines import alone, batched
from benchmarks.label_scoring.inputs import LEAST_PROMPT, PROMPTS, Inputs, label_tokens, prompt_tokens
from benchmarks.train_speed.raw import Record
from tuneloop.examples.template import template_of
from tuneloop.infer.choices import ChoiceScorer
from tuneloop.runs import versions
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

AGREE = 1e-4
"""Nats a token that two scores of one label may differ by."""


@dataclass(frozen=True)
class Plan:
    """What a session does.

    Attributes:
        prompts: Keys of PROMPTS.
        baseline_rows: Rows that the baselines are timed on; the first ones.
        sizes: Labels a batch that the batched baseline tries on one row before it is timed.
        threads: Of torch.
        command: What the user typed, for the record.
    """

    prompts: tuple[str, ...]
    baseline_rows: int
    sizes: tuple[int, ...]
    threads: int
    command: str


def session(inputs: Inputs, plan: Plan) -> list[Record]:
    """Measure every prompt of the plan, a record each."""
    torch.set_num_threads(plan.threads)
    return [measure(inputs, plan, name) for name in plan.prompts]


def measure(inputs: Inputs, plan: Plan, name: str) -> Record:
    """One prompt: warm up on a row, then ours, then the baselines row by row."""
    machine, before = machine_facts(), os.getloadavg()[0]
    began = datetime.now(UTC).isoformat(timespec="seconds")
    ask, count = PROMPTS[name], min(plan.baseline_rows, len(inputs.texts))
    _scorer(inputs, name).score(inputs.texts[0])
    say(f"{name} prompt: ours, {len(inputs.texts)} rows")
    start = time.perf_counter()
    scorer = _scorer(inputs, name)
    ours = scorer.score_all(inputs.texts)
    seconds = time.perf_counter() - start
    prompts = [prompt_tokens(inputs, ask, text) for text in inputs.texts]
    labels, model = label_tokens(inputs), inputs.model
    tried = {size: _timed(lambda s=size: batched(model, prompts[0], labels, size=s))[0] for size in plan.sizes}
    best = min(tried, key=lambda size: tried[size])
    baselines = {}
    ways: dict[str, Callable[[list[int]], np.ndarray]] = {
        "batched": lambda prompt: batched(model, prompt, labels, size=best),
        "alone": lambda prompt: alone(model, prompt, labels),
    }
    for way, score in ways.items():
        say(f"{name} prompt: {way}, {count} rows")
        found = [_timed(lambda p=prompt, s=score: s(p)) for prompt in prompts[:count]]
        gap = max(float(np.abs(scores - row).max()) for (_, scores), row in zip(found, ours, strict=False))
        baselines[way] = {"seconds": [round(took, 4) for took, _ in found], "largest_difference": gap}
    baselines["batched"] |= {"size": best, "tried_seconds": {str(s): round(t, 4) for s, t in tried.items()}}
    return {
        "prompt": name, "date": began, "command": plan.command, "machine": machine,
        "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(), **versions(), "inputs": inputs.facts,
        "rows": len(inputs.texts), "seconds": round(seconds, 4), "baselines": baselines,
        "tokens": token_facts(scorer, prompts, labels, count),
    }  # fmt: skip


def token_facts(
    scorer: ChoiceScorer, prompts: list[list[int]], labels: list[list[int]], count: int
) -> dict[str, float]:
    """What is fed: tokens of a whole prompt (of all rows, and of the first `count`), of the shared part, of labels."""
    return {
        "prompt_mean": round(sum(map(len, prompts)) / len(prompts), 2),
        "baseline_prompt_mean": round(sum(map(len, prompts[:count])) / count, 2),
        "shared": len(scorer.start), "labels": len(labels), "label_tokens": sum(map(len, labels)),
        "nodes": len(scorer.trie), "edges": len(scorer.trie.target),
    }  # fmt: skip


def faults(record: Record) -> list[str]:
    """Why a record proves nothing; empty where it is good."""
    told = []
    for way, found in record["baselines"].items():
        if not found["largest_difference"] <= AGREE:  # nan too
            told.append(f"{record['prompt']}: scores differ from {way} by {found['largest_difference']:.1e} nats")
    if record["tokens"]["shared"] < LEAST_PROMPT:
        told.append(f"{record['prompt']}: the prompt has {record['tokens']['shared']} tokens, not {LEAST_PROMPT}")
    return told


def ratio(record: Record, way: str) -> float:
    """Seconds a row of a baseline by ours."""
    each: list[float] = record["baselines"][way]["seconds"]
    return (sum(each) / len(each)) / (record["seconds"] / record["rows"])


def _scorer(inputs: Inputs, name: str) -> ChoiceScorer:
    template = template_of(inputs.tokenizer)
    return ChoiceScorer(inputs.model, inputs.tokenizer, template, inputs.labels, ask=PROMPTS[name])


def _timed(score: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = score()
    return time.perf_counter() - start, found


def table(records: list[Record]) -> str:
    """The records in Markdown, the newest of each prompt."""
    newest: dict[str, Record] = {record["prompt"]: record for record in records}
    lines = [
        "# Label scoring", "",
        "| prompt | shared tokens | ours, s a row | a pass a label, s a row | ratio "
        "| padded batches, s a row | ratio | largest difference |",
        "|---" * 8 + "|",
    ]  # fmt: skip
    for name, one in newest.items():
        cells = [name, str(one["tokens"]["shared"]), f"{one['seconds'] / one['rows']:.3f} ({one['rows']} rows)"]
        for way in ("alone", "batched"):
            each = one["baselines"][way]["seconds"]
            cells += [f"{sum(each) / len(each):.2f} ({len(each)} rows)", f"{ratio(one, way):.1f}x"]
        cells.append(f"{max(found['largest_difference'] for found in one['baselines'].values()):.1e}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(note for one in newest.values() for note in notes(one))]) + "\n"


def notes(record: Record) -> list[str]:
    """What does not stand in a column: how it was measured, and that the baselines are extrapolated."""
    tokens, batches = record["tokens"], record["baselines"]["batched"]
    count = len(record["baselines"]["alone"]["seconds"])
    whole = ", ".join(
        f"{way} {sum(found['seconds']) / len(found['seconds']) * record['rows']:,.0f} s"
        for way, found in record["baselines"].items()
    )
    return [
        f"- {record['prompt']}: `{record['command']}`, {record['date']}; {record['inputs']}; {record['threads']} "
        f"threads of {record['machine']['cpu']}, load {record['load_before']} before, {record['load_after']} after; "
        f"{record['versions']}.",
        f"  Ours took {record['seconds']:,.1f} s for {record['rows']} rows. The baselines were timed on the first "
        f"{count} of them and are extrapolated to all: {whole}. A prompt has {tokens['prompt_mean']} tokens on "
        f"average, {tokens['baseline_prompt_mean']} in those {count} rows; {tokens['labels']} labels have "
        f"{tokens['label_tokens']} tokens, the trie feeds {tokens['nodes']} and predicts {tokens['edges']}.",
        f"  Batches of {batches['size']} labels were the fastest on one row of {batches['tried_seconds']} (seconds).",
    ]
