from __future__ import annotations

from pathlib import Path

import pytest

from tuneloop.errors import DataError
from tuneloop.rows.locate import expand_variables, locate, shown_path


def test_variables_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_T", "/data")
    assert expand_variables("${TUNELOOP_T}/a.csv") == "/data/a.csv"
    assert expand_variables("${TUNELOOP_T:-x}/a.csv") == "/data/a.csv"
    monkeypatch.delenv("TUNELOOP_T")
    assert expand_variables("${TUNELOOP_T:-../shared}/a.csv") == "../shared/a.csv"
    assert expand_variables("${TUNELOOP_T:-}/a.csv") == "/a.csv"


def test_an_unset_variable_names_itself_and_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNELOOP_T", raising=False)
    with pytest.raises(DataError, match=r"TUNELOOP_T.*not set.*github\.com/x/y"):
        expand_variables("${TUNELOOP_T}/a.csv", "github.com/x/y")


def test_globs_are_sorted_and_must_match(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.jsonl").write_text("x")
    assert [p.name for p in locate("*.jsonl", tmp_path).files] == ["a.jsonl", "b.jsonl"]
    assert [p.name for p in locate("**/*.jsonl", tmp_path).files] == ["a.jsonl", "b.jsonl", "d.jsonl"]
    with pytest.raises(DataError, match=r"No file matches \*\.csv.*the moon"):
        locate("*.csv", tmp_path, "the moon")


@pytest.mark.parametrize("spec", ["owner/name", "PolyAI/banking77:test", "a/b.c-d"])
def test_a_spec_without_a_folder_or_a_suffix_is_a_hub_id(tmp_path: Path, spec: str) -> None:
    place = locate(spec, tmp_path)
    assert (place.hub, place.split) == (spec.partition(":")[0], spec.partition(":")[2] or "train")


@pytest.mark.parametrize("spec", ["data/train", "nowhere/train.jsonl", "./owner/name", "train", "/owner/name"])
def test_other_specs_are_missing_files(tmp_path: Path, spec: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("x")
    with pytest.raises(DataError, match=r"There is no file .*can be had at: the moon"):
        locate(spec, tmp_path, "the moon")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x")
    with pytest.raises(DataError, match=r"There is no file .*train\.jsonl.*Got a folder with train\.csv"):
        locate("train.jsonl", tmp_path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("x")
    with pytest.raises(DataError, match=r"is a folder.*data/\*\.csv"):
        locate("data", tmp_path)


def test_paths_are_shown_from_the_recipe(tmp_path: Path) -> None:
    assert shown_path(tmp_path / "a" / "b.csv", tmp_path) == "a/b.csv"
    assert shown_path(Path("/elsewhere/b.csv"), tmp_path) == "/elsewhere/b.csv"
