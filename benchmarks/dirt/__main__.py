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
from benchmarks.dirt.plant import KINDS, Dirty, Rates, dirty_set, facts
from benchmarks.dirt.sets import SETS, Record
from tuneloop.disk import atomic_folder, sha256_file, write_json, write_text
from tuneloop.errors import DataError, TuneloopError
from tuneloop.terminal import err


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where the user's own input said no."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser().parse_args(given)
    try:
        rates = Rates(**{kind: getattr(asked, kind) * asked.times for kind in KINDS}).only(*asked.kinds)
        rows, dirty = dirty_set(asked.set, seed=asked.seed, rates=rates, rows=asked.rows)
        command = shlex.join(["python", "-m", "benchmarks.dirt", *given])
        save(asked.out, rows, dirty, {"set": asked.set, "command": command, **facts(dirty, rates, asked.seed)})
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1
    print(f"{len(rows)} rows -> {len(dirty.lines)} lines, {len(dirty.planted)} faults -> {asked.out}")
    return 0


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
