"""`make bench-generate`: time what is not timed yet, check the tokens, write raw.jsonl and table.md (see `--help`)."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.generation.inputs import prepare
from benchmarks.generation.run import Bench, Plan, summary
from benchmarks.generation.systems import REFERENCE, SHORT, SYSTEMS
from benchmarks.generation.table import table
from benchmarks.outcome import conclude
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.raw import withdraw
from tuneloop.errors import TuneloopError
from tuneloop.terminal import err, say

RESULTS = ROOT / "benchmarks" / "results" / "generation"
BRIEF = {"rows": 10, "tokens": 12, "repeats": 1}
FULL = {"rows": 50, "tokens": 128, "repeats": 3}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where tokens differ, a system failed, or the user's own input said no."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser().parse_args(given)
    for name, value in (BRIEF if asked.short else FULL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    results = asked.results or (Path(tempfile.mkdtemp(prefix="generation-")) if asked.short else RESULTS)
    try:
        if asked.withdraw:
            say(f"{withdraw(results / 'raw.jsonl', *asked.withdraw)} records withdrawn")
            return 0
        with tempfile.TemporaryDirectory(prefix="generation-") as work:
            command = shlex.join(["python", "-m", "benchmarks.generation", *given])
            return measure(plan_of(asked, Path(work), results, command), table_only=asked.table)
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1


def measure(plan: Plan, *, table_only: bool) -> int:
    """Run the plan, write the table and print it."""
    bench = Bench(plan)
    faults = [] if table_only else bench.run()
    text = table(summary(bench))
    return conclude(plan.raw.parent / "table.md", text, faults)


def plan_of(asked: argparse.Namespace, work: Path, results: Path, command: str) -> Plan:
    """What the options ask for.

    Args:
        asked: The options.
        work: Folder of the processes.
        results: Folder of raw.jsonl.
        command: What the user typed.
    """
    systems = [one for one in (SHORT if asked.short else SYSTEMS) if _wanted(one.name, asked.systems)]
    model, prompts = prepare(work, rows=asked.rows, short=asked.short)
    name = "made up, tiny" if asked.short else model.name
    return Plan(
        systems, model, name, prompts, asked.rows, asked.tokens, asked.repeats, asked.threads, work,
        results / "raw.jsonl", command,
    )  # fmt: skip


def _wanted(name: str, patterns: list[str] | None) -> bool:
    return patterns is None or name == REFERENCE or any(fnmatch(name, pattern) for pattern in patterns)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    made.add_argument("--short", action="store_true", help="a tiny model, 10 made-up rows, 12 tokens, one round")
    made.add_argument("--systems", nargs="+", metavar="PATTERN", help="only these, e.g. 'transformers, 16*' tuneloop")
    made.add_argument("--rows", type=int, help="prompts (50)")
    made.add_argument("--tokens", type=int, help="new tokens of each answer (128)")
    made.add_argument("--repeats", type=int, help="rounds (3)")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every process (2)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    made.add_argument("--withdraw", nargs=2, metavar=("KEY", "REASON"), help="mark records that do not count")
    return made


if __name__ == "__main__":
    sys.exit(main())
