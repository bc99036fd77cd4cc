"""How a benchmark answers its command line, and how every one ends: table, what went wrong, exit status."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tuneloop.disk import write_text
from tuneloop.errors import TuneloopError
from tuneloop.terminal import err, warn


def answer(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace, str], int], arguments: list[str] | None
) -> int:
    """Run a benchmark by its command line; 1 where the user's own input said no, else what `run` gives.

    Args:
        parser: The options; its name is the command.
        run: (options, the command as the user typed it) -> exit status.
        arguments: Of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return run(parser.parse_args(given), shlex.join([*parser.prog.split(), *given]))
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1


def conclude(path: Path, table: str, faults: Sequence[str]) -> int:
    """Write the table and print it, warn of the faults; 1 if there are any."""
    write_text(path, table)
    print(table)
    for fault in faults:
        warn(fault)
    return 1 if faults else 0
