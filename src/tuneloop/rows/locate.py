"""Where rows are: a recipe's path, glob or hub id -> the files to read, or the id to ask the hub for."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tuneloop.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HUB_ID = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(?::(?P<split>[\w.\-\[\]%:+]+))?$")


@dataclass(frozen=True)
class Place:
    """What a spec names: files that exist, or a data set on the hub.

    Attributes:
        files: The files, sorted by path; () for the hub.
        hub: `owner/name`, or "" for files.
        split: The hub's split.
    """

    files: tuple[Path, ...] = ()
    hub: str = ""
    split: str = "train"


def expand_variables(spec: str, source: str = "") -> str:
    """`spec` with `${NAME}` and `${NAME:-default}` filled in from the environment.

    Args:
        spec: A path, glob or hub id.
        source: Where the rows can be had, in words; stands in the error.

    Raises:
        DataError: if a variable is not set (or is empty) and has no default.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = os.environ.get(name, "")
        if not found and default is None:
            raise DataError(
                f"The path {spec} needs the environment variable {name}, which is not set",
                allowed=f"export {name}=FOLDER, or write ${{{name}:-FOLDER}} in the recipe",
                fix=_can_be_had(source),
            )
        return found or default

    return _VARIABLE.sub(value, spec)


def locate(spec: str, folder: Path, source: str = "") -> Place:
    """Decide what `spec` names: an existing file, a glob, or a hub id; nothing is read.

    A spec is a path if it exists, has a data suffix, is absolute or relative by its look (`./x`), or its parent
    folder exists; a hub id has the form `owner/name` or `owner/name:split`.

    Args:
        spec: As in the recipe; relative paths start at `folder`.
        folder: The recipe's folder.
        source: Where the rows can be had, in words; stands in the error of a missing file.

    Raises:
        DataError: if a file is missing, a glob matches nothing, or a folder is named.
    """
    spec = expand_variables(spec, source)
    path = folder / Path(spec).expanduser()
    if path.is_file():
        return Place((path,))
    if path.is_dir():
        inside = sorted({p.suffix for p in path.iterdir() if p.suffix in SUFFIXES})
        raise DataError(
            f"{path} is a folder, not a file of rows",
            got=f"files of the kinds {', '.join(inside)}" if inside else "no data files in it",
            fix=f"Name a file, or a glob such as {spec.rstrip('/')}/*{inside[0] if inside else '.jsonl'}",
        )
    if any(sign in spec for sign in "*?["):
        return Place(_matches(spec, path, source))
    hub = _HUB_ID.match(spec)
    looks_like_path = spec.endswith(SUFFIXES) or spec.startswith(("/", ".", "~")) or path.parent.is_dir()
    if hub and not looks_like_path:
        return Place(hub=hub["name"], split=hub["split"] or "train")
    near = sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES) if path.parent.is_dir() else []
    raise DataError(
        f"There is no file {path}",
        got=f"a folder with {', '.join(near[:8])}" if near else "",
        allowed="a path, a glob, or a hub id (owner/name)",
        fix=_can_be_had(source) or "Check the path; it starts at the recipe's folder",
    )


def _matches(spec: str, path: Path, source: str) -> tuple[Path, ...]:
    found = tuple(Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file())
    if not found:
        raise DataError(
            f"No file matches {spec}", got=f"nothing under {path}", fix=_can_be_had(source) or "Check the pattern"
        )
    return found


def _can_be_had(source: str) -> str:
    return f"The rows can be had at: {source}" if source else ""


def shown_path(path: Path, folder: Path) -> str:
    """A path as reports name it: relative to `folder` where it lies inside, else as it is."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
