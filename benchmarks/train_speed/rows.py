"""Who is measured, with which settings: ROWS, and the sets they train on.

Variants, for every peer that has them:
  default      as it comes, with float32 forced (bf16 is 44 to 500 times slower on a CPU without AVX512)
  tuned        16 documents at once, no checkpointing, grouped by length or packed
  micro        2 documents x 8 accumulation steps, no checkpointing
  micro_*      micro, and grouped by length, packed, compiled, or in two processes of one thread each
  by_length    tuneloop alone: the documents that the Trainer's rows by length take, step by step
Every row computes attention with sdpa, updates with torch's fused AdamW and loads rows in its own process: all three
are the peers' defaults, so no row has to ask for them. Rows with the most steps stand first among those that take the
same documents, so that one reference serves them all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.train_speed.order import BY_LENGTH


@dataclass(frozen=True)
class Set:
    """Documents, and how many steps are done on them.

    Attributes:
        name: Also of its token file.
        task: "generation" or "classification".
        documents: How many the file holds: enough for peers that sort by length to sort as they do in real use.
        horizon: Steps that the linear schedule is made for.
        max_length: Tokens of a document.
    """

    name: str
    task: str
    documents: int
    horizon: int
    max_length: int


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        data: Name of a Set.
        system: A module of systems/.
        variant: Which settings.
        about: The settings in words.
        options: In the system's own words.
        steps: Optimiser steps of a measured run.
        skipped: Steps at its start that are not counted.
        reordered: It takes other documents than the first ones (sorted by length, or packed).
        packed: Its steps hold a number of documents of their own, about 16.
        parity: It only shows that losses stay the same over many steps; once, and in no ranking.
        order: Of its documents (order.py), where the harness decides it: "" is the file's. Peers that sort or pack
            decide it themselves, and say `reordered`.
    """

    data: str
    system: str
    variant: str
    about: str
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 8
    skipped: int = 2
    reordered: bool = False
    packed: bool = False
    parity: bool = False
    order: str = ""

    @property
    def name(self) -> str:
        """data/system/variant."""
        return f"{self.data}/{self.system}/{self.variant}"

    def as_dict(self) -> dict[str, Any]:
        """What the record keeps of it; no `order` where it is the file's, as in records from before there was one."""
        return {name: value for name, value in asdict(self).items() if name != "order" or value}


SETS = {
    "gsm8k": Set("gsm8k", "generation", documents=3200, horizon=8, max_length=512),
    "banking77": Set("banking77", "classification", documents=3200, horizon=24, max_length=512),
}
SHORT_SETS = {
    "gsm8k": Set("gsm8k", "generation", documents=128, horizon=3, max_length=48),
    "banking77": Set("banking77", "classification", documents=128, horizon=3, max_length=24),
}
"""Made-up tokens under the same names, for a tiny model."""

ALL = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
MICRO = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
PLAIN = {"gradient_checkpointing": False}
GROUPED = {"train_sampling_strategy": "group_by_length"}
PACKED = {"packing": True, "packing_strategy": "bfd", "train_sampling_strategy": "random"}
SEVEN = {"per_device_train_batch_size": 7, "gradient_accumulation_steps": 1}
ONE_BY_SEVEN = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 7}
"""Seven packed rows of 512 tokens hold about the 16 documents of a step."""
TWO = {
    "processes": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "ddp_backend": "gloo",
    "ddp_find_unused_parameters": False,
}  # fmt: skip
"""Every core computes micro-batches of its own, as tuneloop's side-by-side workers do."""
SLOW = {"steps": 4, "skipped": 1}
SAME = {"order": BY_LENGTH, "reordered": True}


