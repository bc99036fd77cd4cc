"""Merging: the adapter's logits, out of plain transformers; refused when they are not."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraModel
from tests.release.plain import TEXTS, our_logits, run_card
from tests.tiny_training import LABELS, args_of, lora_settings, recipe_for, small_folder, stir, tokenizer_of
from torch import nn

from tuneloop.errors import CheckFailed, RecipeError, RunError
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.model.load import load_model
from tuneloop.model.saved import load_tuned, save_tuned
from tuneloop.model.source import resolve
from tuneloop.records import Message, Row, content_id
from tuneloop.release import merge as release
from tuneloop.release.card import model_card
from tuneloop.release.merge import merge
from tuneloop.rows.prepare import Prepared, save_prepared
from tuneloop.runs import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

QUESTIONS = ["the card was declined", "reset my PIN?", "did the transfer arrive", "twice", "exchange rate of 2024"]


def rows_of(task: str) -> list[Row]:
    rows = []
    for index, text in enumerate(QUESTIONS):
        if task == "classification":
            row = Row(id="", source=f"f:{index}", text=text, label=LABELS[index % 3])
        else:
            turns = (Message("user", text), Message("assistant", "We will look into it."))
            row = Row(id="", source=f"f:{index}", messages=turns)
        rows.append(row.through("test"))
        assert rows[-1].id == content_id(rows[-1])
    return rows


def make_run(
    folder: Path, task: str, architecture: str, *, method: str = "lora", pooling: str = "mean",
    attention: str = "causal", **changes: str,
) -> RunFolder:  # fmt: skip
    """A run folder as training leaves it."""
    source = resolve(str(small_folder(architecture, folder / "base")))
    run = RunFolder(folder / "run")
    run.path.mkdir()
    recipe = recipe_for(task, source.folder, method=method, pooling=pooling, attention=attention)
    run.save_recipe(recipe)
    rows = rows_of(task)
    save_prepared(Prepared(rows[:3], [], rows[3:], [], [], LABELS if task == "classification" else [], {}), run)
    loaded = load_model(source, head=task == "generation")
    model: nn.Module = METHODS[method](loaded.model, adapt=lora_settings(), seed=0).model
    stir(model)
    if task == "classification":
        model = Classifier(model, LABELS, pooling=pooling, attention=attention)
    args = args_of(recipe, source, **changes)
    save_tuned(run.model, model, tokenizer_of(architecture), args, model_card(recipe, args, LABELS))
    run.record("data", key="of the rows")
    run.record("train", key="the key", data_key="of the rows")
    return run


def files_of(run: RunFolder) -> list[Path]:
    """All there is in the run, but its lock."""
    return sorted(path for path in run.path.rglob("*") if path.name != ".lock")


CASES = [
    ("generation", "llama", "mean", "causal"),
    ("generation", "qwen2", "mean", "causal"),
    ("generation", "deepseek_v3", "mean", "causal"),
    ("classification", "llama", "last", "causal"),
    ("classification", "qwen2", "mean", "bidirectional"),
    ("classification", "llama", "mean", "causal"),
    ("classification", "bert", "mean", "causal"),
]


@pytest.mark.parametrize(("task", "architecture", "pooling", "attention"), CASES)
def test_the_merged_model_is_the_adapter_in_plain_transformers(task, architecture, pooling, attention, tmp_path):
    run = make_run(tmp_path, task, architecture, pooling=pooling, attention=attention)
    adapter = load_tuned(run.model)
    wanted = [our_logits(adapter, text) for text in TEXTS]
    done = merge(run)
    assert done.folder == run.path / "merged"
    assert done.prompts == 5
    assert 0 <= done.largest_difference <= done.tolerance == 1e-3
    back = load_tuned(done.folder)
    assert not isinstance(back.model.backbone if task == "classification" else back.model, PeftModel)
    for text, logits in zip(TEXTS, wanted, strict=True):
        assert torch.allclose(our_logits(back, text), logits, atol=1e-3)
        plain = run_card(done.folder, tmp_path / "no base is needed", text)["logits"]
        assert torch.allclose(plain, logits, atol=1e-3)
    entry = run.stations()["merge"]
    assert entry["largest_difference"] == done.largest_difference
    assert (entry["prompts"], entry["tolerance"], entry["train_key"]) == (5, 1e-3, "the key")
    assert len(entry["key"]) == 64 and entry["seconds"] > 0 and entry["device"] in ("cpu", "cuda:0")


@pytest.mark.parametrize("fault", ["scaled", "lost", "nan"])
@pytest.mark.parametrize("task", ["generation", "classification"])
def test_a_merge_that_changes_the_logits_is_refused_and_writes_nothing(task, fault, tmp_path, monkeypatch):
    run = make_run(tmp_path, task, "llama")
    before, files = run.manifest.read_bytes(), files_of(run)
    whole = LoraModel.merge_and_unload

    def wrong(self, *args, **kwargs):
        if fault == "lost":
            return self.unload()
        merged = whole(self, *args, **kwargs)
        with torch.no_grad():
            merged.model.layers[1].mlp.up_proj.weight *= 1.02 if fault == "scaled" else float("nan")
        return merged

    monkeypatch.setattr(LoraModel, "merge_and_unload", wrong)
    with pytest.raises(CheckFailed, match="differs from the adapter") as refused:
        merge(run)
    assert refused.value.exit_code == 3
    assert files_of(run) == files and run.manifest.read_bytes() == before


@pytest.mark.parametrize("prompt", range(5))
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_is_refused_whichever_prompt_gives_it(prompt, wrong, tmp_path, monkeypatch):
    run = make_run(tmp_path, "classification", "llama")
    whole, seen = release._logits, []

    def logits(model, ids):
        seen.append(ids)
        found = whole(model, ids)
        return found * wrong if len(seen) == 5 + prompt + 1 else found  # the first five are the adapter's

    monkeypatch.setattr(release, "_logits", logits)
    with pytest.raises(CheckFailed, match=r"differs from the adapter: (nan|inf) in a logit"):
        merge(run, tolerance=1e30)
    assert len(seen) == 10 and not (run.path / "merged").exists()


def test_the_tolerance_is_the_callers(tmp_path):
    run = make_run(tmp_path, "generation", "llama")
    done = merge(run, tmp_path / "elsewhere", tolerance=0.5)
    assert done.tolerance == 0.5 and (tmp_path / "elsewhere" / "model.safetensors").is_file()
    assert done.largest_difference > 0, "float32 rounds, so the next line tests something"
    with pytest.raises(CheckFailed):
        merge(run, tmp_path / "nowhere", tolerance=0.0)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("tolerance", [-1e-3, float("nan"), float("inf")])
def test_a_tolerance_that_allows_all_or_nothing_is_refused(tmp_path, tolerance):
    with pytest.raises(RecipeError, match=r"no allowed difference.*Allowed: 0 or more"):
        merge(tmp_path / "never opened", tolerance=tolerance)


def test_a_run_tuned_in_bfloat16_is_merged_in_float32(tmp_path):
    """In bfloat16 the sum would round the update away; what is written is float32, and loads so."""
    run = make_run(tmp_path, "generation", "llama", dtype="bfloat16")
    assert load_tuned(run.model).model.dtype == torch.bfloat16
    done = merge(run)
    back = load_tuned(done.folder)
    assert back.model.dtype == torch.float32
    exact = load_tuned(run.model, dtype="float32")
    assert torch.allclose(our_logits(back, TEXTS[0]), our_logits(exact, TEXTS[0]), atol=1e-3)


def test_the_adapter_is_not_replaced_by_its_merge(tmp_path):
    run = make_run(tmp_path, "generation", "llama")
    with pytest.raises(RunError, match="the adapter itself"):
        merge(run, run.path / "." / "model")
    assert (run.model / "adapter_model.safetensors").is_file()


def test_a_model_of_other_rows_is_not_merged(tmp_path):
    run = make_run(tmp_path, "generation", "llama")
    run.record("data", key="of other rows")
    with pytest.raises(RunError, match="not those that its model was trained on"):
        merge(run)


def test_a_fully_tuned_run_has_nothing_to_merge(tmp_path):
    run = make_run(tmp_path, "generation", "llama", method="full")
    with pytest.raises(RunError, match="no adapter to merge"):
        merge(run)


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    run = make_run(tmp_path, "generation", "llama")
    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds other files"):
        merge(run, precious)
    assert (precious / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    merge(run, tmp_path / "empty")
    merge(run, tmp_path / "empty")  # what an earlier merge wrote is replaced
    assert json.loads((tmp_path / "empty" / "args.json").read_text())["merged"] is True
