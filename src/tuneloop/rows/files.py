"""Files -> records, one a row, each with the line that it came from.

    file --by content, not by name--> Parts of JSONL | JSON array | {"data": [...]} | CSV | text | Parquet --> records

What cannot be read as it stands becomes a BadRow that keeps the line whole. No column is looked at here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal

from tuneloop.errors import DataError
from tuneloop.records import BadRow
from tuneloop.rows.csv_file import csv_records
from tuneloop.rows.text_file import Span, lines_of, spans_of

JSON_LINE = "one JSON object a line"
"""`BadRow.expected` of a line that is no JSON: the repair of JSON tries these and no others."""

DEPTH = 64
"""How deep a row may nest: far above any real row, far below where Python's own recursion ends."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row as the file holds it.

    Attributes:
        source: `file:line`, 1-based; for Parquet and the hub `file:row`.
        value: The columns.
        raw: The line itself; None where the file has no lines (Parquet, hub).
    """

    source: str
    value: dict[str, Any]
    raw: str | None


@dataclass
class JsonReader:
    """Parses JSON as rows need it: NaN and Infinity are read as missing, twin keys and deep nesting are noticed."""

    twins: str = ""

    def __post_init__(self) -> None:
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=lambda _: None)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: dict[str, Any] = {}
            for key, value in pairs:
                if key in seen and seen[key] != value:
                    self.twins = key
                seen[key] = value
        return found

    def fault(self, value: Any, raw: str) -> tuple[str, str, str] | None:
        """(got, expected, fix) if a parsed value is no row, else None; forgets the twins that it tells of."""
        twins, self.twins = self.twins, ""
        if raw.count("[") + raw.count("{") > DEPTH and _depth(value) > DEPTH:
            return f"more than {DEPTH} levels of nesting", "a flat object", "Flatten the row"
        if not isinstance(value, dict):
            return f"{_kind(value)}: {shorten(raw)}", "a JSON object with named columns", "Write each row as an object"
        if twins:
            return f"the key {twins!r} twice, with two values", "each key once", "Keep one of them"
        return None

    def line(self, raw: str, source: str) -> Record | BadRow:
        """One line of JSONL as a record."""
        try:
            value = self.decoder.decode(raw)
        except RecursionError:
            self.twins = ""
            return BadRow(source, "", f"more than {DEPTH} levels of nesting", "a flat object", "Flatten the row", raw)
        except ValueError as error:
            self.twins = ""
            return BadRow(source, "", f"{shorten(raw)} ({error})", JSON_LINE, "Mend the line", raw)
        fault = self.fault(value, raw)
        return BadRow(source, "", *fault, raw) if fault else Record(source, value, raw)


def shorten(text: str, limit: int = 60) -> str:
    """A text in quotes, cut to `limit` characters, on one line."""
    shown = repr(text[:limit])
    return f"{shown}..." if len(text) > limit else shown


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), "true or false")


def _depth(value: Any) -> int:
    """Levels of nesting of a parsed value, without recursion."""
    deepest, level = 0, [value]
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        deepest, level = deepest + 1, [item for item in inner if isinstance(item, dict | list)]
    return deepest


Kind = Literal["jsonl", "json", "csv", "text", "parquet"]


@dataclass(frozen=True)
class Part:
    """Rows of a file that can be read apart from the others, by any process.

    Attributes:
        kind: How they are written.
        path: The file.
        name: How sources and errors call it.
        span: Which lines; of Parquet the rows, from `start` to `stop`.
    """

    kind: Kind
    path: str
    name: str
    span: Span


def parts_of(path: Path, name: str) -> list[Part]:
    """The rows of a file in parts; the kind is told by the content first, then by the suffix.

    JSONL and plain text come in spans of lines, Parquet in spans of rows, CSV and a JSON array as one part.

    Args:
        path: The file.
        name: How sources and errors call it.

    Raises:
        DataError: if it cannot be read, is empty, is binary, or is in another encoding.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise DataError(f"{name} cannot be read", got=str(error), fix="Check the file and its permissions") from None
    if magic == b"PAR1" or path.suffix == ".parquet":
        return [Part("parquet", str(path), name, span) for span in _row_spans(path, name)]
    spans = spans_of(path, name)
    first, second = _first_two(path, spans)
    if not first:
        got = f"{path.stat().st_size} bytes without a row"
        raise DataError(f"{name} is empty", got=got, fix="Name a file that holds rows")
    suffix = path.suffix.lower()
    kind: Kind = "csv" if suffix in (".csv", ".tsv") else "text" if suffix == ".txt" else _json_kind(first, second)
    if kind in ("csv", "json"):
        lost = tuple(number for span in spans for number in span.undecoded)
        spans = [Span(0, spans[-1].stop, 1, lost)]
    return [Part(kind, str(path), name, span) for span in spans]


