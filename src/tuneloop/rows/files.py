"""Files -> records, one a row, each with the line that it came from.

    bytes --decode--> lines --by content, not by name--> JSONL | JSON array | {"data": [...]} | CSV | text | Parquet

What cannot be read as it stands becomes a BadRow that keeps the line whole. No column is looked at here.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from tuneloop.errors import DataError
from tuneloop.records import BadRow

JSON_LINE = "one JSON object a line"
"""`BadRow.expected` of a line that is no JSON: the repair of JSON tries these and no others."""

DEPTH = 64
"""How deep a row may nest: far above any real row, far below where Python's own recursion ends."""

MAGIC = {
    b"PK\x03\x04": "a zip or xlsx file", b"\x1f\x8b": "a gzip file", b"SQLite": "a SQLite file",
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"%PDF": "a PDF", b"\xfd7zXZ": "an xz file",
    b"BZh": "a bzip2 file", b"ARROW1": "an Arrow file", b"GGUF": "a GGUF model", b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x80\x04": "a pickle",
}  # fmt: skip


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


def read_file(path: Path, name: str) -> tuple[list[Record], list[BadRow]]:
    """Every row of a file, in order; the kind is told by the content first, then by the suffix.

    Args:
        path: The file.
        name: How sources and errors call it.

    Raises:
        DataError: if it cannot be read, is empty, is binary, is in another encoding, or is broken as a whole.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read", got=str(error), fix="Check the file and its permissions") from None
    if data[:4] == b"PAR1" or path.suffix == ".parquet":
        return _parquet(path, name), []
    lines, undecoded = _lines(data, name)
    if not any(line.strip() for line in lines):
        raise DataError(f"{name} is empty", got=f"{len(data)} bytes without a row", fix="Name a file that holds rows")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        items = _csv(lines, name, undecoded)
    elif suffix == ".txt":
        items = (Record(f"{name}:{n}", {"text": line}, line) for n, line in enumerate(lines, 1) if line.strip())
    else:
        items = _json(lines, name)
    good: list[Record] = []
    bad: list[BadRow] = []
    for item in items:
        number = int(item.source.rpartition(":")[2])
        if number in undecoded:
            fix = "Save the file as UTF-8"
            bad.append(BadRow(item.source, "", "bytes that are not UTF-8", "UTF-8 text", fix, item.raw or ""))
        elif isinstance(item, Record):
            good.append(item)
        else:
            bad.append(item)
    return good, bad


# -- bytes to lines -------------------------------------------------------------------------------------------


def _lines(data: bytes, name: str) -> tuple[list[str], set[int]]:
    """Lines without their ends, and the numbers of those that hold bytes that are not UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        fix = f"Convert it: iconv -f UTF-16 -t UTF-8 {name} > new"
        raise DataError(f"{name} is UTF-16 text", allowed="UTF-8", fix=fix)
    start = data[:65536]
    magic = next((kind for sign, kind in MAGIC.items() if start.startswith(sign)), "")
    controls = sum(start.count(byte) for byte in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04"))
    if magic or controls > len(start) / 100:
        raise DataError(
            f"{name} is a binary file, not text with rows",
            got=magic or f"{controls} control bytes in its first {len(start):,}",
            allowed="JSONL, JSON, CSV, TSV, Parquet, plain text",
            fix="Unpack or convert it first, or check that it is the file you meant",
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    undecoded: set[int] = set()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text, undecoded = _mostly_utf8(data, name)
    lines = text.split("\n")  # not splitlines(): U+2028 and U+0085 may stand inside a JSON string
    return [line.removesuffix("\r") for line in lines], undecoded


def _mostly_utf8(data: bytes, name: str) -> tuple[str, set[int]]:
    parts = data.split(b"\n")
    undecoded = {n for n, part in enumerate(parts, 1) if not _is(part, "utf-8")}
    if len(undecoded) > 0.1 * len(parts):
        guess = next((code for code in ("gb18030", "cp1252") if _is(data, code)), "latin-1")
        raise DataError(
            f"{name} is not UTF-8 text",
            got=f"{len(undecoded)} of {len(parts)} lines that do not decode; it may be {guess.upper()}",
            allowed="UTF-8, with or without a BOM",
            fix=f"Convert it: iconv -f {guess.upper()} -t UTF-8 {name} > new",
        )
    return "\n".join(part.decode("utf-8", "backslashreplace") for part in parts), undecoded


def _is(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


# -- JSON -----------------------------------------------------------------------------------------------------


def _json(lines: list[str], name: str) -> Iterator[Record | BadRow]:
    """JSONL, an array, or {"data": [...]}, whatever the suffix says."""
    written = [line for line in lines if line.strip()]
    reader = JsonReader()
    alone = reader.line(written[0], name)
    text = "\n".join(lines)
    whole = alone if len(written) == 1 else None
    if isinstance(alone, BadRow) and alone.expected == JSON_LINE and not _goes_on_as_jsonl(written):
        if written[0].lstrip().startswith("["):
            return _array(text, text.index("[") + 1, name, last=True)
        whole = reader.line(text, name)  # one object over many lines
    elif isinstance(alone, BadRow) and len(written) == 1 and written[0].lstrip().startswith("["):
        return _array(text, text.index("[") + 1, name, last=True)
    if not isinstance(whole, Record):
        return (reader.line(line, f"{name}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    if isinstance(whole.value.get("data"), list):
        start = re.search(r'"data"\s*:\s*\[', text)
        return _array(text, start.end() if start else 0, name, last=False)
    return iter([Record(f"{name}:1", whole.value, whole.raw)])


def _goes_on_as_jsonl(written: list[str]) -> bool:
    """Whether a first line that is no JSON is a broken row of a JSONL file: the second is an object by itself."""
    follows = written[1:2] if written[0].strip() not in ("[", "{") else []
    return any(isinstance(JsonReader().line(line, ""), Record) for line in follows)


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


def _csv(lines: list[str], name: str, undecoded: set[int]) -> Iterator[Record | BadRow]:
    """Records of a CSV file with a header; the delimiter is the one that splits the header into the most columns."""
    csv.field_size_limit(sys.maxsize)  # Python's default refuses fields above 128 KiB
    start = next(number for number, line in enumerate(lines) if line.strip())
    delimiter = max(",;\t", key=lambda sign: len(next(csv.reader([lines[start]], delimiter=sign))))
    reader = csv.reader((f"{line}\n" for line in lines[start:]), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() or f"column_{place}" for place, column in enumerate(next(reader), 1)]
    except csv.Error as error:
        raise DataError(f"The header of {name} is broken", got=str(error), fix="Close its quotes") from None
    twins = sorted({column for column in header if header.count(column) > 1})
    if twins:
        raise DataError(f"{name} has two columns of the same name", got=", ".join(twins), fix="Rename one of them")
    while True:
        before = start + reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raw = "\n".join(lines[before : start + reader.line_num])
            fix = 'Double the quotes inside a quoted field ("")'
            yield BadRow(f"{name}:{before + 1}", "", f"{shorten(raw)} ({error})", "a CSV row", fix, raw)
            continue
        if not fields:
            continue
        span = range(before + 1, start + reader.line_num + 1)
        raw = "\n".join(lines[before : start + reader.line_num])
        undecoded.update({span.start} if undecoded.intersection(span) else set())
        if len(fields) != len(header):
            got, expected = f"{len(fields)} fields in {shorten(raw)}", f"{len(header)} fields, as in the header"
            fix = "Put fields that hold the delimiter in quotes"
            yield BadRow(f"{name}:{span.start}", "", got, expected, fix, raw)
        else:
            yield Record(f"{name}:{span.start}", dict(zip(header, fields, strict=True)), raw)


# -- Parquet, and values that JSON does not have ----------------------------------------------------------------


def _parquet(path: Path, name: str) -> list[Record]:
    import polars as pl

    try:
        rows = pl.read_parquet(path).to_dicts()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        got = str(error).splitlines()[0][:200]
        raise DataError(f"{name} is not a Parquet file that can be read", got=got, fix="Write it again") from None
    if not rows:
        raise DataError(f"{name} is empty", got="a Parquet table without rows", fix="Name a file that holds rows")
    return [Record(f"{name}:{n}", {k: plain(v) for k, v in row.items()}, None) for n, row in enumerate(rows, 1)]


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
