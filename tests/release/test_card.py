"""The model card's code, executed as it stands: plain transformers, PEFT and torch give tuneloop's logits."""

from pathlib import Path

import pytest
import torch
from tests.release.plain import TEXTS, our_logits, run_card
from tests.tiny_training import (
    ALL,
    DECODERS,
    LABELS,
    args_of,
    lora_settings,
    recipe_for,
    small_folder,
    stir,
    tokenizer_of,
)
from torch import nn

from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.model.load import load_model
from tuneloop.model.saved import load_tuned, save_tuned
from tuneloop.model.source import Source, resolve
from tuneloop.release.card import model_card, plain_code

# PEFT 0.21 asks transformers 5.23 by a name that changed; plain code cannot help it.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

CLASSIFICATION = [
    (architecture, method, pooling, attention)
    for architecture in ALL
    for method in ("lora", "full")
    for pooling in ("mean", "last")
    for attention in ("causal", "bidirectional")
]
GENERATION = [(architecture, method) for architecture in DECODERS for method in ("lora", "full")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Source]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: resolve(str(small_folder(name, folder / name))) for name in ALL}


def saved(source: Source, task: str, folder: Path, *, method: str, pooling: str = "mean", attention: str = "causal"):
    """(recipe, args, tuned model loaded back) of a model that was stirred and saved."""
    recipe = recipe_for(task, source.folder, method=method, pooling=pooling, attention=attention)
    loaded = load_model(source, head=task == "generation")
    model: nn.Module = METHODS[method](loaded.model, adapt=lora_settings(), seed=0).model
    stir(model)
    if task == "classification":
        model = Classifier(model, LABELS, pooling=pooling, attention=attention)
        stir(model.head, 0.5)
    args = args_of(recipe, source)
    labels = LABELS if task == "classification" else []
    save_tuned(folder, model, loaded.tokenizer, args, model_card(recipe, args, labels))
    return recipe, args, load_tuned(folder)


@pytest.mark.parametrize(("architecture", "method", "pooling", "attention"), CLASSIFICATION)
def test_the_card_of_a_classifier_gives_its_logits(bases, architecture, method, pooling, attention, tmp_path):
    source = bases[architecture]
    *_, tuned = saved(source, "classification", tmp_path / "m", method=method, pooling=pooling, attention=attention)
    for text in TEXTS:
        ours = our_logits(tuned, text)
        names = run_card(tmp_path / "m", source.folder, text)
        assert torch.allclose(names["logits"], ours, atol=1e-4)
        assert names["answer"] == LABELS[int(ours.argmax())]
    assert (ours - our_logits(tuned, TEXTS[0])).abs().max() > 0.01, "logits that differ, or nothing is tested"


@pytest.mark.parametrize(("architecture", "method"), GENERATION)
def test_the_card_of_a_language_model_gives_its_logits(bases, architecture, method, tmp_path):
    source = bases[architecture]
    *_, tuned = saved(source, "generation", tmp_path / "m", method=method)
    ours = our_logits(tuned, TEXTS[0])
    found = run_card(tmp_path / "m", source.folder, TEXTS[0])["logits"]
    assert found.shape == ours.shape
    assert torch.allclose(found, ours, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "architecture", "method", "pooling", "attention"),
    [("generation", *case, "mean", "causal") for case in GENERATION] + [("classification", *c) for c in CLASSIFICATION],
)
def test_the_card_is_at_most_ten_lines_and_imports_what_it_uses(bases, task, architecture, method, pooling, attention):
    recipe = recipe_for(task, bases[architecture].folder, method=method, pooling=pooling, attention=attention)
    imports, _, lines = plain_code(recipe, args_of(recipe, bases[architecture])).partition("\n\n")
    assert 5 <= len(lines.splitlines()) <= 10
    names = [name.strip(",") for line in imports.splitlines() for name in line.split("import ")[1].split()]
    assert len(names) >= 3
    assert [name for name in names if name not in lines] == []


def test_the_card_says_what_the_model_is(bases, tmp_path):
    recipe, args, _ = saved(bases["llama"], "classification", tmp_path / "m", method="lora")
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    for part in (
        "library_name: peft",
        "Classes (3): card, fee, loan",
        args["base"]["sha256"][:16],
        plain_code(recipe, args),
    ):
        assert part in card
    assert str(bases["llama"].folder) not in card, "it should not tell where it was made"
    public = args | {"base": args["base"] | {"kind": "hub", "name_or_path": "org/base"}}
    assert "with lora on org/base" in model_card(recipe, public, LABELS)
    assert tokenizer_of("llama").chat_template