def records_of(part: Part) -> Iterator[Record | BadRow]:
    """Every row of a part, in order.

    Raises:
        DataError: if a CSV header, a JSON array or a Parquet file is broken as a whole.
    """
    if part.kind == "parquet":
        yield from _parquet(part)
        return
    undecoded = set(part.span.undecoded)
    for item in _READERS[part.kind](part, undecoded):
        number = int(item.source.rpartition(":")[2])
        if number in undecoded:
            fix = "Save the file as UTF-8"
            yield BadRow(item.source, "", "bytes that are not UTF-8", "UTF-8 text", fix, item.raw or "")
        else:
            yield item


def _lines(part: Part) -> Iterator[tuple[int, str]]:
    """(number, line) of every line of a part."""
    return enumerate(lines_of(Path(part.path), part.span), part.span.line)


def _first_two(path: Path, spans: Sequence[Span]) -> tuple[str, str]:
    """The first two lines that are not blank; "" for one that is not there."""
    written = (line for span in spans for line in lines_of(path, span) if line.strip())
    return next(written, ""), next(written, "")


def _text(part: Part, undecoded: set[int]) -> Iterator[Record]:
    return (Record(f"{part.name}:{n}", {"text": line}, line) for n, line in _lines(part) if line.strip())


# -- JSON -----------------------------------------------------------------------------------------------------


def _json_kind(first: str, second: str) -> Kind:
    """Whether a file whose first lines these are holds an object a line, whatever its suffix says."""
    alone = JsonReader().line(first, "")
    if not second:
        whole = isinstance(alone, Record) or alone.expected == JSON_LINE or first.lstrip().startswith("[")
        return "json" if whole else "jsonl"
    broken = isinstance(alone, BadRow) and alone.expected == JSON_LINE and not _goes_on_as_jsonl(first, second)
    return "json" if broken else "jsonl"


def _jsonl(part: Part, undecoded: set[int]) -> Iterator[Record | BadRow]:
    reader = JsonReader()
    return (reader.line(line, f"{part.name}:{number}") for number, line in _lines(part) if line.strip())


def _json(part: Part, undecoded: set[int]) -> Iterator[Record | BadRow]:
    """An array, {"data": [...]}, one object, or lines after all: read as a whole."""
    text = "\n".join(line for _, line in _lines(part))
    if text.lstrip().startswith("["):
        return _array(text, text.index("[") + 1, part.name, last=True)
    whole = JsonReader().line(text, part.name)
    if not isinstance(whole, Record):
        return _jsonl(part, undecoded)
    if isinstance(whole.value.get("data"), list):
        start = re.search(r'"data"\s*:\s*\[', text)
        return _array(text, start.end() if start else 0, part.name, last=False)
    return iter([Record(f"{part.name}:1", whole.value, whole.raw)])


def _goes_on_as_jsonl(first: str, second: str) -> bool:
    """Whether a first line that is no JSON is a broken row of a JSONL file: the second is an object by itself."""
    return first.strip() not in ("[", "{") and isinstance(JsonReader().line(second, ""), Record)


