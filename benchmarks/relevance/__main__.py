"""`python -m benchmarks.relevance`: measure what is not measured yet, write table.md. `--help` has more."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.dirt.sets import shipped_sha256
from benchmarks.outcome import answer, conclude
from benchmarks.relevance.inputs import Embed, sentence_vectors, word_vectors
from benchmarks.relevance.measure import WAYS, measure
from benchmarks.relevance.table import table
from benchmarks.session import Session
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.sections import Relevance
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "relevance"
MIXED, SHARES = "banking77", (0.05, 0.2, 0.4)
CLEAN = ("banking77", "medquad_nih", "snips", "customer_service")
SHORT_ROWS = 200
MODULES = ("anything", "out_of_fold", "relevance", "texts")
"""Of tuneloop.rows: what a figure is measured of."""
Point = tuple[str, float, str, int]
shipped = functools.lru_cache(maxsize=None)(shipped_sha256)
"""Its rows are prepared once, not for each run's key."""


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
    results = asked.results or (Path(tempfile.mkdtemp(prefix="relevance-")) if asked.short else RESULTS)
    session, rows = Session(results / "raw.jsonl"), SHORT_ROWS if asked.short else None
    keys = {point: key_of(point, rows) for point in points(asked)}
    encoder: tuple[Embed, str] | None = None
    for point, key in keys.items():
        if session.stands(key) or asked.table:
            continue
        name, share, way, seed = point
        say(f"{name}, {share:.0%} strangers, {way}, seed {seed} ...")
        encoder = encoder or ((word_vectors, "counted words") if asked.short else sentence_vectors())
        load, began = os.getloadavg()[0], time.perf_counter()
        result = measure(name, way, share, seed, rows, encoder[0])
        session.keep(f"{name}, {way}", {
            "key": key, "session": session.session, "set": name, "share": share, "way": way, "seed": seed,
            "command": command, "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
            "load_before": round(load, 2), "seconds": round(time.perf_counter() - began, 2), "encoder": encoder[1],
            "versions": {name: version(name) for name in ("numpy", "torch", "transformers")}, "result": result,
        })  # fmt: skip
    return conclude(results / "table.md", table(session.in_force(set(keys.values()))), session.new_faults)


def points(asked: argparse.Namespace) -> Iterator[Point]:
    """Set, share of strangers, way and seed of each run."""
    ways = [way for way in WAYS if way in asked.ways]
    for seed in asked.seeds:
        if asked.short:
            yield from (("made_up", share, way, seed) for share in (0.0, 0.1) for way in ways)
            continue
        yield from ((MIXED, share, way, seed) for share in SHARES for way in ways)
        yield from ((name, 0.0, way, seed) for name in CLEAN for way in ways)


def key_of(point: Point, rows: int | None) -> str:
    """Hash of all that decides a result.

    Args:
        point: Which run.
        rows: How many rows are taken; None is all.
    """
    files = [ROOT / "benchmarks" / "relevance" / f"{name}.py" for name in ("inputs", "measure")]
    files += sorted((ROOT / "benchmarks" / "dirt").glob("*.py"))
    files += [ROOT / "src" / "tuneloop" / "rows" / f"{name}.py" for name in MODULES]
    files += [ROOT / "src" / "tuneloop" / "model" / "encoder.py", ROOT / "benchmarks" / "noise" / "measure.py"]
    code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
    return sha256_json([point, rows, Relevance().model_dump(), shipped(point[0]), code])


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.relevance", description=__doc__)
    made.add_argument("--short", action="store_true", help="made-up rows, counted words for an encoder; seconds")
    made.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of telling the task (all)")
    made.add_argument("--seeds", nargs="+", type=int, default=None, help="(0 1 2; 0 with --short)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
