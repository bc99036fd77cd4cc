"""From doubt to decision to training rows, through the commands: clean, review, clean again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import tuneloop
from tuneloop.review.queue import Answer, open_queue
from tuneloop.rows.table import read_table

TEXT = "Where can I see the list of all payments that I made with my card in the last month"
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "omega", "iota", "kappa", "lambda", "sigma"]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose training rows hold one contradiction."""
    monkeypatch.chdir(tmp_path)
    lines = [{"text": f"{word} " * 9, "label": "ab"[n % 2]} for n, word in enumerate(WORDS)]
    clash = [{"text": TEXT, "label": "a"}, {"text": f"{TEXT}?", "label": "b"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, [*lines, *clash])), encoding="utf-8")
    (tmp_path / "held.jsonl").write_text(json.dumps({"text": "nothing like it", "label": "a"}), encoding="utf-8")
    text = (
        "name: x\ntask: {type: classification}\nmodel: {name_or_path: m}\n"
        "data: {train: train.jsonl, validation: held.jsonl, test: held.jsonl}\n"
    )
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "recipe.yaml"


def texts(run: Path) -> list[str | None]:
    return [str(row.label) for row in read_table(run / "data" / "train.parquet") if row.text.startswith(TEXT)]


def test_a_decision_brings_a_row_back_and_survives_the_next_cleaning(recipe: Path):
    folder = tuneloop.clean(recipe)
    queue = open_queue("x")
    waiting = queue.items()
    assert texts(folder.path) == [] and len(waiting) == 2
    assert {item.suggestion for item in waiting} == {""}  # one vote each
    keep = Answer(row=waiting[0].row, kind="keep", reviewer="ann", seen=waiting[0].seen)
    assert queue.decide([keep])
    assert len(texts(tuneloop.clean(recipe).path)) == 1
    recipe.write_text(recipe.read_text(encoding="utf-8") + "seed: 7\n", encoding="utf-8")
    assert len(texts(tuneloop.clean(recipe).path)) == 1  # cleaned anew: the decision is found by the row's content
    assert len(open_queue("x").items()) == 1


def test_a_queue_under_another_name_gets_its_own_back(recipe: Path):
    folder = tuneloop.clean(recipe)
    os.replace(folder.data, folder.path / ".data.0123abcd.old")  # killed between the two renames of a re-clean
    tuneloop.clean(recipe)
    assert (folder.data / "review.sqlite").exists()
    assert len(open_queue("x").items()) == 2
