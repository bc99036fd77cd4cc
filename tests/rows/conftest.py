"""Small files of rows, written by the tests themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneloop.recipe import Recipe
from tuneloop.rows.clean import Cleaned, clean_rows
from tuneloop.rows.read import Reading, read_rows
from tuneloop.sections import Clean

Write = Callable[..., str]
Read = Callable[..., Reading]
CleanThese = Callable[..., Cleaned]

FIRST = {"text": "good", "label": "a"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, *rows): objects or raw lines -> the file's name, in the test's folder."""

    def file(name: str, *rows: Any) -> str:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    return file


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(spec, task=..., **options): `read_rows` in the test's folder, classification unless said."""

    def rows(spec: str, **options: Any) -> Reading:
        return read_rows(spec, **{"folder": tmp_path, "task": "classification", **options})

    return rows


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """recipe(task, **data): a recipe of these rows."""

    def made(task: str = "classification", *, clean: Any = None, **data: Any) -> Recipe:
        tree: dict[str, Any] = {"name": "t", "task": {"type": task}, "model": {"name_or_path": "x"}, "data": data}
        return Recipe.model_validate(tree if clean is None else tree | {"clean": clean})

    return made


@pytest.fixture
def cleaned(write: Write, read: Read) -> CleanThese:
    """cleaned(*rows, task=..., first=..., **stages): a clean first row and these, read and cleaned."""

    def run(*rows: Any, task: str = "classification", first: Any = FIRST, **stages: bool) -> Cleaned:
        reading = read(write("a.jsonl", first, *rows), task=task)
        found = clean_rows(reading.rows, reading.bad, clean=Clean(**stages), parse=reading.parse)
        sources = [row.source for row in found.kept] + [item.source for item in found.dropped]
        assert sorted(sources) == sorted(r.source for r in [*reading.rows, *reading.bad]), "in = kept + dropped"
        return found

    return run


def after(found: Cleaned) -> list[tuple[str, Any]]:
    """(text, label) of the kept rows but the first."""
    return [(row.text, row.label) for row in found.kept[1:]]
