from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.errors import DataError, TuneloopError
from tuneloop.records import BadRow, Row
from tuneloop.rows import text_file
from tuneloop.rows.clean import clean_rows
from tuneloop.rows.files import DEPTH, JSON_LINE, parts_of, plain, records_of
from tuneloop.sections import Clean

GOOD = {"text": "good", "label": "a"}


def texts(rows: list[Row]) -> list[str]:
    return [row.text for row in rows]


def test_jsonl_keeps_lines_and_skips_blank_ones(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", GOOD, "", {"text": "two\u2028lines\u0085 in one", "label": "b"}))
    assert [(row.source, row.text) for row in reading.rows] == [
        ("a.jsonl:1", "good"),
        ("a.jsonl:3", "two\u2028lines\u0085 in one"),
    ]
    assert (reading.files[0].path, reading.files[0].rows, len(reading.files[0].sha256)) == ("a.jsonl", 2, 64)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[\n {"text": "one", "label": "a"},\n\n {"text": "two",\n  "label": "b"}\n]\n'),
        ("a.jsonl", '[{"text": "one", "label": "a"},\n\n\n{"text": "two", "label": "b"}]'),
        ("a.json", '{"version": 1, "data": [\n{"text": "one", "label": "a"},\n\n{"text": "two", "label": "b"}]}'),
        ("a.json", '{"text": "one", "label": "a"}\n\n\n{"text": "two", "label": "b"}'),
        ("a.json", '\ufeff{"text": "one", "label": "a"}\r\n\r\n\r\n{"text": "two", "label": "b"}\r\n'),
        ("a.csv", "text,label\none,a\n\ntwo,b\n"),
        ("a.csv", "\ufefftext;label\r\none;a\r\n\r\ntwo;b\r\n"),
        ("a.tsv", "text\tlabel\none\ta\n\ntwo\tb"),
        ("a.csv", "\ufefftext,label\rone,a\r\rtwo,b\r"),
        ("a.csv", "text,label\rone,a\r\rtwo,b\n"),
        ("a.jsonl", '{"text": "one", "label": "a"}\r\r{"text": "two", "label": "b"}'),
    ],
)
def test_every_shape_of_file_gives_the_same_rows(tmp_path: Path, read: Read, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    reading = read(name)
    assert [(row.text, row.label) for row in reading.rows] == [("one", "a"), ("two", "b")]
    lines = content.encode().decode("utf-8-sig").splitlines()
    at = [next(n for n, line in enumerate(lines, 1) if word in line) for word in ("one", "two")]
    assert [row.source for row in reading.rows] == [f"{name}:{n}" for n in at]
    assert not reading.bad


def test_one_pretty_object_is_one_row(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD, indent=2))
    assert texts(read("a.json").rows) == ["good"]


def test_csv_quotes_newlines_and_long_fields(tmp_path: Path, read: Read) -> None:
    long = "x" * 200_000
    (tmp_path / "a.csv").write_text(f'label,text\na,"he said ""hi"", then\nleft"\nb,{long}\n')
    reading = read("a.csv")
    assert [(r.source, r.text) for r in reading.rows] == [("a.csv:2", 'he said "hi", then\nleft'), ("a.csv:4", long)]


def test_csv_rows_that_do_not_fit_the_header_are_bad(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text('text,label\none,a\nto be, or not,b\n"5" screen",c\nonly\ntwo,b\n')
    reading = read("a.csv")
    assert texts(reading.rows) == ["one", "two"]
    assert [(bad.source, bad.raw) for bad in reading.bad] == [
        ("a.csv:3", "to be, or not,b"),
        ("a.csv:4", '"5" screen",c'),
        ("a.csv:5", "only"),
    ]
    assert "3 fields" in reading.bad[0].got and "2 fields" in reading.bad[0].expected


def test_csv_with_twin_columns_is_refused(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text("text,label,text\na,b,c\n")
    with pytest.raises(DataError, match="two columns of the same name"):
        read("a.csv")


def test_parquet_round_trip(tmp_path: Path, read: Read) -> None:
    from datetime import date

    import polars as pl

    pl.DataFrame({"text": ["a", "b"], "label": [1, 2], "day": [date(2026, 1, 2)] * 2}).write_parquet(tmp_path / "a.pq")
    reading = read("a.pq")  # told by its first bytes
    assert [(r.source, r.text, r.label, r.meta["day"]) for r in reading.rows] == [
        ("a.pq:1", "a", "1", "2026-01-02"),
        ("a.pq:2", "b", "2", "2026-01-02"),
    ]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        read("b.parquet")


def test_values_that_json_lacks() -> None:
    assert plain({"a": [float("nan"), b"xx", {1: True}]}) == {"a": [None, "<2 bytes>", {"1": True}]}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"text,label\n"])
