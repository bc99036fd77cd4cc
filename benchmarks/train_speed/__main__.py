"""`make bench-train`: measure what is not measured yet, then write table.md and speed.svg. `--help` has the rest."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.outcome import conclude
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.plot import plot
from benchmarks.train_speed.raw import read_raw, standing, withdraw
from benchmarks.train_speed.rows import ROWS, SETS, SHORT_SETS, short_rows
from benchmarks.train_speed.run import ALLOCATORS, Bench, Plan
from benchmarks.train_speed.table import lines_of, table
from tuneloop.disk import write_text
from tuneloop.errors import TuneloopError
from tuneloop.model.cache import cache_root
from tuneloop.terminal import err, say

RESULTS = ROOT / "benchmarks" / "results" / "train_speed"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a guard, a system or the user's own input said no."""
    asked = parser().parse_args(arguments)
    try:
        if asked.withdraw:
            key, reason = asked.withdraw
            say(f"{withdraw((asked.results or RESULTS) / 'raw.jsonl', key, reason)} records withdrawn")
            return 0
        plan = plan_of(asked)
        if asked.list:
            print("\n".join(f"{row.name}: {row.about}, {row.steps} steps" for row in plan.rows))
            return 0
        return measure(plan, table_only=asked.table)
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1


def measure(plan: Plan, *, table_only: bool) -> int:
    """Run the plan, write the table and the plot, and print the table."""
    bench = Bench(plan)
    faults = [] if table_only else bench.run()
    records = read_raw(bench.raw)
    text = table(records, bench.inputs, bench.tokens)
    inforce = [one for one in standing(records).values() if one["allocator"] == plan.allocator]
    sections = {
        data: lines_of([one for one in inforce if one["data"] == data], inputs, bench.tokens[data])
        for data, inputs in bench.inputs.items()
    }
    write_text(plan.results / "speed.svg", plot(sections))
    return conclude(plan.results / "table.md", text, faults)


def plan_of(asked: argparse.Namespace) -> Plan:
    """What the options ask for."""
    rows, sets = (short_rows(), SHORT_SETS) if asked.short else (ROWS, SETS)
    if asked.rows:
        rows = [row for row in rows if any(fnmatch(row.name, pattern) for pattern in asked.rows)]
    here = Path(tempfile.mkdtemp(prefix="train-speed-")) if asked.short else cache_root() / "benchmarks"
    results = asked.results or (here / "results" if asked.short else RESULTS)
    repeats = 1 if asked.short and asked.repeats is None else asked.repeats or 3
    return Plan(rows, sets, results, here, repeats, asked.threads, asked.allocator, asked.short)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.train_speed", description=__doc__)
    made.add_argument("--short", action="store_true", help="tiny model, 3 steps, tuneloop and hf_trainer, made-up rows")
    made.add_argument("--rows", nargs="+", metavar="PATTERN", help="only these, e.g. 'gsm8k/*/micro' (see --list)")
    made.add_argument("--list", action="store_true", help="print the rows and end")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--repeats", type=int, help="rounds (3; 1 with --short)")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every process (2)")
    made.add_argument("--allocator", choices=ALLOCATORS, default="glibc", help="of every process")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl, table.md and speed.svg go")
    made.add_argument("--withdraw", nargs=2, metavar=("KEY", "REASON"), help="mark records that do not count")
    return made


if __name__ == "__main__":
    sys.exit(main())
