"""`python -m benchmarks.near_duplicates`: measure what is not measured yet, write table.md. `--help` has more."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.near_duplicates.inputs import made, quality_sets
from benchmarks.near_duplicates.run import Bench, Plan
from benchmarks.near_duplicates.systems import SYSTEMS
from benchmarks.near_duplicates.table import table
from benchmarks.outcome import answer, conclude
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.raw import read_raw, withdraw
from tuneloop.terminal import say, warn

RESULTS = ROOT / "benchmarks" / "results" / "near_duplicates"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a process, a guard or the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    results = asked.results or (Path(tempfile.mkdtemp(prefix="near-duplicates-")) if asked.short else RESULTS)
    if asked.withdraw:
        say(f"{withdraw(results / 'raw.jsonl', *asked.withdraw)} records withdrawn")
        return 0
    with tempfile.TemporaryDirectory(prefix="near-duplicates-") as work:
        bench = Bench(plan_of(asked, Path(work), results / "raw.jsonl", command))
        told = [] if asked.table else bench.run()
        gone = [one for one in read_raw(results / "raw.jsonl") if "withdrawn" in one]
        return conclude(results / "table.md", table(bench.records(), gone), told)


def plan_of(asked: argparse.Namespace, work: Path, raw: Path, command: str) -> Plan:
    """What the options ask for.

    Args:
        asked: The options.
        work: Folder of texts and processes.
        raw: The records.
        command: What the user typed.
    """
    count = asked.texts or (20_000 if asked.short else 1_000_000)
    sets = [] if asked.short else quality_sets()
    if not asked.short and len(sets) < 3:
        warn("TUNELOOP_DATA does not hold dedupe_early_childhood and sms_spam: their quality is left out")
    planted = replace(made(1_000 if asked.short else 20_000, seed=1, words=24), name="planted twins")
    systems = asked.systems or (["tuneloop"] if asked.short else list(SYSTEMS))
    thresholds = (0.7,) if asked.short else (0.7, 0.8, 0.9)
    repeats = asked.repeats or (1 if asked.short else 3)
    return Plan(made(count), [*sets, planted], thresholds, asked.threshold, systems, repeats, work, raw, command)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made_here = argparse.ArgumentParser(prog="python -m benchmarks.near_duplicates", description=__doc__)
    made_here.add_argument("--short", action="store_true", help="20,000 texts, tuneloop alone, one round")
    made_here.add_argument("--texts", type=int, help="made texts for speed (1,000,000; 20,000 with --short)")
    made_here.add_argument("--threshold", type=float, default=0.7, help="Jaccard of the speed runs (0.7)")
    made_here.add_argument("--systems", nargs="+", choices=list(SYSTEMS), help="only these (all)")
    made_here.add_argument("--repeats", type=int, help="rounds of the speed runs (3; 1 with --short)")
    made_here.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made_here.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    made_here.add_argument("--withdraw", nargs=2, metavar=("KEY", "REASON"), help="mark records that do not count")
    return made_here


if __name__ == "__main__":
    sys.exit(main())
