"""A whole run of each kind: what stands in the run folder afterwards, and that its parts agree."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from peft import PeftModel
from tests.end_to_end.conftest import KINDS, Models
from tests.end_to_end.workbench import files_of, lines_of, read_json, tuneloop, write_recipe
from tests.tiny_models import R1_QWEN, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tuneloop.disk import sha256_file
from tuneloop.examples.template import template_of
from tuneloop.examples.think import split_think
from tuneloop.model.saved import load_tuned

Finished = Callable[[str], Path]
FIGURES = {
    "classification": {"accuracy", "macro_f1", "micro_f1"},
    "generation": {"exact_match", "bleu", "rouge_l"},
}
THINK = {"think_rate", "closed_tag_rate", "answer_after_think"}
STEPS = {"classification": 9, "generation": 3}  # 72 and 24 rows in batches of 8


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """A name in KINDS; the R1 tokenizer lies beside the clone, or the test is skipped aloud."""
    if request.param == "answers_r1" and not R1_QWEN.is_dir():
        pytest.skip("needs ../shared/models beside the clone, which is not there")
    return str(request.param)


WRITING = [name for name in KINDS if name.startswith("answers")]


KEPT = ("train", "validation", "test", "dropped")


def task_of(kind: str) -> str:
    return KINDS[kind][1]


def is_full(kind: str) -> bool:
    return kind.endswith(("full", "bert"))


def figures_of(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every {"value", ...} below a JSON value, with where it stands."""
    if isinstance(value, dict) and "value" in value:
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from figures_of(inner, f"{path}/{key}")


def test_scores_hold_every_row_and_figure(finished: Finished, kind: str):
    scores = read_json(finished(kind) / "runs/r/scores.json")
    task, bert = task_of(kind), kind == "intents_bert"
    rows = 18 if task == "classification" else 6
    assert (scores["schema"], scores["task"], scores["seed"]) == (1, task, 1)
    assert scores["data"]["name"] == "test.jsonl" and scores["data"]["rows"] == rows
    assert bool(scores["template_hash"]) == (not bert)
    assert list(scores["models"]) == ["floor", "encoder", *([] if bert else ["untuned"]), "tuned"]
    for name, entry in scores["models"].items():
        expected = FIGURES[task] | ({"loss"} if task == "generation" and name in ("untuned", "tuned") else set())
        expected = expected | (THINK if "loss" in expected else set())
        assert set(entry["metrics"]) == expected, name
        assert entry["rows"] == (6 if name == "untuned" else rows)
        assert entry["backend"] and entry["peak_memory_mb"] > 0
        assert entry["throughput"]["queries_per_second"] > 0
        timed = KINDS[kind][2].get("evaluate__latency", False)
        assert ("latency_ms" in entry) == timed
        if timed:
            assert entry["latency_ms"]["p50"] > 0
            assert set(entry["latency_ms"]) == {"p50", "n"}  # 18 queries or fewer: no p95, no p99
            assert entry["latency_ms"]["n"] == min(entry["rows"], 20)


def test_throughput_counts_the_tokens_that_went_through(finished: Finished, kind: str):
    """Tokens a second over queries a second is tokens a query: of the rows that were read, or of the answers."""
    folder = finished(kind) / "runs/r"
    models = read_json(folder / "scores.json")["models"]
    rates = models["tuned"]["throughput"]
    a_query = rates["tokens_per_second"] / rates["queries_per_second"]
    if task_of(kind) == "generation":
        assert a_query == pytest.approx(models["tuned"]["new_tokens"]["mean"])
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder / "model")
        texts = pl.read_parquet(folder / "predictions.parquet")["text"].to_list()
        rows = tokenizer(texts, truncation=True, max_length=read_json(folder / "model/args.json")["max_length"])
        assert a_query == pytest.approx(sum(map(len, rows["input_ids"])) / len(texts))
    assert "tokens_per_second" not in models["floor"]["throughput"]  # it has none to count


