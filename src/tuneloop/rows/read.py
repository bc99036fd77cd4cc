"""A recipe's spec -> Rows, bad rows, and what was read.

"data/*.jsonl" --locate--> files --read_file--> records --Layout (columns, where)--> Row | BadRow
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tuneloop.disk import sha256_file, sha256_json
from tuneloop.errors import DataError
from tuneloop.records import BadRow, Row
from tuneloop.rows.files import Record, plain, read_file
from tuneloop.rows.layout import Layout, Where, find_layout
from tuneloop.rows.locate import Place, locate, shown_path

NONE: Mapping[str, Any] = MappingProxyType({})
"""An empty mapping that nobody can fill, as a default."""


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
        bad: The rows that could not be read as they stand.
        format: The format that was detected, e.g. "text + label: text + category".
        files: The inputs.
        filtered: Rows that `where` left out.
        parse: (record, source) -> Row or BadRow, by the same format, columns and `where`.
        columns: Ours -> theirs.
    """

    rows: list[Row]
    bad: list[BadRow]
    format: str
    files: list[SourceFile]
    filtered: int
    parse: Callable[[Any, str], Row | BadRow]
    columns: Mapping[str, str] = field(default_factory=dict)


def read_rows(
    spec: str, *, folder: Path, task: str, columns: Mapping[str, str] = NONE, where: Where = NONE, source: str = ""
) -> Reading:
    """Read every row that `spec` names.

    Args:
        spec: Path, glob or hub id; `${NAME:-default}` is filled in from the environment.
        folder: Where relative paths start.
        task: `classification` (rows need a text and a label) or `generation` (an answer at the end, or plain text).
        columns: Ours -> theirs, where the names are not the usual ones.
        where: Their column -> the value that rows must have.
        source: Where the rows can be had, in words; stands in the error of a missing file.

    Raises:
        DataError: if nothing is there, no format fits, a named column is missing, or no row is usable.
        RecipeError: if `columns` names something that is not a column of ours.
    """
    records, bad, files = _read_place(locate(spec, folder, source), folder)
    if not records:
        raise DataError(f"{spec} has no usable row", got=_first(bad), fix="Mend the first line, or name another file")
    layout = find_layout((r.value for r in records), task=task, columns=columns, where=where, name=spec)
    kept = [record for record in records if not where or layout.wanted(record.value)]
    rows, faulty = _parse(kept, layout)
    if not kept and not bad:
        raise DataError(
            f"data.where leaves no row of {spec}", got=f"{len(records)} rows, none with {_rule(layout.where)}",
            fix="Check the values in data.where",
        )  # fmt: skip
    if not rows:
        raise DataError(
            f"{spec} has no usable row", got=_first(faulty + bad), allowed=f"{layout.name} (detected)",
            fix="Mend the rows, or say which column is which in data.columns",
        )  # fmt: skip
    bad = _in_order(bad + faulty, files)
    return Reading(rows, bad, layout.name, files, len(records) - len(kept), layout, layout.columns)


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
    records, bad, files = _read_place(locate(str(path), folder), folder)
    name = str(path)
    rows: list[Row] = []
    if records:
        layout = find_layout((r.value for r in records), task="question", columns=columns, where={}, name=name)
        rows, faulty = _parse(records, layout)
        bad = _in_order(bad + faulty, files)
    if bad or not records:  # an answer a row is what was asked for: leaving some out would shift the others
        fix = "Mend or remove them"
        count = len(rows) + len(bad)
        raise DataError(f"{len(bad)} of {count} rows of {name} cannot be read", got=_first(bad), fix=fix)
    return rows


def _parse(records: list[Record], layout: Layout) -> tuple[list[Row], list[BadRow]]:
    rows: list[Row] = []
    bad: list[BadRow] = []
    for record in records:
        found = layout(record.value, record.source)
        if isinstance(found, Row):
            rows.append(found)
        else:
            bad.append(found if record.raw is None else replace(found, raw=record.raw))
    return rows, bad


def _read_place(place: Place, folder: Path) -> tuple[list[Record], list[BadRow], list[SourceFile]]:
    if place.hub:
        records = read_hub(place.hub, place.split)
        return records, [], [SourceFile(hub_name(place), rows_sha256(records), len(records))]
    records, bad, files = [], [], []
    for path in place.files:
        name = shown_path(path, folder)
        good, broken = read_file(path, name)
        records += good
        bad += broken
        files.append(SourceFile(name, sha256_file(path), len(good) + len(broken)))
    return records, bad, files


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


def _first(bad: list[BadRow]) -> str:
    shown = "; ".join(str(row).rstrip(".") for row in bad[:3])
    return f"{len(bad)} bad rows, the first: {shown}" if bad else "no rows"


def _rule(where: Where) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in where.items())


def _in_order(bad: list[BadRow], files: list[SourceFile]) -> list[BadRow]:
    order = {file.path: place for place, file in enumerate(files)}
    return sorted(bad, key=lambda row: source_place(row.source, order))


def source_place(source: str, order: Mapping[str, int]) -> tuple[int, int]:
    """Where `file:line` stands: (place of the file in `order`, line)."""
    file, _, line = source.rpartition(":")
    return order.get(file, len(order)), int(line) if line.isdigit() else 0
