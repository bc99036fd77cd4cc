from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tuneloop.errors import RunError
from tuneloop.records import Dropped, Message, Repair, Row
from tuneloop.rows.table import (
    read_dropped,
    read_repairs,
    read_table,
    write_dropped,
    write_repairs,
    write_rows,
)

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


def test_empty_tables_come_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", [])
    write_dropped(tmp_path / "dropped.parquet", [])
    write_repairs(tmp_path / "repairs.parquet", [])
    assert read_table(tmp_path / "rows.parquet") == []
    assert read_dropped(tmp_path / "dropped.parquet") == [] == read_repairs(tmp_path / "repairs.parquet")


def test_dropped_and_repairs_come_back(tmp_path: Path) -> None:
    dropped = [Dropped("a:1", "read", "why", "{raw"), Dropped("a:2", "leak", "why", "", "test")]
    repairs = [Repair("id", "a:1", "repair_json", "", "{", "{}")]
    write_dropped(tmp_path / "d.parquet", dropped)
    write_repairs(tmp_path / "r.parquet", repairs)
    assert (read_dropped(tmp_path / "d.parquet"), read_repairs(tmp_path / "r.parquet")) == (dropped, repairs)


def test_a_missing_or_broken_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_table(tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 rubbish")
    with pytest.raises(RunError, match="cannot be read"):
        read_table(tmp_path / "rows.parquet")


def test_a_disk_that_cannot_be_written_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import polars as pl

    write_rows(tmp_path / "rows.parquet", [PLAIN])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(RunError, match="disk is full"):
        write_rows(tmp_path / "rows.parquet", [FULL])
    assert read_table(tmp_path / "rows.parquet") == [PLAIN]
