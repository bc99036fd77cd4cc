"""`make bench-labels`: time label scoring, write raw.jsonl and table.md. `--help` has the rest."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.label_scoring.inputs import PROMPTS, prepare, prepare_short
from benchmarks.label_scoring.measure import Plan, faults, session, table
from benchmarks.outcome import answer, conclude
from benchmarks.train_speed.raw import add_raw, read_raw

RESULTS = Path(__file__).parents[1] / "results" / "label_scoring"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where scores differ or the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure, add to the records what agrees, write the table and print it."""
    results = asked.results or (Path(tempfile.mkdtemp(prefix="label-scoring-")) if asked.short else RESULTS)
    rows = asked.rows or (12 if asked.short else 500)
    told: list[str] = []
    if not asked.table:
        inputs = prepare_short(rows) if asked.short else prepare(rows)
        sizes = (2, 8) if asked.short else (4, 8, 16, 32, 77)
        few = asked.baseline_rows or (3 if asked.short else 50)
        for record in session(inputs, Plan(tuple(asked.prompts), few, sizes, asked.threads, command)):
            found = faults(record)
            told += found
            add_raw(results / "raw.jsonl", record | ({"withdrawn": "; ".join(found)} if found else {}))
    text = table([one for one in read_raw(results / "raw.jsonl") if "withdrawn" not in one])
    return conclude(results / "table.md", text, told)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.label_scoring", description=__doc__)
    made.add_argument("--short", action="store_true", help="tiny model and made-up rows; seconds")
    made.add_argument("--rows", type=int, help="rows that tuneloop scores (500; 12 with --short)")
    made.add_argument("--baseline-rows", type=int, help="rows that the baselines score (50; 3 with --short)")
    made.add_argument("--prompts", nargs="+", choices=list(PROMPTS), default=list(PROMPTS), help="which (all)")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of torch (2)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
