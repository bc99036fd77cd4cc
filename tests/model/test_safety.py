from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file
from tests.tiny_models import MAKERS

from tuneloop.errors import ModelError
from tuneloop.model.safety import ARCHITECTURES, check_folder


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_every_tiny_model_passes(tiny):
    assert len(MAKERS) == 4
    for architecture in MAKERS:
        config = check_folder(tiny(architecture))
        assert ARCHITECTURES[config["architectures"][0]] == architecture


def test_the_config_of_an_r1_distill_passes(llama):
    """The keys of deepseek-ai/DeepSeek-R1-Distill-Llama-8B's config.json."""
    rope = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"}
    change(llama, rope_scaling={**rope, "original_max_position_embeddings": 8192}, rope_theta=500000.0, mlp_bias=False)
    change(llama, torch_dtype="bfloat16", pretraining_tp=1, transformers_version="4.43.0.dev0")
    check_folder(llama)


def test_only_the_published_auto_map_of_r1_is_passed_over(tiny, tmp_path):
    """R1 and V3 name code of their own; transformers has their classes built in, which are used instead."""
    import shutil

    folder = tmp_path / "v3"
    shutil.copytree(tiny("deepseek_v3"), folder)
    published = {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModel": "modeling_deepseek.DeepseekV3Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    }
    change(folder, auto_map=published)
    check_folder(folder)
    change(folder, auto_map=published | {"AutoTokenizer": "evil.Tokenizer"})
    with pytest.raises(ModelError, match="auto_map"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.Model"}}, "auto_map"),
        ({"_attn_implementation_internal": "kernels-community/evil"}, "_attn_implementation_internal"),
        ({"_attn_implementation": "org/kernel"}, "_attn_implementation"),
        ({"attn_implementation": "org/kernel"}, "attn_implementation"),
        ({"custom_pipelines": {}}, "custom_pipelines"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised"),
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"architectures": ["LlamaForCausalLM", "BertModel"]}, "architecture"),
        ({"architectures": [["LlamaForCausalLM"]]}, "architecture"),
        ({"architectures": None}, "architecture"),
        ({"model_type": "qwen2"}, "contradicts"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"vocab_size": "388"}, "vocab_size"),
        ({"vocab_size": 389}, "embedding table"),
    ],
)
def test_refuses_a_config(llama, changes, word):
    change(llama, **changes)
    with pytest.raises(ModelError, match=word):
        check_folder(llama)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000])
def test_refuses_a_broken_config(llama, text):
    (llama / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        check_folder(llama)


def test_refuses_code_in_the_tokenizer(llama):
    (llama / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["tok.Tok", null]}}')
    with pytest.raises(ModelError, match="auto_map"):
        check_folder(llama)


def test_refuses_an_adapter_that_would_pull_in_another_base(llama):
    (llama / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model", "peft_type": "LORA"}')
    with pytest.raises(ModelError, match="adapter"):
        check_folder(llama)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt", "weights.pkl"])
def test_pickle_alone_is_refused_and_explained(llama, name):
    (llama / "model.safetensors").rename(llama / name)
    with pytest.raises(ModelError, match=f"pickle.*{name}.*safetensors"):
        check_folder(llama)


def test_pickle_beside_safetensors_is_not_read(llama):
    (llama / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    check_folder(llama)


def test_no_weights(llama):
    (llama / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        check_folder(llama)


def test_no_folder(tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        check_folder(tmp_path)


def shard(folder, mapped=None):
    """Split the weights into two files with an index; `mapped` changes entries of its map."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({n: tensors[n] for n in names if weight_map[n] == file}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map | (mapped or {})}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_pass(llama):
    shard(llama)
    check_folder(llama)


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("../other/model.safetensors", "outside"),
        ("/etc/passwd", "outside"),
        ("sub/model.safetensors", "outside"),
        ("..\\model.safetensors", "outside"),
        (".hidden.safetensors", "outside"),
        ("pytorch_model.bin", "outside"),
        ("gone.safetensors", "missing"),
        (7, "weight_map"),
    ],
)
def test_refuses_an_index_that_points_elsewhere(llama, file, word):
    shard(llama, {"model.norm.weight": file})
    with pytest.raises(ModelError, match=word):
        check_folder(llama)


def test_refuses_an_index_that_promises_too_much(llama):
    shard(llama, {"model.extra.weight": "model-00001-of-00002.safetensors"})
    with pytest.raises(ModelError, match="promises"):
        check_folder(llama)


def test_refuses_a_cut_off_file(llama):
    whole = (llama / "model.safetensors").read_bytes()
    (llama / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="cut off"):
        check_folder(llama)
