"""The nouns that travel between stations: Row, BadRow, Dropped, Repair, Doubt. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row in the canonical columns.

    Attributes:
        id: First 16 hex digits of the sha256 of the row's content (not of its source or meta).
        source: `file:line` (1-based) that the row came from.
        text: The raw text of a classification or plain-text row; "" where there are only messages.
        messages: The conversation of a generation row, the answer to learn last; () if none.
        label: The class, or several for multi-label; None where the row has none.
        chosen: The preferred answer of a preference row.
        rejected: The other answer of a preference row.
        images: Paths of images.
        audios: Paths of sound files.
        time: When it happened, as the user wrote it.
        weight: How much the row counts in the loss, >= 0.
        lineage: What was done to the row, in order, e.g. ("repair_json",).
        meta: The user's other columns.
    """

    id: str
    source: str
    text: str = ""
    messages: tuple[Message, ...] = ()
    label: str | tuple[str, ...] | None = None
    chosen: str | None = None
    rejected: str | None = None
    images: tuple[str, ...] = ()
    audios: tuple[str, ...] = ()
    time: str | None = None
    weight: float = 1.0
    lineage: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def through(self, stage: str, **changes: Any) -> Row:
        """The row after `stage` changed it; `stage` joins the lineage once, the id follows the content."""
        lineage = self.lineage if stage in self.lineage else (*self.lineage, stage)
        changed = replace(self, lineage=lineage, **changes)
        return replace(changed, id=content_id(changed))

    @property
    def labels(self) -> tuple[str, ...]:
        """The row's labels: none, one or several."""
        return self.label if isinstance(self.label, tuple) else () if self.label is None else (self.label,)

    @property
    def question(self) -> str:
        """What the row asks: the text, or the last user message."""
        if self.text:
            return self.text
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def texts(self) -> tuple[str, ...]:
        """All that the row says: the text, every message, both answers; "" where there is none."""
        return self.text, *(turn.content for turn in self.messages), self.chosen or "", self.rejected or ""

    @property
    def answer(self) -> str:
        """What the row answers: the last assistant message, or ""."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""


def content_id(row: Row) -> str:
    """The 16 hex digits that name a row by its content: text, messages, label, preference, media."""
    label = list(row.label) if isinstance(row.label, tuple) else row.label
    content = [row.text, [[m.role, m.content] for m in row.messages], label, row.chosen, row.rejected]
    content += [list(row.images), list(row.audios)]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def row_json(row: Row) -> str:
    """A row's columns as JSON, those that are empty left out."""
    parts: dict[str, Any] = {
        "text": row.text, "messages": [{"role": m.role, "content": m.content} for m in row.messages],
        "label": list(row.label) if isinstance(row.label, tuple) else row.label,
        "chosen": row.chosen, "rejected": row.rejected, "images": list(row.images), "audios": list(row.audios),
        "time": row.time, "meta": dict(row.meta),
    }  # fmt: skip
    return json_text({key: value for key, value in parts.items() if value})


def json_text(value: Any) -> str:
    r"""A value as JSON that UTF-8 can hold: half a surrogate pair becomes \ud800, all else stays readable."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read as it stands.

    Attributes:
        source: `file:line`, 1-based.
        field: The column at fault, or "" for the whole line.
        got: What stood there, shortened.
        expected: What should have stood there.
        fix: What the user can do.
        raw: The line itself, whole, so that nothing is lost and a repair can be tried.
    """

    source: str
    field: str
    got: str
    expected: str
    fix: str
    raw: str

    def __str__(self) -> str:
        where = f"{self.source}, {self.field!r}" if self.field else self.source
        return f"{where}: got {self.got}, expected {self.expected}. {self.fix}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that a stage took out, with the reason.

    Attributes:
        source: `file:line` that the row came from.
        stage: The stage that took it out.
        reason: Why, a sentence.
        raw: The row as JSON, or the broken line.
        split: The side that it was taken from.
        twin: `file:line` of the row that it repeats, or "".
    """

    source: str
    stage: str
    reason: str
    raw: str
    split: Split = "train"
    twin: str = ""


@dataclass(frozen=True, slots=True)
class Repair:
    """One field of one row that a stage mended."""

    row: str
    source: str
    stage: str
    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a row waits for a person; a row may have several.

    Attributes:
        row: Id of the row.
        source: `file:line` that the row came from.
        stage: The cleaning stage that doubts it, e.g. "outliers" or "label_errors".
        reason: What is doubted, a sentence for the person.
        score: The stage's own figure, on the stage's own scale.
        suggestion: The label that the row may have instead, or "".
        twins: `file:line` of the rows that say nearly the same, none for most stages.
    """

    row: str
    source: str
    stage: str
    reason: str
    score: float
    suggestion: str = ""
    twins: tuple[str, ...] = ()
