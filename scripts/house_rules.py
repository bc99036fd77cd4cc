"""What no linter checks here: docstrings against signatures, and the length of files and functions.

    python scripts/house_rules.py src/tuneloop

- Every public module, class, function and method has a docstring.
- Where a docstring has an `Args:` section, it names exactly the signature's arguments, in order;
  where a class's has `Attributes:`, it names exactly the annotated fields.
- No file is longer than 500 lines, no function longer than 60.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 500, 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def section(docstring: str, title: str) -> list[str] | None:
    """The names that a Google-style section lists, None where there is no such section."""
    found = re.search(rf"^{title}:\n((?:[ ]+\S.*\n?|\n)+)", docstring, re.MULTILINE)
    if found is None:
        return None
    indent = re.match(r" +", found[1])
    return re.findall(rf"^{indent[0] if indent else ''}\*{{0,2}}(\w+)(?: \([^)]*\))?:", found[1], re.MULTILINE)


def arguments(function: Function, *, method: bool) -> list[str]:
    """The names in a signature, without self or cls."""
    given = function.args
    names = [a.arg for a in [*given.posonlyargs, *given.args]]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    names = names[1:] if method and not static else names
    names += [given.vararg.arg] if given.vararg else []
    names += [a.arg for a in given.kwonlyargs]
    return names + ([given.kwarg.arg] if given.kwarg else [])


def documented(node: ast.Module | ast.ClassDef, where: str) -> Iterator[str]:
    """What is wrong with the docstrings of the public names in a module or class."""
    in_class = isinstance(node, ast.ClassDef)
    for child in node.body:
        if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
            continue
        place, docstring = f"{where}:{child.lineno} {child.name}", ast.get_docstring(child)
        if docstring is None:
            yield f"{place}: no docstring"
            continue
        if isinstance(child, ast.ClassDef):
            yield from class_docstring(child, place, docstring)
            yield from documented(child, where)
        else:
            yield from same(place, "Args", docstring, arguments(child, method=in_class))


def class_docstring(node: ast.ClassDef, place: str, docstring: str) -> Iterator[str]:
    """What is wrong with a class's own docstring: Attributes against its fields, Args against __init__."""
    fields = [x.target.id for x in node.body if isinstance(x, ast.AnnAssign) and isinstance(x.target, ast.Name)]
    yield from same(place, "Attributes", docstring, [name for name in fields if not name.startswith("_")])
    init = next((x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"), None)
    if init is not None:
        yield from same(place, "Args", docstring, arguments(init, method=True))


def same(place: str, title: str, docstring: str, expected: list[str]) -> Iterator[str]:
    """Whether a section, where it stands, names what it should."""
    listed = section(docstring, title)
    if listed is not None and listed != expected:
        yield f"{place}: {title} lists {listed}, the code has {expected}"


def too_long(tree: ast.Module, lines: int, where: str) -> Iterator[str]:
    """Files and functions over the limits."""
    if lines > FILE_LINES:
        yield f"{where}: {lines} lines, allowed {FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, Function) and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES:
            yield f"{where}:{node.lineno} {node.name}: {length} lines, allowed {FUNCTION_LINES}"


def faults(source: str, where: str) -> list[str]:
    """Every rule that one file breaks, as `file:line name: what`."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else [f"{where}: the module has no docstring"]
    return [*missing, *documented(tree, where), *too_long(tree, len(source.splitlines()), where)]


def main(folder: Path) -> int:
    """Print every fault under `folder`; 1 if there is any."""
    files = sorted(folder.rglob("*.py"))
    found = [fault for file in files for fault in faults(file.read_text(encoding="utf-8"), str(file))]
    print("\n".join(found) or f"{len(files)} files keep the rules")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
