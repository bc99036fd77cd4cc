"""The same run again: only what changed is done again, and a trained model is never replaced unasked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.end_to_end.workbench import PLACES, files_of, intent_rows, read_json, tuneloop, write_jsonl

Copied = Callable[[str], Path]
KEPT = ["rows: unchanged, kept", "training: unchanged, kept", "scores: unchanged, kept"]


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Files that came, went or differ."""
    return {name for name in before | after if before.get(name) != after.get(name)}


@pytest.mark.parametrize("kind", ["intents", "answers"])
def test_the_second_run_does_nothing(copied: Copied, kind: str):
    folder = copied(kind)
    before = files_of(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert done.status == 0, done.err
    assert [line for line in done.err.splitlines() if line in KEPT] == KEPT
    assert files_of(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == times
    assert "tuned" in done.out and "report.html" in done.out


def test_clean_and_train_after_a_run_do_nothing(copied: Copied):
    folder = copied("intents")
    before = files_of(folder)
    assert tuneloop("clean", "recipe.yaml", folder=folder).status == 0
    done = tuneloop("train", "recipe.yaml", folder=folder)
    assert (done.status, done.out) == (0, "runs/r/model\n")
    assert files_of(folder) == before


def test_other_evaluate_settings_redo_only_the_scores(copied: Copied):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    done = tuneloop("run", "recipe.yaml", "--set", "evaluate.untuned_rows=0", folder=folder)
    assert done.status == 0, done.err
    assert [line for line in done.err.splitlines() if line in KEPT] == KEPT[:2]
    touched = changed(before, files_of(folder / "runs/r"))
    assert touched == {"recipe.yaml", "manifest.json", "scores.json", "predictions.parquet", "report.html"}
    assert list(read_json(folder / "runs/r/scores.json")["models"]) == ["floor", "encoder", "tuned"]


@pytest.mark.parametrize("name", ["test", "clean", "dropped"])
def test_a_table_of_rows_that_is_gone_is_made_again_and_the_model_kept(copied: Copied, name: str):
    folder = copied("intents")
    before, table = files_of(folder), folder / f"runs/r/data/{name}.parquet"
    table.unlink()
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert done.status == 0, done.err
    assert "training: unchanged, kept" in done.err and "scores: unchanged, kept" in done.err
    assert changed(before, files_of(folder)) <= {"runs/r/manifest.json", "runs/r/data/review.sqlite"}
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert [line for line in done.err.splitlines() if line in KEPT] == KEPT


def test_another_language_of_the_page_redoes_only_the_page(copied: Copied):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    done = tuneloop("run", "recipe.yaml", "--set", "report.lang=zh", folder=folder)
    assert [line for line in done.err.splitlines() if line in KEPT] == KEPT
    pages = {"report.html", "data/report.html"}
    assert changed(before, files_of(folder / "runs/r")) == {"recipe.yaml", "manifest.json"} | pages
    for page in pages:
        assert '<html lang="zh' in (folder / "runs/r" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", ["clean", "train"])
def test_a_page_of_the_rows_that_is_gone_is_written_again(copied: Copied, verb: str):
    folder = copied("intents")
    before = files_of(folder)
    (folder / "runs/r/data/report.html").unlink()
    done = tuneloop(verb, "recipe.yaml", folder=folder)
    assert done.status == 0 and KEPT[0] in done.err
    assert files_of(folder) == before


def test_what_does_not_shape_the_model_redoes_nothing_of_it(copied: Copied):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    words = ["--set", "train.logging_steps=3", "--set", "train.report_to=[]"]
    done = tuneloop("run", "recipe.yaml", *words, folder=folder)
    assert done.status == 0, done.err
    assert changed(before, files_of(folder / "runs/r")) == {
        "recipe.yaml",
        "manifest.json",
        "report.html",
    }  # it shows it


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["train.learning_rate=0.02"], "train changed in the recipe"),
        (["adapt.rank=2"], "adapt changed in the recipe"),
        (["task.attention=bidirectional", "train.num_train_epochs=2"], "task, train changed in the recipe"),
        (["data.max_length=32"], "data changed in the recipe"),
        (["seed=5"], "seed changed in the recipe"),
        (["clean.exact_duplicates=false"], "clean changed in the recipe"),
        (["task.pooling=last"], "task changed in the recipe"),
    ],
)  # fmt: skip
def test_a_trained_model_is_not_replaced_unasked(copied: Copied, settings: list[str], says: str):
    folder = copied("intents")
    before = files_of(folder)
    words = [word for setting in settings for word in ("--set", setting)]
    for verb in ("run", "train"):
        told = tuneloop(verb, "recipe.yaml", *words, folder=folder).paragraph()
        assert "holds a trained model that this would replace" in told
        assert says in told
        assert "--overwrite" in told and "--set name=r-2" in told
        assert files_of(folder) == before


