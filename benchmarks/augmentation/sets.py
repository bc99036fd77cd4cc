"""banking77, snips and smp2019_nlu of TUNELOOP_DATA as few training rows and many test rows, split by hash of the text.

banking77   its own split; snips   train and validate; smp2019   domains with 20 rows or more, 10 rows to train
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuneloop.errors import DataError
from tuneloop.records import Row, content_id

NAMES = ("banking77", "snips", "smp2019")
LEAST = 20
"""smp2019: rows that a domain must have."""


@dataclass(frozen=True)
class Task:
    """A set, before rows are chosen.

    Attributes:
        name: Of NAMES.
        pool: Rows that may be trained on.
        test: Rows that score; for smp2019 the pool's own rows that were not chosen.
        chinese: Whether the rows are Chinese.
    """

    name: str
    pool: Sequence[Row]
    test: Sequence[Row]
    chinese: bool

    @property
    def labels(self) -> list[str]:
        """The class names, sorted."""
        return sorted({str(row.label) for row in self.pool})


def data_folder() -> Path:
    """The folder of the sets.

    Raises:
        DataError: if TUNELOOP_DATA names none.
    """
    given = os.environ.get("TUNELOOP_DATA", "")
    if not given or not Path(given).is_dir():
        raise DataError(
            "Augmentation is measured on sets of TUNELOOP_DATA, and it names no folder", got=repr(given),
            fix="TUNELOOP_DATA=/folder/of/the/sets python -m benchmarks.augmentation",
        )  # fmt: skip
    return Path(given)


def load(name: str, folder: Path) -> Task:
    """A set of NAMES.

    Args:
        name: Of NAMES.
        folder: Of the sets.

    Raises:
        DataError: if it is not there.
    """
    part = folder / ("smp2019_nlu" if name == "smp2019" else name)
    if not part.is_dir():
        raise DataError(f"TUNELOOP_DATA does not hold {part.name}", got=str(folder), allowed=", ".join(NAMES))
    if name == "banking77":
        pool, test = (_csv(part / f"{side}.csv") for side in ("train", "test"))
        return Task(name, pool, test, chinese=False)
    if name == "snips":
        pool, test = (_jsonl(part / f"{side}.jsonl", "intent") for side in ("train", "validate"))
        return Task(name, pool, test, chinese=False)
    rows = _jsonl(part / "train.jsonl", "domain")
    counts = Counter(row.label for row in rows)
    return Task(name, [row for row in rows if counts[row.label] >= LEAST], [], chinese=True)


def _csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(path, place, line["text"], line["category"]) for place, line in enumerate(csv.DictReader(file), 2)]


def _jsonl(path: Path, label: str) -> list[Row]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [_row(path, place, line["text"], line[label]) for place, line in enumerate(lines, 1)]


def _row(path: Path, place: int, text: str, label: str) -> Row:
    row = Row(id="", source=f"{path.name}:{place}", text=text.strip(), label=label)
    return replace(row, id=content_id(row))


def draw(task: Task, per_class: int, seed: int) -> tuple[list[Row], list[Row]]:
    """`per_class` training rows of each class, by hash of seed and text, and the test rows.

    No test text stands among the training rows.
    """
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(task.pool, key=lambda row: _hash(seed, row.text)):
        if all(row.text != other.text for other in by_label[str(row.label)]):
            by_label[str(row.label)].append(row)
    train = [row for label in sorted(by_label) for row in by_label[label][:per_class]]
    taken = {row.text for row in train}
    rest = list(task.test) or [row for row in {row.text: row for row in task.pool}.values()]
    return train, [row for row in rest if row.text not in taken]


def _hash(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=16).digest()
