"""Text files line by line: however large a file is, memory holds a block of it.

bytes --is it text? is it UTF-8, and which lines are not?--> Span, one a block of whole lines --lines_of--> str
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuneloop.errors import DataError

BLOCK = 1 << 22
"""Bytes of a span, about: its last line is whole, and may make it longer."""

MAGIC = {
    b"PK\x03\x04": "a zip or xlsx file", b"\x1f\x8b": "a gzip file", b"SQLite": "a SQLite file",
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"%PDF": "a PDF", b"\xfd7zXZ": "an xz file",
    b"BZh": "a bzip2 file", b"ARROW1": "an Arrow file", b"GGUF": "a GGUF model", b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x80\x04": "a pickle",
}  # fmt: skip
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Span:
    """Some whole lines of a file.

    Attributes:
        start: Offset of the first byte.
        stop: Offset behind the last byte.
        line: Number of the first line, from 1.
        undecoded: Numbers of the lines that hold bytes which are not UTF-8.
    """

    start: int
    stop: int
    line: int
    undecoded: tuple[int, ...] = ()


def spans_of(path: Path, name: str) -> list[Span]:
    """The lines of a file, in spans that can be read apart from each other.

    Args:
        path: The file.
        name: How errors call it.

    Raises:
        DataError: if it cannot be read, is binary, or is in another encoding.
    """
    spans: list[Span] = []
    start, line = 0, 1
    try:
        for block in _blocks(path):
            if not start:
                _refuse_binary(block[:65536], name)
            alone = len(block) == path.stat().st_size and block.find(b"\n", 0, -1) < 0
            lost: tuple[int, ...] = ()
            if not is_encoded(block, "utf-8"):
                lines = enumerate(_cut(block) if alone else block.split(b"\n"), line)
                lost = tuple(number for number, part in lines if not is_encoded(part, "utf-8"))
            spans.append(Span(start, start + len(block), line, lost))
            start, line = start + len(block), line + block.count(b"\n") + (not block.endswith(b"\n"))
            line += len(_cut(block)) - 1 if alone else 0
    except OSError as error:
        raise DataError(f"{name} cannot be read", got=str(error), fix="Check the file and its permissions") from None
    undecoded = sum(len(span.undecoded) for span in spans)
    if undecoded > 0.1 * (line - 1):
        raise _other_encoding(path, name, undecoded, line - 1)
    return spans


def lines_of(path: Path, span: Span) -> Iterator[str]:
    """The lines of a span without their ends; bytes that are no UTF-8 as backslash escapes.

    A line ends with `\\n` or `\\r\\n`; in a file that has no `\\n` but at its end, with `\\r`, as on old Macs.
    """
    with path.open("rb") as file:
        file.seek(span.start)
        at = span.start
        while at < span.stop:
            raw = file.readline()
            if at == 0:
                at, raw = len(raw), raw.removeprefix(BOM)
                if at == path.stat().st_size:
                    yield from (line.decode("utf-8", "backslashreplace") for line in _cut(raw))
                    return
            else:
                at += len(raw)
            # not splitlines(): U+2028 and U+0085 may stand inside a JSON string
            yield raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "backslashreplace")


def _cut(line: bytes) -> list[bytes]:
    """The lines of a file that has no `\\n` but at its end."""
    return line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")


def is_encoded(data: bytes, encoding: str) -> bool:
    """Whether bytes are text in an encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block + file.readline()


def _refuse_binary(start: bytes, name: str) -> None:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        fix = f"Convert it: iconv -f UTF-16 -t UTF-8 {name} > new"
        raise DataError(f"{name} is UTF-16 text", allowed="UTF-8", fix=fix)
    magic = next((kind for sign, kind in MAGIC.items() if start.startswith(sign)), "")
    controls = sum(start.count(byte) for byte in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04"))
    if magic or controls > len(start) / 100:
        raise DataError(
            f"{name} is a binary file, not text with rows",
            got=magic or f"{controls} control bytes in its first {len(start):,}",
            allowed="JSONL, JSON, CSV, TSV, Parquet, plain text",
            fix="Unpack or convert it first, or check that it is the file you meant",
        )


def _other_encoding(path: Path, name: str, undecoded: int, lines: int) -> DataError:
    guess = next((code for code in ("gb18030", "cp1252") if _whole_is(path, code)), "latin-1")
    return DataError(
        f"{name} is not UTF-8 text",
        got=f"{undecoded} of {lines} lines that do not decode; it may be {guess.upper()}",
        allowed="UTF-8, with or without a BOM",
        fix=f"Convert it: iconv -f {guess.upper()} -t UTF-8 {name} > new",
    )


def _whole_is(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in _blocks(path):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
