"""Bad input through the command: exit 1, one paragraph, nothing half written, an older run untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.end_to_end.workbench import (
    PLACES,
    answer_rows,
    files_of,
    finish,
    intent_rows,
    read_json,
    runs_of,
    start,
    tuneloop,
    write_jsonl,
    write_recipe,
)

from tuneloop.examples.encode import encode_generation
from tuneloop.examples.template import template_of
from tuneloop.model.load import load_tokenizer
from tuneloop.model.source import resolve
from tuneloop.rows.read import read_rows

Change = Callable[[Path], None]


def edit(**changes: object) -> Change:
    """Change keys of recipe.yaml: `section__key=value`."""

    def change(folder: Path) -> None:
        path = folder / "recipe.yaml"
        tree = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            section, _, key = name.partition("__")
            tree[section][key] = value
        path.write_text(yaml.safe_dump(tree))

    return change


def binary(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(bytes(range(256)) * 40)


def image(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))


def one_class(folder: Path) -> None:
    write_jsonl(folder / "train.jsonl", [row | {"label": "card"} for row in intent_rows(PLACES[:8])])


def other_labels(folder: Path) -> None:
    write_jsonl(folder / "test.jsonl", [row | {"label": f"x {row['label']}"} for row in intent_rows(PLACES[10:])])


def pickled(folder: Path) -> None:
    tree = yaml.safe_load((folder / "recipe.yaml").read_text())
    shutil.copytree(tree["model"]["name_or_path"], folder / "pickled")
    os.replace(folder / "pickled/model.safetensors", folder / "pickled/pytorch_model.bin")
    edit(model__name_or_path="pickled")(folder)


BAD: dict[str, tuple[Change, list[str]]] = {
    "unknown key": (edit(train__learning_rat=1e-3), ["unknown key 'train.learning_rat'", "'train.learning_rate'?"]),
    "another tool's key": (edit(train__lr=1e-3), ["unknown key 'train.lr'", "(here it is train.learning_rate)"]),
    "wrong types": (
        edit(train__num_train_epochs="three", adapt__rank=0, data__think="loud", evaluate__latency=5),
        ["4 faults", "'train.num_train_epochs' should", "'adapt.rank' should", "'data.think' should", "got 5 (int)"],
    ),
    "missing file": (edit(data__train="nowhere.jsonl"), ["There is no file", "nowhere.jsonl", "train.jsonl"]),
    "two missing files": (
        edit(data__train="nowhere.jsonl", data__test="none.csv"),
        ["2 inputs are missing", "nowhere.jsonl", "none.csv"],
    ),
    "values that do not fit, and an unknown key": (
        edit(
            task__type="generation", train__head_learning_rate=0.1, train__metric_for_best_model="accuracy",
            evaluate__metrics=["macro_f1"], train__lr=1,
        ),
        ["4 faults", "unknown key 'train.lr'", "accuracy needs", "has no head", "macro_f1 cannot be measured"],
    ),
    "empty file": (lambda folder: (folder / "train.jsonl").write_text("\n \n") and None, ["train.jsonl is empty"]),
    "binary file": (binary, ["train.jsonl", "binary"]),
    "image": (image, ["train.jsonl", "a PNG image"]),
    "no such column": (edit(data__columns={"label": "category"}), ["'category'", "text, label"]),
    "one class": (one_class, ["one class only", "'card' in all 72 rows"]),
    "other labels": (other_labels, ["lacks the labels of 18 of the 18 test rows", "x card (6)", "data.columns.label"]),
    "pickle": (pickled, ["pickle files", "pytorch_model.bin", "safetensors"]),
    "hub model": (edit(model__name_or_path="nobody/nothing"), ["nobody/nothing", "HF_HUB_OFFLINE", "Connect"]),
    "hub rows": (edit(data__train="nobody/nothing"), ["nobody/nothing (split train) could not be loaded"]),
    "unknown tracker": (edit(train__report_to=["notebook"]), ["notebook", "tensorboard"]),
    "encoder asked to write": (edit(task__type="generation", data__columns={"completion": "label"}), ["BERT"]),
}  # fmt: skip


@pytest.fixture
def written(intents: Path, model: Callable[[str], Path], request: pytest.FixtureRequest) -> Path:
    """A folder whose recipe is good."""
    architecture = "bert" if "encoder" in request.node.name else "llama"
    write_recipe(intents, "classification", model(architecture))
    return intents


def refused(folder: Path, verb: str, case: tuple[Callable[[Path], object], list[str]]) -> None:
    """The verb says all that the case wants said, and leaves the folder as it was."""
    change, says = case
    change(folder)
    before = files_of(folder)
    told = tuneloop(verb, "recipe.yaml", folder=folder).paragraph()
    assert all(part in told for part in says), told
    assert files_of(folder) == before


@pytest.mark.parametrize("name", BAD)
def test_a_fresh_folder_stays_as_it_was(written: Path, name: str):
    refused(written, "run", BAD[name])
    assert runs_of(written) == []


@pytest.mark.parametrize("name", [name for name in BAD if "encoder" not in name])
def test_an_older_run_stays_as_it_was(copied: Callable[[str], Path], name: str):
    folder = copied("intents")
    BAD[name][0](folder)
    before = files_of(folder)
    told = tuneloop("run", "recipe.yaml", "--overwrite", folder=folder).paragraph()
    assert BAD[name][1][0] in told
    assert files_of(folder) == before


@pytest.mark.parametrize("verb", ["clean", "train"])
@pytest.mark.parametrize("name", ["wrong types", "empty file", "one class"])
def test_the_other_writing_verbs_refuse_alike(written: Path, verb: str, name: str):
    change, says = BAD[name]
    change(written)
    before = files_of(written)
    assert says[0] in tuneloop(verb, "recipe.yaml", folder=written).paragraph()
    assert files_of(written) == before
    assert runs_of(written) == []


REFUSED = {"beyond the model": (edit(data__max_length=513), ["513", "at most 512"]), **BAD}


@pytest.mark.parametrize("name", REFUSED)
def test_doctor_refuses_what_run_refuses(written: Path, name: str):
    refused(written, "doctor", REFUSED[name])


def test_rows_that_all_wait_are_written_so_that_people_can_decide(written: Path):
    rows = [row | {"text": f"{row['text']}, write to n{n}@example.com"} for n, row in enumerate(intent_rows(PLACES))]
    write_jsonl(written / "train.jsonl", rows)
    on = ["--set", "clean.personal_data=true"]
    told = tuneloop("train", "recipe.yaml", *on, folder=written).paragraph()
    assert "No row is left to train on" in told and "tuneloop review" in told
    (run,) = runs_of(written)
    assert tuneloop("clean", "recipe.yaml", *on, folder=written).status == 0
    waiting = tuneloop("review", run, "--stats", folder=written)
    assert waiting.status == 0 and f"waiting  {len(rows)} of {len(rows)} rows" in waiting.out
    for verb in ("show", "doctor"):
        assert "No row is left to train on" in tuneloop(verb, "recipe.yaml", *on, folder=written).paragraph()


def test_every_reading_verb_says_what_is_missing(tmp_path: Path):
    for words in (["run", "no.yaml"], ["show", "no.yaml"], ["doctor", "no.yaml"], ["clean", "no.yaml"]):
        assert "There is no recipe no.yaml" in tuneloop(*words, folder=tmp_path).paragraph()
    for words in (["evaluate", "no"], ["predict", "no", "x.txt"], ["chat", "no"], ["merge", "no"], ["compare", "no"]):
        assert "no" in tuneloop(*words, folder=tmp_path).paragraph()
    assert "Unknown template 'nothing'" in tuneloop("init", "nothing", folder=tmp_path).paragraph()
    assert list(tmp_path.iterdir()) == []


def test_a_few_unknown_test_labels_are_a_warning_with_names_and_counts(written: Path):
    rows = intent_rows(PLACES[10:])
    strange = [{"text": f"I want my money back, {n}", "label": "refund [/b]"} for n in range(2)]
    write_jsonl(written / "test.jsonl", [*rows, *strange, {"text": "hello", "label": "greeting"}])
    done = tuneloop("run", "recipe.yaml", folder=written)
    assert done.status == 0, done.err
    warned = [line for line in done.err.splitlines() if line.startswith("warning:") and "label" in line]
    assert warned == [
        "warning: 3 of 21 test rows have a label that the training rows lack, and count as wrong: "
        "refund [/b] (2), greeting (1)"
    ]
    tuned = read_json(written / "runs/r/scores.json")["models"]["tuned"]
    assert tuned["metrics"]["accuracy"]["n"] == 21
    assert tuned["metrics"]["accuracy"]["value"] <= 18 / 21
    assert tuned["per_class"]["refund [/b]"]["support"] == 2
    shown = tuneloop("clean", "recipe.yaml", folder=written)
    assert "refund [/b] (2), greeting (1)" in shown.out


def test_a_max_length_that_cuts_every_answer_names_the_lengths(answers: Path, model: Callable[[str], Path]):
    write_recipe(answers, "generation", model("llama"), data__max_length=8)
    before = files_of(answers)
    told = tuneloop("run", "recipe.yaml", folder=answers).paragraph()
    assert "data.max_length = 8 cuts away every answer" in told
    assert "tokens (p50)" in told
    assert runs_of(answers) == []
    assert files_of(answers) == before


def test_a_max_length_that_cuts_the_end_off_every_answer_is_refused(answers: Path, model: Callable[[str], Path]):
    """Words of each answer are left to train on, but no end of turn."""
    write_recipe(answers, "generation", model("llama"))
    rows = lengths_of(answers, model("llama"))
    shortest, longest = min(rows), max(rows)
    before = files_of(answers)
    limit = ["--set", f"data.max_length={shortest - 1}"]
    for verb in ("run", "train", "doctor"):
        told = tuneloop(verb, "recipe.yaml", *limit, folder=answers).paragraph()
        assert f"data.max_length = {shortest - 1} cuts the end off every answer (24 of 24 rows)" in told
        assert f"{longest} keeps them all" in told and "(p50)" in told
    assert files_of(answers) == before
    assert runs_of(answers) == []


def test_a_max_length_that_cuts_most_answers_is_a_loud_warning(answers: Path, model: Callable[[str], Path]):
    write_recipe(answers, "generation", model("llama"), evaluate__untuned_rows=0)
    rows = lengths_of(answers, model("llama"))
    limit = sorted(rows)[5]
    cut = sum(length > limit for length in rows)
    assert 12 < cut < 24
    words = ["recipe.yaml", "--set", f"data.max_length={limit}"]
    done = tuneloop("train", *words, folder=answers)
    assert done.status == 0, done.err
    said = f"{cut} of 24 rows ({cut / 24:.0%}) lose the end of an answer to data.max_length = {limit}"
    (warned,) = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert said in warned and f"data.max_length = {max(rows)} keeps them all" in warned
    planned = tuneloop("doctor", *words, "--json", folder=answers).json()
    assert [line for line in planned["warnings"] if "answer" in line] == [warned.removeprefix("warning: ")]


def test_a_max_length_beyond_the_model_is_refused(written: Path):
    edit(data__max_length=513)(written)
    told = tuneloop("run", "recipe.yaml", folder=written).paragraph()
    assert "513" in told and "512" in told
    assert runs_of(written) == []


@pytest.mark.slow  # the hub's client tries again for half a minute before it gives up on rows
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            edit(model__name_or_path="nobody/nothing"),
            ["the hub repository of that name is not on this machine", "the hub cannot be reached"],
        ),
        (
            edit(data__train="nobody/nothing"),
            ["The set nobody/nothing (split train) could not be loaded from the hub", "Check the name and the network"],
        ),
    ],
    ids=["model", "rows"],
)
def test_a_hub_that_cannot_be_reached_fails_soon(written: Path, tmp_path: Path, change: Change, says: list[str]):
    change(written)
    before = files_of(written)
    began = time.monotonic()
    nowhere = {"HF_HUB_OFFLINE": "", "HF_DATASETS_OFFLINE": "", "HF_ENDPOINT": "http://127.0.0.1:1"}
    done = finish(start("run", "recipe.yaml", folder=written, HF_HOME=str(tmp_path / "hf"), **nowhere), seconds=90)
    told = done.paragraph()
    assert time.monotonic() - began < 60
    assert all(part in told for part in says), told
    shutil.rmtree(tmp_path / "hf", ignore_errors=True)
    assert files_of(written) == before
    assert runs_of(written) == []


def lengths_of(folder: Path, model: Path) -> list[int]:
    """Tokens of each training row, prompt and answer."""
    tokenizer = load_tokenizer(resolve(str(model)))
    rows = read_rows("train.jsonl", folder=folder, task="generation").rows
    made = encode_generation(rows, tokenizer, template_of(tokenizer), max_length=512, think="keep")
    return [example.length for example in made]


# -- a run folder that another process is writing --------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from tuneloop.disk import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(copied: Callable[[str], Path]) -> Iterator[tuple[Path, int]]:
    """A folder whose run another process holds, and the id of that process."""
    folder = copied("intents")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder / "runs/r")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield folder, process.pid
    process.communicate(timeout=30)


def test_no_verb_writes_into_a_run_that_another_process_holds(held: tuple[Path, int]):
    folder, owner = held
    before = files_of(folder)
    again = ["recipe.yaml", "--set", "seed=7", "--overwrite"]
    for words in (["run", *again], ["clean", *again], ["train", *again], ["evaluate", "r"], ["merge", "r"]):
        told = tuneloop(*words, folder=folder).paragraph()
        assert "is being written by another process" in told
        assert f"a lock held by process {owner}" in told
    assert files_of(folder) == before


def test_a_run_that_is_being_written_can_still_be_asked(held: tuple[Path, int]):
    folder, _ = held
    done = tuneloop("predict", "r", "test.jsonl", "-n", 2, folder=folder)
    assert done.status == 0, done.err
    assert len(done.out.splitlines()) == 2


# -- evaluate, predict and merge on bad input ------------------------------------------------------


def test_other_test_rows_are_checked_like_the_recipes_own(copied: Callable[[str], Path]):
    folder = copied("intents")
    before = files_of(folder)
    (folder / "empty.jsonl").write_text("")
    write_jsonl(folder / "columns.jsonl", [{"a": 1}, {"a": 2}])
    write_jsonl(folder / "strange.jsonl", [row | {"label": "x"} for row in intent_rows(PLACES[10:])])
    told = {
        name: tuneloop("evaluate", "r", "--data", f"{name}.jsonl", folder=folder).paragraph()
        for name in ("nowhere", "empty", "columns", "strange")
    }
    assert "There is no file" in told["nowhere"]
    assert "is empty" in told["empty"]
    assert "columns.jsonl" in told["columns"]
    assert "lacks the labels of 18 of the 18" in told["strange"]
    for name in ("empty", "columns", "strange"):
        (folder / f"{name}.jsonl").unlink()
    assert files_of(folder) == before


def test_predict_refuses_rows_that_it_cannot_answer(copied: Callable[[str], Path]):
    folder = copied("intents")
    before = files_of(folder / "runs")
    write_jsonl(folder / "new.jsonl", [{"text": "hello"}, {"text": ""}])
    assert "1 of 2 rows of new.jsonl cannot be read" in tuneloop("predict", "r", "new.jsonl", folder=folder).paragraph()
    told = tuneloop("predict", "r", "test.jsonl", "--out", "none/such/x", folder=folder)
    assert told.status == 0  # the folder of --out is made
    assert files_of(folder / "runs") == before


def test_merge_never_replaces_other_files(copied: Callable[[str], Path]):
    folder = copied("intents")
    (folder / "mine").mkdir()
    (folder / "mine/notes.txt").write_text("keep")
    before = files_of(folder)
    assert "mine holds other files" in tuneloop("merge", "r", "--out", "mine", folder=folder).paragraph()
    assert "there is no adapter to merge" in tuneloop("merge", "full", folder=folder).paragraph()
    assert files_of(folder) == before


def test_runs_of_other_rows_or_tasks_cannot_be_compared(
    copied: Callable[[str], Path], finished: Callable[[str], Path], tmp_path: Path
):
    folder = copied("intents")
    assert "two runs or more" in tuneloop("compare", "r", folder=folder).paragraph()
    shutil.copytree(finished("answers") / "runs/r", folder / "runs/other")
    assert "other tasks" in tuneloop("compare", "r", "other", folder=folder).paragraph()
    (folder / "runs/full/scores.json").unlink()
    assert "scores.json does not exist" in tuneloop("compare", "r", "full", folder=folder).paragraph()


def test_answers_without_a_question_are_refused(answers: Path, model: Callable[[str], Path]):
    write_recipe(answers, "generation", model("llama"))
    write_jsonl(answers / "train.jsonl", [{"completion": row["completion"]} for row in answer_rows(PLACES[:8])])
    tuneloop("run", "recipe.yaml", folder=answers).paragraph()
    assert runs_of(answers) == []
