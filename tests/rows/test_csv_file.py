from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import pytest

from tuneloop.errors import DataError
from tuneloop.rows.csv_file import FAR, MANY, CsvRecord, csv_records

ROWS = [f"第{number}条留言请尽快处理,{'AB'[number % 2]}" for number in range(100)]


def records(*lines: str) -> list[CsvRecord]:
    return list(csv_records(lambda: iter(lines), "a.csv"))


def faults(found: Sequence[CsvRecord]) -> list[tuple[int, str]]:
    return [(record.lines.start, record.raw) for record in found if record.fault]


def as_csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a file that a careful program writes."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue().removesuffix("\n").split("\n")


def test_a_quote_that_is_never_closed_costs_its_own_line() -> None:
    lines = ["text,label", *ROWS]
    lines[20] = '"我要退款,A'
    found = records(*lines)
    assert [record.lines for record in found] == [range(number, number + 1) for number in range(2, 102)]
    assert faults(found) == [(21, lines[20])]
    fault = found[19].fault
    assert fault is not None and "never closed" in fault[0] and "double it" in fault[2]


def test_what_stands_behind_a_quote_that_is_never_closed_is_read_however_broken() -> None:
    found = records("text,label", "one,A", '"stray,A', *["to be, or not,B"] * 5, "two,B")
    assert [record.fields.get("text") for record in found] == ["one", *[None] * 6, "two"]


@pytest.mark.parametrize("last", [60, 22])
def test_rows_between_two_stray_quotes_are_rows(last: int) -> None:
    lines = ["text,label", *ROWS]
    lines[20], lines[last] = '"我要退款,A', '快给我退钱",B'
    found = records(*lines)
    assert (len(found), faults(found)) == (100, [(21, lines[20])])
    assert found[last - 1].fields == {"text": '快给我退钱"', "label": "B"}
    fault = found[19].fault
    assert fault is not None and f"line {last + 1}" in fault[0]


def test_rows_of_free_text_are_told_by_their_number_where_few_texts_have_several_lines() -> None:
    lines = ["question,answer", *(f"question {n},answer {n}" for n in range(200))]
    lines[20], lines[20 + MANY] = '"how much,ten', 'how long",a day'
    assert (len(records(*lines)), faults(records(*lines))) == (200, [(21, lines[20])])
    texts = as_csv(["question", "answer"], [(f"why {n}?", f"Because\nof {n}") for n in range(9)])
    found = records(*lines, *texts[1:])
    assert not faults(found), "where texts of several lines are usual, a list in one of them has as many lines"


PAIRS = "\n".join(f"country {n}, city {n}" for n in range(2 * MANY))
TABLE = "\n".join(["name,topic", *(f"name {n},{'AB'[n % 2]}" for n in range(2 * MANY))])
TEXTS = [
    f"the capitals, all of them:\n{PAIRS}\nthanks",
    f"the capitals:\n{PAIRS}",
    TABLE,
    f"{TABLE}\n",
    "one, two\nthree, four\nfive",
    "a text,\n\nof three\nlines, A",
    "I want, A\n\nmy money, B\nback",
    'he said "A",A\nshe said "B",B',
    "\n\n",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("width", [2, 3])
def test_texts_of_several_lines_stay_whole(text: str, place: int, width: int) -> None:
    def row(number: int) -> list[str]:
        fields = [f"row {number}", "AB"[number % 2], "x"][:width]
        fields[place % width] = text if number % 3 == 0 else f"text {number}\nand more"
        return fields

    rows = [row(number) for number in range(30)] + [[f"row {n}", "AB"[n % 2], "x"][:width] for n in range(30)]
    header = ["one", "two", "three"][:width]
    found = records(*as_csv(header, rows))
    assert [list(record.fields.values()) for record in found] == rows


def test_a_text_of_several_lines_with_a_quote_that_is_not_doubled_is_one_bad_row() -> None:
    lines = ["text,label", *ROWS[:9], '"hello', 'he said "so" to me",A', *ROWS[9:20]]
    found = records(*lines)
    assert faults(found) == [(11, f"{lines[10]}\n{lines[11]}")]
    assert len(found) == 21


def test_a_stray_quote_before_a_text_of_several_lines_costs_its_own_line() -> None:
    lines = ["text,label", *ROWS[:9], '"stray,A', '"two', 'lines",B', *ROWS[9:20]]
    found = records(*lines)
    assert faults(found) == [(11, '"stray,A')]
    assert (len(found), found[10].fields, found[10].lines) == (22, {"text": "two\nlines", "label": "B"}, range(12, 14))


def test_an_open_quote_does_not_take_the_rest_of_a_long_file_into_memory() -> None:
    taken = [0]

    def read() -> Iterator[str]:
        yield from ("text,label", *ROWS[:5], '"stray,A')
        for number in range(20 * FAR):
            taken[0] = max(taken[0], number)
            yield ROWS[number % 100]

    sampled, found = 0, 0
    for record in csv_records(read, "a.csv"):
        if record.fault:
            assert record.lines.start == 7
            sampled = taken[0]
        found += 1
    assert found == 6 + 20 * FAR
    assert sampled < 20 * FAR - 1


def test_signs_that_csv_does_not_know_become_bad_rows_or_an_error_not_a_traceback() -> None:
    found = records("text,label", "a\rb,A", "good,B", '"one', "two\rthree,A", 'four\r",A')
    assert [record.fields.get("text") for record in found][:2] == [None, "good"]
    with pytest.raises(DataError, match=r"The header of a.csv is broken"):
        records("te\rxt,label", "a,b")
