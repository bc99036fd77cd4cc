"""The queue of a run: which rows wait, what was decided, and deciding without losing what another person decides.

    Queue(data).items()  ->  Item, Item, ...          the most valuable first, skipped ones last
    queue.decide([Answer(row, "keep", "ann")])  ->  [Outcome("written", Decision)]

A decision is written at once. It says what it was made on (`Answer.seen`), and where somebody else decided that row
meanwhile it is not written: the caller is told which decision stands.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tuneloop.errors import DataError
from tuneloop.records import Doubt
from tuneloop.review.content import label_text
from tuneloop.review.log import Decision, Kind, in_force
from tuneloop.review.store import NAME, add_decision, packed, read_log, transaction
from tuneloop.runs import open_run

SHEET_MARK = "r"
"""Before an id in a spreadsheet: Excel takes `985187861930e035` or `1234567812345678` for a number and rewrites it."""


@dataclass(frozen=True)
class Twin:
    """A row that says nearly the same as another.

    Attributes:
        source: `file:line` that it came from.
        row: Its id, "" where it is not among the training rows any more.
        text: Its text.
        label: Its label, or its answer.
    """

    source: str
    row: str
    text: str = ""
    label: str = ""


@dataclass(frozen=True)
class Item:
    """A row that the queue shows.

    Attributes:
        row: Its id.
        sources: `file:line` of every row of this content.
        text: What it says: the text, or the last user message.
        label: The class, the classes, or the answer; None where it has none.
        classes: Whether the label is a class and not an answer.
        columns: All its columns.
        doubts: Why it waits, the weightiest first; none for a row that only was decided once.
        twins: Rows that say nearly the same.
        worth: What a decision is worth, in [0, 1] (worth.py).
        settles: Rows that a decision settles.
        decision: The one that holds, or None.
    """

    row: str
    sources: tuple[str, ...]
    text: str
    label: str | list[str] | None
    classes: bool
    columns: Mapping[str, Any]
    doubts: tuple[Doubt, ...]
    twins: tuple[Twin, ...]
    worth: float
    settles: int
    decision: Decision | None

    @property
    def waits(self) -> bool:
        """Whether somebody still has to decide."""
        return bool(self.doubts) and (self.decision is None or not self.decision.settles)

    @property
    def suggestion(self) -> str:
        """The label that the weightiest doubt with a suggestion proposes, or ""."""
        return next((doubt.suggestion for doubt in self.doubts if doubt.suggestion), "")

    @property
    def seen(self) -> int:
        """Number of the decision that holds, 0 for none: what an answer was made on."""
        return self.decision.number if self.decision else 0

    def has(self, words: str) -> bool:
        """Whether the row's id, source, text, label or a reason has these words, by NFKC and without case."""
        reasons = [f"{doubt.stage} {doubt.reason}" for doubt in self.doubts]
        parts = [SHEET_MARK + self.row, *self.sources, self.text, label_text(self.label), *reasons]
        return _plain(words) in _plain("\n".join(parts))


