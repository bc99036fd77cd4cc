"""Make a set dirty: rows.jsonl, planted.jsonl, clean.jsonl and dirt.json in one folder. `--help` has the options."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.dirt.broken_json import line_of
from benchmarks.dirt.plant import KINDS, Dirty, Rates, facts, plant
from benchmarks.dirt.sets import SETS, Record, language, made_up, read_set, strangers
from tuneloop.disk import atomic_folder, sha256_file, write_json, write_text
from tuneloop.errors import DataError, TuneloopError
from tuneloop.terminal import err

MADE_UP_ROWS = 200
MADE_UP_STRANGERS = {"rhymes": ["the cow jumped over the moon", "three mice ran after a wife", "a star up above so high"]}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where the user's own input said no."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser().parse_args(given)
    try:
        rates = Rates(**{kind: getattr(asked, kind) * asked.times for kind in KINDS}).only(*asked.kinds)
        rows, dirty = dirty_set(asked.set, seed=asked.seed, rates=rates, rows=asked.rows)
        save(asked.out, rows, dirty, {"set": asked.set, "command": shlex.join(["python", "-m", "benchmarks.dirt", *given]),
             **facts(dirty, rates, asked.seed)})  # fmt: skip
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1
    print(f"{len(rows)} rows -> {len(dirty.lines)} lines, {len(dirty.planted)} faults -> {asked.out}")
    return 0


def dirty_set(
    name: str, *, seed: int, rates: Rates, rows: int | None = None, fewest: int = 0
) -> tuple[list[Record], Dirty]:
    """The clean rows of a set, and the same made dirty.

    Args:
        name: A key of SETS, or "made_up".
        seed: Of the dirt, and of which rows are taken.
        rates: How much of what.
        rows: How many rows of the set, by chance; None takes all.
        fewest: Labels with fewer rows than this are left out.

    Raises:
        DataError: if the set is unknown or cannot be had, or the rates do not fit.
    """
    import random

    clean = made_up(rows or MADE_UP_ROWS) if name == "made_up" else read_set(name)
    labels = [row["label"] for row in clean]
    clean = [row for row in clean if labels.count(row["label"]) >= fewest] if fewest else clean
    if rows is not None and rows < len(clean):
        kept = sorted(random.Random(f"{seed}:taken").sample(range(len(clean)), rows))
        clean = [clean[place] for place in kept]
    others: dict[str, Sequence[str]] = {}
    if rates.off_topic:
        others = dict(MADE_UP_STRANGERS if name == "made_up" else strangers(name))
    return clean, plant(clean, others, language=language(name), rates=rates, seed=seed)


def save(folder: Path, rows: Sequence[Record], dirty: Dirty, told: dict[str, object]) -> None:
    """Write the four files: all of them or none.

    Args:
        folder: Where; must not hold anything else.
        rows: The clean rows.
        dirty: The dirty lines and the list.
        told: What dirt.json says.

    Raises:
        DataError: if the folder holds other files.
        RunError: if it cannot be written.
    """
    names = {"rows.jsonl", "planted.jsonl", "clean.jsonl", "dirt.json"}
    if folder.exists() and {path.name for path in folder.iterdir()} - names:
        raise DataError(f"{folder} holds other files", allowed="a new or empty folder", fix="Choose another --out")
    with atomic_folder(folder) as made:
        write_text(made / "rows.jsonl", "".join(line + "\n" for line in dirty.lines))
        listed = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in dirty.planted]
        write_text(made / "planted.jsonl", "".join(listed))
        write_text(made / "clean.jsonl", "".join(line_of(row) + "\n" for row in rows))
        write_json(made / "dirt.json", told | {"rows_sha256": sha256_file(made / "rows.jsonl")})


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.dirt", description=__doc__)
    made.add_argument("--set", required=True, choices=[*SETS, "made_up"], help="which rows; made_up needs no data")
    made.add_argument("--seed", type=int, default=0, help="(0)")
    made.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the four files go")
    made.add_argument("--rows", type=int, help="take so many rows of the set, by chance (all)")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which faults (all)")
    made.add_argument("--times", type=float, default=1.0, help="all rates times this (1)")
    for kind, rate in asdict(Rates()).items():
        made.add_argument(f"--{kind.replace('_', '-')}", type=float, default=rate, metavar="SHARE", help=f"({rate})")
    return made


if __name__ == "__main__":
    sys.exit(main())
