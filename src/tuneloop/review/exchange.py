"""Files that people review in: the queue goes out, decisions come back.

queue --export_items--> review.csv --person--> review.csv --import_answers--> decisions, all of them or none
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop.disk import write_text
from tuneloop.errors import DataError, RecipeError, RunError
from tuneloop.records import BadRow
from tuneloop.review.content import label_from, label_text
from tuneloop.review.label_studio import labelling_config, read_tasks, write_tasks
from tuneloop.review.log import Kind
from tuneloop.review.queue import Answer, Item, Outcome, Queue
from tuneloop.review.sheet import Line, Read, read_csv, read_jsonl, utf8, write_csv, write_jsonl

SHOWN = 10
"""Bad lines that an error spells out."""

KINDS: dict[str, Kind] = {
    "keep": "keep", "edit": "edit", "edit text": "edit", "edit label": "edit", "edit text and label": "edit",
    "drop": "drop", "skip": "skip", "保留": "keep", "修改": "edit", "剔除": "drop", "删除": "drop", "跳过": "skip",
}  # fmt: skip
"""What may stand in the column `decision`: English, or the words of the Chinese page."""

REWRITTEN = re.compile(r"(?![0-9a-f]{16}$)[0-9]+([.,][0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)
"""An id that a spreadsheet took for a number, e.g. 9.85188E+15."""


@dataclass(frozen=True)
class Format:
    """One format of files.

    Attributes:
        suffix: By which it is told.
        write: (rows, classes) -> the file's content.
        read: (the file's content, its name) -> lines, and those that cannot be read.
    """

    suffix: str
    write: Callable[[Sequence[Item], Sequence[str]], str]
    read: Callable[[str, str], Read]


FORMATS: dict[str, Format] = {
    "jsonl": Format(".jsonl", write_jsonl, read_jsonl),
    "csv": Format(".csv", write_csv, read_csv),
    "label-studio": Format(".json", write_tasks, read_tasks),
}


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        written: Decisions that are new.
        unchanged: Lines that say what had been decided already.
        blank: Lines without a decision: those rows go on waiting.
        by_kind: The new decisions, counted by what they do.
        corrected: Of the new decisions, those that take the place of an earlier one of the same reviewer.
        conflicts: A sentence for each line whose row had been decided otherwise meanwhile; that decision stands.
        gone: `file:line` of rows that the queue has no more, since their content changed or nothing doubts them now.
    """

    written: int = 0
    unchanged: int = 0
    blank: int = 0
    by_kind: Mapping[str, int] = field(default_factory=dict)
    corrected: int = 0
    conflicts: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def export_items(
    queue: Queue, path: Path, *, format: str = "", stage: str = "", limit: int | None = None
) -> tuple[int, list[Path]]:
    """Write the rows that wait into a file, the most valuable first.

    Args:
        queue: Whose rows.
        path: The file; for Label Studio the labelling interface is written beside it, as .xml.
        format: One of FORMATS; "": told by the suffix.
        stage: Only the rows that this stage doubts.
        limit: Only so many.

    Returns:
        How many rows, and the files.

    Raises:
        RecipeError: if the format is unknown.
        RunError: if the file cannot be written, or its folder is missing; it is then as it was.
    """
    if not path.parent.is_dir():  # likely misspelt: none is made
        fix = "Correct the path, or make the folder"
        raise RunError(f"{path} cannot be written", got=f"no folder {path.parent}", fix=fix)
    name = format_of(path, format)
    items, labels = queue.items(stage)[:limit], list(queue.labels())
    files = {path: FORMATS[name].write(items, labels)}
    if name == "label-studio":
        files[path.with_suffix(".xml")] = labelling_config(items, labels)
    for file, content in files.items():
        write_text(file, utf8(content))
    return len(items), list(files)


def import_answers(queue: Queue, path: Path, *, reviewer: str, format: str = "", new_labels: bool = False) -> Imported:
    """Turn a file that came back into decisions: all that it says, or nothing at all.

    Who changes a line and brings the file again corrects his earlier decision. What another person decided stands, and
    so does what the reviewer himself decided after he had said what the line says: both are conflicts.

    Args:
        queue: Which it is about.
        path: The file.
        reviewer: Who decided, where the file does not say.
        format: One of FORMATS; "": told by the suffix.
        new_labels: Whether `new_label` may name a class that no training row has; else it counts as misspelt.

    Raises:
        RecipeError: if the format is unknown.
        DataError: naming every bad line with its file and line; nothing is imported then.
        RunError: if the queue cannot be written; nothing is imported then.
    """
    lines, bad = FORMATS[format_of(path, format)].read(_text(path), path.name)
    items = {item.row: item for item in queue.items(decided=True)}
    labels = None if new_labels else list(queue.labels())
    said: dict[tuple[str, str], tuple[Line, Answer]] = {}  # of an annotator who went back to a row the last counts
    gone: list[str] = []
    blank = 0
    for line in lines:
        row = str(line.values.get("id", ""))
        if row and row not in items and not REWRITTEN.fullmatch(row):
            gone.append(line.source)
            continue
        try:
            answer = _answer(line, items, reviewer, labels)
            if answer is not None:
                _refuse_second(line, answer, said)
        except _Bad as fault:
            bad.append(BadRow(line.source, fault.field, fault.got, fault.expected, fault.fix, ""))
            continue
        if answer is None:
            blank += 1
        else:
            said[answer.row, answer.reviewer] = line, answer
    answers = list(said.values())
    _refuse(bad, path, len(lines), len(gone))
    outcomes = queue.decide([answer for _, answer in answers]) if answers else []
    return _imported(answers, outcomes, blank, gone)


def format_of(path: Path, name: str) -> str:
    """The name of a file's format.

    Args:
        path: The file.
        name: What the user said, or "".

    Raises:
        RecipeError: if there is no such format, or the suffix tells none.
    """
    by_suffix = {entry.suffix: key for key, entry in FORMATS.items()}
    found = name or by_suffix.get(path.suffix.lower(), "")
    if found not in FORMATS:
        raise RecipeError(
            f"Unknown format of {path}", got=repr(name or path.suffix or path.name),
            allowed=", ".join(f"{key} ({entry.suffix})" for key, entry in FORMATS.items()), fix="Add --format",
        )  # fmt: skip
    return found


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        fix = "In a spreadsheet choose `Save as`, then `CSV UTF-8`"
        raise DataError(f"{path} is not UTF-8 text", got="bytes of another encoding", fix=fix) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=str(error), fix="Check the file and its permissions") from None


