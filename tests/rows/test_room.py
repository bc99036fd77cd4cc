"""Rows that go through files come out as those that stay in memory: the same tables, byte for byte."""

from __future__ import annotations

import gc
import itertools
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import ray
from benchmarks.dirt.sets import made_up
from benchmarks.relevance.inputs import word_vectors
from tests.rows.conftest import Write

from tuneloop import row_station, shelf
from tuneloop.disk import sha256_file
from tuneloop.errors import RecipeError
from tuneloop.recipe import Recipe, recipe_from_tree
from tuneloop.records import Row
from tuneloop.report.row_page import rows_page
from tuneloop.rows import clean, near_duplicates, outliers, read, text_file
from tuneloop.rows.engine import Cores, Engine, Here, Ray, at_most, threads
from tuneloop.rows.prepare import prepare_rows, save_prepared
from tuneloop.rows.relevance import Embedder
from tuneloop.rows.room import MEMORY, Room, room_of
from tuneloop.runs import RunFolder

WORDS = [
    "refund",
    "order",
    "parcel",
    "card",
    "app",
    "login",
    "late",
    "broken",
    "invoice",
    "address",
    "退款",
    "物流",
    "please",
    "my",
    "where",
    "is",
    "the",
    "when",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 rows in JSONL and CSV: copies, near twins, contradictions, broken lines, mojibake, noise, personal data."""
    folder, chance = tmp_path_factory.mktemp("rows"), random.Random(3)
    lines, texts = list[str](), list[str]()
    for number in range(700):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(6, 30))) + f" {chance.randrange(10**6)}"
        texts.append(text)
        lines.append(json.dumps({"text": text, "label": chance.choice("abc"), "n": number}))
    for number in range(60):
        text, label = chance.choice(texts), chance.choice("abc")
        lines.append(json.dumps({"text": text if number % 2 else f"{text}!", "label": label}, ensure_ascii=False))
    lines += ["{'text': 'single quotes', 'label': 'a'}", '{"text": "cut o', '{"text": null, "label": "a"}', "", "[1]"]
    lines += [
        json.dumps({"text": "mail me: ann@example.com please, caf\u00c3\u00a9", "label": "a"}, ensure_ascii=False)
    ]
    lines += [json.dumps({"text": "".join(chance.choices("qzxjkvw#%&", k=60)), "label": "b"}) for _ in range(8)]
    for number in range(40):  # mended by one repair, by another, by two
        text = " ".join(chance.choices(WORDS, k=9)) + f" {number}"
        lines.append(json.dumps({"text": f"{text} caf\u00c3\u00a9", "label": "a"}, ensure_ascii=False))
        lines.append(f"{{'text': '{text} in single quotes', 'label': 'b'}}")
        lines.append(f"{{'text': '{text} caf\u00c3\u00a9 twice', 'label': 'c'}}")
    chance.shuffle(lines)
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = "\n".join(
        f'"{" ".join(chance.choices(WORDS, k=12))} {n}\nsecond line",{chance.choice("abc")}' for n in range(90)
    )
    stray = '"a quote that is never closed,a\nanother row,b'
    (folder / "b.csv").write_text(f"text,label\n{stray}\n{rows}\n{stray}\nthe last one,c\n", encoding="utf-8")
    return folder


def recipe(**changes: Any) -> Recipe:
    stages = {"outliers": {}, "lengths": True, "language": True, "personal_data": True}
    parts = {
        "name": "rows", "task": {"type": "classification"}, "model": {"name_or_path": "none"},
        "data": {"train": "*.[jc]s*", "validation": 0.1, "test": 0.1}, "clean": stages,
    }  # fmt: skip
    return Recipe.model_validate(parts | changes)


def written(folder: Path, home: Path, room: Room, asked: Recipe, reader: Embedder | None = None) -> dict[str, str]:
    """File of the data folder -> its hash."""
    run = RunFolder(folder)
    run.path.mkdir()
    save_prepared(prepare_rows(asked, home, (), room, None if reader is None else lambda: reader), run)
    return {file.name: sha256_file(file) for file in run.data.iterdir() if file.suffix != ".sqlite"}


@pytest.fixture(scope="module")
def in_memory(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("memory") / "run", home, MEMORY, recipe())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 4096)  # many parts of a small file
    monkeypatch.setattr(shelf, "BLOCK", 8192)  # and many blocks of rows that are mended


@pytest.mark.parametrize("engine", [Here(), Cores(1), Cores(3)], ids=["here", "one worker", "three workers"])
def test_files_give_the_same_bytes_whoever_works(
    home: Path, tmp_path: Path, in_memory: dict[str, str], small_blocks: None, engine: Engine
) -> None:
    (tmp_path / "room").mkdir()
    assert written(tmp_path / "run", home, Room(tmp_path / "room", engine), recipe()) == in_memory
    assert set(in_memory) >= {"train.parquet", "clean.parquet", "dropped.parquet", "repairs.parquet", "report.json"}


def test_files_give_the_same_bytes_where_relevance_and_labels_are_judged(tmp_path: Path, small_blocks: None) -> None:
    """Both stages look at all rows at once, behind those that work block by block."""
    chance, questions = random.Random(7), made_up(400)
    lines = [
        json.dumps(one | ({"label": chance.choice(questions)["label"]} if place % 20 == 0 else {}), ensure_ascii=False)
        for place, one in enumerate(questions)
    ]
    who = ["the cow", "three mice", "a star", "little Ann", "the old king"] * 8
    strangers = [f"{name} {chance.choice(['jumped', 'ran away', 'sang'])} over hill {n}" for n, name in enumerate(who)]
    lines += [json.dumps({"text": text, "label": chance.choice(questions)["label"]}) for text in strangers]
    lines += chance.sample(lines, 30)
    chance.shuffle(lines)
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "room").mkdir()
    words = Embedder("words", word_vectors, lambda texts: np.ones(len(texts), dtype=bool))
    stages = {"near_duplicates": False, "relevance": {"drop_below": 0.1, "keep_above": 0.999}, "label_errors": True}
    data = {"train": "a.jsonl", "validation": 0.1, "test": 0.1}
    asked = recipe(clean=stages, data=data)
    memory = written(tmp_path / "memory", tmp_path, MEMORY, asked, words)
    assert written(tmp_path / "files", tmp_path, Room(tmp_path / "room"), asked, words) == memory
    told = json.loads((tmp_path / "memory/data/report.json").read_text(encoding="utf-8"))
    counts = told["counts"]["train"]
    assert told["doubts"].keys() == {"relevance", "label_errors"} and min(told["doubts"].values()) > 1
    assert counts["dropped"]["relevance"] > 20 and counts["kept"] > 200
    assert len(list((tmp_path / "room").glob("*-kept"))) > 3


def test_no_stage_and_no_page_keeps_the_rows_of_files_in_memory(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,200 rows, half of which wait, since they contradict each other."""
    chance, lines = random.Random(5), list[str]()
    for number in range(600):
        text = " ".join(chance.choices(WORDS, k=12)) + f" {number} {chance.random()}"
        labels = "ab" if number % 2 else "aa"
        lines += [
            json.dumps({"text": text + end, "label": label}) for end, label in zip(("", "!"), labels, strict=True)
        ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    calls, most, plain = itertools.count(), 0, shelf.decoded

    def counted(line: bytes) -> Any:
        nonlocal most
        if next(calls) % 199 == 0:
            most = max(most, sum(type(one) is Row for one in gc.get_objects()) - before)
        return plain(line)

    gc.collect()
    before = sum(type(one) is Row for one in gc.get_objects())
    monkeypatch.setattr(shelf, "decoded", counted)
    (tmp_path / "room").mkdir()
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    prepared = prepare_rows(recipe(), tmp_path, (), Room(tmp_path / "room"))
    save_prepared(prepared, run, rows_page(prepared, recipe()))
    assert prepared.report["counts"]["train"]["to review"] > 300
    assert next(calls) > 20_000 and 0 < most < 200


def test_repairs_stand_by_row_then_by_stage_over_many_blocks(home: Path, tmp_path: Path, small_blocks: None) -> None:
    (tmp_path / "room").mkdir()
    bare = recipe(clean={})
    found = [list(prepare_rows(bare, home, (), room).repairs) for room in (MEMORY, Room(tmp_path / "room"))]
    assert found[0] == found[1]
    assert len(list((tmp_path / "room").glob("*-repairs"))) > 3
    places = [(one.source.startswith("b"), int(one.source.rpartition(":")[2])) for one in found[0]]
    assert places == sorted(places)
    stages = [(one.source, one.stage) for one in found[0]]
    twice = [first[0] for first, second in itertools.pairwise(stages) if first[0] == second[0]]
    assert len({stage for _, stage in stages}) > 1 and len(twice) > 10
    assert all(stages.index((row, "repair_json")) < stages.index((row, "repair_encoding")) for row in twice)


def test_what_is_usual_is_told_by_all_rows_not_by_a_block(write: Write, tmp_path: Path, small_blocks: None) -> None:
    rows: list[Any] = [{"text": f"question {n} about the parcel<br>please", "label": "ab"[n % 2]} for n in range(100)]
    rows += [{"text": f"question {n} about the parcel, please", "label": "ab"[n % 2]} for n in range(900)]
    rows += [{"text": f"text {n}", "content": "its source", "label": "c"} for n in range(2)]
    rows.insert(40, {"content": "no text: what others have beside it", "label": "a"})
    rows.insert(80, '{"text": "a cut line", "label": "c')
    write("a.jsonl", *rows)
    (tmp_path / "room").mkdir()
    asked = recipe(clean={"near_duplicates": False}, data={"train": "a.jsonl", "validation": 0.01, "test": 0.01})
    found = [prepare_rows(asked, tmp_path, (), room) for room in (MEMORY, Room(tmp_path / "room"))]
    assert len(list((tmp_path / "room").glob("*-repairs"))) > 3
    assert list(found[0].train) == list(found[1].train) and list(found[0].dropped) == list(found[1].dropped)
    assert list(found[0].repairs) == list(found[1].repairs)
    assert sum(one.stage == "repair_html" for one in found[0].repairs) > 90
    assert "text is missing" in {one.reason for one in found[0].dropped}
    assert "a cut line" in {row.text for row in found[0].train}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_ray_cluster_gives_the_same_bytes(
    home: Path, tmp_path: Path, in_memory: dict[str, str], small_blocks: None
) -> None:
    (tmp_path / "room").mkdir()
    try:
        assert written(tmp_path / "run", home, Room(tmp_path / "room", Ray()), recipe()) == in_memory
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("station", "work", "files"),
    [(read, "parse_part", ["rows"]), (clean, "repair_block", ["kept", "dropped", "repairs"])],
    ids=["read", "mended"],
)
def test_what_was_done_before_a_stop_is_not_done_again(
    home: Path, tmp_path: Path, in_memory: dict[str, str], small_blocks: None, monkeypatch: pytest.MonkeyPatch,
    station: ModuleType, work: str, files: list[str],
) -> None:  # fmt: skip
    room, calls, whole = tmp_path / "room", list[Any](), getattr(station, work)
    room.mkdir()

    def stopped(task: Any) -> int:
        calls.append(task)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return int(whole(task))

    with monkeypatch.context() as now:
        now.setattr(station, work, stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare_rows(recipe(), home, (), Room(room))
    before = {file: file.stat().st_mtime_ns for name in files for file in room.glob(f"*-{name}")}
    assert len(before) == 4 * len(files)
    assert written(tmp_path / "run", home, Room(room), recipe()) == in_memory
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(list(room.glob(f"*-{files[0]}"))) > 5


def never(*_: Any, **__: Any) -> Any:
    pytest.fail("looked for again")


def test_what_a_long_stage_found_before_a_stop_is_not_looked_for_again(
    home: Path, tmp_path: Path, in_memory: dict[str, str], small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "room").mkdir()

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(outliers, "noise_figures", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare_rows(recipe(), home, (), Room(tmp_path / "room"))
    assert len(list((tmp_path / "room").glob("*.npz"))) == 3, "twins, near leaks, noise"
    monkeypatch.setattr(near_duplicates, "near_duplicates", never)
    monkeypatch.setattr(outliers, "noise_scores_of_blocks", never)
    assert written(tmp_path / "run", home, Room(tmp_path / "room"), recipe()) == in_memory


def test_the_room_follows_the_bound(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, folder = sorted(home.iterdir()), tmp_path / ".cleaning"
    assert room_of(recipe(), files, folder, "key").folder is None
    assert not folder.exists()
    assert room_of(recipe(engine="ray"), files, folder, "key").folder == folder
    (folder / "old").write_text("of the same rows")
    monkeypatch.setattr("tuneloop.rows.room.PER_BYTE", 10_000)
    bound = recipe(clean={"memory_mb": 300})
    assert room_of(bound, files, folder, "key").folder == folder
    assert (folder / "old").exists()
    room_of(bound, files, folder, "another key")
    assert not (folder / "old").exists()


@pytest.mark.parametrize(("bound", "workers"), [(300, 2), (500, 7), (2000, 44)])
def test_the_bound_sets_how_many_work_at_once(
    bound: int, workers: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    seen = list[int]()

    def stopped(*_: Any, **__: Any) -> Any:
        seen.append(threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(row_station, "prepare_rows", stopped)
    asked, run = recipe(clean={"memory_mb": bound}), RunFolder(tmp_path)
    for larger in (1, 2**40):  # in memory, through files
        monkeypatch.setattr("tuneloop.rows.room.PER_BYTE", larger)
        with pytest.raises(KeyboardInterrupt):
            row_station.timed_prepare(asked, home, (), run, "key")
    assert seen == [workers] * 2 and threads() == 64


def test_stages_that_keep_no_bound_are_named_where_rows_go_through_files(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(row_station, "prepare_rows", stopped)
    for larger, asked, told in ((1, True, False), (2**40, False, False), (2**40, True, True)):
        monkeypatch.setattr("tuneloop.rows.room.PER_BYTE", larger)
        with pytest.raises(KeyboardInterrupt):
            row_station.timed_prepare(recipe(clean={"label_errors": asked}), home, (), RunFolder(tmp_path), "key")
        assert ("label_errors will hold all rows in memory" in capsys.readouterr().err) is told


def test_a_bound_on_workers_ends_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    with at_most(2):
        assert threads() == 2
        with at_most(None):
            assert threads() == 3
        with at_most(9):
            assert threads() == 3
        assert threads() == 2
    assert threads() == 3


def test_a_bound_that_could_not_be_kept_is_an_error() -> None:
    tree = {"name": "x", "task": {"type": "classification"}, "model": {"name_or_path": "m"}, "data": {"train": "t"}}
    with pytest.raises(RecipeError, match=r"clean.memory_mb.*300, got 299"):
        recipe_from_tree(tree | {"clean": {"memory_mb": 299}}, "r.yaml")
