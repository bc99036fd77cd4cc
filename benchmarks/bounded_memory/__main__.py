"""Clean a made file within a bound, and a smaller one every way; write raw.jsonl and table.md (see `--help`)."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bounded_memory.made import make
from benchmarks.bounded_memory.measure import clean, idle_mb
from benchmarks.bounded_memory.table import table
from benchmarks.outcome import answer, conclude
from benchmarks.session import Session
from benchmarks.train_speed.raw import read_raw, standing
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "bounded_memory"
STAGES: dict[str, Any] = {"outliers": {"review_below": 0.3}, "lengths": True, "language": True, "personal_data": True}
"""Stages 1 and 3, but those that need an encoder or a classifier."""
FULL = {"large": 2048, "bound": 500, "small": 150}
SHORT = {"large": 24, "bound": 300, "small": 3}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where bytes differ, the bound was not kept or the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    for name, value in (SHORT if asked.short else FULL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    results = asked.results or (Path(tempfile.mkdtemp(prefix="bounded-")) if asked.short else RESULTS)
    session, keys = Session(results / "raw.jsonl"), list[str]()
    for name, (megabytes, settings, engine, files) in ways(asked).items():
        key = sha256_json([name, megabytes, settings, engine, files, code()])
        keys.append(key)
        if asked.table or session.stands(key):
            continue
        say(f"{name} ...")
        with tempfile.TemporaryDirectory(prefix="bounded-", dir=asked.work) as folder:
            rows = Path(folder) / "rows.jsonl"
            count, load = make(rows, megabytes), os.getloadavg()[0]
            result = clean(Path(folder), rows, settings, engine, files=files)
            result |= {"rows": count, "bytes": rows.stat().st_size}
        session.keep(name, {
            "key": key, "way": name, "files": files, "bound_mb": settings.get("memory_mb"), "idle_mb": round(idle_mb()),
            "command": command, "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
            "load_before": round(load, 2), "result": result,
        })  # fmt: skip
    found = {one["way"]: one for key, one in standing(read_raw(results / "raw.jsonl")).items() if key in keys}
    faults = [*session.new_faults, *faults_of(found)]
    return conclude(results / "table.md", table(list(found.values())), faults)


def ways(asked: argparse.Namespace) -> dict[str, tuple[int, dict[str, Any], str, bool]]:
    """Name -> (size of the file, section `clean`, engine, whether rows go through files)."""
    bound = {"memory_mb": asked.bound}
    found = {
        f"{asked.large} MB within {asked.bound} MB": (asked.large, STAGES | bound, "local", True),
        "small, in memory": (asked.small, STAGES, "local", False),
        "small, through files": (asked.small, STAGES | bound, "local", True),
    }
    if asked.ray:
        found["small, through Ray"] = (asked.small, STAGES, "ray", True)
    return found


def faults_of(found: dict[str, Any]) -> list[str]:
    """What was cleaned elsewhere than it should have been, above its bound, or to other bytes than in memory."""
    told, plain = list[str](), found.get("small, in memory")
    for name, one in found.items():
        result, bound = one["result"], one["bound_mb"]
        if result["in_files"] != one["files"]:
            told.append(f"{name}: rows went {'through files' if result['in_files'] else 'through memory'}")
        above = result["peak_mb"] - one["idle_mb"]
        if bound is not None and above > bound:
            told.append(f"{name}: {above} MB above the idle process")
        theirs = plain["result"]["tables"] if plain is not None and name.startswith("small") else {}
        other = [table for table, sha in theirs.items() if result["tables"].get(table) != sha]
        if other:
            told.append(f"{name}: other bytes than in memory in {', '.join(other)}")
    return told


def code() -> dict[str, str]:
    """Hashes of what a result hangs on."""
    return {file.name: sha256_file(file) for file in sorted(Path(__file__).parent.glob("m*.py"))}


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.bounded_memory", description=__doc__)
    made.add_argument("--short", action="store_true", help="small files; a minute")
    made.add_argument("--large", type=int, metavar="MB", help="size of the large file (2048; 24 with --short)")
    made.add_argument("--bound", type=int, metavar="MB", help="clean.memory_mb (500; 300 with --short)")
    made.add_argument("--small", type=int, metavar="MB", help="size of the file cleaned in every way (150; 3)")
    made.add_argument("--ray", action="store_true", help="also through Ray, where it is installed")
    made.add_argument(
        "--work", type=Path, metavar="FOLDER", help="where the files lie meanwhile (the temporary folder)"
    )
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
