"""`tuneloop clean` in a process of its own, its memory and that of its workers watched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tuneloop.disk import sha256_file, write_text
from tuneloop.errors import RunError

SECONDS = 0.1
"""Between two looks at the processes."""
IDLE = "import tuneloop.cli.app, tuneloop.flow, polars, time; print('ready', flush=True); time.sleep(60)"


COMMAND = "from tuneloop.cli import main; main()"
LARGER = f"import tuneloop.rows.room as room; room.PER_BYTE = 2**40; {COMMAND}"
"""The same, every set being taken to be larger than the bound."""


def clean(folder: Path, rows: Path, settings: dict[str, Any], engine: str, *, files: bool) -> dict[str, Any]:
    """Clean a file by the command, and tell what it took.

    Args:
        folder: Where its run goes.
        rows: The file.
        settings: The recipe's section `clean`.
        engine: The recipe's `engine`.
        files: Whether its rows are to go through files, however few they are.

    Returns:
        seconds, peak_mb (all processes, shared pages divided among them), in_files (where the rows went), tables (name
        -> sha256), counts.

    Raises:
        RunError: if the command fails.
    """
    recipe = {
        "name": "bounded", "engine": engine, "task": {"type": "classification"}, "model": {"name_or_path": "none"},
        "data": {"train": str(rows), "validation": 0.01, "test": 0.01}, "clean": settings,
    }  # fmt: skip
    write_text(folder / "recipe.yaml", json.dumps(recipe))
    command = [sys.executable, "-c", LARGER if files else COMMAND, "clean", "recipe.yaml"]
    began = time.monotonic()
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        peak, main = watch(process)
    said = (folder / "log.txt").read_text(encoding="utf-8")
    if process.returncode:
        raise RunError("tuneloop clean failed", got=said[-2000:], fix="See what it said")
    data = folder / "runs" / "bounded" / "data"
    report = json.loads((data / "report.json").read_text(encoding="utf-8"))
    return {
        "seconds": round(time.monotonic() - began, 1), "peak_mb": round(peak), "main_peak_mb": round(main),
        "in_files": "cleaned through files" in said,
        "tables": {file.name: sha256_file(file) for file in sorted(data.glob("*.parquet"))},
        "counts": report["counts"]["train"],
    }  # fmt: skip


def watch(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """The largest memory of a process with all its children, and of itself alone, MB, until it ends."""
    peak = main = 0.0
    while process.poll() is None:
        own, others = memory_of(process.pid), sum(map(memory_of, children_of(process.pid)))
        peak, main = max(peak, own + others), max(main, own)
        time.sleep(SECONDS)
    return peak, main


def idle_mb() -> float:
    """Memory of a process that has loaded the command and does nothing, MB."""
    with subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            return memory_of(process.pid)
        finally:
            process.kill()


def memory_of(pid: int) -> float:
    """A process's proportional set size (man 5 proc_pid_smaps), MB; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def children_of(pid: int) -> list[int]:
    """All processes that a process began, and that those began."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found, new = list[int](), [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found
