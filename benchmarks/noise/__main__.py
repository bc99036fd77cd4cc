"""Measure the noise score and the label errors, write raw.jsonl, scores.svg and table.md. `--help` has the options."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.dirt.sets import shipped_sha256
from benchmarks.noise.measure import FIGURES
from benchmarks.noise.plot import histograms
from benchmarks.noise.table import table
from benchmarks.outcome import answer, conclude
from benchmarks.train_speed.raw import Record, add_raw, read_raw, standing
from tuneloop.disk import sha256_file, sha256_json, write_text
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "noise"
SHORT_ROWS = 400
MODULES = {
    "noise": ("bulk", "ngrams", "outliers", "script", "texts"), "labels": ("label_errors", "ngrams", "out_of_fold"),
    "sent": ("label_errors", "ngrams", "out_of_fold"),
}  # fmt: skip
"""Of tuneloop.rows: what a figure is measured of."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    asked.seeds = asked.seeds or ([0] if asked.short else [0, 1, 2])
    results = asked.results or (Path(tempfile.mkdtemp(prefix="noise-")) if asked.short else RESULTS)
    raw, rows = results / "raw.jsonl", asked.rows or (SHORT_ROWS if asked.short else None)
    keys = set()
    for figure, name, seed in points(asked):
        key = key_of(figure, name, seed, rows, cleanlab=figure == "labels" and asked.cleanlab is not None)
        keys.add(key)
        if key in standing(read_raw(raw)) or asked.table:
            continue
        say(f"{figure}: {name}, seed {seed} ...")
        load, began = os.getloadavg()[0], time.perf_counter()
        result = FIGURES[figure][0](name, seed, rows, asked.cleanlab)
        add_raw(raw, {
            "key": key, "figure": figure, "set": name, "seed": seed, "command": shown(command, asked),
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
            "load_before": round(load, 2), "seconds": round(time.perf_counter() - began, 2),
            "versions": {name: version(name) for name in ("scikit-learn", "numpy", "scipy", "jieba")}, "result": result,
        })  # fmt: skip
    found: list[Record] = [one for key, one in standing(read_raw(raw)).items() if key in keys]
    if noise := [one for one in found if one["figure"] == "noise"]:
        write_text(results / "scores.svg", histograms(noise))
    return conclude(results / "table.md", table(found), [])


def points(asked: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Figure, set and seed of each run."""
    for figure in asked.figures:
        for name in ["made_up"] if asked.short else asked.sets or FIGURES[figure][1]:
            yield from ((figure, name, seed) for seed in asked.seeds)


def key_of(figure: str, name: str, seed: int, rows: int | None, *, cleanlab: bool) -> str:
    """Hash of all that decides a result.

    Args:
        figure: A key of FIGURES.
        name: The set.
        seed: Of the dirt.
        rows: How many rows are taken; None is all.
        cleanlab: Whether it is asked too.
    """
    folders = (ROOT / "benchmarks" / "dirt", ROOT / "benchmarks" / "noise")
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    files = [file for file in files if file.stem not in ("plot", "table", "__main__")]
    files += [ROOT / "src" / "tuneloop" / "rows" / f"{one}.py" for one in MODULES[figure]]
    code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
    return sha256_json([figure, name, seed, rows, cleanlab, shipped_sha256(name), code])


def shown(command: str, asked: argparse.Namespace) -> str:
    """The command without the path of a machine."""
    return command.replace(str(asked.cleanlab), "PYTHON") if asked.cleanlab else command


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=__doc__)
    made.add_argument("--short", action="store_true", help="made-up rows; seconds")
    made.add_argument("--figures", nargs="+", choices=list(FIGURES), default=list(FIGURES), help="which (all)")
    made.add_argument("--sets", nargs="+", metavar="SET", help="which sets of benchmarks/dirt (those of the figure)")
    made.add_argument("--seeds", nargs="+", type=int, default=None, help="(0 1 2; 0 with --short)")
    made.add_argument("--rows", type=int, help="take so many rows of a set (all)")
    made.add_argument("--cleanlab", type=Path, metavar="PYTHON", help="of an environment where cleanlab is installed")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
