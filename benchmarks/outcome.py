"""How every benchmark ends: the table written and shown, what went wrong said aloud, the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuneloop.disk import write_text
from tuneloop.terminal import warn


def conclude(path: Path, table: str, faults: Sequence[str]) -> int:
    """Write the table and print it, warn of the faults; 1 if there are any."""
    write_text(path, table)
    print(table)
    for fault in faults:
        warn(fault)
    return 1 if faults else 0
