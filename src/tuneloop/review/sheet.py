"""The queue as JSONL, or as CSV for people who work in a spreadsheet.

    Item --record--> {"id": ..., "text": ..., "decision": ""} --> one line --person fills in--> Line

Nobody writes into `text` and `label`: a change goes into `new_text` and `new_label`, so that a file whose letters a
spreadsheet mangled is noticed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneloop.errors import DataError
from tuneloop.records import BadRow
from tuneloop.review.content import label_text
from tuneloop.review.queue import SHEET_MARK, Item, stages_of

COLUMNS = (
    "id", "source", "stage", "reason", "text", "label", "suggestion", "decision", "new_text", "new_label", "comment",
)  # fmt: skip

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet may run, or one that already was made harmless (OWASP, "CSV Injection")."""


@dataclass(frozen=True)
class Line:
    """What stands on one line of a file that comes back.

    Attributes:
        source: `file:line`, 1-based.
        values: Column -> what stands there; those that are empty are left out.
        reviewer: Who decided, where the file says so, else "".
    """

    source: str
    values: Mapping[str, Any]
    reviewer: str = ""


Read = tuple[list[Line], list[BadRow]]


def record(item: Item) -> dict[str, str]:
    """A row of the queue under `COLUMNS`; what a person fills in is ""."""
    known = {
        "id": item.row, "source": ", ".join(item.sources), "stage": ", ".join(stages_of(item)),
        "reason": "; ".join(doubt.reason for doubt in item.doubts), "text": item.text, "label": label_text(item.label),
        "suggestion": item.suggestion,
    }  # fmt: skip
    return {name: known.get(name, "") for name in COLUMNS}


def utf8(text: str) -> str:
    r"""A text as UTF-8 can hold it: half a surrogate pair becomes \ud800."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# -- JSONL ----------------------------------------------------------------------------------------------------


def write_jsonl(items: Sequence[Item], labels: Sequence[str]) -> str:
    """One JSON object a line.

    Args:
        items: The rows.
        labels: The classes; not needed here.
    """
    return "".join(json.dumps(record(item), ensure_ascii=False) + "\n" for item in items)


def read_jsonl(text: str, name: str) -> Read:
    """The lines of a JSONL file, and those that cannot be read.

    Args:
        text: The file's content.
        name: How errors call it.
    """
    lines: list[Line] = []
    bad: list[BadRow] = []
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        source = f"{name}:{number}"
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(source, "", str(error), "one JSON object a line", "Mend the line", raw))
            continue
        if not isinstance(value, dict):
            bad.append(BadRow(source, "", raw[:60], "a JSON object", "Mend the line", raw))
            continue
        odd = [key for key, held in value.items() if key in COLUMNS and not _fits(key, held)]
        if odd:
            fix = "Write it as text" + (", or as a list of classes" if odd[0] == "new_label" else "")
            bad.append(BadRow(source, odd[0], json.dumps(value[odd[0]])[:60], "a text", fix, raw))
            continue
        lines.append(Line(source, {key: held for key, held in value.items() if held not in ("", None)}))
    return lines, bad


def _fits(column: str, value: Any) -> bool:
    several = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return value is None or isinstance(value, str) or (several and column in ("label", "new_label"))


# -- CSV ------------------------------------------------------------------------------------------------------


def write_csv(items: Sequence[Item], labels: Sequence[str]) -> str:
    """CSV with a byte order mark, by which Excel knows UTF-8; it runs no cell as a formula, takes no id for a number.

    Args:
        items: The rows.
        labels: The classes; not needed here.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for item in items:
        cells = record(item) | {"id": SHEET_MARK + item.row}
        writer.writerow([defused(cell) for cell in cells.values()])
    return "\ufeff" + file.getvalue()


def read_csv(text: str, name: str) -> Read:
    """The lines of a CSV file (comma, semicolon or tab, told by the header), and those that cannot be read.

    Args:
        text: The file's content.
        name: How errors call it.

    Raises:
        DataError: if the header has no column `id`.
    """
    csv.field_size_limit(sys.maxsize)  # Python's own limit is 131,072 characters a cell
    first = text.lstrip("\ufeff").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = _rows(text.lstrip("\ufeff"), delimiter)
    _, header = next(rows, (1, []))
    header = [cell.strip().lower() for cell in header]
    if "id" not in header:
        raise DataError(
            f"{name} has no column `id`", got=", ".join(filter(None, header)) or "an empty file",
            allowed=", ".join(COLUMNS), fix="Leave the first line as `--export` wrote it",
        )  # fmt: skip
    lines: list[Line] = []
    bad: list[BadRow] = []
    for number, cells in rows:
        source = f"{name}:{number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            got, expected = f"{len(cells)} cells", f"{len(header)}, as in the first line"
            bad.append(BadRow(source, "", got, expected, "Put cells that hold the delimiter in quotes", ""))
        elif any(cell.strip() for cell in cells):
            found = {key: armed(cell) for key, cell in zip(header, cells, strict=False) if key and cell}
            if "id" in found:  # files of before the mark have none
                found["id"] = found["id"].strip().removeprefix(SHEET_MARK)
            lines.append(Line(source, found))
    return lines, bad


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    begins = 1
    for cells in reader:
        yield begins, cells
        begins = reader.line_num + 1


def defused(cell: str) -> str:
    """A cell that no spreadsheet runs: an apostrophe before what begins like a formula."""
    return utf8(f"'{cell}" if FORMULA.match(cell) else cell)


def armed(cell: str) -> str:
    """A cell as it was before `defused`; one that a person typed is left as it is."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
