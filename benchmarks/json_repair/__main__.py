"""Measure the repair of broken JSON, write raw.jsonl and table.md. `--help` has the options."""

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

from benchmarks.json_repair.measure import FIGURES, ROWS
from benchmarks.json_repair.table import table
from benchmarks.outcome import answer, conclude
from benchmarks.session import Session
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "json_repair"
SHORT_ROWS = 60
MODULES = ("clean", "cut_off", "files", "formats", "layout", "read", "repair_json", "stage", "values")
"""Of tuneloop.rows: what the figures are measured of."""


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
    results = asked.results or (Path(tempfile.mkdtemp(prefix="json-repair-")) if asked.short else RESULTS)
    session = Session(results / "raw.jsonl")
    rows, keys = asked.rows or (SHORT_ROWS if asked.short else ROWS), set[str]()
    for figure, name, seed in points(asked):
        key = key_of(figure, name, seed, rows)
        keys.add(key)
        if session.stands(key) or asked.table:
            continue
        say(f"{figure}: {name}, seed {seed} ...")
        load, began = os.getloadavg()[0], time.perf_counter()
        result = FIGURES[figure][0](name, seed, rows)
        session.keep(f"{figure}, {name}, seed {seed}", {
            "key": key, "session": session.session, "figure": figure, "set": name, "seed": seed, "command": command,
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
            "load_before": round(load, 2), "seconds": round(time.perf_counter() - began, 2),
            "versions": {name: version(name) for name in ("json-repair", "ftfy", "pyyaml")}, "result": result,
        })  # fmt: skip
    return conclude(results / "table.md", table(session.in_force(keys)), session.new_faults)


def points(asked: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Figure, set and seed of each run; the suite has no seed."""
    for figure in asked.figures:
        names = (
            ["made_up"]
            if asked.short
            else FIGURES[figure][1]
            if figure == "suite"
            else asked.sets or FIGURES[figure][1]
        )
        for name in names:
            yield from ((figure, name, seed) for seed in (asked.seeds if figure != "suite" else [0]))


def key_of(figure: str, name: str, seed: int, rows: int) -> str:
    """Hash of all that decides a result.

    Args:
        figure: A key of FIGURES.
        name: The set.
        seed: Of what is broken, and how.
        rows: How many are.
    """
    files = [ROOT / "benchmarks" / "dirt" / f"{one}.py" for one in ("broken_json", "sets")]
    files += [ROOT / "benchmarks" / "json_repair" / "measure.py"]
    files += [ROOT / "src" / "tuneloop" / "rows" / f"{one}.py" for one in MODULES]
    code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
    return sha256_json([figure, name, seed, rows, code, version("json-repair")])


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.json_repair", description=__doc__)
    made.add_argument("--short", action="store_true", help="made-up rows; seconds")
    made.add_argument("--figures", nargs="+", choices=list(FIGURES), default=list(FIGURES), help="which (all)")
    made.add_argument("--sets", nargs="+", metavar="SET", help="which sets of benchmarks/dirt (those of the figure)")
    made.add_argument("--seeds", nargs="+", type=int, default=None, help="(0 1 2; 0 with --short)")
    made.add_argument("--rows", type=int, help=f"break so many rows of a set ({ROWS:,})")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
