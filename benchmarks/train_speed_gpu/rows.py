"""Who is measured, the model's shape, the documents, and the table."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from benchmarks.train_speed.floor import limit_seconds, step_flops
from benchmarks.train_speed.raw import Record, standing
from benchmarks.train_speed.tokens import IGNORED, Document, TokenFile

SHAPE = {
    "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}, "tie_word_embeddings": False,
}  # fmt: skip
"""config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B."""
LENGTH, DOCUMENTS, STEPS, SKIPPED = 2048, 8, 20, 5
"""Tokens of a document, documents of a step, steps of a run, and those at its start that are not counted."""
PARITY = 0.03
"""How far a step's loss may be from tuneloop's, nats a token: bfloat16 rounds logits to 8 bits."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        system: "tuneloop" or "trl".
        variant: Which settings.
        options: In the system's own words.
    """

    system: str
    variant: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """system/variant."""
        return f"{self.system}/{self.variant}"


ALL = {"per_device_train_batch_size": DOCUMENTS, "gradient_accumulation_steps": 1}
HALF = {"per_device_train_batch_size": DOCUMENTS // 2, "gradient_accumulation_steps": 2}
TUNED = {"gradient_checkpointing": False, "use_liger_kernel": True}
ROWS = [
    Row("tuneloop", "default"),
    Row("trl", "default", ALL),  # checkpointing is on
    Row("trl", "tuned", ALL | TUNED),
    Row("trl", "tuned_micro", HALF | TUNED),
]


def documents(vocabulary: int = SHAPE["vocab_size"], length: int = LENGTH, count: int = DOCUMENTS * STEPS) -> TokenFile:
    """Documents of random tokens, all trained but the first; token 0 is the padding, and in none."""
    made = random.Random(0)
    rows = [[made.randrange(1, vocabulary) for _ in range(length)] for _ in range(count)]
    return TokenFile("random", "generation", 0, 0, [Document(ids, [IGNORED, *ids[1:]]) for ids in rows])


def table(records: list[Record]) -> str:
    """The rows that stand, by device, in Markdown: the median of each row's runs."""
    found = [one for one in standing(records).values() if "result" in one]
    rates = {one["device"]: one["result"]["flops"] for one in found if one["row"] == "gemm"}
    flops = step_flops(SHAPE, [LENGTH] * DOCUMENTS, DOCUMENTS * (LENGTH - 1), rank=8)
    lines = ["| device | row | tokens/s | share of the limit | peak GiB | loss off by |", "|---" * 6 + "|"]
    for device in sorted(rates):
        limit = limit_seconds(SHAPE, rates[device], flops)
        here = [one for one in found if one["device"] == device]
        ours = next((one["result"]["losses"] for one in here if one["row"] == "tuneloop/default"), None)
        for name in (row.name for row in ROWS):
            runs = sorted((one["result"] for one in here if one["row"] == name), key=lambda run: run["seconds_a_step"])
            if runs:
                run = runs[len(runs) // 2]
                off = max(map(abs, (a - b for a, b in zip(run["losses"], ours, strict=True)))) if ours else float("nan")
                warning = "" if off <= PARITY else " (does not count: another training)"
                lines.append(
                    f"| {device} | {name} | {DOCUMENTS * LENGTH / run['seconds_a_step']:,.0f} "
                    f"| {limit / run['seconds_a_step']:.2f} | {run['peak_bytes'] / 2**30:.1f} | {off:.3f}{warning} |"
                )
    lines += [f"\n{one['row']}: {one['absent']}" for one in standing(records).values() if "absent" in one]
    return "\n".join(lines) + "\n"
