"""The tokenizer inside a GGUF file as tokenizer.json and tokenizer_config.json.

A GGUF file names its pre-tokenizer by one word (`tokenizer.ggml.pre`) and leaves the rules to the reader; a wrong
guess still tokenizes, only into other tokens than the model has learnt. So each word that is known stands here
with its rules, and any other word is an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from tuneloop.errors import ModelError
from tuneloop.model.gguf_file import GGUFFile

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _WORDS + r"\p{N}" + _SIGNS
_LLAMA3 = _WORDS + r"\p{N}{1,3}" + _SIGNS


def save_tokenizer(file: GGUFFile, folder: Path, *, max_length: int, vocab_size: int) -> dict[str, int]:
    """Write tokenizer.json and tokenizer_config.json (chat template included) into `folder`.

    Args:
        file: The GGUF file.
        folder: Where to write; it exists.
        max_length: The model's context length in tokens.
        vocab_size: Rows of the model's embedding table; the tokenizer may have fewer tokens, never more.

    Returns:
        The ids of the special tokens, in the keys of config.json: bos_token_id, eos_token_id, pad_token_id.

    Raises:
        ModelError: if the tokenizer is broken or of a kind that is not known here.
    """
    tokens, kinds = _tokens(file, vocab_size)
    ids = _special_ids(file, len(tokens))
    tokenizer = _tokenizer(file, tokens, kinds)
    added = [(i, kind) for i, kind in enumerate(kinds) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(tokens[i], special=kind == CONTROL, normalized=False) for i, kind in added])
    for i, kind in enumerate(kinds):
        if kind != UNUSED and tokenizer.token_to_id(tokens[i]) != i:
            raise _broken(file, f"token {i} ({tokens[i]!r}) at another place after reading", "each token at its own id")
    bos = ids.get("bos_token_id")
    if _adds_bos(file) and bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A $B", special_tokens=[(tokens[bos], bos)]
        )
    extra: dict[str, Any] = {key.removesuffix("_id"): tokens[i] for key, i in ids.items()}
    if (unknown := file.metadata.get("tokenizer.ggml.unknown_token_id")) is not None:
        extra["unk_token"] = tokens[unknown] if 0 <= unknown < len(tokens) else None
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, clean_up_tokenization_spaces=False, **extra
    )
    template = file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        wrapped.chat_template = template
    wrapped.save_pretrained(folder, save_jinja_files=False)
    settings = folder / "tokenizer_config.json"
    told = json.loads(settings.read_text(encoding="utf-8"))
    told["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that transformers 4 knows too
    settings.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return ids


def _tokens(file: GGUFFile, vocab_size: int) -> tuple[list[str], list[int]]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise _broken(file, "no list of tokens", "tokenizer.ggml.tokens")
    kinds = file.metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise _broken(file, "token types that do not match the tokens", f"{len(tokens)} of them")
    if len(tokens) > vocab_size:
        raise _broken(file, f"{len(tokens)} tokens", f"at most the {vocab_size} rows of the embedding table")
    if len(set(tokens)) != len(tokens):
        raise _broken(file, "the same token twice", "each token once")
    return tokens, kinds


def _special_ids(file: GGUFFile, count: int) -> dict[str, int]:
    """bos, eos and pad; a missing or absent pad is the eos token, so that no row of the table is added."""
    ids: dict[str, int] = {}
    for ours, theirs in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")):
        value = file.metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if value is None:
            continue
        if not isinstance(value, int) or not 0 <= value < count:
            raise _broken(file, f"{theirs}_token_id = {value!r}", f"an id from 0 to {count - 1}")
        ids[ours] = value
    if "eos_token_id" not in ids:
        raise _broken(file, "no end-of-text token", "tokenizer.ggml.eos_token_id")
    ids.setdefault("pad_token_id", ids["eos_token_id"])
    return ids


def _tokenizer(file: GGUFFile, tokens: list[str], kinds: list[int]) -> Tokenizer:
    model, pre = file.metadata.get("tokenizer.ggml.model"), file.metadata.get("tokenizer.ggml.pre", "default")
    if model != "gpt2":
        raise _broken(file, f"a tokenizer of kind {model!r}", "byte-level BPE ('gpt2' in GGUF's words)")
    if pre not in PRE_TOKENIZERS:
        raise _broken(file, f"the pre-tokenizer {pre!r}", ", ".join(sorted(PRE_TOKENIZERS)))
    merges = file.metadata.get("tokenizer.ggml.merges")
    pairs = [tuple(merge.split(" ")) for merge in merges] if isinstance(merges, list) else []
    if not pairs or not all(len(pair) == 2 for pair in pairs):
        raise _broken(file, "no list of merges, or one that is not two tokens", "tokenizer.ggml.merges")
    vocabulary = {token: i for i, token in enumerate(tokens) if kinds[i] != UNUSED}
    try:
        tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=pairs, ignore_merges=pre in IGNORE_MERGES))
    except Exception as error:  # tokenizers raises plain Exception, e.g. for a merge of tokens that do not exist
        raise _broken(file, str(error), "merges of its own tokens") from None
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    if pre in NORMALISED:
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _adds_bos(file: GGUFFile) -> bool:
    """Whether plain encoding starts with the bos token; llama.cpp adds it for Llama 3 where the file is silent."""
    default = file.metadata.get("tokenizer.ggml.pre") in LLAMA3_NAMES
    return bool(file.metadata.get("tokenizer.ggml.add_bos_token", default))


def _byte_level(*, use_regex: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return _byte_level(use_regex=True)


def _single_digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level(use_regex=True)])


def _split(*patterns: str) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, _byte_level(use_regex=False)])


def _qwen2() -> pre_tokenizers.PreTokenizer:
    return _split(_QWEN2)


def _llama3() -> pre_tokenizers.PreTokenizer:
    return _split(_LLAMA3)


LLAMA3_NAMES = frozenset({"llama3", "llama-v3", "llama-bpe"})
IGNORE_MERGES = LLAMA3_NAMES
NORMALISED = frozenset({"qwen2", "deepseek-r1-qwen"})
PRE_TOKENIZERS = {
    "default": _gpt2,
    "gpt-2": _gpt2,
    "smollm": _single_digits,
    "qwen2": _qwen2,
    "deepseek-r1-qwen": _qwen2,
    **dict.fromkeys(LLAMA3_NAMES, _llama3),
}
"""GGUF's word -> rules. Source: the tokenizer.json of SmolLM2, Qwen2.5, DeepSeek-R1-Distill-Qwen and Llama 3.1."""


def _broken(file: GGUFFile, got: str, allowed: str) -> ModelError:
    return ModelError(
        f"The tokenizer inside {file.path} cannot be read",
        got=got,
        allowed=allowed,
        fix="Name the model's safetensors folder or hub id instead",
    )
