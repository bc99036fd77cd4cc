"""Every error that a user can cause, as one tree.

    TuneloopError            exit 1, one paragraph, no traceback
    |-- RecipeError          the recipe, or an option, is wrong
    |-- DataError            rows are missing, broken or cannot teach what was asked
    |-- ModelError           a model cannot be found, is unsafe, or does not fit the task
    |-- RunError             a run folder is missing, busy, full, or would be replaced
    |-- TrainError           training cannot go on without being silently wrong
    |-- ShapeError           two tensors do not fit (a fault in the caller)
    `-- CheckFailed          exit 3: everything ran, and a gate or check said no

A message answers four questions in one paragraph: what is wrong, what was got, what is
allowed, how to fix it.
"""

from __future__ import annotations


class TuneloopError(Exception):
    """Base of all expected errors.

    Args:
        what: What is wrong, a sentence without its full stop.
        got: What was found instead.
        allowed: What would have been accepted.
        fix: What the user can do, a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, got: str = "", allowed: str = "", fix: str = "") -> None:
        self.what, self.got, self.allowed, self.fix = what, got, allowed, fix
        parts = [what, f"Got {got}" if got else "", f"Allowed: {allowed}" if allowed else "", fix]
        ended = [part if part.endswith(("?", "!")) else part.rstrip(".") + "." for part in parts if part]
        super().__init__(" ".join(ended))


class RecipeError(TuneloopError):
    """The recipe, or an option on the command line, is wrong."""


class DataError(TuneloopError):
    """Rows are missing, broken, or cannot teach what was asked."""


class ModelError(TuneloopError):
    """A model cannot be found, is unsafe to load, or does not fit the task."""


class RunError(TuneloopError):
    """A run folder is missing, in use, cannot be written, or would be replaced."""


class TrainError(TuneloopError):
    """Training cannot go on without being silently wrong."""


class ShapeError(TuneloopError):
    """Two tensors do not fit."""


class CheckFailed(TuneloopError):
    """Everything ran, and a gate or check said no."""

    exit_code = 3