def test_one_template_is_named_by_scores_model_and_manifest(finished: Finished, kind: str):
    folder = finished(kind) / "runs/r"
    trained = read_json(folder / "manifest.json")["stations"]["train"]
    hashes = {
        entry["template_hash"]
        for entry in (read_json(folder / "scores.json"), read_json(folder / "model/args.json"), trained)
    }
    used = "" if kind == "intents_bert" else template_of(AutoTokenizer.from_pretrained(folder / "model")).hash
    assert hashes == {used}


def test_every_figure_has_its_interval(finished: Finished, kind: str):
    scores = read_json(finished(kind) / "runs/r/scores.json")
    found = list(figures_of(scores["models"]))
    assert len(found) >= 3 * len(scores["models"])
    for place, figure in found:
        assert {"value", "low", "high", "n"} <= set(figure), place
        assert all(math.isfinite(figure[key]) for key in ("value", "low", "high")), place
        assert figure["low"] <= figure["value"] + 1e-12 and figure["value"] <= figure["high"] + 1e-12, place
        assert figure["n"] > 0, place


def test_the_tuned_model_is_compared_with_every_other(finished: Finished, kind: str):
    scores = read_json(finished(kind) / "runs/r/scores.json")
    leads = {"classification": {"accuracy", "macro_f1"}, "generation": {"rouge_l", "exact_match"}}[task_of(kind)]
    others = [name for name in scores["models"] if name != "tuned"]
    wanted = {(other, metric) for other in others for metric in leads}
    wanted |= {("untuned", "loss")} if task_of(kind) == "generation" else set()
    assert {(gap["b"], gap["metric"]) for gap in scores["comparisons"]} == wanted
    for gap in scores["comparisons"]:
        assert gap["a"] == "tuned"
        assert gap["low"] <= gap["difference"] <= gap["high"]
        assert 0 <= gap["p"] <= 1 and gap["n"] > 0
        assert gap["verdict"] in ("better", "worse", "no difference")
        if gap["metric"] == "accuracy" and gap["b"] != "untuned":
            pair = [scores["models"][name]["metrics"]["accuracy"]["value"] for name in ("tuned", gap["b"])]
            assert gap["difference"] == pytest.approx(pair[0] - pair[1])


def test_what_was_saved_against_full_tuning(finished: Finished, kind: str):
    saved = read_json(finished(kind) / "runs/r/scores.json").get("saved_against_full", {})
    if is_full(kind):
        assert saved == {}
        return
    assert 0 < saved["flops"] < 1 and 0 < saved["trainable_parameters"] < 1
    # Memory and seconds are measured, so they stand where a full run of the same rows and batches stands beside it.
    measured = {"peak_memory", "seconds"} if kind == "intents" else set()
    assert set(saved) == {"flops", "trainable_parameters"} | measured


def test_predictions_are_what_the_scores_count(finished: Finished, kind: str):
    run = finished(kind) / "runs/r"
    scores, table = read_json(run / "scores.json"), pl.read_parquet(run / "predictions.parquet")
    tested = pl.read_parquet(run / "data/test.parquet")
    assert set(table["id"]) == set(tested["id"]) and len(table) == len(tested)
    columns = ("predicted", "confidence", "latency_ms")
    assert table.columns == ["id", "text", "expected", *(f"{m}_{c}" for m in scores["models"] for c in columns)]
    lead = "accuracy" if task_of(kind) == "classification" else "exact_match"
    for name, entry in scores["models"].items():
        answered = table.filter(pl.col(f"{name}_predicted").is_not_null())
        assert len(answered) == entry["rows"]
        right = (answered[f"{name}_predicted"] == answered["expected"]).mean()
        if lead == "accuracy":
            assert entry["metrics"][lead]["value"] == pytest.approx(right)
    if task_of(kind) == "classification":
        assert set(table["expected"]) == {"card", "transfer", "rate"}


