"""Writing that leaves the old file or the new one, never half: temp file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneloop.errors import RunError, TuneloopError


def explain_os_error(error: OSError, path: Path) -> RunError:
    """Turn an OSError of a write to `path` into a paragraph that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"The disk is full: could not write {path}",
            got=f"{error.strerror} (errno {error.errno})",
            fix="Nothing was half written; free some space and run the same command again",
        )
    return RunError(
        f"Could not write {path}",
        got=f"{error.strerror} (errno {error.errno})",
        fix="Check that the folder exists, is writable and is not on a read-only disk",
    )


def as_os_error(error: Exception) -> OSError | None:
    """The OSError that an error is, or stands for: polars and safetensors tell a failed write in words of their own."""
    if isinstance(error, OSError):
        return error
    told = None if isinstance(error, TuneloopError) else re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it is synced and renamed to `path`.

    Raises:
        RunError: if the disk is full or the folder cannot be written. `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except Exception as error:
        if (fault := as_os_error(error)) is None:
            raise
        raise explain_os_error(fault, path) from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong above is what the user hears
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder; when the block ends well all its files are synced and it becomes `folder`.

    An older `folder` is set aside first and removed last, so that one of the two always stands.

    Raises:
        RunError: if the disk is full or the parent cannot be written. `folder` is then as it was.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    aside = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        for inner in [temporary, *(p for p in temporary.rglob("*") if p.is_dir())]:
            sync_folder(inner)
        if folder.exists():
            os.replace(folder, aside)
        os.replace(temporary, folder)
        sync_folder(folder.parent)
    except Exception as error:
        if (fault := as_os_error(error)) is None:
            raise
        raise explain_os_error(fault, folder) from error
    finally:
        if aside.exists() and not folder.exists():  # also after Ctrl-C between the two renames
            os.replace(aside, folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Clear away what a killed process left in `folder` of an atomic write: it never got its final name.

    One that was killed between the two renames of `atomic_folder` left the older folder under another name alone: it
    gets its own back.
    """
    for aside in folder.glob(".*.old"):
        home = folder / aside.name[1:].rsplit(".", 2)[0]
        if not home.exists():
            os.replace(aside, home)
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that tuneloop wrote.

    Raises:
        RunError: if it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist", fix="Run the station that writes it first (tuneloop run)") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read", got=str(error), fix="Restore it or run the station again") from None


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hex: same value, same key."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone while the block runs.

    The lock is the operating system's (flock): a killed process leaves none behind.

    Raises:
        RunError: if another process holds it, naming its process id.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (held until the block ends)
    except OSError as error:
        raise explain_os_error(error, path) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise RunError(
                f"The run folder {folder} is being written by another process",
                got=f"a lock held by process {handle.read().strip() or 'unknown'}",
                fix="Wait for it to end, or choose another name (--set name=...)",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
