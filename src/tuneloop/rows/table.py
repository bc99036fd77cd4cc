"""Row tables on disk: Parquet files that any tool reads, and that give back exactly the rows that were written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tuneloop.disk import atomic_path
from tuneloop.errors import RunError
from tuneloop.records import Dropped, Message, Repair, Row

TEXT, NUMBER, TEXTS, TURNS = "text", "number", "texts", "turns"

ROW_COLUMNS = {
    "id": TEXT, "source": TEXT, "text": TEXT, "messages": TURNS, "label": TEXT, "labels": TEXTS, "chosen": TEXT,
    "rejected": TEXT, "images": TEXTS, "audios": TEXTS, "time": TEXT, "weight": NUMBER, "lineage": TEXTS, "meta": TEXT,
}  # fmt: skip
"""Columns of a row table: `label` holds one label, `labels` several (the other is null); `meta` is JSON."""

ROWS_AT_ONCE = 2048
"""Rows of a row group: what is in memory while a table is written."""

Record = TypeVar("Record", Dropped, Repair)
"""Records whose fields are all text: their columns are their fields."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, atomically.

    Raises:
        RunError: if the disk is full or the folder cannot be written.
    """
    _write(path, map(_to_record, rows), ROW_COLUMNS)


def read_table(path: Path) -> list[Row]:
    """Read the rows that `write_rows` wrote.

    Raises:
        RunError: if the table is missing or broken.
    """
    return [_to_row(record) for record in _read(path)]


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Write what was dropped or mended, atomically; an empty table has the columns of its `kind` too.

    Raises:
        RunError: if the disk is full or the folder cannot be written.
    """
    _write(path, map(asdict, records), {field.name: TEXT for field in fields(kind)})


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Read the records of `kind` that `write_records` wrote.

    Raises:
        RunError: if the table is missing or broken.
    """
    return [kind(**record) for record in _read(path)]


def _write(path: Path, records: Iterable[dict[str, Any]], columns: dict[str, str]) -> None:
    import pyarrow as pa  # half a second, which `tuneloop --help` does not have
    from pyarrow import parquet

    texts, turns = pa.list_(pa.string()), pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    kinds = {TEXT: pa.string(), NUMBER: pa.float64(), TEXTS: texts, TURNS: turns}
    schema = pa.schema({name: kinds[kind] for name, kind in columns.items()})
    rest = iter(records)
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        while block := list(islice(rest, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(block, schema))


def _read(path: Path) -> list[dict[str, Any]]:
    import polars as pl

    try:
        return pl.read_parquet(path).to_dicts()
    except FileNotFoundError:
        raise RunError(f"{path} does not exist", fix="Run `tuneloop clean` or `tuneloop run` first") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        got = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read", got=got, fix="Remove the run's data folder and run again") from None


def _to_record(row: Row) -> dict[str, Any]:
    several = isinstance(row.label, tuple)
    return {
        "id": row.id, "source": row.source, "text": row.text,
        "messages": [{"role": turn.role, "content": turn.content} for turn in row.messages],
        "label": None if several else row.label, "labels": list(row.label or ()) if several else None,
        "chosen": row.chosen, "rejected": row.rejected, "images": list(row.images), "audios": list(row.audios),
        "time": row.time, "weight": row.weight, "lineage": list(row.lineage), "meta": json.dumps(dict(row.meta)),
    }  # fmt: skip


def _to_row(record: dict[str, Any]) -> Row:
    several = record.pop("labels")
    if several is not None:
        record["label"] = tuple(several)
    for name in ("images", "audios", "lineage"):
        record[name] = tuple(record[name])
    record["messages"] = tuple(Message(**turn) for turn in record["messages"])
    record["meta"] = json.loads(record["meta"])
    return Row(**record)
