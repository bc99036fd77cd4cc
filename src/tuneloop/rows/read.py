"""A recipe's spec -> Rows, bad rows, and what was read.

"data/*.jsonl" --locate--> files --parts_of--> parts --records_of--> records --Layout (columns, where)--> Row | BadRow

The rows are held in memory, or stay in their files and are read part by part, by all cores, as the room says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tuneloop.disk import sha256_file, sha256_json
from tuneloop.errors import DataError
from tuneloop.records import BadRow, Row
from tuneloop.rows.files import Part, Record, parts_of, plain, records_of
from tuneloop.rows.formats import ONE_LABEL
from tuneloop.rows.layout import Columns, Layout, Where, find_layout
from tuneloop.rows.locate import Place, locate, shown_path
from tuneloop.rows.room import MEMORY, Room, kept
from tuneloop.shelf import Store, writing

NONE: Mapping[str, Any] = MappingProxyType({})
"""An empty mapping that nobody can fill, as a default."""
FEW = 2
"""Rows with several labels that are slips however small the set is."""


@dataclass(frozen=True)
class SourceFile:
    """One input.

    Attributes:
        path: As reports name it; `hub:owner/name:split` for a set on the hub.
        sha256: Of the file's bytes; of the rows for the hub.
        rows: Rows that it holds, bad ones counted.
    """

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Reading:
    """What a spec gave; rows, bad and filtered add up to the rows of the files.

    Attributes:
        rows: The rows, in the order of the files.
        bad: The rows that could not be read as they stand, in the same order.
        format: The format that was detected, e.g. "text + label: text + category".
        files: The inputs.
        filtered: Rows that `where` left out.
        parse: (record, source) -> Row or BadRow, by the same format, columns and `where`.
        columns: Ours -> theirs.
    """

    rows: Sequence[Row]
    bad: Sequence[BadRow]
    format: str
    files: list[SourceFile]
    filtered: int
    parse: Layout
    columns: Mapping[str, str] = field(default_factory=dict)


def read_rows(
    spec: str, *, folder: Path, task: str, columns: Mapping[str, str] = NONE, where: Where = NONE, source: str = "",
    room: Room = MEMORY,
) -> Reading:  # fmt: skip
    """Read every row that `spec` names.

    Args:
        spec: Path, glob or hub id; `${NAME:-default}` is filled in from the environment.
        folder: Where relative paths start.
        task: `classification` (rows need a text and a label) or `generation` (an answer at the end, or plain text).
        columns: Ours -> theirs, where the names are not the usual ones.
        where: Their column -> the value that rows must have.
        source: Where the rows can be had, in words; stands in the error of a missing file.
        room: Where the rows are kept.

    Raises:
        DataError: if nothing is there, no format fits, a named column is missing, or no row is usable.
        RecipeError: if `columns` names something that is not a column of ours.
    """
    found = _read_place(locate(spec, folder, source), folder, room)
    if not found.columns.rows:
        raise DataError(
            f"{spec} has no usable row", got=_first(list(islice(found.broken(), 3)), found.lines),
            fix="Mend the first line, or name another file",
        )  # fmt: skip
    layout = find_layout(found.columns, task=task, columns=columns, where=where, name=spec)
    rows, bad, filtered = found.parsed(layout, room)
    if filtered == found.columns.rows and not bad:
        raise DataError(
            f"data.where leaves no row of {spec}", got=f"{filtered} rows, none with {_rule(layout.where)}",
            fix="Check the values in data.where",
        )  # fmt: skip
    if task == "classification":
        _refuse_several_labels(bad, len(rows) + len(bad), spec)
    if not rows:
        raise DataError(
            f"{spec} has no usable row", got=_first(bad[:3], len(bad)), allowed=f"{layout.name} (detected)",
            fix="Mend the rows, or say which column is which in data.columns",
        )  # fmt: skip
    return Reading(rows, bad, layout.name, found.files, filtered, layout, layout.columns)


def read_questions(path: Path | str, *, columns: Mapping[str, str] = NONE, folder: Path | None = None) -> list[Row]:
    """Rows that only need to be answered: a text, or messages without the last answer; a .txt file is one a line.

    Labels and answers in the file are not read. Of `columns`, those that the file does not have are passed over.

    Args:
        path: The file, or a glob.
        columns: Ours -> theirs, as in the recipe that the model was trained with.
        folder: Where a relative path starts; None is the working folder.

    Raises:
        DataError: if the file is missing or a row of it has nothing to answer.
    """
    folder = folder or Path.cwd()
    found = _read_place(locate(str(path), folder), folder, MEMORY)
    name = str(path)
    rows: Sequence[Row] = []
    bad: Sequence[BadRow] = list(found.broken())
    if found.columns.rows:
        layout = find_layout(found.columns, task="question", columns=columns, where={}, name=name)
        rows, bad, _ = found.parsed(layout, MEMORY)
    if bad or not found.columns.rows:  # an answer a row is what was asked for: leaving some out would shift the others
        count = len(rows) + len(bad)
        got = _first(bad[:3], len(bad))
        raise DataError(f"{len(bad)} of {count} rows of {name} cannot be read", got=got, fix="Mend or remove them")
    return list(rows)


# -- files and sets of the hub --------------------------------------------------------------------------------


class _Found(ABC):
    """The rows that a spec names, read but not understood yet.

    Attributes:
        columns: Of all records.
        lines: Rows, those that are no records counted.
        files: The inputs.
    """

    columns: Columns
    lines: int
    files: list[SourceFile]

    @abstractmethod
    def broken(self) -> Iterator[BadRow]:
        """What is no record, in order."""

    @abstractmethod
    def parsed(self, layout: Layout, room: Room) -> tuple[Sequence[Row], Sequence[BadRow], int]:
        """(rows, bad rows, rows that `where` leaves out), in order."""


class _Held(_Found):
    """Records in memory."""

    def __init__(self, items: Sequence[Record | BadRow], files: list[SourceFile]) -> None:
        self.items, self.files, self.lines, self.columns = items, files, len(items), Columns()
        for item in items:
            if isinstance(item, Record):
                self.columns.add(item.value)

    def broken(self) -> Iterator[BadRow]:
        """See _Found."""
        return (item for item in self.items if isinstance(item, BadRow))

    def parsed(self, layout: Layout, room: Room) -> tuple[Sequence[Row], Sequence[BadRow], int]:
        """See _Found."""
        rows, bad = list[Row](), list[BadRow]()
        return rows, bad, parse_into(rows, bad, self.items, layout)


class _InFiles(_Found):
    """Records that stay in their files, and are read part by part whenever they are wanted."""

    def __init__(self, parts: list[Part], files: list[SourceFile], room: Room) -> None:
        self.parts, self.files, self.columns = parts, files, Columns()
        counts = list(room.engine.each(survey, parts, "looking through the rows"))
        for _, seen in counts:
            self.columns.join(seen)
        self.lines = sum(count for count, _ in counts)
        at = {part.name: 0 for part in parts}
        for part, (count, _) in zip(parts, counts, strict=True):
            at[part.name] += count
        self.files = [replace(file, rows=at[file.path]) for file in files]

    def broken(self) -> Iterator[BadRow]:
        """See _Found."""
        return (item for part in self.parts for item in records_of(part) if isinstance(item, BadRow))

    def parsed(self, layout: Layout, room: Room) -> tuple[Sequence[Row], Sequence[BadRow], int]:
        """See _Found."""
        rows, bad, filtered = room.shelf(), room.shelf(), 0
        tasks = [ParseTask(part, layout, room.path("rows"), room.path("bad")) for part in self.parts]
        for task, left_out in zip(tasks, room.engine.each(parse_part, tasks, "reading the rows"), strict=True):
            rows.adopt(task.rows)
            bad.adopt(task.bad)
            filtered += left_out
        return rows, bad, filtered


def survey(part: Part) -> tuple[int, Columns]:
    """How many rows a part has, and in which columns."""
    seen, rows = Columns(), 0
    for item in records_of(part):
        rows += 1
        if isinstance(item, Record):
            seen.add(item.value)
    return rows, seen


@dataclass(frozen=True)
class ParseTask:
    """A part to be understood, and the files that take its rows and its bad rows."""

    part: Part
    layout: Layout
    rows: Path
    bad: Path


def parse_part(task: ParseTask) -> int:
    """Write the rows of a part, once; gives the number of those that `where` leaves out."""

    def parsed() -> int:
        with writing(task.rows) as rows, writing(task.bad) as bad:
            return parse_into(rows, bad, records_of(task.part), task.layout)

    return kept(task.rows.with_suffix(".json"), parsed)


def parse_into(rows: Store[Row], bad: Store[BadRow], items: Iterable[Record | BadRow], layout: Layout) -> int:
    """Put each record where it belongs, as a Row or a BadRow; gives the number of those that `where` leaves out."""
    filtered = 0
    for item in items:
        if isinstance(item, BadRow):
            bad.append(item)
        elif layout.where and not layout.wanted(item.value):
            filtered += 1
        else:
            found = layout(item.value, item.source)
            if isinstance(found, Row):
                rows.append(found)
            else:
                bad.append(found if item.raw is None else replace(found, raw=item.raw))
    return filtered


def _read_place(place: Place, folder: Path, room: Room) -> _Found:
    if place.hub:
        records = read_hub(place.hub, place.split)
        return _Held(records, [SourceFile(hub_name(place), rows_sha256(records), len(records))])
    names = [shown_path(path, folder) for path in place.files]
    parts = [part for path, name in zip(place.files, names, strict=True) for part in parts_of(path, name)]
    hashes = [sha256_file(path) for path in place.files]
    if room.folder is not None:
        return _InFiles(parts, [SourceFile(*both, 0) for both in zip(names, hashes, strict=True)], room)
    items = [item for part in parts for item in records_of(part)]
    counts = Counter(item.source.rpartition(":")[0] for item in items)
    return _Held(items, [SourceFile(name, sha, counts[name]) for name, sha in zip(names, hashes, strict=True)])


def hub_name(place: Place) -> str:
    """How reports and keys name a set on the hub."""
    return f"hub:{place.hub}:{place.split}"


def rows_sha256(records: list[Record]) -> str:
    """Hash of what the rows hold, in their order."""
    return sha256_json([record.value for record in records])


def read_hub(name: str, split: str) -> list[Record]:
    """The rows of a set on the Hugging Face hub, through `datasets`, which runs no code of the set.

    Class labels become their names; the label of a row that has none (-1) stays -1.

    Args:
        name: `owner/name`.
        split: The split, e.g. train.

    Raises:
        DataError: if the hub cannot be reached, or it has no such set or split.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, split=split)
    except Exception as error:  # datasets raises a dozen kinds, from requests', the hub's and its own trees
        got = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no message'}"
        raise DataError(
            f"The set {name} (split {split}) could not be loaded from the hub", got=got,
            allowed="a path, a glob, or a hub id (owner/name or owner/name:split)",
            fix="Check the name and the network (HF_ENDPOINT names a mirror), or download the set and give its path",
        ) from None  # fmt: skip
    # A class label travels as its number; its name is what people know it by.
    names = {key: kind for key, kind in loaded.features.items() if isinstance(kind, datasets.ClassLabel)}

    def value(key: str, held: Any) -> Any:
        return names[key].int2str(held) if key in names and isinstance(held, int) and held >= 0 else plain(held)

    return [Record(f"{name}:{n}", {k: value(k, v) for k, v in row.items()}, None) for n, row in enumerate(loaded, 1)]


def _first(bad: Sequence[BadRow], count: int) -> str:
    shown = "; ".join(str(row).rstrip(".") for row in bad)
    return f"{count} bad rows, the first: {shown}" if bad else "no rows"


def _refuse_several_labels(bad: Iterable[BadRow], rows: int, spec: str) -> None:
    """A few rows with several labels are bad rows; a set of such rows is made for another task."""
    several = [row for row in bad if row.expected == ONE_LABEL]
    if len(several) > max(FEW, rows / 10):
        raise DataError(
            f"{len(several)} of {rows} rows of {spec} have several labels", got=_first(several[:1], len(several)),
            allowed=ONE_LABEL, fix="Keep one label of each row, or write each combination as a label of its own",
        )  # fmt: skip


def _rule(where: Where) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in where.items())


def source_place(source: str, order: Mapping[str, int]) -> tuple[int, int]:
    """Where `file:line` stands: (place of the file in `order`, line)."""
    file, _, line = source.rpartition(":")
    return order.get(file, len(order)), int(line) if line.isdigit() else 0
