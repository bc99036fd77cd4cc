"""`tuneloop clean` with the stage of relevance: what is dropped and doubted, what is embedded again, what is told."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from benchmarks.dirt.sets import made_up
from tests.end_to_end.test_interrupted import hears_ctrl_c  # noqa: F401  (a fixture)
from tests.end_to_end.workbench import Done, finish, start, tuneloop, write_jsonl, write_recipe

from tuneloop.model import encoder as encoders
from tuneloop.review.queue import Answer, open_queue

Models = Callable[[str], Path]
STRANGERS = ["2024 2024 2024", "2024!", "20 24 20 24 2024", "2024? 2024? 2024?", "24 2024 20 2024"]
STOP_AFTER = """
import os, signal
from tuneloop.model.encoder import Encoder
batches = Encoder.batches
def some(self, texts, **options):
    for number, found in enumerate(batches(self, texts, batch_tokens=64)):
        if number == {batches}:
            os.kill(os.getpid(), signal.SIGINT)
        yield found
Encoder.batches = some
from tuneloop.cli import main
main()
"""


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that goes through the encoder from here on."""
    read: list[str] = []
    real = encoders.Encoder.batches

    def batches(self: Any, texts: Sequence[str], **options: Any) -> Iterator[Any]:
        for places, vectors in real(self, texts, **options):
            read.extend(texts[place] for place in places)
            yield places, vectors

    monkeypatch.setattr(encoders.Encoder, "batches", batches)
    return read


@pytest.fixture
def place(tmp_path: Path, model: Models) -> Path:
    """Rows of a bank with strangers among them, examples, and a recipe that asks for the stage."""
    rows = made_up(170)
    train = rows[:120]
    for number, text in enumerate(STRANGERS):
        train.insert(7 * number + 3, {"text": text, "label": "card"})
    write_jsonl(tmp_path / "train.jsonl", train)
    write_jsonl(tmp_path / "validation.jsonl", rows[120:135])
    write_jsonl(tmp_path / "test.jsonl", rows[135:150])
    write_jsonl(tmp_path / "examples.jsonl", ({"text": row["text"]} for row in rows[150:]))
    write_recipe(
        tmp_path, "classification", model("llama"),
        clean={"near_duplicates": False, "relevance": {"examples": "examples.jsonl"}},
    )  # fmt: skip
    return tmp_path


def clean(folder: Path, *settings: str) -> Done:
    options = [word for setting in settings for word in ("--set", setting)]
    return tuneloop("clean", "recipe.yaml", "--json", *options, folder=folder)


def written(folder: Path) -> list[str]:
    """What stands in the run folder, but for its lock."""
    return sorted(path.name for path in (folder / "runs/r").glob("*") if path.name != ".lock")


