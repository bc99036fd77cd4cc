"""The log of decisions: every one is a record that is never changed, and what holds is a view of them.

Decision(1, keep), Decision(2, edit), Decision(3, undo of 2)  --in_force-->  {row: Decision(1, keep)}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuneloop.disk import sha256_json

Kind = Literal["keep", "edit", "drop", "skip", "undo"]
"""keep: train on the row as it is; edit: with another text or label; drop: never; skip: later; undo: take one back."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person decided about one row, once.

    Attributes:
        number: Place in the log, from 1.
        row: Id of the row as it was when it was decided, so that the same content is found again.
        kind: What was decided.
        reviewer: Who.
        time: When, UTC, ISO 8601.
        before: The row's text and label then.
        after: What an edit made of them: "text", "label" or both; empty otherwise.
        comment: The reviewer's own words, or "".
        undoes: Number of the decision that an undo takes back, else 0.
    """

    number: int
    row: str
    kind: Kind
    reviewer: str
    time: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    comment: str = ""
    undoes: int = 0

    @property
    def deed(self) -> str:
        """The kind in words that tell the edits apart: "edit text", "edit label", "edit text and label"."""
        return f"edit {' and '.join(sorted(self.after, reverse=True))}" if self.kind == "edit" else self.kind

    @property
    def settles(self) -> bool:
        """Whether the row is decided by it: a skipped one still waits."""
        return self.kind != "skip"


def in_force(log: Iterable[Decision]) -> dict[str, Decision]:
    """The decision that holds for each row: the newest that was not taken back."""
    stacks: dict[str, list[Decision]] = {}
    for decision in log:
        stack = stacks.setdefault(decision.row, [])
        if decision.kind == "undo":
            stack[:] = [earlier for earlier in stack if earlier.number != decision.undoes]
        else:
            stack.append(decision)
    return {row: stack[-1] for row, stack in stacks.items() if stack}


def decisions_key(log: Iterable[Decision]) -> str:
    """Hash of what the decisions make of the rows, "" where they make nothing; who and when do not count."""
    settled = [[d.row, d.kind, dict(d.after)] for d in in_force(log).values() if d.settles]
    return sha256_json(sorted(settled, key=lambda entry: str(entry[0]))) if settled else ""
