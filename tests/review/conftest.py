"""A run folder with a review queue, written as a cleaning writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tuneloop.disk import atomic_folder
from tuneloop.records import Doubt, Row, content_id
from tuneloop.review.queue import Queue
from tuneloop.review.store import held, write_queue

Reclean = Callable[..., Queue]


def row(text: str, label: str | tuple[str, ...] | None = "card", line: int = 1, **parts: object) -> Row:
    made = Row(id="", source=f"train.jsonl:{line}", text=text, label=label, **parts)
    return replace(made, id=content_id(made))


def doubt(of: Row, stage: str = "outliers", score: float = 0.1, **parts: object) -> Doubt:
    return Doubt(of.id, of.source, stage, f"{stage} doubts it", score, **parts)


def clean_again(run: Path, rows: Sequence[Row], doubts: Sequence[Doubt]) -> Queue:
    """What a cleaning does with the queue: the new data folder takes the old one's place as a whole."""
    data = run / "data"
    with held(data), atomic_folder(data) as folder:
        (folder / "report.json").write_text("{}")
        write_queue(folder, rows, doubts, older=data)
    return Queue(data)


@pytest.fixture
def reclean(tmp_path: Path) -> Reclean:
    """reclean(rows, doubts): the queue of a run in the test's folder, replaced at every call."""
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text('{"schema": 1, "stations": {}}')
    (run / "recipe.yaml").write_text("name: r\n")
    return lambda rows, doubts: clean_again(run, rows, doubts)


ROWS = [
    row("where is my card", "card", 1),
    row("转账没有到账", "转账", 2),
    row("=cmd|' /C calc'!A0", "card", 3),
    row('it did not\narrive; "really", they said', "转账", 4),
    row("'=quoted", "-1", 5),
    row("nobody doubts me", "card", 6),
]
"""Five that are doubted, in texts that files like to break, and one that is not."""


@pytest.fixture
def queue(reclean: Reclean) -> Queue:
    """A queue of the first five of ROWS, in their order."""
    return reclean(ROWS, [doubt(each, score=0.2 - each_place / 100) for each_place, each in enumerate(ROWS[:5])])