def vectors(folder: Path) -> int:
    """How many are kept."""
    with contextlib.closing(sqlite3.connect(folder / "runs/r/embeddings.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def dropped(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "runs/r/data/dropped.parquet").filter(pl.col("stage") == "relevance")


def test_strangers_are_dropped_or_wait_and_the_counts_add_up(place: Path):
    report = clean(place).json()
    counts = report["counts"]["train"]
    assert counts["in"] == 125 == counts["kept"] + sum(counts["dropped"].values()) + counts["to review"]
    lost = set(dropped(place)["source"])
    assert counts["dropped"].get("relevance", 0) == len(lost)
    assert counts["to review"] == report["doubts"].get("relevance", 0)
    assert lost, "an encoder of random weights takes some rows for strangers"
    assert all("not of the task (relevance 0.0" in reason for reason in dropped(place)["reason"])
    shown = tuneloop("clean", "recipe.yaml", folder=place)
    assert "relevance: " in shown.out and "rows: unchanged, kept" in shown.err


def test_a_second_cleaning_embeds_only_what_is_new(place: Path, embedded: list[str]):
    assert clean(place).status == 0
    assert len(embedded) == len(set(embedded)) > 200
    embedded.clear()
    assert "rows: unchanged, kept" in clean(place).err and embedded == []
    assert "rows: unchanged" not in clean(place, "clean.relevance.keep_above=0.4").err and embedded == []
    with open(place / "train.jsonl", "a", encoding="utf-8") as file:
        file.write('{"text": "my card is blue", "label": "card"}\n')
    assert clean(place).status == 0 and embedded == ["my card is blue"]
    held = vectors(place)
    lines = (place / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (place / "train.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    assert clean(place).status == 0 and vectors(place) == held - 1, "what no row says any more is forgotten"


def test_other_examples_another_encoder_or_another_task_are_another_cleaning(
    place: Path, model: Models, tmp_path: Path
):
    def again(*settings: str) -> bool:
        done = clean(place, *settings)
        assert done.status == 0, done.err
        return "rows: unchanged, kept" not in done.err

    assert again() and not again()
    with open(place / "examples.jsonl", "a", encoding="utf-8") as file:
        file.write('{"text": "why is my pin wrong"}\n')
    assert again() and not again()
    assert again("clean.relevance.task=a customer of a bank asks about a card")
    folder = model("bert")
    assert again(f"clean.relevance.encoder={folder}") and not again(f"clean.relevance.encoder={folder}")
    assert again("clean.relevance=off")


def test_after_ctrl_c_in_the_middle_the_same_command_goes_on(place: Path, embedded: list[str]):
    done = finish(start("clean", "recipe.yaml", folder=place, script=STOP_AFTER.format(batches=8)))
    assert done.status == 130 and done.out == "" and "Traceback" not in done.err, done.err
    assert written(place) == ["embeddings.sqlite"]
    assert clean(place).status == 0
    went_on = len(embedded)
    embedded.clear()
    (place / "runs/r/embeddings.sqlite").unlink()
    assert clean(place, "clean.relevance.keep_above=0.4").status == 0
    assert 0 < went_on < len(embedded)


def test_show_and_doctor_make_no_run_folder_and_leave_another_runs_embeddings(place: Path):
    for words in (["show", "recipe.yaml", "-n", "1"], ["doctor", "recipe.yaml"]):
        done = tuneloop(*words, folder=place)
        assert done.status == 0, done.err
        assert not (place / "runs").exists()
    assert clean(place).status == 0
    kept = place / "runs/r/embeddings.sqlite"
    before = kept.read_bytes()
    with open(place / "train.jsonl", "a", encoding="utf-8") as file:
        file.write('{"text": "my card is blue", "label": "card"}\n')
    for words in (["show", "recipe.yaml", "-n", "1"], ["doctor", "recipe.yaml"]):
        done = tuneloop(*words, folder=place)
        assert done.status == 0 and kept.read_bytes() == before, done.err


def test_what_a_person_let_in_stays_though_it_would_be_dropped(place: Path):
    assert clean(place, "clean.relevance.drop_below=0").status == 0
    queue = open_queue(place / "runs/r")
    (item,) = [item for item in queue.items() if item.text == STRANGERS[0]]
    queue.decide([Answer(row=item.row, kind="keep", reviewer="me", seen=item.seen)])
    assert clean(place).status == 0
    lost = set(dropped(place)["source"])
    assert lost and lost.isdisjoint(item.sources)
    assert STRANGERS[0] in set(pl.read_parquet(place / "runs/r/data/train.parquet")["text"])


def test_chinese_rows_are_refused_before_anything_is_embedded(place: Path, embedded: list[str]):
    rows = [{"text": f"我的卡在第{number}家店不能用", "label": "卡转"[number % 2]} for number in range(80)]
    write_jsonl(place / "train.jsonl", rows)
    told = clean(place, "clean.relevance={}", "data.validation=0.2", "data.test=0.2").paragraph()
    assert "cannot read" in told and "text2vec-base-chinese" in told and "clean.relevance.encoder" in told
    assert embedded == [] and written(place) == []


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("clean.relevance.examples=none.jsonl", "none.jsonl"),
        ("clean.relevance.encoder=none/such/folder", "Check clean.relevance.encoder"),
        ("clean.relevance.task=''", "'clean.relevance.task' should"),
        ("clean.relevance.drop_below=0.6", "drop_below (0.6) must not be above keep_above (0.5)"),
        ("clean.relevance.drop_below=2", "'clean.relevance.drop_below' should be less than or equal to 1"),
        ("clean.relevance.score_above=1", "unknown key 'clean.relevance.score_above'"),
        ("clean.relevance=true", "'clean.relevance' should be a section with keys"),
    ],
)
def test_wrong_values_are_told_before_anything_is_written(place: Path, setting: str, says: str):
    assert says in clean(place, setting).paragraph()
    assert written(place) == []


def test_a_decoder_is_no_encoder(place: Path, model: Models):
    told = clean(place, f"clean.relevance.encoder={model('llama')}").paragraph()
    assert "not a sentence encoder" in told and "clean.relevance.encoder" in told
