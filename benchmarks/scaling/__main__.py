"""`make bench-scaling`: measure what is not measured yet, then write table.md. `--help` has the rest."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks.outcome import conclude
from benchmarks.scaling.run import Bench, Plan, table
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.inputs import base_model, tiny_model
from benchmarks.train_speed.raw import read_raw, withdraw
from tuneloop.errors import TuneloopError
from tuneloop.terminal import err, say

RESULTS = ROOT / "benchmarks" / "results" / "scaling"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a guard or a process said no. A column that is not flat is a finding, no fault."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser().parse_args(given)
    results = asked.results or (Path(tempfile.mkdtemp(prefix="scaling-")) if asked.short else RESULTS)
    try:
        if asked.withdraw:
            say(f"{withdraw(results / 'raw.jsonl', *asked.withdraw)} records withdrawn")
            return 0
        with tempfile.TemporaryDirectory(prefix="scaling-") as work:
            plan = plan_of(
                asked, Path(work), results / "raw.jsonl", shlex.join(["python", "-m", "benchmarks.scaling", *given])
            )
            return measure(plan, table_only=asked.table)
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1


def measure(plan: Plan, *, table_only: bool) -> int:
    """Run the plan, write the table and print it."""
    bench = Bench(plan)
    faults = [] if table_only else bench.run()
    text = table(bench.records(), [one for one in read_raw(plan.raw) if "withdrawn" in one], bench.config)
    return conclude(plan.raw.parent / "table.md", text, faults)


def plan_of(asked: argparse.Namespace, work: Path, raw: Path, command: str) -> Plan:
    """What the options ask for; at full size about 30 minutes on two cores.

    Args:
        asked: The options.
        work: Folder of inputs and processes.
        raw: The records.
        command: What the user typed.
    """
    model = tiny_model(work / "tiny") if asked.short else base_model()
    sizes = (16, 64) if asked.short else (16, 32, 64, 128, 256, 512)
    rows = (200, 400) if asked.short else (1_000, 10_000, 100_000)
    step = (256, 16) if asked.short else (4096, 64)
    repeats = asked.repeats or (1 if asked.short else 3)
    rate = 0.01 if asked.short else 0.3
    steps = {"length": 2, "rows": 2} if asked.short else {"length": 3, "rows": 8}
    return Plan(model, sizes, step[0], rows, step[1], steps, repeats, asked.threads, rate, work, raw, command)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    made.add_argument("--short", action="store_true", help="a tiny model, few rows, one round")
    made.add_argument("--repeats", type=int, help="rounds (3; 1 with --short)")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every process (2)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    made.add_argument("--withdraw", nargs=2, metavar=("KEY", "REASON"), help="mark records that do not count")
    return made


if __name__ == "__main__":
    sys.exit(main())