def _array(text: str, at: int, name: str, *, last: bool) -> Iterator[Record | BadRow]:
    """The elements of a JSON array that starts before `at`, each with its own line and its own raw text.

    With `last`, nothing may stand behind the array.
    """
    reader, line, counted = JsonReader(), 1, 0
    space = re.compile(r"\s*")
    at = _skip(space, text, at)
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        source = f"{name}:{line}"
        try:
            value, end = reader.decoder.raw_decode(text, at)
        except RecursionError:
            raise DataError(f"{source} nests more than {DEPTH} levels deep", fix="Flatten that row") from None
        except ValueError as error:
            raise _broken(name, text, at, str(error)) from None
        raw = text[at:end]
        fault = reader.fault(value, raw)
        yield BadRow(source, "", *fault, raw) if fault else Record(source, value, raw)
        at = _skip(space, text, end)
        if at < len(text) and text[at] == ",":
            at = _skip(space, text, at + 1)
        elif at < len(text) and text[at] != "]":
            raise _broken(name, text, at, "Expecting ',' or ']'")
    if at >= len(text):
        raise _broken(name, text, at, "the array is never closed")
    if last and text[at + 1 :].strip():
        raise _broken(name, text, _skip(space, text, at + 1), "text behind the end of the array")


def _skip(space: re.Pattern[str], text: str, at: int) -> int:
    match = space.match(text, at)
    return match.end() if match else at


def _broken(name: str, text: str, at: int, error: str) -> DataError:
    line = text.count("\n", 0, at) + 1
    return DataError(
        f"{name} is not valid JSON at line {line}", got=f"{shorten(text[at : at + 60])} ({error})",
        allowed="an array of objects, or one object a line",
        fix="Mend it there; one object a line (JSONL) lets single broken rows be repaired or set aside",
    )  # fmt: skip


# -- CSV ------------------------------------------------------------------------------------------------------


def _csv(part: Part, undecoded: set[int]) -> Iterator[Record | BadRow]:
    """A record that holds a line of `undecoded` puts its first line among them."""
    for found in csv_records(lambda: lines_of(Path(part.path), part.span), part.name):
        first, source = found.lines.start, f"{part.name}:{found.lines.start}"
        undecoded.update({first} if undecoded.intersection(found.lines) else ())
        if found.fault:
            why, expected, fix = found.fault
            yield BadRow(source, "", f"{shorten(found.raw)} ({why})", expected, fix, found.raw)
        else:
            yield Record(source, found.fields, found.raw)


# -- Parquet, and values that JSON does not have ----------------------------------------------------------------


ROWS_AT_ONCE = 8192


def _row_spans(path: Path, name: str) -> list[Span]:
    """The rows of a Parquet file in spans.

    Raises:
        DataError: if it is none, or has no row.
    """
    import polars as pl

    try:
        rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _no_parquet(name, error) from None
    if not rows:
        raise DataError(f"{name} is empty", got="a Parquet table without rows", fix="Name a file that holds rows")
    return [Span(start, min(start + ROWS_AT_ONCE, rows), start + 1) for start in range(0, rows, ROWS_AT_ONCE)]


def _parquet(part: Part) -> Iterator[Record]:
    import polars as pl

    span = part.span
    try:
        rows = pl.scan_parquet(part.path).slice(span.start, span.stop - span.start).collect().to_dicts()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _no_parquet(part.name, error) from None
    for number, row in enumerate(rows, span.line):
        yield Record(f"{part.name}:{number}", {key: plain(value) for key, value in row.items()}, None)


def _no_parquet(name: str, error: Exception) -> DataError:
    got = str(error).splitlines()[0][:200]
    return DataError(f"{name} is not a Parquet file that can be read", got=got, fix="Write it again")


def plain(value: Any) -> Any:
    """A value as JSON can hold it: dates as ISO text, NaN and infinities as null, bytes as their count."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return str(value)


_READERS: dict[str, Callable[[Part, set[int]], Iterator[Record | BadRow]]] = {
    "jsonl": _jsonl, "json": _json, "csv": _csv, "text": _text,
}  # fmt: skip