@dataclass(frozen=True)
class Answer:
    """What a person says about a row, before it is a decision.

    Attributes:
        row: Id of the row.
        kind: keep, edit, drop or skip.
        reviewer: Who says so.
        after: For an edit: the new "text", "label" or both.
        comment: The person's own words.
        seen: Number of the decision that held when the row was shown; None: it was shown as undecided, e.g. in a file,
            and then only the reviewer's own decision gives way, unless he said this very thing before it.
    """

    row: str
    kind: Kind
    reviewer: str
    after: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""
    seen: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an answer.

    Attributes:
        result: "written"; "unchanged": that very thing had been decided; "conflict": something else had been decided
            meanwhile, and stands; "gone": the queue has no such row.
        row: Id of the row.
        decision: The decision that holds now, None if there is none.
        instead_of: The decision that held before the one that was written, None if there was none.
    """

    result: Literal["written", "unchanged", "conflict", "gone"]
    row: str
    decision: Decision | None = None
    instead_of: Decision | None = None


@dataclass(frozen=True)
class Queue:
    """The review queue in a data folder. It holds no file open: any number of them may work at once.

    Attributes:
        data: The run's data folder.
    """

    data: Path

    @property
    def exists(self) -> bool:
        """Whether the last cleaning left a queue."""
        return (self.data / NAME).exists()

    def items(self, stage: str = "", *, decided: bool = False) -> list[Item]:
        """The rows that wait, the most valuable decision first, skipped ones last.

        Args:
            stage: Only those that this stage doubts.
            decided: Also those that were decided, at the end.

        Raises:
            RunError: if the queue cannot be read.
            DataError: if no row was ever doubted by that stage.
        """
        if not self.exists:
            return []
        with transaction(self.data, write=False) as connection:
            holds = in_force(read_log(connection))
            twins = _twins(connection)
            found = [_item(line, twins, holds.get(line[0])) for line in connection.execute(f"{SELECT} ORDER BY place")]
        stages = sorted({doubt.stage for item in found for doubt in item.doubts})
        if stage and stage not in stages:
            raise DataError(
                f"No row waits because of {stage!r}", allowed=", ".join(stages) or "nothing: no row is doubted",
                fix="Name one of these stages, or leave --stage out",
            )  # fmt: skip
        mine = [item for item in found if not stage or any(doubt.stage == stage for doubt in item.doubts)]
        fresh = [item for item in mine if item.waits and item.decision is None]
        skipped = [item for item in mine if item.waits and item.decision is not None]
        return fresh + skipped + ([item for item in mine if not item.waits] if decided else [])

    def item(self, row: str) -> Item | None:
        """One row as it stands now; None if the queue has it no more.

        Args:
            row: Its id.
        """
        with transaction(self.data, write=False) as connection:
            return _find(connection, row)

    def labels(self) -> dict[str, int]:
        """Class -> training rows, the most frequent first; {} where rows have no class."""
        if not self.exists:
            return {}
        with transaction(self.data, write=False) as connection:
            lines = connection.execute("SELECT label, rows FROM labels ORDER BY rows DESC, label").fetchall()
        return {json.loads(label): rows for label, rows in lines}

    def log(self) -> list[Decision]:
        """Every decision ever made, oldest first; the undone ones too."""
        if not self.exists:
            return []
        with transaction(self.data, write=False) as connection:
            return read_log(connection)

    def decide(self, answers: Sequence[Answer]) -> list[Outcome]:
        """Write answers as decisions, all in one step: either every one is in the log, or none.

        Args:
            answers: What was said, each about one row.

        Returns:
            What became of each, in their order.

        Raises:
            RunError: if the queue cannot be written; nothing was.
            DataError: if an edit does not fit its row; nothing was written.
        """
        with transaction(self.data, write=True) as connection:
            return [_decide(connection, answer) for answer in answers]

    def undo(self, reviewer: str) -> Decision | None:
        """Take back this reviewer's newest decision that holds; an undo is one more record.

        Args:
            reviewer: Whose; another person's decisions are not touched.

        Returns:
            The decision that was taken back, None if there is none.
        """
        with transaction(self.data, write=True) as connection:
            mine = [d for d in in_force(read_log(connection)).values() if d.reviewer == reviewer]
            if not mine:
                return None
            last = max(mine, key=lambda decision: decision.number)
            add_decision(
                connection, Decision(0, last.row, "undo", reviewer, now(), last.before, {}, undoes=last.number)
            )
            return last

    def summary(self) -> dict[str, Any]:
        """How far the review is, as JSON-able figures: rows that wait by stage, decisions by kind and reviewer."""
        items, log = self.items(decided=True), self.log()
        waiting = [item for item in items if item.waits]
        decided = [item.decision for item in items if not item.waits and item.decision is not None]
        by_reviewer: dict[str, Counter[str]] = {}
        for decision in decided:
            by_reviewer.setdefault(decision.reviewer, Counter())[decision.deed] += 1
        return {
            "queue": str(self.data / NAME), "rows": len(items), "waiting": len(waiting),
            "skipped": sum(item.decision is not None for item in waiting), "decided": len(decided),
            "waiting_by_stage": dict(Counter(stage for item in waiting for stage in stages_of(item)).most_common()),
            "decided_by_kind": dict(Counter(decision.deed for decision in decided).most_common()),
            "decided_by_reviewer": {name: dict(kinds.most_common()) for name, kinds in sorted(by_reviewer.items())},
            "log": {"decisions": sum(d.kind != "undo" for d in log), "undone": sum(d.kind == "undo" for d in log)},
        }  # fmt: skip


def open_queue(run: str | Path) -> Queue:
    """The review queue of a run: the rows that wait for a person, and every decision that was made.

    Args:
        run: The run, by name or path.

    Returns:
        Its queue, empty where the last cleaning doubted no row.

    Raises:
        RunError: if there is no such run.
    """
    return Queue(open_run(run).data)


def stages_of(item: Item) -> list[str]:
    """The stages that doubt a row, each once, the weightiest first."""
    return list(dict.fromkeys(doubt.stage for doubt in item.doubts))


def now() -> str:
    """The time of a decision: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


SELECT = "SELECT row, sources, content, classes, columns, doubts, worth, settles FROM items"


