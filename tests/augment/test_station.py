"""The station of wordings: its key, what stands, and which wordings say what another row says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.augment.made import labelled, talk

from tuneloop.augment.station import (
    Masked,
    _apart,
    augment_key,
    augment_station,
    load_variants,
    standing_sha256,
    variants_path,
)
from tuneloop.augment.variants import Variants
from tuneloop.errors import RecipeError
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import RunFolder

MASKED = Masked("weights", pytest.fail, {"name_or_path": "m"})
TREE: dict[str, Any] = {
    "name": "r", "model": {"name_or_path": "m"}, "data": {"train": "rows.jsonl"}, "task": {"type": "classification"},
    "augment": {"masked_lm": {"name_or_path": "m"}, "paraphrase": {}},
    "teacher": {"base_url": "http://x/v1", "model": "t"},
}  # fmt: skip


def recipe(**sections: dict[str, Any]) -> Recipe:
    """TREE with some keys of its sections changed; `masked_lm` and `paraphrase` are of augment."""
    tree = {name: dict(value) if isinstance(value, dict) else value for name, value in TREE.items()}
    for name, value in sections.items():
        inside = tree["augment"] if name in ("masked_lm", "paraphrase") else tree
        inside[name] = {**inside.get(name, {}), **value}
    return Recipe.model_validate(tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"masked_lm": {"rate": 0.3}}, {"masked_lm": {"top_k": 3}}, {"masked_lm": {"least_probability": 0.3}},
        {"masked_lm": {"copies": 2}}, {"paraphrase": {"copies": 2}}, {"teacher": {"model": "u"}},
        {"teacher": {"temperature": 0.1}}, {"teacher": {"max_tokens": 9}},
        {"augment": {"back_translation": {"through": ["French"]}}},
    ],
)  # fmt: skip
def test_what_decides_the_wordings_changes_the_key(changes: dict[str, Any]):
    assert augment_key(recipe(**changes), "rows", MASKED) != augment_key(recipe(), "rows", MASKED)


@pytest.mark.parametrize(
    "changes",
    [
        {"masked_lm": {"use": "append"}}, {"paraphrase": {"probability": 0.1}}, {"masked_lm": {"batch_size": 1}},
        {"masked_lm": {"name_or_path": "elsewhere"}}, {"masked_lm": {"revision": "main"}},
        {"teacher": {"base_url": "http://y/v1"}}, {"teacher": {"workers": 9, "retries": 0, "timeout": 1.0}},
        {"teacher": {"api_key_env": "KEY", "requests_per_minute": 3, "max_missing": 1.0}},
        {"augment": {"synonyms": {}}}, {"train": {"learning_rate": 1.0}},
    ],
)  # fmt: skip
def test_what_decides_nothing_about_them_does_not(changes: dict[str, Any]):
    assert augment_key(recipe(**changes), "rows", MASKED) == augment_key(recipe(), "rows", MASKED)


def test_rows_and_masked_model_are_in_the_key_and_no_method_has_none():
    assert augment_key(recipe(), "rows", MASKED) != augment_key(recipe(), "other rows", MASKED)
    assert augment_key(recipe(), "rows", MASKED) != augment_key(recipe(), "rows", replace(MASKED, key="others"))
    nothing = Recipe.model_validate(TREE | {"augment": {"noise": {}}})
    assert augment_key(nothing, "rows", None) == ""
    with pytest.raises(RecipeError, match="there is no teacher"):
        augment_key(Recipe.model_validate(TREE | {"teacher": None}), "rows", MASKED)


def test_what_stands(tmp_path: Path):
    run, made = RunFolder(tmp_path), recipe()
    assert standing_sha256(run, made, "") == ""
    assert standing_sha256(run, made, "k") is None
    run.data.mkdir()
    variants_path(run).touch()
    entry = {"key": "k", "sha256": "s", "teacher": {"questions": 100, "unanswered": {"HTTP 500": 2}}}
    run.record("augment", **entry)
    assert standing_sha256(run, made, "k") == "s" and standing_sha256(run, made, "other") is None
    assert standing_sha256(run, recipe(teacher={"max_missing": 0.01}), "k") is None
    variants_path(run).unlink()
    assert standing_sha256(run, made, "k") is None


# -- what another row says ------------------------------------------------------------------------------------


def prepared(train: list[Row], held_out: list[Row]) -> Prepared:
    return Prepared(train, held_out[:1], held_out[1:], [], [], [], {})


def reworded(row: Row, text: str) -> Row:
    return replace(row, text=text).through(f"paraphrase:{row.id}")


TRAIN = [labelled("where is my card", "card"), labelled("what is the fee", "fee")]
HELD_OUT = [labelled("is my card on its way", "card"), labelled("do you charge a fee for a transfer abroad", "fee")]


def test_a_wording_that_another_row_says_is_not_used():
    made = [
        reworded(TRAIN[0], "has my card been sent"), reworded(TRAIN[0], "Is my  card on its way"),
        reworded(TRAIN[1], "Where is my card"), reworded(TRAIN[1], "has my card been sent"),
        reworded(TRAIN[1], "do you charge a fee for a transfer abroad?"),
    ]  # fmt: skip
    found = _apart(Variants(made, {("paraphrase", "empty"): 1}), prepared(TRAIN, HELD_OUT), None)
    assert found.rows == [made[0], made[4]]
    assert found.skipped == {
        ("paraphrase", "empty"): 1, ("paraphrase", "a held-out row says it"): 1,
        ("paraphrase", "another training row says it"): 2,
    }  # fmt: skip
    near = _apart(Variants(made, {}), prepared(TRAIN, HELD_OUT), 0.85)
    assert near.rows == [made[0]] and near.skipped["paraphrase", "a held-out row says nearly that"] == 1


def test_a_broken_held_out_row_is_compared_as_training_rows_are_mended():
    broken, made = (
        labelled("the caf\u00c3\u00a9 charged me twice", "fee"),
        reworded(TRAIN[1], "the café charged me twice"),
    )
    found = _apart(Variants([made], {}), prepared(TRAIN, [broken]), None)
    assert not found.rows and found.skipped == {("paraphrase", "a held-out row says it"): 1}


def test_a_conversation_is_compared_by_all_it_asks():
    row = talk(("user", "hi"), ("assistant", "hello"), ("user", "where is it"), ("assistant", "here"))
    other = talk(("user", "hi"), ("assistant", "hello"), ("user", "what is it"), ("assistant", "this"))
    turns = [replace(turn, content="what is it") if turn.content == "where is it" else turn for turn in row.messages]
    made = replace(row, messages=tuple(turns)).through(f"paraphrase:{row.id}")
    found = _apart(Variants([made], {}), prepared([row, other], []), None)
    assert not found.rows and found.skipped == {("paraphrase", "another training row says it"): 1}


def test_the_station_writes_what_was_made_and_takes_off_what_stood_on_other_wordings(tmp_path: Path):
    def fill(texts: Any, hidden: Any) -> Any:
        return [[[("bill", 0.9)] for _ in spans] for spans in hidden]

    run = RunFolder(tmp_path)
    for station in ("data", "train", "evaluate", "report"):
        run.record(station, key="k")
    made = Recipe.model_validate(TREE | {"augment": {"masked_lm": {"name_or_path": "m", "rate": 1.0}}})
    rows = [labelled("where is it, my ticket", "card"), labelled("what is the price", "fee"), labelled("no", "fee")]
    augment_station(run, made, prepared(rows, []), Masked("w", lambda: fill, {"sha256": "w"}), "k")
    assert list(run.stations()) == ["data", "augment"]
    entry = run.stations()["augment"]
    assert entry["methods"] == {"masked_lm": {"wordings": 2, "wanted": 3, "not_used": {"the same text": 1}}}
    assert entry["masked_lm"] == {"sha256": "w"} and "teacher" not in entry
    found = load_variants(run)
    assert [row.text for row in found.rows] == ["where is it, my bill", "what is the bill"]
    assert found.skipped == {("masked_lm", "the same text"): 1}
    again = replace(MASKED, key="w")  # it cannot be loaded: nothing is missing
    augment_station(run, made, prepared(rows, []), again, "k")
    assert load_variants(run) == found and run.stations()["augment"]["sha256"] == entry["sha256"]
