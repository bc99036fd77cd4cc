"""Small files of rows, written by the tests themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneloop.recipe import Recipe
from tuneloop.rows.read import Reading, read_rows

Write = Callable[..., str]
Read = Callable[..., Reading]


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
