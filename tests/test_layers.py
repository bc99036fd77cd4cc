"""A file imports only from the layers above its own, or from its own folder; what must be instant imports no torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tuneloop"

LAYERS = [
    "errors",
    "records pick disk terminal memory sections",
    "recipe shelf",
    "runs",
    "review",
    "rows",
    "augment",
    "examples",
    "model",
    "loss",
    "infer",
    "train",
    "score",
    "release",
    "report",
    "row_station",
    "stations prediction starter",
    "flow",
    "cli",
]
RANK = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
LIGHT = {"errors", "sections", "shelf", "records", "pick", "disk", "terminal", "recipe", "runs", "review", "rows"}
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers"}


def source_files() -> list[Path]:
    files = [file for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")]
    assert len(files) > 20, "found almost no source: is this test looking in the right place?"
    return files


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, inside functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its layer"
            if node.module != "tuneloop":
                yield node.lineno, node.module or ""
                continue
            yield from ((node.lineno, f"tuneloop.{a.name}") for a in node.names if a.name != "__version__")
        elif isinstance(node, ast.Call):
            yield from _imported_by_call(node)


def _imported_by_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
        yield node.lineno, str(node.args[0].value)


def upward(source: str, here: str) -> list[str]:
    """The imports of a file of layer `here` that do not point to a layer above it."""
    found = []
    for line, module in imports(source):
        root, _, rest = module.partition(".")
        if root != "tuneloop":
            continue
        there = rest.partition(".")[0]
        if there != here and RANK.get(there, len(LAYERS)) >= RANK[here]:
            found.append(f"line {line} imports {module}")
    return found


def test_every_file_has_a_layer():
    assert {layer_of(file) for file in source_files()} - set(RANK) == set()


def test_imports_point_one_way():
    wrong = {
        str(file.relative_to(PACKAGE)): found
        for file in source_files()
        if (found := upward(file.read_text(encoding="utf-8"), layer_of(file)))
    }
    assert wrong == {}


def test_light_layers_import_nothing_heavy():
    light = [file for file in source_files() if layer_of(file) in LIGHT]
    assert len(light) >= 7
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file in light
        for line, module in imports(file.read_text(encoding="utf-8"))
        if module.partition(".")[0] in HEAVY
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "from tuneloop.train.loop import train",
        "import tuneloop.flow",
        "from tuneloop import flow",
        "def f():\n    from tuneloop.report.page import write_report",
        "import importlib\nimportlib.import_module('tuneloop.cli')",
        "from tuneloop.nowhere import x",
    ],
)
def test_an_upward_import_is_found(line: str):
    assert len(upward(line, "rows")) == 1


def test_downward_and_own_imports_are_fine():
    lines = [
        "from tuneloop.errors import DataError",
        "from tuneloop.rows.read import x",
        "from tuneloop import __version__",
    ]
    assert upward("\n".join(lines), "rows") == []
