"""The verbs on finished runs: evaluate, predict, compare, merge, chat, show, doctor."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console
from tests.end_to_end.conftest import Models
from tests.end_to_end.workbench import (
    PLACES,
    answer_rows,
    files_of,
    intent_rows,
    read_json,
    tuneloop,
    write_answers,
    write_jsonl,
    write_recipe,
)
from tests.tiny_models import R1_QWEN
from transformers import AutoModelForCausalLM

from tuneloop.errors import TrainError
from tuneloop.infer.generate import Generated
from tuneloop.model.saved import load_tuned

Copied = Callable[[str], Path]
Finished = Callable[[str], Path]
ASKED = ["my card was declined at bonn", "where is the transfer that I sent to bonn", "the rate of bonn"]


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_on_other_rows_leaves_the_runs_own_scores_alone(copied: Copied):
    folder = copied("intents")
    before = files_of(folder)
    write_jsonl(folder / "other.jsonl", intent_rows(["bonn", "kiel"]))
    scores = tuneloop("evaluate", "r", "--data", "other.jsonl", "--json", folder=folder).json()
    after = files_of(folder)
    made = sorted(name for name in after if name not in before and name != "other.jsonl")
    assert {name: after[name] for name in before} == before
    assert [Path(name).name for name in made] == ["predictions.parquet", "scores.json"]
    assert all(name.startswith("runs/r/evaluations/other") for name in made)
    assert scores == read_json(folder / made[1])
    assert scores["data"]["name"] == "other.jsonl" and scores["data"]["rows"] == 18
    assert set(scores["models"]) == {"floor", "encoder", "untuned", "tuned"}


@pytest.mark.parametrize("kind", ["intents", "answers"])
def test_evaluate_reads_the_tables_that_tuneloop_wrote(copied: Copied, kind: str):
    folder = copied(kind)
    own = read_json(folder / "runs/r/scores.json")
    scores = tuneloop("evaluate", "r", "--data", "runs/r/data/test.parquet", "--json", folder=folder).json()
    assert {n: m["metrics"] for n, m in scores["models"].items()} == {
        n: m["metrics"] for n, m in own["models"].items()
    }  # fmt: skip


def test_other_rows_labels_are_read_as_training_writes_them(copied: Copied):
    folder = copied("intents")
    rows = intent_rows(PLACES[10:])
    write_jsonl(folder / "plain.jsonl", rows)
    write_jsonl(folder / "shouted.jsonl", [row | {"label": f"{row['label'].upper()}:"} for row in rows])
    plain, shouted = (tuneloop("evaluate", "r", "--data", f"{name}.jsonl", "--json", folder=folder) for name in
                      ("plain", "shouted"))  # fmt: skip
    assert "shouted.jsonl labels are written otherwise in training, and read so" in shouted.err
    assert "written otherwise" not in plain.err
    assert shouted.json()["models"]["tuned"]["metrics"] == plain.json()["models"]["tuned"]["metrics"]


def test_evaluate_again_gives_the_same_figures(copied: Copied):
    folder = copied("intents")
    before = read_json(folder / "runs/r/scores.json")
    scores = tuneloop("evaluate", "runs/r", "--json", folder=folder).json()
    assert scores == read_json(folder / "runs/r/scores.json")
    for name in before["models"]:
        assert scores["models"][name]["metrics"] == before["models"][name]["metrics"]
    again = tuneloop("run", "recipe.yaml", folder=folder)
    assert "scores: unchanged, kept" in again.err


@pytest.mark.parametrize("width", [120, 80])
def test_a_table_of_scores_names_every_model_and_figure(
    finished: Finished, width: int, monkeypatch: pytest.MonkeyPatch
):
    page = io.StringIO()
    monkeypatch.setattr("tuneloop.cli.show.out", Console(file=page, width=width, soft_wrap=True, highlight=False))
    assert tuneloop("run", "recipe.yaml", folder=finished("answers")).status == 0
    table = page.getvalue().split("tuned against")[0]
    assert max(len(line) for line in table.splitlines()) <= width
    assert all(word in table for word in ("floor", "encoder", "untuned", "tuned", "exact_match", "p50 latency"))
    assert "…" not in table


# -- predict ---------------------------------------------------------------------------------------


def test_predict_answers_every_format_alike(finished: Finished, tmp_path: Path):
    folder = finished("intents")
    write_jsonl(tmp_path / "new.jsonl", [{"text": text} for text in ASKED])
    (tmp_path / "new.json").write_text(json.dumps([{"text": text} for text in ASKED]))
    (tmp_path / "new.txt").write_text("\n".join(ASKED) + "\n")
    pl.DataFrame({"text": ASKED}).write_parquet(tmp_path / "new.parquet")
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in ASKED)])
    found = {}
    for kind in ("jsonl", "json", "txt", "csv", "parquet"):
        done = tuneloop("predict", "r", tmp_path / f"new.{kind}", folder=folder)
        assert done.status == 0, done.err
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert [line["text"] for line in lines] == ASKED
        assert set(lines[0]) == {"id", "source", "text", "predicted", "confidence"}
        assert all(
            line["predicted"] in ("card", "transfer", "rate") and 0.3 < line["confidence"] <= 1 for line in lines
        )
        found[kind] = [(line["id"], line["predicted"], line["confidence"]) for line in lines]
    assert all(answers == found["jsonl"] for answers in found.values())


def test_predict_writes_a_file_and_stops_at_the_limit(finished: Finished, tmp_path: Path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": text} for text in ASKED])
    out = tmp_path / "answers.jsonl"
    done = tuneloop("predict", "r", tmp_path / "new.jsonl", "-n", 2, "--out", out, folder=finished("intents"))
    assert (done.status, done.out) == (0, f"{out}\n")
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ASKED[:2]


def test_predict_parts_the_reasoning_from_the_answer(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = ["<think>\nit was\ndeclined\n</think>\n\nyour card", "no reasoning", "<think>\nnever clo"]

    def answers(model: object, tokenizer: object, prompts: list[list[int]], **options: object) -> list[Generated]:
        assert (len(prompts), options["max_new_tokens"]) == (3, 6)
        return [Generated(text, 5, stopped=text == said[0], seconds=0.1) for text in said]

    monkeypatch.setattr("tuneloop.prediction.generate", answers)
    write_jsonl(tmp_path / "new.jsonl", [{"prompt": text} for text in ASKED])
    done = tuneloop("predict", "r", tmp_path / "new.jsonl", folder=finished("answers_v3"))
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["text"] for line in lines] == ASKED
    assert len({line["id"] for line in lines}) == 3
    assert [line["source"].rpartition("/")[2] for line in lines] == [f"new.jsonl:{n}" for n in (1, 2, 3)]
    assert [(line["thought"], line["predicted"], line["stopped"]) for line in lines] == [
        ("it was\ndeclined", "your card", True), (None, "no reasoning", False), ("never clo", "", False),
    ]  # fmt: skip
    assert all(set(line) == {"id", "source", "text", "predicted", "thought", "stopped"} for line in lines)


# -- compare, merge --------------------------------------------------------------------------------


def test_compare_puts_runs_side_by_side_on_the_same_rows(finished: Finished):
    folder = finished("intents")
    found = tuneloop("compare", "r", "full", "--json", folder=folder).json()
    assert list(found["runs"]) == ["r", "full"]
    assert {(gap["a"], gap["b"], gap["metric"]) for gap in found["comparisons"]} == {
        ("full", "r", "accuracy"), ("full", "r", "macro_f1"),
    }  # fmt: skip
    accuracy = [found["runs"][name]["metrics"]["accuracy"]["value"] for name in ("full", "r")]
    gap = next(gap for gap in found["comparisons"] if gap["metric"] == "accuracy")
    assert gap["n"] == 18
    assert gap["difference"] == pytest.approx(accuracy[0] - accuracy[1])
    shown = tuneloop("compare", "r", "full", folder=folder)
    assert shown.status == 0
    assert "full against r: accuracy" in shown.out


def test_compare_refuses_two_runs_of_one_name(finished: Finished, tmp_path: Path):
    for place in ("a", "b"):
        shutil.copytree(finished("intents") / "runs/r", tmp_path / place / "r")
    told = tuneloop("compare", "a/r", "b/r", folder=tmp_path).paragraph()
    assert "each once" in told and "r, r" in told


@pytest.mark.parametrize("kind", ["intents", "answers"])
def test_merge_writes_a_model_of_the_same_answers(copied: Copied, kind: str):
    folder = copied(kind)
    done = tuneloop("merge", "r", folder=folder)
    assert done.status == 0, done.err
    assert "runs/r/merged: largest difference of a logit" in done.out
    entry = read_json(folder / "runs/r/manifest.json")["stations"]["merge"]
    assert entry["largest_difference"] <= entry["tolerance"] == 1e-3
    assert entry["prompts"] == 8
    merged, tuned = load_tuned(folder / "runs/r/merged"), load_tuned(folder / "runs/r/model")
    ids = torch.tensor([tuned.tokenizer(ASKED[0])["input_ids"]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        if kind == "intents":
            assert torch.allclose(merged.model(ids, mask), tuned.model(ids, mask), atol=1e-3)
            return
        plain = AutoModelForCausalLM.from_pretrained(folder / "runs/r/merged", dtype=torch.float32).eval()
        assert torch.allclose(plain(ids).logits, tuned.model(ids).logits, atol=1e-3)


def test_a_merge_above_the_tolerance_ends_with_3_and_writes_nothing(copied: Copied):
    folder = copied("intents")
    before = files_of(folder)
    done = tuneloop("merge", "r", "--tolerance", "0", folder=folder)
    assert done.status == 3
    assert "differs from the adapter" in done.err and "Traceback" not in done.err
    assert files_of(folder) == before


# -- chat ------------------------------------------------------------------------------------------


def test_chat_with_a_classifier_answers_with_label_and_confidence(finished: Finished):
    folder = finished("intents")
    done = tuneloop("chat", "r", folder=folder, stdin=f"{ASKED[0]}\n\n{ASKED[1]}\n")
    assert done.status == 0, done.err
    answers = done.out.splitlines()
    predicted = [json.loads(line) for line in predict_lines(folder, ASKED[:2])]
    assert answers == [f"{line['predicted']}  ({line['confidence']:.1%})" for line in predicted]


def predict_lines(folder: Path, texts: list[str]) -> list[str]:
    path = folder.with_name(f"{folder.name}.txt")
    path.write_text("\n".join(texts) + "\n")
    return tuneloop("predict", "r", path, folder=folder).out.splitlines()


def test_chat_with_a_generation_model_remembers_until_reset(finished: Finished):
    folder = finished("answers")

    def said(*lines: str) -> list[str]:
        done = tuneloop("chat", "r", "--max-new-tokens", 6, folder=folder, stdin="\n".join([*lines, ""]))
        assert done.status == 0, done.err
        return done.out.split("\n")[:-1]

    once = said(ASKED[0])
    assert once[0].strip()
    assert said(ASKED[1], ASKED[0]) != said(ASKED[1])[:1] + once  # the second answer follows from both turns
    assert said(ASKED[1], "/reset", ASKED[0]) == said(ASKED[1]) + once
    assert said(ASKED[0], "/exit", ASKED[1]) == once


@pytest.mark.timeout(60)
def test_a_fault_in_the_middle_of_an_answer_ends_the_chat(finished: Finished, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **options: object) -> None:
        raise TrainError("the machine is out of memory")

    monkeypatch.setattr("tuneloop.prediction.generate", fail)
    done = tuneloop("chat", "r", folder=finished("answers"), stdin="hello\n")
    assert "the machine is out of memory" in done.paragraph()


# -- show ------------------------------------------------------------------------------------------


@pytest.fixture(params=["deepseek_v3", "qwen2", "opening"])
def reasoning(request: pytest.FixtureRequest, tmp_path: Path, model: Models) -> Path:
    """A folder with reasoning rows and a recipe over an R1 tokenizer; `opening`: its prompts open the reasoning."""
    if request.param == "qwen2" and not R1_QWEN.is_dir():
        pytest.skip("needs ../shared/models beside the clone, which is not there")
    if request.param == "opening":
        network = Path(shutil.copytree(model("deepseek_v3"), tmp_path / "opening"))
        template = network / "chat_template.jinja"
        text = template.read_text(encoding="utf-8")
        end = "{{'<｜Assistant｜>'}}{% endif %}"
        assert text.endswith(end)  # of the generation prompt
        template.write_text(text.removesuffix(end) + end.replace("｜>'", "｜><think>\\n'"), encoding="utf-8")
    else:
        network = model(request.param)
    write_answers(tmp_path, think=True)
    write_recipe(tmp_path, "generation", network, data__max_length=128)
    return tmp_path


def coloured(folder: Path, patch: pytest.MonkeyPatch, *words: str) -> tuple[str, str, str]:
    """What `show -n 1` prints: all of it, the trained (green) and the masked (grey) text."""
    page = io.StringIO()
    terminal = Console(file=page, force_terminal=True, color_system="standard", soft_wrap=True, highlight=False)
    terminal.no_color = False
    patch.setattr("tuneloop.cli.show.out", terminal)
    done = tuneloop("show", "recipe.yaml", "-n", 1, *words, folder=folder)
    assert done.status == 0, done.err
    parts = {GREEN: "", GREY: ""}
    last = ""
    for code, text, between in re.findall("(\x1b\\[[0-9;]+m)([^\x1b]*)\x1b\\[0m(\n*)", page.getvalue()):
        last = code
        parts[last] = parts.get(last, "") + text + between  # rich ends a colour at each line's end
    return page.getvalue(), parts[GREEN].removesuffix("\n\n"), parts[GREY]


GREEN, GREY = "\x1b[1;32m", "\x1b[90m"
ANSWER = "your card: rome<｜end▁of▁sentence｜>"
THOUGHT = "this is about a card\n</think>\n\n"
ASK, ASK_OPEN = "<｜Assistant｜>", "<｜Assistant｜><think>\n"
CLOSE = "</think>\n\n"  # closes at once the reasoning that a prompt opened; a line break has no colour of its own


@pytest.mark.parametrize(
    ("think", "reasoned", "plain", "opening"),  # each: the end of what is masked, and what is trained
    [
        ("keep", True, (ASK, "<think>\n" + THOUGHT + ANSWER), (ASK_OPEN, THOUGHT + ANSWER)),
        ("strip", True, (ASK, ANSWER), (ASK_OPEN + "\n", CLOSE + ANSWER)),
        ("empty", True, (ASK, "<think>\n" + THOUGHT + ANSWER), (ASK_OPEN, THOUGHT + ANSWER)),
        ("keep", False, (ASK, ANSWER), (ASK_OPEN + "\n", CLOSE + ANSWER)),
        ("empty", False, (ASK_OPEN + "\n" + CLOSE, ANSWER), (ASK_OPEN + "\n" + CLOSE, ANSWER)),
    ],
)  # fmt: skip
def test_show_tells_what_is_trained(
    reasoning: Path, think: str, reasoned: bool, plain: tuple[str, str], opening: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    if not reasoned:
        write_jsonl(reasoning / "train.jsonl", answer_rows(PLACES[:8]))
    page, green, grey = coloured(reasoning, monkeypatch, "--set", f"data.think={think}")
    masked_end, trained = opening if (reasoning / "opening").is_dir() else plain
    assert green == trained
    assert grey.endswith("my card was declined at rome" + masked_end)
    assert "train.jsonl:1" in page


def test_show_prints_the_share_that_is_trained(reasoning: Path):
    shown = tuneloop("show", "recipe.yaml", folder=reasoning)
    assert shown.status == 0, shown.err
    last = shown.out.strip().splitlines()[-1]
    told = last.replace(",", "").split()
    rows, tokens, trained = (int(word) for word in (told[0], told[2], told[4]))
    assert rows == 24
    assert 0 < trained < tokens
    assert f"({trained / tokens:.1%})" in last
    assert not (reasoning / "runs").exists()
    stripped = (
        tuneloop("show", "recipe.yaml", "--set", "data.think=strip", folder=reasoning).out.strip().splitlines()[-1]
    )
    assert int(stripped.replace(",", "").split()[4]) < trained


def test_show_of_a_classification_names_the_class(finished: Finished):
    shown = tuneloop("show", "recipe.yaml", "-n", 2, folder=finished("intents"))
    assert shown.status == 0, shown.err
    assert shown.out.count("  -> card") == 2
    assert "what is trained is the class of each row" in shown.out


def test_brackets_in_names_and_rows_are_shown_as_they_are(intents: Path, model: Models):
    rows = [row | {"text": f"[bold]{row['text']}[/bold] [/]"} for row in intent_rows(PLACES[:8])]
    write_jsonl(intents / "train[red].jsonl", rows)
    write_recipe(intents, "classification", model("llama"), data__train="train[red].jsonl")
    shown = tuneloop("show", "recipe.yaml", "-n", 1, folder=intents)
    assert shown.status == 0, shown.err
    assert "train[red].jsonl:1" in shown.out
    assert "[bold]my card was declined at rome[/bold] [/]" in shown.out


# -- doctor ----------------------------------------------------------------------------------------


def test_doctor_examines_the_machine(tmp_path: Path):
    found = tuneloop("doctor", "--json", folder=tmp_path).json()
    assert found["machine"]["cores"] > 0 and found["machine"]["gemm_gflops"] > 0
    assert {"python", "torch", "transformers", "peft", "accelerate", "tuneloop"} <= set(found["versions"])
    assert found["faults"] == [] and "plan" not in found
    shown = tuneloop("doctor", folder=tmp_path)
    assert shown.status == 0
    assert "machine" in shown.out and "versions" in shown.out and "ok" in shown.out.split()


def test_doctor_plans_a_recipe_as_it_then_runs(finished: Finished):
    folder = finished("intents")
    before = files_of(folder)
    found = tuneloop("doctor", "recipe.yaml", "--json", folder=folder).json()
    trained = read_json(folder / "runs/r/manifest.json")["stations"]["train"]
    plan = found["plan"]
    assert (plan["rows"], plan["steps"], plan["tokens"]) == (72, trained["steps"], trained["tokens"])
    assert plan["peak_memory_gib"] > 0 and plan["minutes"][0] <= plan["minutes"][1]
    assert found["faults"] == []
    assert files_of(folder) == before


def test_doctors_time_is_that_of_the_experts_a_token_is_sent_to(answers: Path, model: Models):
    write_recipe(answers, "generation", model("deepseek_v3"))
    plan = tuneloop("doctor", "recipe.yaml", "--json", folder=answers).json()["plan"]
    config = read_json(model("deepseek_v3") / "config.json")
    table, added = config["vocab_size"] * config["hidden_size"], plan["trainable_parameters"]
    body = plan["parameters"] - 2 * table - 2 * 6 * 3 * 32 * 16  # 6 of 8 experts in each of 2 blocks
    tokens, trained = plan["tokens"], plan["trained_tokens"]
    assert plan["flops"] == (4 * body + 6 * added) * tokens + 4 * table * trained


@pytest.mark.parametrize(("steps", "wrong"), [("5", True), ("0.5", True), ("1", False)])
def test_doctor_warns_of_a_warm_up_that_eats_the_run(finished: Finished, steps: str, wrong: bool):
    words = ["doctor", "recipe.yaml", "--set", f"train.warmup_steps={steps}"]
    found = tuneloop(*words, "--json", folder=finished("intents")).json()
    assert bool([line for line in found["warnings"] if "warm-up takes" in line]) == wrong
    shown = tuneloop(*words, folder=finished("intents"))
    assert (shown.status, "warning   warm-up takes 5 of 9 steps" in shown.out) == (0, wrong)


def test_doctor_says_when_a_rate_leaves_the_usual_range(finished: Finished):
    found = tuneloop("doctor", "recipe.yaml", "--json", folder=finished("intents")).json()
    assert any("outside 3e-5 to 5e-5" in line for line in found["advice"])
    small = tuneloop("doctor", "recipe.yaml", "--set", "train.learning_rate=4e-5", "--json", folder=finished("intents"))
    assert any("LoRA learns little" in line for line in small.json()["advice"])
