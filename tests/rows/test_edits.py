"""An edit in review gets around no stage: a row that says what a test row says is never trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rows.conftest import Write

from tuneloop.recipe import Recipe
from tuneloop.review.content import content_of
from tuneloop.review.log import Decision
from tuneloop.rows.prepare import Prepared, prepare_rows
from tuneloop.rows.room import Room

Recipes = Callable[..., Recipe]
Edit = Callable[..., Prepared]

WAITS = "write to ann@example.com about the parcel {}"
HELD_OUT = "where does the parcel with my new kettle stand right now"


@pytest.fixture(params=["in memory", "in files"])
def edit(request: pytest.FixtureRequest, tmp_path: Path, write: Write, recipe: Recipes) -> Edit:
    """edit(*changes, **clean): rows of which the last wait, prepared after a person changed these as `changes` say."""

    def run(*changes: dict[str, Any], **clean: Any) -> Prepared:
        lines = [{"text": f"text {n} on something else", "label": "ab"[n % 2], "who": n} for n in range(20)]
        lines += [{"text": WAITS.format("xyzuvw"[n] * 9), "label": "a", "who": 90 + n} for n in range(len(changes))]
        write("train.jsonl", *lines)
        write("test.jsonl", {"text": HELD_OUT, "label": "a", "who": 50})
        data = {"train": "train.jsonl", "validation": "test.jsonl", "test": "test.jsonl"}
        made = recipe(**data, clean={"personal_data": True} | clean)
        before = {row.source: row for row in prepare_rows(made, tmp_path).clean}
        log = [
            Decision(number, row.id, "edit", "ann", "2026-01-01T00:00:00Z", content_of(row), change)
            for number, change in enumerate(changes, 1)
            for row in [before[f"train.jsonl:{20 + number}"]]
        ]
        room = Room()
        if request.param == "in files":
            (tmp_path / "room").mkdir()
            room = Room(tmp_path / "room")
        found = prepare_rows(made, tmp_path, log, room)
        side = found.report["counts"]["train"]
        assert side["in"] == len(lines) == side["kept"] + sum(side["dropped"].values()) + side["to review"]
        assert [row.source for row in found.train] == sorted((row.source for row in found.train), key=_line)
        assert found.report["review"] == {"changed": len(changes)}
        return found

    return run


def _line(source: str) -> int:
    return int(source.rpartition(":")[2])


def ends(found: Prepared) -> dict[str, str]:
    """Where the rows stand that are in training no more: source -> stage."""
    return {item.source: item.stage for item in found.dropped}


def test_an_edit_that_says_what_a_test_row_says_is_a_leak(edit: Edit) -> None:
    found = edit({"text": HELD_OUT.upper()}, {"text": f"{HELD_OUT}?"}, {"text": "a text of its own"})
    assert ends(found) == {"train.jsonl:21": "leak", "train.jsonl:22": "near_leak"}
    assert [item.twin for item in found.dropped] == ["test.jsonl:1"] * 2
    assert found.train[-1].text == "a text of its own" and len(found.train) == 21
    told = "2 rows of train were dropped, since they also stand in validation or test (1 nearly)"
    assert told in found.report["warnings"]


def test_an_edit_is_near_a_test_row_where_no_stage_asks(edit: Edit) -> None:
    found = edit({"text": f"{HELD_OUT}?"}, {"text": HELD_OUT}, near_duplicates=None)
    assert ends(found) == {"train.jsonl:22": "leak"} and found.train[-1].text == f"{HELD_OUT}?"


def test_personal_data_of_an_edit_is_masked_and_does_not_wait_again(edit: Edit) -> None:
    found = edit({"text": "ask bob@example.com"})
    assert found.train[-1].text == "ask <EMAIL>" and found.train[-1].lineage == ("personal_data", "review")
    (repair,) = [one for one in found.repairs if one.row == found.train[-1].id and one.after == "ask <EMAIL>"]
    assert (repair.source, repair.before) == ("train.jsonl:21", "ask <EMAIL bo...>")
    assert found.report["counts"]["train"]["to review"] == 0


def test_an_edit_that_says_what_another_row_says_is_its_duplicate(edit: Edit) -> None:
    twice = {"text": "Text 4 on something ELSE"}
    found = edit(twice, twice | {"label": "b"}, {"text": "new"}, {"text": "new"}, {"text": "NEW"})
    assert ends(found) == dict.fromkeys([f"train.jsonl:{n}" for n in (21, 24, 25)], "exact_duplicates")
    assert [item.twin for item in found.dropped] == ["train.jsonl:5", "train.jsonl:23", "train.jsonl:23"]
    assert found.dropped[0].reason == "says the same as train.jsonl:5"
    assert found.train[-2].label == "b", "the same text with another label stays, as in the cleaning"


def test_edits_that_are_equal_stay_where_no_stage_asks(edit: Edit) -> None:
    found = edit({"text": "ask bob@example.com"}, {"text": "ask bob@example.com"}, exact_duplicates=False)
    assert [row.text for row in found.train[-2:]] == ["ask <EMAIL>"] * 2 and not ends(found)
