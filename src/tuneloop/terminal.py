"""What a person sees: results on stdout, commentary and progress bars on stderr."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print one line of commentary to stderr; `text` is shown as it is, never read as markup."""
    err.print(text, markup=False)


def counted(count: int, what: str) -> str:
    """`1 row`, `2,000 rows`: a number and what it counts, a noun in the singular."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def warn(text: str) -> None:
    """Print a warning to stderr; `text` is shown as it is, never read as markup."""
    err.print("[yellow]warning:[/yellow] ", end="")
    err.print(text, markup=False)


class Bar:
    """A progress bar with rate and time left, or one line in ten seconds where stderr is no terminal."""

    def __init__(self, progress: Progress | None, task: int, title: str, total: int | None, unit: str) -> None:
        self._progress, self._task, self._title, self._total, self._unit = progress, task, title, total, unit
        self._done, self._measure, self._measured = 0, 0.0, False
        self._start = self._said = time.monotonic()

    def advance(self, steps: int = 1, *, measure: float | None = None, note: str = "") -> None:
        """Move on by `steps`; `measure` (e.g. tokens) is what the rate counts where it is given."""
        self._done += steps
        self._measured = self._measured or measure is not None
        self._measure += measure if measure is not None else steps
        elapsed = max(time.monotonic() - self._start, 1e-9)
        speed = self._measure / elapsed
        rate = f"{speed:,.0f} {self._unit}/s" if speed >= 10 or not speed else f"{speed:.1f} {self._unit}/s"
        if self._progress is not None:
            self._progress.update(self._task, advance=steps, rate=rate, note=note)  # type: ignore[arg-type]
        elif self._title and time.monotonic() - self._said >= 10:
            self._said = time.monotonic()
            left = ""
            if self._total and self._done:
                left = f", {elapsed / self._done * (self._total - self._done):,.0f} s left"
            err.print(f"{self._title}: {self._done}/{self._total or '?'}, {rate}{left} {note}".rstrip(), markup=False)


@contextlib.contextmanager
def progress(title: str, total: int | None, *, unit: str = "rows") -> Iterator[Bar]:
    """Show progress of `total` steps on stderr while the block runs; a `title` of "" shows nothing."""
    if not title:
        yield Bar(None, 0, title, total, unit)
        return
    if not err.is_terminal:
        yield Bar(None, 0, title, total, unit)
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task(title, total=total, rate="", note="")
        yield Bar(bars, task, title, total, unit)
