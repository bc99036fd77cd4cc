"""Keys of the recipe, seen in what a run then does: each test fails where its key is read and dropped on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.end_to_end.conftest import Models
from tests.end_to_end.workbench import lines_of, read_json, tuneloop, write_recipe

from tuneloop.model import source as sources
from tuneloop.model.cache import weights_sha256
from tuneloop.model.heads import Classifier, base_model
from tuneloop.model.load import pick_dtype
from tuneloop.model.saved import load_tuned
from tuneloop.model.source import Source

Copied = Callable[[str], Path]
Finished = Callable[[str], Path]
QUESTION = "where is the transfer that I sent to bonn"


def args_of(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / "runs/r/model/args.json"))


def first_loss(folder: Path) -> float:
    """The loss of the first step: of the same rows, weights and head, whatever was learnt from it."""
    return float(lines_of(folder / "runs/r/log.jsonl")[0]["loss"])


def classifier(folder: Path) -> Classifier:
    model = load_tuned(folder / "runs/r/model").model
    assert isinstance(model, Classifier)
    return model


# -- task, model -----------------------------------------------------------------------------------


def test_pooling_decides_what_the_head_reads_and_which_files_are_saved(finished: Finished):
    mean, last = finished("intents"), finished("intents_last")
    assert (args_of(mean)["pooling"], args_of(last)["pooling"]) == ("mean", "last")
    kinds = [read_json(folder / "runs/r/model/adapter_config.json")["task_type"] for folder in (mean, last)]
    assert kinds == [None, "SEQ_CLS"]
    assert [(folder / "runs/r/model/head.safetensors").is_file() for folder in (mean, last)] == [True, False]
    assert [classifier(folder).pooling for folder in (mean, last)] == ["mean", "last"]
    assert abs(first_loss(mean) - first_loss(last)) > 1e-4


def test_attention_decides_what_a_token_sees_in_training_and_after(finished: Finished):
    causal, both = finished("intents"), finished("intents_both")
    assert (args_of(causal)["attention"], args_of(both)["attention"]) == ("causal", "bidirectional")
    assert abs(first_loss(causal) - first_loss(both)) > 1e-4
    tuned = load_tuned(both / "runs/r/model")
    ids = torch.tensor([tuned.tokenizer(QUESTION)["input_ids"]])
    model = classifier(both)
    with torch.no_grad():
        seen = model(ids, torch.ones_like(ids))
        model.attention = "causal"
        assert not torch.allclose(seen, model(ids, torch.ones_like(ids)), atol=1e-3)


def test_dtype_is_that_of_the_base_weights(finished: Finished, intents: Path, model: Models):
    usual = pick_dtype("auto")
    other = torch.float32 if usual == torch.bfloat16 else torch.bfloat16
    name = str(other).removeprefix("torch.")
    write_recipe(intents, "classification", model("llama"), model__dtype=name)
    done = tuneloop("train", "recipe.yaml", folder=intents)
    assert done.status == 0, done.err
    assert (args_of(finished("intents"))["dtype"], args_of(intents)["dtype"]) == ("auto", name)
    for folder, dtype in ((finished("intents"), usual), (intents, other)):
        assert base_model(classifier(folder).backbone).get_input_embeddings().weight.dtype == dtype
    # bfloat16 keeps 8 bits: near the loss of float32, and not equal to it.
    losses = first_loss(finished("intents")), first_loss(intents)
    assert losses[0] != losses[1] and math.isclose(*losses, rel_tol=0.05)


@pytest.mark.parametrize("revision", ["v1", None])
def test_the_revision_reaches_the_hub_and_the_commit_is_kept(
    intents: Path, model: Models, monkeypatch: pytest.MonkeyPatch, revision: str | None
):
    asked: list[tuple[str, str | None]] = []

    def hub(name: str, wanted: str | None) -> Source:
        asked.append((name, wanted))
        return Source(name, model("llama"), "hub", "c0ffee", weights_sha256(model("llama")))

    monkeypatch.setattr(sources, "_from_hub", hub)
    write_recipe(intents, "classification", "owner/tiny", model__revision=revision)
    for words in (["doctor", "recipe.yaml"], ["show", "recipe.yaml"], ["train", "recipe.yaml"]):
        asked.clear()
        done = tuneloop(*words, folder=intents)
        assert done.status == 0, done.err
        assert asked == [("owner/tiny", revision)], words
    base = args_of(intents)["base"]
    assert (base["name_or_path"], base["revision"], base["kind"]) == ("owner/tiny", "c0ffee", "hub")
    asked.clear()
    assert tuneloop("predict", "r", "test.jsonl", "-n", 1, folder=intents).status == 0
    assert asked == [("owner/tiny", "c0ffee")]  # the commit, whatever the branch is at by then


# -- evaluate --------------------------------------------------------------------------------------


def test_metrics_are_the_only_ones_that_are_measured(copied: Copied):
    folder = copied("intents")
    done = tuneloop("run", "recipe.yaml", "--set", "evaluate.metrics=[accuracy]", "--json", folder=folder)
    scores = done.json()["scores"]
    assert [set(entry["metrics"]) for entry in scores["models"].values()] == [{"accuracy"}] * 4
    assert {gap["metric"] for gap in scores["comparisons"]} == {"accuracy"}
    before = read_json(folder / "runs/full/scores.json")["models"]["tuned"]["metrics"]
    assert {"macro_f1", "micro_f1"} < set(before)


def test_no_answer_is_longer_than_max_new_tokens(copied: Copied):
    folder = copied("answers")
    before = read_json(folder / "runs/r/scores.json")["models"]["tuned"]["new_tokens"]
    assert before["mean"] > 2 and before["budget"] == 4
    long = answers(folder)
    done = tuneloop("run", "recipe.yaml", "--set", "evaluate.max_new_tokens=2", "--json", folder=folder)
    models = done.json()["scores"]["models"]
    for name in ("untuned", "tuned"):
        assert models[name]["new_tokens"]["budget"] == 2
        assert 0 < models[name]["new_tokens"]["mean"] <= 2
    short = answers(folder)
    assert short != long
    for cut, whole in zip(short, long, strict=True):
        assert whole.startswith(cut.rstrip("\ufffd")) and len(cut) <= len(whole)  # half a character is shown as one


def answers(folder: Path) -> list[str]:
    done = tuneloop("predict", "r", "test.jsonl", folder=folder)
    assert done.status == 0, done.err
    return [json.loads(line)["predicted"] for line in done.out.splitlines()]