def _gsm8k() -> list[Row]:
    ours = [
        Row("gsm8k", "tuneloop", "fast", "as it comes", {"fast": True}),
        Row("gsm8k", "tuneloop", "plain", "fast_path off", {"fast": False}),
        Row("gsm8k", "tuneloop", "by_length", "the documents of the Trainer's rows by length", {"fast": True}, **SAME),
    ]
    hf = [
        Row("gsm8k", "hf_trainer", "default", "16 at once", ALL, **SLOW),
        Row("gsm8k", "hf_trainer", "micro", "2 x 8", MICRO | PLAIN),
        Row("gsm8k", "hf_trainer", "micro_grouped", "2 x 8, by length", MICRO | PLAIN | GROUPED, reordered=True),
        Row("gsm8k", "hf_trainer", "tuned", "16 at once, by length", ALL | PLAIN | GROUPED, reordered=True, **SLOW),
        Row("gsm8k", "hf_trainer", "micro_compiled", "2 x 8, torch_compile", MICRO | PLAIN | {"torch_compile": True}),
        Row("gsm8k", "hf_trainer", "micro_two_processes", "2 x 4 in each of 2 processes, 1 thread each", PLAIN | TWO),
    ]
    packed = {"reordered": True, "packed": True}
    trl = [
        Row("gsm8k", "trl", "default", "16 at once, checkpointing", ALL, **SLOW),
        Row("gsm8k", "trl", "micro", "2 x 8", MICRO | PLAIN),
        Row("gsm8k", "trl", "micro_packed", "1 packed row x 7", ONE_BY_SEVEN | PLAIN | PACKED, **packed),
        Row("gsm8k", "trl", "tuned", "7 packed rows at once", SEVEN | PLAIN | PACKED, **packed, **SLOW),
    ]
    unchecked = {"disable_gradient_checkpointing": True}
    factory = [
        Row("gsm8k", "llama_factory", "default", "16 at once, checkpointing", ALL, **SLOW),
        Row(
            "gsm8k", "llama_factory", "tuned", "16 at once, by length", ALL | unchecked | GROUPED, reordered=True,
            **SLOW,
        ),
        Row("gsm8k", "llama_factory", "micro", "2 x 8", MICRO | unchecked),
    ]  # fmt: skip
    others = [
        Row("gsm8k", "litgpt", "micro", "2 x 8, with clipping and each label alike added", {"micro_batch_size": 2}),
        Row("gsm8k", "torchtune", "micro", "2 x 8, torchao 0.14.1", {"batch_size": 2}),
    ]
    long = Row("gsm8k", "tuneloop", "parity", "60 steps", {"fast": True}, steps=60, parity=True)
    return [*ours, *hf, *trl, *factory, *others, long]


def _banking77() -> list[Row]:
    many = {"steps": 24, "skipped": 4}
    return [
        Row("banking77", "tuneloop", "fast", "as it comes", {"fast": True}, **many),
        Row("banking77", "tuneloop", "plain", "fast_path off", {"fast": False}, **many),
        Row(
            "banking77", "tuneloop", "by_length", "the documents of the Trainer's row by length", {"fast": True},
            **SAME, **many,
        ),
        Row("banking77", "hf_trainer", "default", "16 at once", ALL, **many),
        Row("banking77", "hf_trainer", "tuned", "16 at once, by length", ALL | PLAIN | GROUPED, reordered=True, **many),
        Row("banking77", "hf_trainer", "micro", "2 x 8", MICRO | PLAIN, **many),
        Row("banking77", "hf_trainer", "compiled", "16 at once, torch_compile", ALL | {"torch_compile": True}, **many),
    ]  # fmt: skip


ROWS = [*_gsm8k(), *_banking77()]
"""TRL and LLaMA-Factory have no trainer for classes, so banking77 has one peer."""

NOT_RUN: dict[str, str] = {}
"""Peers without rows, and why; the table says so."""


def short_rows() -> list[Row]:
    """tuneloop and hf_trainer alone, 3 steps of a tiny model, each kind of row once."""
    brief = {"steps": 3, "skipped": 1}
    by_length = MICRO | PLAIN | GROUPED
    return [
        Row("gsm8k", "tuneloop", "fast", "as it comes", {"fast": True}, **brief),
        Row("gsm8k", "tuneloop", "plain", "fast_path off", {"fast": False}, **brief),
        Row("gsm8k", "hf_trainer", "default", "16 at once", ALL, **brief),
        Row("gsm8k", "hf_trainer", "micro_grouped", "2 x 8, by length", by_length, reordered=True, **brief),
        Row("gsm8k", "tuneloop", "by_length", "the documents of the row by length", {"fast": True}, **SAME, **brief),
        Row("gsm8k", "hf_trainer", "micro_two_processes", "2 x 4 in each of 2 processes", PLAIN | TWO, **brief),
        Row("banking77", "tuneloop", "fast", "as it comes", {"fast": True}, **brief),
        Row("banking77", "hf_trainer", "default", "16 at once", ALL, **brief),
    ]
