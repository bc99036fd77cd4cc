"""raw.jsonl: a line for every run that was ever made, kept; those that do not count say why.

A record holds `key` (what was run), `session`, `row`, `repeat` and `result`; or why there is no result: `absent` (the
system cannot be had here); or why it does not count: `withdrawn` (it is run again).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuneloop.disk import write_text
from tuneloop.errors import RunError

Record = dict[str, Any]


def read_raw(path: Path) -> list[Record]:
    """Every record, oldest first; a last line that was never finished is left out."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole]


def add_raw(path: Path, record: Record) -> None:
    """Add a record; the file is whole at every moment."""
    lines = [json.dumps(one, ensure_ascii=False) for one in [*read_raw(path), record]]
    write_text(path, "\n".join(lines) + "\n")


def withdraw(path: Path, start: str, reason: str) -> int:
    """Mark the records whose key starts with `start`, and give their number.

    Raises:
        RunError: if there is none.
    """
    records = read_raw(path)
    chosen = [one for one in records if one["key"].startswith(start) and "withdrawn" not in one]
    if not chosen:
        raise RunError(f"{path} has no record in force whose key starts with {start!r}")
    for one in chosen:
        one["withdrawn"] = reason
    write_text(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))
    return len(chosen)


def standing(records: list[Record]) -> dict[str, Record]:
    """Key -> the record in force."""
    return {one["key"]: one for one in records if "withdrawn" not in one}
