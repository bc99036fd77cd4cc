"""Sequences of records that lie on disk, and can be used like lists.

Store = list | Shelf: append, extend, len, iterate, take one by its place --select--> those that stay
"""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from tuneloop.disk import atomic_path
from tuneloop.records import BadRow, Dropped, Message, Repair, Row

T = TypeVar("T", bound=Row | BadRow | Dropped | Repair | str)

BLOCK = 1 << 20
"""Bytes that are read or written at once."""
KINDS: dict[str, type[BadRow] | type[Dropped] | type[Repair]] = {"bad": BadRow, "dropped": Dropped, "repair": Repair}


@dataclass(frozen=True)
class Range:
    """Some records of a shelf's file, for another process."""

    path: Path
    start: int
    stop: int


def read_range(some: Range) -> Iterator[Any]:
    """The records of a range, in order."""
    with some.path.open("rb") as file:
        file.seek(some.start)
        at = some.start
        while at < some.stop:
            line = file.readline()
            at += len(line)
            yield decoded(line)


class Shelf(Sequence[T], Generic[T]):
    """A sequence in a file of its own, a JSON line a record; memory holds 8 bytes of each: where it ends.

    Args:
        path: The file; what stood there is gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        weakref.finalize(self, os.close, self._file)  # whoever still has a view of it can read on
        self._waiting = bytearray()
        self._ends = array("q")
        self._size = 0

    def append(self, item: T) -> None:
        """Put a record behind the last."""
        line = encoded(item)
        self._waiting += line
        self._size += len(line)
        self._ends.append(self._size)
        if len(self._waiting) >= BLOCK:
            self.flush()

    def extend(self, items: Iterable[T]) -> None:
        """Put several records behind the last."""
        for item in items:
            self.append(item)

    def adopt(self, path: Path) -> None:
        """Put the records of another shelf's file behind the last, without looking into them."""
        self.flush()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                _write(self._file, block)
                marks = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
                self._ends.extend((marks + self._size + 1).tolist())
                self._size += len(block)

    def flush(self) -> None:
        """Let everybody who reads the file see what was put here so far."""
        if self._waiting:
            _write(self._file, self._waiting)
            self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            places = range(*place.indices(len(self)))
            if places.step == 1:
                return list(self.between(places.start, places.stop))
            return [self[one] for one in places]
        place = range(len(self))[place]
        self.flush()
        start = self._ends[place - 1] if place else 0
        found: T = decoded(os.pread(self._file, self._ends[place] - start, start))
        return found

    def __iter__(self) -> Iterator[T]:
        return self.between(0, len(self))

    def between(self, first: int, stop: int) -> Iterator[T]:
        """The records from `first` up to `stop`, in order, a block of the file in memory at a time."""
        self.flush()
        while first < stop:
            start = self._ends[first - 1] if first else 0
            last = first
            while last + 1 < stop and self._ends[last + 1] - start <= BLOCK:
                last += 1
            for line in os.pread(self._file, self._ends[last] - start, start).splitlines():
                yield decoded(line)
            first = last + 1

    def blocks(self) -> list[tuple[int, int]]:
        """(first, stop) of runs of records that fill a block of the file, or are one longer record."""
        found: list[tuple[int, int]] = []
        first = 0
        while first < len(self):
            stop = max(first + 1, bisect_right(self._ends, self._start(first) + BLOCK))
            found.append((first, stop))
            first = stop
        return found

    def range(self, first: int, stop: int) -> Range:
        """What another process needs to read the records from `first` up to `stop`."""
        self.flush()
        return Range(self.path, self._start(first), self._start(stop))

    def _start(self, place: int) -> int:
        return self._ends[place - 1] if place else 0


def _write(file: int, block: bytes | bytearray) -> None:
    """All of a block: a write may end early, on a disk that is nearly full for one."""
    rest = memoryview(block)
    while len(rest):
        rest = rest[os.write(file, rest) :]


class Selected(Sequence[T], Generic[T]):
    """Some records of a sequence, in its order, without a copy of them.

    Args:
        whole: The sequence.
        places: (K,) rising places in it.
    """

    def __init__(self, whole: Sequence[T], places: NDArray[np.int64]) -> None:
        self.whole, self.places = whole, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return list(self._of(self.places[place]))
        return self.whole[int(self.places[place])]

    def __iter__(self) -> Iterator[T]:
        return self._of(self.places)

    def _of(self, places: NDArray[np.int64]) -> Iterator[T]:
        """Read through the whole where most of it is wanted: it is faster than to jump."""
        if not len(places):
            return
        first, stop = int(places[0]), int(places[-1]) + 1
        if 4 * len(places) < stop - first:
            yield from (self.whole[int(place)] for place in places)
            return
        wanted = np.zeros(stop - first, dtype=bool)
        wanted[places - first] = True
        run = self.whole.between(first, stop) if isinstance(self.whole, Shelf) else self.whole[first:stop]
        yield from (item for item, wants in zip(run, wanted.tolist(), strict=True) if wants)


Store = list[T] | Shelf[T]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Shelf[Any]]:
    """A shelf that another process will adopt from `path`, which stands there once it is whole."""
    with atomic_path(path) as temporary:
        shelf: Shelf[Any] = Shelf(temporary)
        yield shelf
        shelf.flush()


def select(rows: Sequence[T], places: NDArray[np.int64]) -> Sequence[T]:
    """The rows at rising places: a list of a list, a view of what lies on disk."""
    if isinstance(rows, list):
        return [rows[place] for place in places.tolist()]
    if isinstance(rows, Selected):
        return Selected(rows.whole, rows.places[places])
    return Selected(rows, places)


# -- one record as a line -------------------------------------------------------------------------------------


def encoded(item: Row | BadRow | Dropped | Repair | str) -> bytes:
    """A record as one line of JSON, its kind first."""
    if isinstance(item, str):
        parts: list[Any] = ["text", item]
    elif isinstance(item, Row):
        turns = [[turn.role, turn.content] for turn in item.messages]
        parts = [
            "row", item.id, item.source, item.text, turns, item.label, item.chosen, item.rejected, item.images,
            item.audios, item.time, item.weight, item.lineage, dict(item.meta),
        ]  # fmt: skip
    else:
        kind = next(name for name, kind in KINDS.items() if isinstance(item, kind))
        parts = [kind, *(getattr(item, name) for name in item.__slots__)]
    line = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return line.encode("utf-8", "surrogatepass") + b"\n"


def decoded(line: bytes) -> Any:
    """The record of a line."""
    kind, *parts = json.loads(line.decode("utf-8", "surrogatepass"))
    if kind == "text":
        return parts[0]
    if kind != "row":
        return KINDS[kind](*parts)
    name, source, text, turns, label, chosen, rejected, images, audios, time, weight, lineage, meta = parts
    return Row(
        id=name, source=source, text=text, messages=tuple(Message(role, content) for role, content in turns),
        label=tuple(label) if isinstance(label, list) else label, chosen=chosen, rejected=rejected,
        images=tuple(images), audios=tuple(audios), time=time, weight=weight, lineage=tuple(lineage), meta=meta,
    )  # fmt: skip
