"""The header of a safetensors file, checked in plain Python before any loader maps the file.

    8 bytes N | N bytes JSON {name: {dtype, shape, data_offsets}} | tensors, back to back

Format: github.com/huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.errors import ModelError

MOST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""
SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
"""Bytes of one number."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the header: its dtype by safetensors' name, its shape, its bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, Entry]:
    """Read and check a safetensors header.

    Returns:
        Tensor name -> entry. The entries cover the data exactly: no gap, no overlap, nothing after them.

    Raises:
        ModelError: if anything in it cannot be.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MOST_HEADER, size - 8):
                allowed = f"at most {MOST_HEADER}, inside the file"
                raise _broken(path, f"a header of {length} bytes in a file of {size}", allowed)
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} cannot be read", got=str(error)) from None
    try:
        header = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise _broken(path, str(error)[:200], "a JSON header") from None
    if not isinstance(header, dict):
        raise _broken(path, "a header that is no object", "{name: {dtype, shape, data_offsets}}")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, value) for name, value in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise _broken(path, f"{name!r} at byte {entry.start} of the data", f"tensors back to back: byte {end}")
        end = entry.end
    if end != size - 8 - length:
        raise _broken(path, f"{size - 8 - length} bytes of data", f"the {end} bytes that the header describes")
    return entries


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the same name twice")
    return found


def _entry(path: Path, name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"an entry for {name[:80]!r} with other keys", "dtype, shape, data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _broken(path, f"dtype {dtype!r} for {name[:80]!r}", ", ".join(SIZES))
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise _broken(path, f"shape or offsets of {name[:80]!r} that are not sizes", "whole numbers from 0")
    start, end = offsets
    if end - start != (size := math.prod(shape) * SIZES[dtype]):
        raise _broken(path, f"{end - start} bytes for {name[:80]!r}", f"{size} for {dtype} {shape}")
    return Entry(dtype, tuple(shape), start, end)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)


def _broken(path: Path, got: str, allowed: str) -> ModelError:
    return ModelError(
        f"{path} is not a safetensors file that can be loaded safely",
        got=got,
        allowed=allowed,
        fix="It may be cut off: download it again",
    )
