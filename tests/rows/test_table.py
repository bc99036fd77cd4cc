from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from tuneloop.errors import RunError
from tuneloop.records import Dropped, Message, Repair, Row
from tuneloop.rows.table import read_records, read_table, write_records, write_rows

PLAIN = Row(id="0", source="a.jsonl:1")
FULL = Row(
    id="1", source="a.jsonl:2", text=" two\nlines \u2028 好 \U0001f469\u200d\U0001f467 ",
    messages=(Message("user", "q"), Message("assistant", "")),
    label="x", chosen="", rejected="no", images=("a.png",), audios=("b.wav", "c.wav"), time="2026", weight=0.1,
    lineage=("repair_json",), meta={"z": 1, "a": [None, {"b": 2.5}], "half": "\ud800", "": True},
)  # fmt: skip


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    rows = [PLAIN, FULL, replace(FULL, label=("a", "b")), replace(FULL, label=("only",)), replace(FULL, label=())]
    write_rows(tmp_path / "deep" / "rows.parquet", rows)
    back = read_table(tmp_path / "deep" / "rows.parquet")
    assert back == rows
    assert list(back[1].meta) == list(FULL.meta), "the order of the user's columns is kept"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["rows.parquet"]


def test_an_empty_row_table_comes_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", [])
    assert read_table(tmp_path / "rows.parquet") == []


@pytest.mark.parametrize(
    ("kind", "records"),
    [
        (Dropped, [Dropped("a:1", "read", "why", "{raw"), Dropped("a:2", "leak", "why", "", "test")]),
        (Repair, [Repair("id", "a:1", "repair_json", "", "{", "{}")]),
    ],
)
def test_records_come_back_and_an_empty_table_has_their_columns(tmp_path: Path, kind: type, records: list) -> None:
    for name, written in (("some", records), ("none", [])):
        write_records(tmp_path / name, kind, written)
        assert read_records(tmp_path / name, kind) == written
        assert pl.read_parquet_schema(tmp_path / name) == dict.fromkeys(kind.__slots__, pl.String)


def test_a_missing_or_broken_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_table(tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 rubbish")
    with pytest.raises(RunError, match="cannot be read"):
        read_table(tmp_path / "rows.parquet")


def test_a_disk_that_cannot_be_written_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "rows.parquet", [PLAIN])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with pytest.raises(RunError, match="disk is full"):
        write_rows(tmp_path / "rows.parquet", [FULL])
    assert read_table(tmp_path / "rows.parquet") == [PLAIN]