def test_the_saved_model_is_the_one_that_was_scored(finished: Finished, kind: str):
    folder = finished(kind)
    table = pl.read_parquet(folder / "runs/r/predictions.parquet")
    scored = dict(zip(table["id"], table["tuned_predicted"], strict=True))
    done = tuneloop("predict", "r", "runs/r/data/test.parquet", folder=folder)
    assert done.status == 0, done.err
    answers = [json.loads(line)["predicted"] for line in done.out.splitlines()]
    expected = [scored[row] for row in pl.read_parquet(folder / "runs/r/data/test.parquet")["id"]]
    if task_of(kind) == "generation":  # `predict` gives the answer without its reasoning
        expected = [split_think(text).answer for text in expected]
    assert answers == expected
    assert len(set(answers)) > 1 or kind.startswith("answers_")  # equal answers mean something where they differ


@pytest.mark.parametrize("kind", WRITING, indirect=True)
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_plain_peft_and_transformers_load_a_generation_model(finished: Finished, kind: str):
    folder = finished(kind) / "runs/r/model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = read_json(folder / "args.json")["base"]["name_or_path"] if not is_full(kind) else folder
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain, folder) if not is_full(kind) else plain
    ids = torch.tensor([tokenizer("where is the transfer")["input_ids"]])
    tuned = load_tuned(folder)
    with torch.no_grad():
        ours, theirs = tuned.model(ids).logits, plain.eval()(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert tokenizer.chat_template == tuned.tokenizer.chat_template


def test_the_log_has_a_line_a_step_and_the_validation(finished: Finished, kind: str):
    lines = lines_of(finished(kind) / "runs/r/log.jsonl")
    steps = [line for line in lines if "loss" in line]
    looks = [line for line in lines if "validation_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, STEPS[task_of(kind)] + 1))
    assert [line["step"] for line in looks] == [STEPS[task_of(kind)]]
    fields = {"step", "epoch", "stage", "loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_mb"}
    classes = {"accuracy"} if task_of(kind) == "classification" else set()
    assert all(set(line) == fields | classes for line in steps)
    assert ("validation_accuracy" in looks[0]) == bool(classes)
    assert steps[-1]["epoch"] == 1.0 and steps[-1]["learning_rate"] < steps[0]["learning_rate"]
    assert all(math.isfinite(line[field]) for line in steps for field in fields)


def test_the_manifest_traces_a_score_to_its_rows(finished: Finished, kind: str):
    folder = finished(kind)
    manifest = read_json(folder / "runs/r/manifest.json")
    stations = manifest["stations"]
    assert manifest["schema"] == 1
    assert list(stations) == ["data", "train", "evaluate", "report"]
    for name, entry in stations.items():
        assert entry["key"] and entry["finished"]
        assert 0 <= entry["seconds"] < 600
        assert name == "report" or entry["seed"] == 1  # the page draws nothing by chance
        assert name in ("data", "report") or entry["device"].split(":")[0] in ("cpu", "cuda")
        assert {"python", "tuneloop", "torch", "transformers", "peft", "accelerate"} == set(entry["versions"])
    names = ("train.jsonl", "validation.jsonl", "test.jsonl")
    assert stations["data"]["inputs"] == {name: sha256_file(folder / name) for name in names}
    assert len({entry["key"] for name, entry in stations.items() if name != "report"}) == 3
    train, evaluate = stations["train"], stations["evaluate"]
    assert (train["data_key"], evaluate["train_key"]) == (stations["data"]["key"], train["key"])
    rows = {name: len(pl.read_parquet(folder / f"runs/r/data/{name}.parquet")) for name in KEPT}
    assert stations["data"]["counts"] == rows | {"to_review": 0}
    assert (train["rows"]["rows"], evaluate["rows"]) == (rows["train"], rows["test"])
    assert evaluate["seconds"] > 0 and len(evaluate["load_average"]) == 3
    assert train["steps"] == STEPS[task_of(kind)] and train["seconds"] > 0 and train["tokens"] > 0
    assert train["method"] == ("full" if is_full(kind) else "lora")
    assert (train["parameters"]["trainable"] == train["parameters"]["all"]) == is_full(kind)
    assert train["machine"]["cores"] > 0 and len(train["machine"]["load_average"]) == 3
    if task_of(kind) == "generation":
        assert 0 < train["rows"]["trained_share"] < 1


def test_the_page_is_whole_and_asks_nothing_of_the_network(finished: Finished, kind: str):
    page = (finished(kind) / "runs/r/report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert len(page) > 20_000
    assert "<script" not in page and 'src="http' not in page and "<link" not in page
    for name in ("floor", "encoder", "tuned"):
        assert f"c-{name}" in page


def test_the_run_folder_holds_exactly_these_files(finished: Finished, kind: str):
    run = finished(kind) / "runs/r"
    left = set(files_of(run))
    top = {"manifest.json", "recipe.yaml", "log.jsonl", "scores.json", "predictions.parquet", "report.html"}
    assert {name for name in left if "/" not in name} == top
    folders = {"data", "checkpoints", "model"} | ({"trackers"} if kind == "intents" else set())
    assert {name.split("/")[0] for name in left if "/" in name} == folders
    assert not [name for name in left if name.endswith((".tmp", ".old", ".bin", ".pt", ".pkl"))]


def test_tensorboard_files_are_written_where_the_recipe_asks(finished: Finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list((finished("intents") / "runs/r/trackers").rglob("events.out.tfevents*"))
    assert files
    told: dict[str, list[int]] = {}
    for file in files:
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            told.setdefault(tag, []).extend(event.step for event in events.Scalars(tag))
    assert sorted(told["loss"]) == list(range(1, 10))
    assert {"learning_rate", "grad_norm", "accuracy", "validation_loss"} <= set(told)
    assert not (finished("answers") / "runs/r/trackers").exists()


@pytest.mark.parametrize("kind", ["intents", "answers", "answers_full"], indirect=True)
def test_two_folders_of_the_same_recipe_end_alike(finished: Finished, kind: str, tmp_path: Path):
    """Same recipe, same rows, another folder: the same weights, scores and answers to the byte."""
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "recipe.yaml"):
        shutil.copy(finished(kind) / name, tmp_path)
    done = tuneloop("run", "recipe.yaml", "--set", "evaluate.latency=false", folder=tmp_path)
    assert done.status == 0, done.err
    ours, theirs = tmp_path / "runs/r", finished(kind) / "runs/r"
    compared = [name for name in files_of(ours / "model") if name.endswith((".safetensors", ".json", ".jinja"))]
    assert len(compared) >= 5
    for name in compared:
        assert (
            hashlib.sha256((ours / "model" / name).read_bytes()).digest()
            == hashlib.sha256((theirs / "model" / name).read_bytes()).digest()
        ), name
    tables = [
        pl.read_parquet(run / "predictions.parquet").select(pl.exclude("^.*_latency_ms$")) for run in (ours, theirs)
    ]
    assert tables[0].equals(tables[1])
    metrics = [
        {name: entry["metrics"] for name, entry in read_json(run / "scores.json")["models"].items()}
        for run in (ours, theirs)
    ]
    assert metrics[0] == metrics[1]


def test_a_gguf_file_trains_and_answers(intents: Path, model: Models):
    base = model("llama")
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(base), PreTrainedTokenizerFast.from_pretrained(base)
    write_gguf(plain, tokenizer, intents / "tiny.gguf")
    write_recipe(intents, "classification", "tiny.gguf", evaluate__untuned_rows=0)
    assert tuneloop("run", "recipe.yaml", folder=intents).status == 0
    done = tuneloop("predict", "r", "test.jsonl", "-n", 3, folder=intents)
    assert done.status == 0 and len(done.out.splitlines()) == 3
    args = read_json(intents / "runs/r/model/args.json")
    assert (args["base"]["kind"], args["base"]["name_or_path"]) == ("gguf", str(intents / "tiny.gguf"))
