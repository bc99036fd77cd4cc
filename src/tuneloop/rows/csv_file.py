"""The records of a CSV file with a header; a quoted field may go on over several lines.

lines --delimiter, header--> CsvRecord(lines, raw, fields or fault)

A stray quote opens a field that the next quote of the file closes, or none: every row between would go with it. Those
rows hold no quote, so each is a line by itself. They are told from a text of several lines by their number of fields,
from the first line to the last, and by values that other rows have in the same column; then only the first line is bad.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from tuneloop.errors import DataError

SAMPLED = 20_000
"""Lines at the start of a file that tell which values its rows have."""
MANY = 30
"""Lines that say by their number of fields alone that they are rows, where texts of several lines are rare."""
FAR = 1000
"""Lines of an open quote after which it is asked whether it is a stray one: memory need not hold the rest."""
ROW = "a CSV row"


@dataclass(frozen=True)
class CsvRecord:
    """One record.

    Attributes:
        lines: The numbers of the lines that it stands on, from 1.
        raw: These lines.
        fields: Column -> value; {} of a record that is broken.
        fault: (what is wrong, what was expected, fix) of one that is, else None.
    """

    lines: range
    raw: str
    fields: dict[str, str] = field(default_factory=dict)
    fault: tuple[str, str, str] | None = None


def csv_records(read: Callable[[], Iterator[str]], name: str) -> Iterator[CsvRecord]:
    """Every record behind the header; the delimiter is the one that splits the header into the most columns.

    Args:
        read: Gives the lines of the file, from its start, as often as it is called.
        name: How errors call it.

    Raises:
        DataError: if the header is broken, or names a column twice.
    """
    csv.field_size_limit(sys.maxsize)  # Python's default refuses fields above 128 KiB
    lines = _Taken(read())
    head = next(line for line in lines if line.strip())
    lines.again([head])
    try:
        delimiter = max(",;\t", key=lambda sign: len(next(csv.reader([head], delimiter=sign))))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = [column.strip() or f"column_{place}" for place, column in enumerate(next(reader), 1)]
    except csv.Error as error:
        fix = "Close its quotes, and end it with a line break"
        raise DataError(f"The header of {name} is broken", got=str(error), fix=fix) from None
    twins = sorted({column for column in header if header.count(column) > 1})
    if twins:
        raise DataError(f"{name} has two columns of the same name", got=", ".join(twins), fix="Rename one of them")
    rows = lines.rows = _Rows(read, delimiter, len(header))
    while True:
        lines.forget()
        first, why = lines.number + 1, ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields, why = [], str(error)
        taken = lines.taken
        whole = not why and len(fields) == len(header)
        if len(taken) > 1 and (rows.swallowed(taken) if whole else lines.ended or rows.torn(taken)):
            ends = "is never closed" if lines.ended and why else f"goes on to line {lines.number}"
            fix = 'Take the quote out, or double it ("") in a quoted field'
            lines.again(taken[1:])
            yield CsvRecord(
                range(first, first + 1), taken[0], fault=(f"a quote that {ends}, over other rows", ROW, fix)
            )
            continue
        span, raw = range(first, lines.number + 1), "\n".join(taken)
        if whole:
            yield CsvRecord(span, raw, dict(zip(header, fields, strict=True)))
        elif why:
            yield CsvRecord(span, raw, fault=(why, ROW, 'Double the quotes inside a quoted field ("")'))
        elif fields:
            fix = "Put fields that hold the delimiter in quotes"
            yield CsvRecord(span, raw, fault=(f"{len(fields)} fields", f"{len(header)} fields, as in the header", fix))


class _Taken:
    """Lines that are remembered from one record to the next, and can be given once more.

    Attributes:
        number: Lines given so far.
        taken: Those since `forget`, without their ends.
        ended: Whether no line was left at the last call.
        rows: Says whether an open quote is a stray one.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._next = lines, list[str]()
        self.number, self.taken, self.ended = 0, list[str](), False
        self.rows: _Rows | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) == FAR and self.rows and self.rows.swallowed(self.taken):
            raise csv.Error("a stray quote")
        line = self._next.pop() if self._next else next(self._lines, None)
        self.ended = line is None
        if line is None:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return f"{line}\n"

    def again(self, lines: list[str]) -> None:
        """Give these lines, the last ones that were given, once more."""
        self._next += [line.removesuffix("\n") for line in reversed(lines)]
        self.number -= len(lines)

    def forget(self) -> None:
        """Start a new record."""
        self.taken = []


class _Rows:
    """What a row of the file looks like: its number of fields, and the values of its columns."""

    def __init__(self, read: Callable[[], Iterator[str]], delimiter: str, width: int) -> None:
        self._read, self._delimiter, self._width = read, delimiter, width

    def swallowed(self, taken: list[str]) -> bool:
        """Whether the lines of a record that is whole are rows that a stray quote joined.

        A table or a list inside a field does not pass for rows: the columns before and behind that field stand on its
        first and last line, which then have other numbers of fields than the lines between.
        """
        lines = self._split(taken)
        if self._width < 2 or len(lines) < 3 or not self._width == len(lines[0]) == len(lines[-1]):
            return False
        rows = self._fitting(lines)
        if 10 * len(rows) < 9 * len(lines):
            return False
        _, alone, folded = self._sample
        return self._known(rows) or (len(lines) >= MANY and 100 * (folded - 1) <= alone)

    def torn(self, taken: list[str]) -> bool:
        """Whether the lines of a record that is broken, but for the last one, where that was noticed, are rows."""
        lines = self._split(taken[:-1])
        rows = self._fitting(lines)
        return 2 * len(rows) > len(lines) and (len(lines) >= 3 or self._known(rows))

    def _split(self, taken: list[str]) -> list[list[str]]:
        """The fields of each line by itself, blank lines left out; the quote that opens on the first one is none."""
        found = [next(csv.reader([_plain(line)], delimiter=self._delimiter)) for line in taken if line.strip()]
        *before, last = found[0]
        return [[*before, *last.split(self._delimiter)], *found[1:]]

    def _fitting(self, lines: list[list[str]]) -> list[list[str]]:
        return [fields for fields in lines if len(fields) == self._width]

    def _known(self, rows: list[list[str]]) -> bool:
        """Whether there is a column in which nine of ten rows, or more, have values that other rows have there."""
        values = self._sample[0]
        there = (sum(row[column] in values[column] for row in rows) for column in range(self._width))
        return any(10 * count >= 9 * len(rows) for count in there)

    @cached_property
    def _sample(self) -> tuple[list[set[str]], int, int]:
        """The values of each column in rows of one line, how many rows these are, and how many have more lines."""
        values: list[set[str]] = [set() for _ in range(self._width)]
        lines = (f"{_plain(line)}\n" for line in islice(self._read(), SAMPLED))
        reader = csv.reader(lines, delimiter=self._delimiter)
        alone = folded = before = 0
        for fields in reader:
            if before and reader.line_num > before + 1:
                folded += 1
            elif before and len(fields) == self._width:
                alone += 1
                for known, value in zip(values, fields, strict=True):
                    known.update({value} if value.strip() else ())
            before = reader.line_num
        return values, alone, folded


def _plain(line: str) -> str:
    """A line that csv reads without strictness, whatever stands in it."""
    return line.replace("\r", " ")
