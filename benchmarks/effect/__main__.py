"""Train on clean, dirty, cleaned and reviewed rows, write raw.jsonl and table.md. `--help` has the options."""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.dirt.plant import Rates, dirty_set
from benchmarks.dirt.sets import Record, made_up
from benchmarks.effect.arms import ARMS, MODEL, STAGES, WITHOUT_ENCODER, Arm, run_arm
from benchmarks.effect.table import table
from benchmarks.outcome import answer, conclude
from benchmarks.session import Session
from benchmarks.train_speed.raw import read_raw, standing
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.errors import DataError
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "effect"
TWICE = 2.0
CODE = ("benchmarks/dirt", "benchmarks/effect")
SHORT: dict[str, Any] = MODEL | {
    "train": MODEL["train"] | {"num_train_epochs": 1, "learning_rate": 1e-3},
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Train what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    asked.seeds = asked.seeds or ([0] if asked.short else [0, 1, 2])
    asked.rows = asked.rows or (60 if asked.short else 2000)
    results = asked.results or (Path(tempfile.mkdtemp(prefix="effect-")) if asked.short else RESULTS)
    session, keys = Session(results / "raw.jsonl"), list[str]()
    for seed in asked.seeds:
        for name in ARMS:
            key = key_of(name, seed, asked)
            keys.append(key)
            if asked.table or name not in asked.arms or session.stands(key):
                continue
            say(f"seed {seed}, {name} ...")
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory(prefix="effect-") as folder, standing_in(Path(folder)):
                result = run_arm(arm_of(name, seed, asked), Path(folder))
            session.keep(f"seed {seed}, {name}", {
                "key": key, "arm": name, "seed": seed, "rows": asked.rows, "set": set_of(asked), "command": command,
                "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
                "load_before": round(load, 2), "result": result,
            })  # fmt: skip
    found = [one for key, one in standing(read_raw(results / "raw.jsonl")).items() if key in keys]
    return conclude(results / "table.md", table(found), session.new_faults)


def arm_of(name: str, seed: int, asked: argparse.Namespace) -> Arm:
    """The rows of an arm, the same for the same options.

    Args:
        name: One of ARMS.
        seed: Of the dirt, the rows and the training.
        asked: The options.
    """
    rows, dirty = dirty_set(set_of(asked), seed=seed, rates=Rates().times(TWICE), rows=asked.rows)
    settings = SHORT if asked.short else MODEL
    if asked.model:
        settings = settings | {"model": {"name_or_path": str(asked.model)}}
    return Arm(name, seed, rows, dirty, test_rows(asked), settings, stages_of(asked))


def stages_of(asked: argparse.Namespace) -> dict[str, Any]:
    """What cleans in the cleaned arms."""
    return WITHOUT_ENCODER if asked.short else STAGES


def set_of(asked: argparse.Namespace) -> str:
    """The set that is made dirty."""
    return "made_up" if asked.short else "banking77"


def test_rows(asked: argparse.Namespace) -> list[Record]:
    """Rows that nobody trains on.

    Raises:
        DataError: if TUNELOOP_DATA does not hold them.
    """
    if asked.short:
        return made_up(40, seed=1)
    path = Path(os.environ.get("TUNELOOP_DATA", "")) / "banking77" / "test.csv"
    if not path.is_file():
        raise DataError("TUNELOOP_DATA does not hold banking77", got=str(path), fix="Set it to the folder of the sets")
    with open(path, encoding="utf-8", newline="") as file:
        return [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def key_of(name: str, seed: int, asked: argparse.Namespace) -> str:
    """Hash of all that decides a result."""
    files = [file for folder in CODE for file in sorted((ROOT / folder).glob("*.py"))]
    files = [file for file in files if file.name not in ("table.py", "__main__.py")]
    code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
    settings, stages = SHORT if asked.short else MODEL, stages_of(asked)
    return sha256_json([name, seed, asked.rows, set_of(asked), str(asked.model or ""), settings, stages, code])


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """The verbs write to runs/ of the folder that the process stands in."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.effect", description=__doc__)
    made.add_argument("--short", action="store_true", help="made-up rows, one epoch; minutes")
    made.add_argument("--seeds", nargs="+", type=int, default=None, help="(0 1 2; 0 with --short)")
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="train only these (all)")
    made.add_argument("--rows", type=int, help="clean rows (2000; 60 with --short)")
    made.add_argument("--model", type=Path, metavar="FOLDER", help="another model than SmolLM2-135M")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