def test_empty_files_are_refused(tmp_path: Path, read: Read, content: bytes) -> None:
    name = "a.csv" if b"," in content else "a.jsonl"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"is empty|no usable row"):
        read(name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (random.Random(1).randbytes(5000), "binary file"),
        (b"PK\x03\x04" + b"abc" * 99, "zip"),
        (b"\x1f\x8b" + b"abc" * 99, "gzip"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-16"),
        ('{"text": "发票在哪里", "label": "a"}\n'.encode("gb18030") * 9, "GB18030"),
    ],
)
def test_other_bytes_are_refused_by_name(tmp_path: Path, read: Read, content: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read("a.jsonl")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_in_another_encoding_are_counted_whatever_ends_them(
    tmp_path: Path, read: Read, end: str, last: bool
) -> None:
    text = end.join(["text,label", *[f"发票{number},a" for number in range(20)]]) + (end if last else "")
    (tmp_path / "a.csv").write_bytes(text.encode("gb18030"))
    with pytest.raises(DataError, match="20 of 21 lines that do not decode; it may be GB18030"):
        read("a.csv")


def test_a_long_first_line_is_one_line(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 16)
    (tmp_path / "a.txt").write_bytes(b"one long\rfirst line\n\xff\xfe bad\n" + b"more\n" * 30)
    found = [record for part in parts_of(tmp_path / "a.txt", "a.txt") for record in records_of(part)]
    assert [item.source for item in found] == [f"a.txt:{number}" for number in range(1, 33)]
    assert [item.source for item in found if isinstance(item, BadRow)] == ["a.txt:2"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_few_lines_in_another_encoding_are_bad_rows(tmp_path: Path, read: Read, suffix: str) -> None:
    line = {"jsonl": '{"text": "caf\xe9", "label": "b"}', "csv": "caf\xe9,b"}[suffix]
    good = {"jsonl": json.dumps(GOOD), "csv": "good,a"}[suffix]
    head = ["text,label"] if suffix == "csv" else []
    lines = [*head, *[good] * 20, line]
    (tmp_path / f"a.{suffix}").write_bytes("\n".join(lines).encode("latin-1"))
    reading = read(f"a.{suffix}")
    assert len(reading.rows) == 20
    assert [(b.source, b.got) for b in reading.bad] == [(f"a.{suffix}:{len(lines)}", "bytes that are not UTF-8")]
    cleaned = clean_rows(reading.rows, reading.bad, clean=Clean(exact_duplicates=False), parse=reading.parse)
    assert len(cleaned.kept) == 20, "a line whose letters are unknown must not be repaired"


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ('{"text": "cut', "Unterminated"),
        ("[1, 2]", "an array"),
        ("17", "a number"),
        ("null", "null"),
        ('{"text": "a", "text": "b", "label": "c"}', "'text' twice"),
        ("[" * 100_000, "nesting"),
        ('{"a":' * 100_000, "nesting"),
        ('{"text": "a", "label": "b", "z": ' + "[" * DEPTH + "]" * DEPTH + "}", "nesting"),
        ('{"text": "a", "label": "b", "n": ' + "9" * 5000 + "}", "digits"),
        ('{"text": "\\ud800", "label": "b"}', "surrogate"),
    ],
)
def test_bad_lines_say_what_and_where_and_stay_whole(write: Write, read: Read, line: str, got: str) -> None:
    reading = read(write("a.jsonl", GOOD, line, GOOD))
    assert len(reading.rows) == 2
    (bad,) = reading.bad
    assert bad.source == "a.jsonl:2" and got in bad.got and bad.raw == line and bad.expected and bad.fix
    assert len(str(bad)) < 400


def test_nan_is_missing_and_equal_twins_pass(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", '{"text": "a", "label": "b", "label": "b", "n": NaN, "m": -Infinity}', GOOD))
    assert dict(reading.rows[0].meta) == {"n": None, "m": None}


def test_a_broken_first_line_is_one_bad_row(write: Write, read: Read) -> None:
    reading = read(write("a.json", '{"text": "cut', GOOD, GOOD))
    assert (len(reading.rows), reading.bad[0].expected) == (2, JSON_LINE)


def test_a_broken_array_names_the_line(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.json").write_text('[\n{"text": "a", "label": "b"},\n{"text": "c" "label": "d"}\n]')
    with pytest.raises(DataError, match="not valid JSON at line 3"):
        read("a.json")
    (tmp_path / "a.json").write_text('[\n{"text": "a", "label": "b"}\n] and more')
    with pytest.raises(DataError, match="behind the end"):
        read("a.json")


def test_the_json_test_suite_never_crashes(tmp_path: Path, read: Read, shared_data: Path) -> None:
    lines = (shared_data / "json_test_suite" / "json_test_suite.jsonl").read_text(encoding="utf-8").split("\n")
    cases = [base64.b64decode(json.loads(line)["bytes_b64"] or "") for line in lines if line]
    assert len(cases) > 300
    good = json.dumps(GOOD).encode() + b"\n"
    for case in cases:
        inside = b'{"text": "x", "label": "b", "z": ' + case + b"}"
        for name, content in [("a.jsonl", good * 30 + case + b"\n" + inside), ("a.json", case), ("a.csv", case)]:
            (tmp_path / name).write_bytes(content)
            try:
                reading = read(name)
            except TuneloopError as error:
                assert name != "a.jsonl" or b"\x00" in case or b"\xff" in case, error
                continue
            cleaned = clean_rows(reading.rows, reading.bad, clean=Clean(), parse=reading.parse)
            assert len(cleaned.kept) + len(cleaned.dropped) == len(reading.rows) + len(reading.bad)