def _item(line: Sequence[Any], twins: Mapping[str, Twin], decision: Decision | None) -> Item:
    row, sources, content, classes, columns, doubts, worth, settles = line
    own, shown = tuple(json.loads(sources)), json.loads(content)
    why = tuple(Doubt(**{**doubt, "twins": tuple(doubt["twins"])}) for doubt in json.loads(doubts))
    named = dict.fromkeys(twin for doubt in why for twin in doubt.twins if twin not in own)
    others = tuple(twins.get(twin, Twin(twin, "")) for twin in named)
    return Item(
        row, own, shown["text"], shown["label"], bool(classes), json.loads(columns), why, others, worth, settles,
        decision,
    )  # fmt: skip


def _twins(connection: sqlite3.Connection, sources: Iterable[str] | None = None) -> dict[str, Twin]:
    """Source -> the twin, of all that are stored or of those named."""
    lines: list[Any] = []
    if sources is None:
        lines = connection.execute("SELECT source, row, content FROM twins").fetchall()
    else:
        for source in sources:
            lines += connection.execute("SELECT source, row, content FROM twins WHERE source = ?", (source,))
    found = {}
    for source, row, content in lines:
        shown = json.loads(content)
        found[source] = Twin(source, row, shown["text"], label_text(shown["label"]))
    return found


def _find(connection: sqlite3.Connection, row: str) -> Item | None:
    line = connection.execute(f"{SELECT} WHERE row = ?", (row,)).fetchone()
    if line is None:
        return None
    named = [twin for doubt in json.loads(line[5]) for twin in doubt["twins"]]
    return _item(line, _twins(connection, named), in_force(read_log(connection, row)).get(row))


def _decide(connection: sqlite3.Connection, answer: Answer) -> Outcome:
    item = _find(connection, answer.row)
    if item is None:
        return Outcome("gone", answer.row)
    before: dict[str, Any] = {"text": item.text, "label": item.label}
    after = {name: value for name, value in answer.after.items() if before.get(name) != value}
    kind: Kind = "keep" if answer.kind == "edit" and not after else answer.kind
    _check(item, kind, after)
    holds = item.decision
    if holds is not None and (holds.kind, dict(holds.after)) == (kind, after):
        return Outcome("unchanged", answer.row, holds)
    if kind == "skip" and not item.waits:
        return Outcome("unchanged", answer.row, holds)
    written = Decision(0, answer.row, kind, answer.reviewer, now(), before, after, answer.comment)
    if answer.seen != item.seen if answer.seen is not None else _stands_against(connection, holds, written):
        return Outcome("conflict", answer.row, holds)
    return Outcome("written", answer.row, add_decision(connection, written), holds)


def _stands_against(connection: sqlite3.Connection, holds: Decision | None, said: Decision) -> bool:
    """Whether what holds is not to be replaced by what somebody said without having seen it.

    Another person's decision is not, nor one's own that came after the very same words: those are of a file that is
    older than the decision, and comes back with lines that nobody touched since.
    """
    if holds is None or not holds.settles:
        return False
    if holds.reviewer != said.reviewer:
        return True
    earlier = (d for d in read_log(connection, said.row) if d.reviewer == said.reviewer)
    return any((d.kind, dict(d.after)) == (said.kind, dict(said.after)) for d in earlier)


def _check(item: Item, kind: Kind, after: Mapping[str, Any]) -> None:
    """Refuse an edit that does not fit its row."""
    where, fix = f"{item.sources[0]} (row {item.row})", "Drop the row instead"
    if kind == "undo":
        raise DataError("An undo is not an answer about a row", got="undo", fix="Call Queue.undo")
    if set(after) - {"text", "label"} or (after and kind != "edit"):
        raise DataError(
            f"{where} cannot be changed like that", got=packed(dict(after)), allowed="a text and a label",
            fix="Leave everything else as it is",
        )  # fmt: skip
    if "text" in after and not str(after["text"]).strip():
        raise DataError(f"The new text of {where} is blank", got=packed(after["text"]), fix=fix)
    if "text" in after and not item.text:
        raise DataError(f"{where} has no text that could be changed", got=packed(after["text"]), fix=fix)
    if "label" not in after:
        return
    if item.label is None:
        raise DataError(
            f"{where} has no label that could be changed", got=packed(after["label"]), fix="Change its text, or drop it"
        )
    label = after["label"]
    several = isinstance(label, list) and bool(label) and all(isinstance(name, str) and name.strip() for name in label)
    one = isinstance(label, str) and bool(label.strip())
    if not (several if isinstance(item.label, list) else one):
        allowed = "a list of classes" if isinstance(item.label, list) else "a text that is not blank"
        raise DataError(f"The new label of {where} cannot be used", got=packed(label), allowed=allowed, fix=fix)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
