"""Starter folders: a recipe that runs as it is, with its sample data. No torch here.

    tuneloop init customer_service --folder F  ->  F/{recipe.yaml, train.jsonl, test.jsonl, planted.json}

The files lie in tuneloop/templates; templates share data, so a starter's files may come from several folders.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tuneloop.disk import atomic_path
from tuneloop.errors import RecipeError, RunError


@dataclass(frozen=True, slots=True)
class Template:
    """A starter that the package ships.

    Attributes:
        about: What it does, one line for `tuneloop init --list`.
        files: Name in the user's folder -> path below `tuneloop/templates`; the recipe comes first.
    """

    about: str
    files: Mapping[str, str]


_ROWS = {name: f"customer_service/{name}" for name in ("train.jsonl", "test.jsonl", "planted.json")}

TEMPLATES: dict[str, Template] = {
    "customer_service": Template(
        "what a customer wants, one of 14 intents (classification, English and some Chinese)",
        {"recipe.yaml": "customer_service/recipe.yaml", **_ROWS},
    ),
    "customer_service_replies": Template(
        "the shop's written reply to the same messages (generation)",
        {"recipe.yaml": "customer_service_replies/recipe.yaml", **_ROWS},
    ),
}


def write_starter(template: str, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a template's files into `folder`, each whole or not at all; files that are the same already stay.

    Args:
        template: A name in TEMPLATES.
        folder: Where to; made if it is not there.
        overwrite: Replace files of the same names that hold something else.

    Returns:
        The paths of all the template's files, the recipe first.

    Raises:
        RecipeError: if no template has that name.
        RunError: if files that differ are in the way (none is written then), or `folder` cannot be written.
    """
    if template not in TEMPLATES:
        near = difflib.get_close_matches(template, TEMPLATES, n=1)
        raise RecipeError(
            f"Unknown template {template!r}",
            allowed=", ".join(TEMPLATES),
            fix=f"Did you mean {near[0]!r}?" if near else "`tuneloop init --list` says what each is for",
        )
    shipped = files("tuneloop") / "templates"
    contents = {folder / name: (shipped / path).read_bytes() for name, path in TEMPLATES[template].files.items()}
    missing = [path for path, content in contents.items() if _found(path) != content]
    in_the_way = [path.name for path in missing if path.exists() or path.is_symlink()]
    if in_the_way and not overwrite:
        raise RunError(
            f"{folder} has files that differ from those of the template {template!r}",
            got=", ".join(in_the_way),
            fix="Choose another folder (--folder NAME), or give --overwrite to replace these files",
        )
    for path in missing:
        with atomic_path(path) as temporary:
            temporary.write_bytes(contents[path])
    return list(contents)


def _found(path: Path) -> bytes | None:
    """What stands at `path`; None where no file can be read there."""
    try:
        return path.read_bytes()
    except OSError:
        return None
