"""The benchmark of augmentation: its hit rows are not training's, its splits leak nothing, its verdicts are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.augmentation.__main__ import key_of, main, parser, plan_of
from benchmarks.augmentation.hits import OTHER_WORDS, hit_by_synonyms, hit_by_typos
from benchmarks.augmentation.sets import Task, draw, load
from benchmarks.augmentation.table import gap, misses, table
from benchmarks.train_speed.raw import read_raw

from tuneloop.augment.lexicon import shipped
from tuneloop.records import Row


def test_no_replacement_of_the_hit_rows_is_one_that_training_makes():
    lexicon = shipped()
    for word, other in OTHER_WORDS.items():
        entry = lexicon.entry(word)
        made = {w for others in entry.synonyms.values() for w in others} if entry else set()
        assert other not in made, (word, other)


def test_hits_are_fixed_and_hit():
    text = "I want to know why my card payment was declined"
    assert hit_by_typos(text) == hit_by_typos(text) != text
    assert len(hit_by_typos(text).split()) == len(text.split())
    assert hit_by_synonyms("Please help") == "Kindly give a hand"
    assert hit_by_typos("打开汽车之家") != "打开汽车之家" and hit_by_synonyms("查询天气", {"天气": "气象"}) in (
        "查询天气", "查询气象",
    )  # fmt: skip


def rows(count: int) -> list[Row]:
    return [Row(id=f"{place}", source="f:1", text=f"text {place}", label="ab"[place % 2]) for place in range(count)]


def test_the_draw_is_balanced_fixed_by_its_seed_and_leaks_nothing():
    task = Task("smp2019", rows(30), [], chinese=True)
    train, test = draw(task, 5, seed=1)
    assert [row.label for row in train] == ["a"] * 5 + ["b"] * 5 and len(test) == 20
    assert not {row.text for row in train} & {row.text for row in test}
    assert draw(task, 5, seed=1)[0] == train != draw(task, 5, seed=2)[0]


@pytest.mark.parametrize(("name", "classes"), [("banking77", 77), ("snips", 7), ("smp2019", 25)])
def test_the_real_sets(shared_data: Path, name: str, classes: int):
    task = load(name, shared_data)
    train, test = draw(task, 10, seed=1)
    assert len(task.labels) == classes and len(train) == 10 * classes
    assert len(test) > 500


def record(arm: str, seed: int, right: list[int], name: str = "banking77") -> dict[str, Any]:
    return {
        "set": name, "arm": arm, "seed": seed, "ids": [str(place) for place in range(len(right))], "command": "c",
        "right": {"clean": right, "typos": right, "synonyms": right}, "epochs": 1, "augment": {},
        "train_rows": 770, "learning_rate": 1e-3,
        "base": {"name": "m"}, "method": "full",
    }  # fmt: skip


def test_gaps_and_misses():
    good = [record("plain", 1, [0, 1] * 50), record("augmented", 1, [1, 1] * 50)]
    found = gap(good, "banking77", "clean")
    assert found is not None and found[:2] == (0.5, 1.0) and found[2].difference == 0.5
    assert misses(good) == []
    worse = [record("plain", 1, [1, 1] * 50), record("augmented", 1, [0, 1] * 50)]
    assert len(misses(worse)) == 3
    counts = {"kept": 90, "judged": 100, "changed": 50, "changed_kept": 40, "rows_changed": 0.5, "changed_words": 0.1}
    labels = {"set": "snips", "arm": "labels", "methods": {"all": counts}}
    assert misses([labels]) == ["snips: 90.00% of the rows keep their label, to be 97% or more"]
    text = table([*good, labels])
    assert "| banking77 | typos | 1 | 50.00% | 100.00% | +50.00" in text and "90.00% [82.56%, 94.48%] of 100" in text


def test_the_short_form_trains_scores_and_measures_nothing_twice(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TUNELOOP_DATA", str(shared_data))
    asked = ["--short", "--sets", "snips", "--results", str(tmp_path)]
    assert main(asked) == 0
    records = read_raw(tmp_path / "raw.jsonl")
    assert [(one["set"], one["arm"]) for one in records] == [
        ("snips", "plain"), ("snips", "augmented"), ("snips", "labels"),
    ]  # fmt: skip
    plain, augmented, labels = records
    assert plain["train_rows"] == augmented["train_rows"] == 14 and plain["steps"] == augmented["steps"] > 0
    assert plain["test_rows"] == 60 and plain["hit"]["clean"] == 0 < plain["hit"]["typos"]
    assert 0 < labels["methods"]["all"]["kept"] <= labels["methods"]["all"]["judged"]
    assert "| snips | typos | 1 |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert main(asked) == 0 and len(read_raw(tmp_path / "raw.jsonl")) == 3


def test_other_settings_are_other_runs():
    asked = ([], ["--epochs", "2"], ["--learning-rate", "1e-5"])
    plans = [plan_of("snips", parser().parse_args(["--short", *more]), "c") for more in asked]
    assert len({key_of(plan, {}, "snips", 1, "plain") for plan in plans}) == 3
    assert key_of(plans[0], {"noise": {"rate": 0.1}}, "snips", 1) != key_of(
        plans[0], {"noise": {"rate": 0.2}}, "snips", 1
    )


def test_sets_that_are_not_there_are_an_error_that_says_where_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.delenv("TUNELOOP_DATA", raising=False)
    assert main(["--short"]) == 1 and "TUNELOOP_DATA" in capsys.readouterr().err
    monkeypatch.setenv("TUNELOOP_DATA", str(tmp_path))
    assert main(["--short"]) == 1 and "does not hold banking77" in capsys.readouterr().err
