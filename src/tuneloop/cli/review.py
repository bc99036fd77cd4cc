"""`tuneloop review`: decide about the rows that wait, here or in a file; or say how far the review is."""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from tuneloop.cli.walk import walk_queue
from tuneloop.errors import RecipeError
from tuneloop.review.exchange import Imported, export_items, import_answers
from tuneloop.review.queue import open_queue
from tuneloop.terminal import counted, err, out, say


@dataclass(frozen=True)
class Request:
    """What the command line asks of the queue.

    Attributes:
        run: The run, by name or path.
        reviewer: Who decides; "": the login name.
        stage: Only the rows that this stage doubts.
        limit: Only so many.
        export: File to write the waiting rows to.
        answers: File to take decisions from.
        format: Of the file, "": told by its suffix.
        new_labels: Whether a file may name labels that no training row has.
        figures: Only say how far the review is.
        quiet: Print nothing: the figures are for a machine.
    """

    run: str
    reviewer: str = ""
    stage: str = ""
    limit: int | None = None
    export: Path | None = None
    answers: Path | None = None
    format: str = ""
    new_labels: bool = False
    figures: bool = False
    quiet: bool = False


def do_review(asked: Request) -> dict[str, Any]:
    """Export, import, tell the figures, or walk the queue.

    Args:
        asked: What of these.

    Returns:
        What was done, as JSON-able figures.

    Raises:
        TuneloopError: with one paragraph; what was decided before is saved.
    """
    ways = {"--export": asked.export, "--import": asked.answers, "--stats": asked.figures}
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) > 1:
        raise RecipeError(
            "One thing at a time", got=" and ".join(chosen), allowed="one of them, or none to walk the queue",
            fix="Run the command once for each",
        )  # fmt: skip
    queue, reviewer = open_queue(asked.run), asked.reviewer.strip() or login_name()
    if asked.export:
        count, files = export_items(queue, asked.export, format=asked.format, stage=asked.stage, limit=asked.limit)
        if not asked.quiet:
            out.print(f"{counted(count, 'row')} -> {', '.join(map(str, files))}", markup=False)
        return {"rows": count, "files": [str(file) for file in files]}
    if asked.answers:
        done = import_answers(
            queue, asked.answers, reviewer=reviewer, format=asked.format, new_labels=asked.new_labels
        )  # fmt: skip
        if not asked.quiet:
            print_imported(asked.answers, done, asked.run)
        return asdict(done)
    if not (asked.figures or asked.quiet):
        walk_queue(queue, reviewer=reviewer, stage=asked.stage, limit=asked.limit)
    found = queue.summary()
    if not asked.quiet:
        print_review_summary(found)
    return found


def login_name() -> str:
    """The name under which decisions are recorded where `--reviewer` is not given."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def print_review_summary(found: dict[str, Any]) -> None:
    """How many rows wait and why, how many were decided, how and by whom."""
    skipped = f" ({found['skipped']} skipped)" if found["skipped"] else ""
    out.print(f"waiting  {found['waiting']:,} of {counted(found['rows'], 'row')}{skipped}")
    for stage, count in found["waiting_by_stage"].items():
        out.print(f"         {count:>6}  {stage}", markup=False)
    out.print(f"decided  {found['decided']}")
    for name, kinds in found["decided_by_reviewer"].items():
        out.print(f"         {name}: " + ", ".join(f"{kind} {count}" for kind, count in kinds.items()), markup=False)


def print_imported(path: Path, done: Imported, run: str) -> None:
    """What an import wrote, what it could not, and where that can be decided instead."""
    for told in done.conflicts:
        err.print(Text(f"conflict  {told}", style="yellow"))
    if done.conflicts:
        say(f"to decide otherwise: `tuneloop review {run}`, then / and the row's id; what was decided stays in the log")
    if done.gone:
        shown = ", ".join(done.gone[:10]) + (", ..." if len(done.gone) > 10 else "")
        are = "is no longer in the queue, and was" if len(done.gone) == 1 else "are no longer in the queue, and were"
        say(f"{counted(len(done.gone), 'row')} {are} passed over: {shown}")
    kinds = ", ".join(f"{kind} {count}" for kind, count in done.by_kind.items())
    kinds += f"; {done.corrected} instead of an earlier one" if done.corrected else ""
    out.print(
        f"{path}: {counted(done.written, 'decision')} written" + (f" ({kinds})" if kinds else "")
        + f", {done.unchanged:,} unchanged, {done.blank:,} without a decision, "
        + counted(len(done.conflicts), "conflict"),
        markup=False,
    )  # fmt: skip