def test_new_rows_do_not_replace_a_trained_model_unasked(copied: Copied):
    folder = copied("intents")
    write_jsonl(folder / "train.jsonl", intent_rows(PLACES[:7]))
    before = files_of(folder)
    for verb in ("run", "train", "clean"):
        told = tuneloop(verb, "recipe.yaml", folder=folder).paragraph()
        assert "would replace" in told and "--overwrite" in told
        assert files_of(folder) == before
    assert "the input files changed" in tuneloop("run", "recipe.yaml", folder=folder).paragraph()


def test_overwrite_replaces_the_model_and_all_that_stood_on_it(copied: Copied):
    folder = copied("intents")
    run = folder / "runs/r"
    assert tuneloop("merge", "r", folder=folder).status == 0
    before = files_of(run)
    words = ["run", "recipe.yaml", "--set", "train.learning_rate=0.02"]
    done = tuneloop(*words, "--overwrite", folder=folder)
    assert done.status == 0, done.err
    after = files_of(run)
    redone = {"model/adapter_model.safetensors", "model/head.safetensors", "log.jsonl", "scores.json", "report.html"}
    assert redone <= changed(before, after)
    assert {name for name in after if name.startswith("data/")} == {name for name in before if name.startswith("data/")}
    assert not changed(
        {k: v for k, v in before.items() if k[:5] == "data/"}, {k: v for k, v in after.items() if k[:5] == "data/"}
    )
    assert not [name for name in after if name.startswith("merged/")]  # it was of the old model
    assert list(read_json(run / "manifest.json")["stations"]) == ["data", "train", "evaluate", "report"]
    assert tuneloop(*words, folder=folder).err.splitlines().count("training: unchanged, kept") == 1


def test_another_name_keeps_both(copied: Copied):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    done = tuneloop("train", "recipe.yaml", "--set", "name=r-2", "--set", "seed=5", folder=folder)
    assert (done.status, done.out) == (0, "runs/r-2/model\n")
    assert re.search(r"^rows: \d+ to train on came in: 0 repaired, 0 dropped, 0 to review, \d+ kept$", done.err, re.M)
    assert "rows: each reason with examples: runs/r-2/data/report.html" in done.err.splitlines()
    assert files_of(folder / "runs/r") == before


def test_clean_shows_the_rows_and_run_goes_on_from_them(intents: Path, model: Callable[[str], Path]):
    from tests.end_to_end.workbench import write_recipe

    write_recipe(intents, "classification", model("llama"))
    with (intents / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "my card was declined at rome", "label": "card"}\n{"text": "it broke", "label": "card"')
    done = tuneloop("clean", "recipe.yaml", folder=intents)
    assert done.status == 0, done.err
    assert re.search(r"^  - exact_duplicates +1 *$", done.out, re.MULTILINE), done.out
    link = re.search(r"^report  (file://\S+)$", done.out, re.MULTILINE)
    assert link is not None, done.out
    assert Path(unquote(urlsplit(link[1]).path)) == (intents / "runs/r/data/report.html").resolve()
    report = tuneloop("clean", "recipe.yaml", "--json", folder=intents).json()
    train = report["counts"]["train"]
    assert (train["in"], train["kept"], train["dropped"], train["repaired"]) == (74, 73, {"exact_duplicates": 1}, 1)
    before = files_of(intents / "runs/r/data")
    told = tuneloop("train", "recipe.yaml", folder=intents)
    assert told.status == 0 and KEPT[0] in told.err
    assert files_of(intents / "runs/r/data") == before
