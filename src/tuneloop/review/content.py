"""What a person sees of a row and may change: its text and its label.

| row            | text                  | label                     |
|----------------|-----------------------|---------------------------|
| classification | the text              | the class, or the classes |
| conversation   | the last user message | the answer                |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tuneloop.errors import DataError
from tuneloop.records import Message, Row


def content_of(row: Row) -> dict[str, Any]:
    """A row's text and label as JSON holds them: {"text": str, "label": str, list of str, or None}."""
    label = list(row.label) if isinstance(row.label, tuple) else row.label
    return {"text": row.question, "label": row.answer or None if label is None else label}


def has_classes(row: Row) -> bool:
    """Whether the label is a class, and not an answer in free words."""
    return row.label is not None or not row.answer


def edited(row: Row, after: Mapping[str, Any]) -> Row:
    """The row with the text and label of an edit.

    Args:
        row: The row as it is.
        after: "text", "label" or both, as `content_of` holds them.
    """
    changes: dict[str, Any] = {}
    turns = list(row.messages)
    if "text" in after:
        if row.text or not turns:
            changes["text"] = after["text"]
        else:
            place = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=0)
            turns[place] = Message(turns[place].role, after["text"])
    if "label" in after:
        if has_classes(row):
            changes["label"] = tuple(after["label"]) if isinstance(after["label"], list) else after["label"]
        else:
            turns[-1] = Message("assistant", after["label"])
    if tuple(turns) != row.messages:
        changes["messages"] = tuple(turns)
    return row.through("review", **changes)


def label_text(label: str | list[str] | None) -> str:
    """A label on one line: several classes as a JSON list, "" for none."""
    return json.dumps(label, ensure_ascii=False) if isinstance(label, list) else label or ""


def label_from(text: str, like: str | list[str] | None) -> str | list[str]:
    """A label that a person typed, of the kind that the row has.

    Args:
        text: One class; for a row with several, a JSON list or `a | b`.
        like: The row's own label.

    Raises:
        DataError: if it is blank, or a broken list.
    """
    if not isinstance(like, list):
        if not text.strip():
            raise DataError("A label must not be blank", got=repr(text), fix="Write the label, or drop the row")
        return text.strip()
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text.split("|")
    except ValueError:
        found = []
    several = [item.strip() for item in found if isinstance(item, str) and item.strip()]
    if not several or len(several) != len(found):
        allowed = 'classes as a | b, or as the JSON list ["a", "b"]'
        raise DataError("These are no classes", got=repr(text), allowed=allowed, fix="Write them so, or drop the row")
    return several