# -- a line as an answer --------------------------------------------------------------------------------------


class _Bad(Exception):
    def __init__(self, field: str, got: str, expected: str, fix: str) -> None:
        super().__init__(field)
        self.field, self.got, self.expected, self.fix = field, got, expected, fix


def _answer(line: Line, items: Mapping[str, Item], reviewer: str, labels: list[str] | None) -> Answer | None:
    """What a line says, None if it says nothing yet."""
    values = line.values
    row = str(values.get("id", ""))
    item = items.get(row)
    if item is None and row:
        fix = "A spreadsheet took it for a number: export again (ids then stay as they are), and copy the decision over"
        raise _Bad("id", repr(row), "the row's id", fix)
    if item is None:
        raise _Bad("id", "nothing", "the row's id", "Leave this column as `--export` wrote it")
    said = " ".join(str(values.get("decision", "")).casefold().split())
    kind = KINDS.get(said)
    if said and kind is None:
        near = difflib.get_close_matches(said, KINDS, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Correct the cell"
        raise _Bad("decision", repr(values["decision"]), "keep, edit, drop, skip or nothing", fix)
    after = _after(values, item, labels)
    if kind != "drop":
        _refuse_changed(values, item)
    if kind in ("drop", "skip", "keep") and after and any(after[name] != _own(item, name) for name in after):
        first = f"new_{next(iter(after))}"
        raise _Bad("decision", f"{said!r} and a {first}", "one of them", f"Write edit, or empty the cell {first}")
    if kind == "edit" and not after:
        raise _Bad("decision", "'edit' without a new text or label", "new_text or new_label", "Fill one in")
    if kind is None and not after:
        return None
    comment = str(values.get("comment", "")).strip()
    return Answer(item.row, kind or "edit", line.reviewer or reviewer, after if kind in (None, "edit") else {}, comment)


def _own(item: Item, name: str) -> Any:
    return item.text if name == "text" else item.label


def _after(values: Mapping[str, Any], item: Item, labels: list[str] | None) -> dict[str, Any]:
    """The new text and label of a line; `labels`: the classes that it may name, None for any."""
    after: dict[str, Any] = {}
    if "new_text" in values:
        if not str(values["new_text"]).strip():
            raise _Bad("new_text", "a blank", "a text", "Write drop as the decision, or empty the cell")
        after["text"] = str(values["new_text"])
        if _same(after["text"], item.text):  # the same but for how a spreadsheet writes it
            after["text"] = item.text
    if "new_label" in values:
        after["label"] = _label(values["new_label"], item, labels)
    return after


def _label(given: Any, item: Item, labels: list[str] | None) -> str | list[str]:
    if item.label is None:
        raise _Bad("new_label", repr(given), "nothing: the row has no label", "Empty the cell")
    several = isinstance(item.label, list)
    if isinstance(given, list) and not several:
        if len(given) != 1:
            raise _Bad("new_label", label_text(given), "one class", "Choose one of them")
        given = given[0]
    try:
        label = label_from(label_text(given) if isinstance(given, list) else str(given), item.label)
    except DataError as error:
        raise _Bad("new_label", repr(given), error.allowed or "a label", "Correct the cell") from None
    if not item.classes:
        return item.label if isinstance(label, str) and _same(label, label_text(item.label).strip()) else label
    shown = {utf8(name): name for name in labels or ()}
    names = [shown.get(name, name) for name in (label if isinstance(label, list) else [label])]
    unknown = [name for name in names if labels is not None and name not in labels]
    if unknown:
        near = difflib.get_close_matches(unknown[0], shown, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        fix = f"{hint}Add --new-labels if it is a new class"
        raise _Bad("new_label", repr(unknown[0]), "a label that training rows have", fix)
    return names if several else names[0]


def _refuse_changed(values: Mapping[str, Any], item: Item) -> None:
    """A text or label that was changed in its own cell: by a person who meant it, or by a spreadsheet."""
    for name, own in (("text", item.text), ("label", label_text(item.label))):
        given = values.get(name, "")
        if name in values and not _same(label_text(given) if isinstance(given, list) else str(given), own):
            fix = f"Put the change into new_{name} and leave {name} as it was exported"
            raise _Bad(name, "another text than the row has", "the row's own", fix)


def _refuse_second(line: Line, answer: Answer, said: Mapping[tuple[str, str], tuple[Line, Answer]]) -> None:
    """Another answer of a sheet about the same row: nobody knows which was meant."""
    earlier, first = said.get((answer.row, answer.reviewer), (line, answer))
    if not line.reviewer and (first.kind, first.after) != (answer.kind, answer.after):
        got, expected = answer.kind, f"{first.kind}, as {earlier.source} says of the same row"
        raise _Bad("decision", repr(got), expected, "Take one of the two lines out")


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same but for line ends and blanks at the end."""
    one, other = ("\n".join(utf8(text).splitlines()).rstrip() for text in (one, other))
    return one == other


# -- what came of it ------------------------------------------------------------------------------------------


def _refuse(bad: list[BadRow], path: Path, lines: int, gone: int) -> None:
    if bad:
        count = f"{len(bad)} line{'' if len(bad) == 1 else 's'} of {path}"
        listed = "; ".join(str(row).rstrip(".") for row in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(f"{count} cannot be imported, and nothing was: {listed}{more}")
    if gone and gone == lines:
        raise DataError(
            f"{path} is not about this queue", got=f"{gone} rows, none of them in it",
            fix="Name the run that it was exported from; if its rows changed since, export again",
        )  # fmt: skip


def _imported(
    answers: Sequence[tuple[Line, Answer]], outcomes: Sequence[Outcome], blank: int, gone: list[str]
) -> Imported:
    counts = Counter(outcome.result for outcome in outcomes)
    kinds = Counter(o.decision.deed for o in outcomes if o.result == "written" and o.decision)
    conflicts: list[str] = []
    for (line, answer), outcome in zip(answers, outcomes, strict=True):
        if outcome.result == "gone":  # a re-clean came between
            gone.append(line.source)
        elif outcome.result == "conflict" and outcome.decision:
            holds = outcome.decision
            since = ", after having said that" if holds.reviewer == answer.reviewer else ""
            conflicts.append(
                f"{line.source}: {holds.reviewer} decided {holds.deed} at {holds.time}{since}, and that stands; "
                f"the file says {answer.kind}"
            )
    corrected = sum(o.instead_of is not None and o.instead_of.settles for o in outcomes)
    return Imported(
        counts["written"], counts["unchanged"], blank, dict(kinds.most_common()), corrected, tuple(conflicts),
        tuple(gone),
    )  # fmt: skip
