"""A foreign GGUF file, read with every count, size and offset checked before it is used.

    bytes -> header (counts) -> metadata {key: value} -> tensor infos -> one tensor at a time, float32

The `gguf` package knows the block formats and dequantises; its GGUFReader is not used, because it trusts the
counts, offsets and lengths that the file states. Format: github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from tuneloop.errors import ModelError

SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
MAX_KEYS, MAX_TENSORS, MAX_DIMENSIONS, MAX_NAME = 10_000, 100_000, 4, 1 << 16
READABLE = frozenset(
    {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
    | {"IQ4_NL", "IQ4_XS"}
)
"""Block formats that the gguf package turns back into numbers."""


@dataclass(frozen=True)
class Tensor:
    """Where one tensor stands in the file.

    Attributes:
        shape: As numpy has it, the longest-stride dimension first: a matrix is (rows out, columns in).
        kind: The block format.
        start: Its first byte, from the start of the file.
        size: Its bytes.
    """

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    start: int
    size: int


@dataclass(frozen=True)
class GGUFFile:
    """A checked GGUF file.

    Attributes:
        path: The file.
        metadata: Key -> value; arrays as lists.
        tensors: Name -> where it stands.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor's numbers, float32, in its numpy shape."""
        tensor = self.tensors[name]
        raw = np.fromfile(self.path, dtype=np.uint8, count=tensor.size, offset=tensor.start)
        rows = raw.reshape(*tensor.shape[:-1], -1)
        return dequantize(rows, tensor.kind).reshape(tensor.shape).astype(np.float32, copy=False)


def read_gguf(path: Path) -> GGUFFile:
    """Read a GGUF file's metadata and tensor table, and check both against the file's size.

    Raises:
        ModelError: if it is no GGUF, is cut off, or states a count, size, type or offset that cannot be.
    """
    if path.stat().st_size < 24:
        raise _broken(path, f"a file of {path.stat().st_size} bytes", "at least the 24 bytes of a GGUF header")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(path, data)
        if cursor.take(4) != b"GGUF":
            raise _broken(path, "other first bytes than GGUF", "a GGUF file")
        version = cursor.number("<I")
        if version not in (2, 3):
            raise _broken(path, f"version {version}", "little-endian GGUF version 2 or 3")
        tensor_count = cursor.count("<Q", "tensors", MAX_TENSORS, smallest=24)
        key_count = cursor.count("<Q", "metadata keys", MAX_KEYS, smallest=13)
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = cursor.string(MAX_NAME)
            if key in metadata:
                raise _broken(path, f"the key {key!r} twice", "each key once")
            metadata[key] = cursor.value(cursor.number("<I"))
        return GGUFFile(path, metadata, _read_tensors(cursor, tensor_count, metadata))


def _read_tensors(cursor: _Cursor, count: int, metadata: dict[str, Any]) -> dict[str, Tensor]:
    path, stated = cursor.path, []
    for _ in range(count):
        name = cursor.string(MAX_NAME)
        dimensions = cursor.number("<I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise _broken(path, f"{dimensions} dimensions for {name!r}", f"1 to {MAX_DIMENSIONS}")
        shape = tuple(reversed([cursor.number("<Q") for _ in range(dimensions)]))
        stated.append((name, shape, cursor.number("<I"), cursor.number("<Q")))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment > 1 << 20 or alignment & (alignment - 1):
        raise _broken(path, f"an alignment of {alignment!r}", "a power of two from 8 to 1048576")
    base = -(-cursor.at // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for name, shape, kind, offset in stated:
        if name in tensors:
            raise _broken(path, f"the tensor {name!r} twice", "each tensor once")
        if offset % alignment:
            raise _broken(path, f"offset {offset} for {name!r}", f"a multiple of {alignment}")
        tensors[name] = _check_tensor(path, name, shape, kind, base + offset, len(cursor.data))
    in_order = sorted(tensors.items(), key=lambda item: item[1].start)
    for (first, a), (second, b) in itertools.pairwise(in_order):
        if a.start + a.size > b.start:
            raise _broken(path, f"{first!r} and {second!r} in the same bytes", "tensors that do not overlap")
    return tensors


def _check_tensor(path: Path, name: str, shape: tuple[int, ...], kind: int, start: int, end: int) -> Tensor:
    try:
        known = GGMLQuantizationType(kind)
    except ValueError:
        raise _broken(path, f"type number {kind} for {name!r}", f"one of {', '.join(sorted(READABLE))}") from None
    if known.name not in READABLE:
        raise _broken(path, f"type {known.name} for {name!r}", f"one of {', '.join(sorted(READABLE))}")
    block, block_bytes = GGML_QUANT_SIZES[known]
    if min(shape) < 1 or shape[-1] % block:
        allowed = f"positive sizes, the last a multiple of {block} ({known.name})"
        raise _broken(path, f"shape {shape} for {name!r}", allowed)
    size = math.prod(shape) // block * block_bytes  # Python integers: a huge shape cannot wrap round
    if start + size > end:
        raise _broken(path, f"{name!r} up to byte {start + size}", f"tensors inside the file's {end} bytes")
    return Tensor(shape, known, start, size)


class _Cursor:
    """Walks the bytes of a file; every step is checked against what is left."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise _broken(self.path, f"an end after {len(self.data)} bytes", f"{size} more at byte {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self, code: str, what: str, most: int, *, smallest: int) -> int:
        count = int(self.number(code))
        left = (len(self.data) - self.at) // smallest
        if count > min(most, left):
            raise _broken(self.path, f"{count} {what}", f"at most {min(most, left)} here")
        return count

    def string(self, most: int) -> str:
        length = self.count("<Q", "bytes of text", most, smallest=1)
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise _broken(self.path, f"text that is not UTF-8 before byte {self.at}", "UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string(len(self.data))
        if kind != ARRAY:
            return self.number(self.scalar(kind))
        inner = self.number("<I")
        if inner == STRING:
            return [self.string(len(self.data)) for _ in range(self.count("<Q", "items", 1 << 24, smallest=8))]
        code = self.scalar(inner)  # an array of arrays stops here: no model of ours has one
        size = struct.calcsize(code)
        count = self.count("<Q", "items", 1 << 24, smallest=size)
        return list(struct.unpack(f"<{count}{code[-1]}", self.take(count * size)))

    def scalar(self, kind: int) -> str:
        if kind not in SCALARS:
            raise _broken(self.path, f"value type {kind} before byte {self.at}", "a number, text, or a list of these")
        return SCALARS[kind]


def _broken(path: Path, got: str, allowed: str) -> ModelError:
    return ModelError(
        f"{path} is not a GGUF file that can be read safely",
        got=got,
        allowed=allowed,
        fix="Download it again, or name the model's safetensors folder instead",
    )
